"""Is a project a package, one that its tool would install? Pure.

Rules of those who make them: uv (`package`; without a build system it is none), Poetry (`package-mode`), PDM
(`distribution`); pip, which takes setuptools where no build system is said, and setuptools' automatic discovery, which
refuses several top-level packages or modules (setuptools documentation, "Package Discovery").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from envtool_python.poetry import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Directories and modules of a flat layout that setuptools takes for no packages.
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
    """What the project says itself; None where it says nothing."""
    for tool, key in (("uv", "package"), ("poetry", "package-mode"), ("pdm", "distribution")):
        answer = table(tools, tool).get(key)
        if isinstance(answer, bool):
            return answer
    return None


def is_single_package(paths: Iterable[str], tools: Mapping[str, Any]) -> bool:
    """Whether setuptools, told nothing, finds one package or module, by the paths of all files."""
    if {"packages", "py-modules", "package-dir"} & {*table(tools, "setuptools")}:
        return True
    found = list(paths)
    if any(path.startswith("src/") and path.endswith(".py") for path in found):
        return True
    tops = {path.partition("/")[0] for path in found if "/" in path}
    packages = {name for name in tops if name.isidentifier() and not name.startswith("_") and _package(name)}
    if packages:
        return len(packages) == 1 and any(path.endswith(".py") and path.partition("/")[0] in packages for path in found)
    modules = {path.removesuffix(".py") for path in found if "/" not in path and path.endswith(".py")}
    return len({name for name in modules if _module(name)}) == 1


def _package(name: str) -> bool:
    return name not in _NO_PACKAGES


def _module(name: str) -> bool:
    return name.isidentifier() and name not in _NO_MODULES and not re.match(r"_|(test|example)_", name)
