"""Whether a project is a package that its tool would install, and which of its modules tests may import from its
directory. Pure.

The rules are those of the tools: uv (`package`; without a build system the project is none), Poetry (`package-mode`),
PDM (`distribution`), pip, which uses setuptools where no build system is declared, and setuptools' automatic discovery,
which refuses several top-level packages or modules (setuptools documentation, "Package Discovery").
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from envtool_python.poetry import table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# Directories and modules of a flat layout that setuptools does not regard as packages.
_NO_PACKAGES = frozenset(
    [
        "ci",
        "bin",
        "debian",
        "doc",
        "docs",
        "documentation",
        "manpages",
        "news",
        "newsfragments",
        "changelog",
        "test",
        "tests",
        "unit_test",
        "unit_tests",
        "example",
        "examples",
        "scripts",
        "tools",
        "util",
        "utils",
        "python",
        "build",
        "dist",
        "venv",
        "env",
        "requirements",
        "tasks",
        "fabfile",
        "site_scons",
        "benchmark",
        "benchmarks",
        "exercise",
        "exercises",
    ]
)
_NO_MODULES = frozenset(
    [
        "setup",
        "conftest",
        "test",
        "tests",
        "example",
        "examples",
        "build",
        "toxfile",
        "noxfile",
        "pavement",
        "dodo",
        "tasks",
        "fabfile",
        "sconstruct",
        "conanfile",
        "manage",
        "benchmark",
        "benchmarks",
        "exercise",
        "exercises",
    ]
)


def declared_package(tools: Mapping[str, Any]) -> bool | None:
    """Returns whether the project declares itself a package; None if it declares nothing."""
    for tool, key in (("uv", "package"), ("poetry", "package-mode"), ("pdm", "distribution")):
        value = table(tools, tool).get(key)
        if isinstance(value, bool):
            return value
    return None


def is_single_package(paths: Iterable[str], tools: Mapping[str, Any]) -> bool:
    """Whether setuptools' automatic discovery finds exactly one package or module, by the paths of all files."""
    if {"packages", "py-modules", "package-dir"} & {*table(tools, "setuptools")}:
        return True
    files = list(paths)
    if any(path.startswith("src/") and path.endswith(".py") for path in files):
        return True
    directories = {path.partition("/")[0] for path in files if "/" in path}
    packages = {
        name for name in directories if name.isidentifier() and not name.startswith("_") and _is_package_name(name)
    }
    if packages:
        return len(packages) == 1 and any(path.endswith(".py") and path.partition("/")[0] in packages for path in files)
    modules = {path.removesuffix(".py") for path in files if "/" not in path and path.endswith(".py")}
    return len({name for name in modules if _is_module_name(name)}) == 1


def _is_package_name(name: str) -> bool:
    return name not in _NO_PACKAGES


def _is_module_name(name: str) -> bool:
    return name.isidentifier() and name not in _NO_MODULES and not re.match(r"_|(test|example)_", name)


_NO_SHADOW = re.compile(r"(setup|conftest|noxfile|tasks|build|fabfile|manage|versioneer|test_.*|.*_test)\.py$")


def shadowing_modules(inputs: Iterable[str], root: str, excluded: Collection[str]) -> list[str]:
    """Returns the packages and modules in the directory `root`, but for `excluded` directories: tests that run there
    may import them first."""
    paths = {posixpath.relpath(path, root) for path in inputs}
    packages = (
        path.removesuffix("__init__.py") for path in paths if path.count("/") == 1 and path.endswith("/__init__.py")
    )
    modules = (path for path in paths if path.endswith(".py") and "/" not in path and not _NO_SHADOW.match(path))
    source_packages = (path for path in packages if path.rstrip("/") not in excluded and not path.startswith("../"))
    return [*sorted(source_packages), *sorted(modules)]
