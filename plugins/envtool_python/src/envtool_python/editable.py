"""Which files of a project an editable install depends on. Pure.

An editable install points to the sources, so an edit of the sources must not build it again. These files decide it:
the build's own files, the files that they name, and those that show where packages are (`__init__.py`). Of the last,
only the names count if pyproject.toml declares all metadata; otherwise their content counts, too, for it may have a
version. If the build runs code of the project, which may read anything, all of the project counts except directories
like `tests`.
"""

from __future__ import annotations

import ast
import posixpath
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from envtool_python.decode import parse_python
from envtool_python.requirements import name_of, normal

if TYPE_CHECKING:
    from envtool_python.decode import TreeReader
    from envtool_python.metadata import ProjectMetadata

# Files in which setup.py and build backends look for a version, a description or requirements.
BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "PKG-INFO", "MANIFEST.in")
METADATA_FILES = (
    *BUILD_FILES, "README*", "LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*", "*requirements*", "requirements/*",
)  # fmt: skip
MODULES = ("*.py", "src/*.py", "**/__init__.py")  # where packages and modules are
VERSIONS = ("**/*version*.py", "**/__about__.py")
# Directories that no build of an editable install looks into, unless the build's own files name them.
NON_SOURCE_DIRECTORIES = (
    "tests",
    "test",
    "testing",
    "docs",
    "doc",
    "examples",
    "benchmarks",
    "bench",
    ".github",
    "changelog.d",
    "news",
)
# envtool's own, of which no build knows: a lock that counted itself would fit nothing once it is written.
_OWN_FILES = frozenset({"envtool.yaml", "envtool.package.yaml", "envtool.lock"})

_ANY_FILE = re.compile(  # code that searches for files, or runs more of the project than its build files show
    r"\b(glob|rglob|walk|listdir|scandir|iterdir|import_module|__import__|backend-path|sys\.path|cmdclass|cmd_class)\b"
    r"|hatch\.(build|metadata)(\.targets\.\w+)?\.hooks\.(?!vcs\b|version\b)|^\s*(build|script)\s*=\s*['\"{].*\.py",
    re.MULTILINE,
)
# Build requirements that read no files beyond those found here. Others may read any file (Cython, cffi).
_PLAIN = frozenset(
    {"dunamai", "flit", "flit-core", "flit-scm", "hatch-fancy-pypi-readme", "hatch-requirements-txt", "hatch-vcs"}
    | {"hatchling", "packaging", "pbr", "pdm-backend", "pdm-pep517", "pip", "poetry", "poetry-core", "setuptools"}
    | {"poetry-dynamic-versioning", "setuptools-git-versioning", "setuptools-scm", "toml", "tomli", "tomlkit", "wheel"}
    | {"trove-classifiers", "uv-build", "uv-dynamic-versioning", "versioningit"}
)
_TOKEN = re.compile(r"[\w./*-]+")
_BUILDERS = frozenset({"setuptools", "setuptools_scm", "hatch", "flit", "poetry", "pdm", "uv", "scikit-build"})


def editable_inputs(project: TreeReader, facts: ProjectMetadata) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns files and globs whose content counts, and files and globs of which only the names count. Each matches
    something. Both are empty if every file counts."""
    files = [path for path in project.glob("**") if path not in _OWN_FILES]
    text = build_text(facts)
    unknown_helpers = {name_of(line) for line in facts.build_requires} - _PLAIN
    if unknown_helpers or _ANY_FILE.search(text) or not _version_is_plain(project, facts, text, files):
        return _source_patterns(files, text), ()
    patterns = {pattern for pattern in METADATA_FILES if project.glob(pattern)}
    tokens = set(_TOKEN.findall(text))
    names = {posixpath.basename(token) for token in tokens if token[-1:] not in "./"}
    patterns |= {path for path in files if path in tokens or posixpath.basename(path) in names}
    patterns |= {module for token in tokens for module in _module_files(token)} & set(files)
    patterns |= {pattern for pattern in _license_globs(text) if project.glob(pattern)}
    modules = {pattern for pattern in MODULES if project.glob(pattern)} | _namespace_files(files, text)
    modules |= _files_without_modules(files, tokens)
    if facts.compiled:  # only the sources name the headers
        patterns |= {path for path in files if not path.endswith(".py") and not _is_non_source(path, text)}
    if facts.declared:
        return tuple(sorted(patterns)), tuple(sorted(modules))
    versions = {pattern for pattern in VERSIONS if project.glob(pattern)}
    return tuple(sorted(patterns | modules | versions)), ()


def _module_files(token: str) -> list[str]:
    """Returns the files that a dotted name may mean: for `a.b.c`, a/b/c.py, a/b.py and a.py, also below src."""
    if "/" in token or "." not in token:
        return []
    parts = token.split(".")
    files = ["/".join(parts[:count]) + ".py" for count in range(1, len(parts) + 1)]
    return [*files, *(f"src/{path}" for path in files)]


def _namespace_files(files: list[str], text: str) -> set[str]:
    """Returns one file of each directory with modules but no __init__.py: it may be a namespace package."""
    first_files: dict[str, str] = {}
    packages = {posixpath.dirname(path) for path in files if path.endswith("/__init__.py")}
    for path in sorted(files):
        directory = posixpath.dirname(path)
        if path.endswith(".py") and directory and directory not in packages and not _is_non_source(path, text):
            first_files.setdefault(directory, path)
    return set(first_files.values())


def _files_without_modules(files: list[str], tokens: set[str]) -> set[str]:
    """Returns one file of each directory that the build's files name and that has no modules (stubs, data): build
    backends fail if it is missing."""
    named = {form.strip("./") for token in tokens for form in (token, token.replace(".", "/"))}
    module_directories = {posixpath.dirname(path) for path in files if path.endswith(".py")}
    with_modules = {parent for directory in module_directories for parent in _parents(f"{directory}/")}
    first_of_directory: dict[str, str] = {}
    for path in sorted(files):
        first_of_directory.setdefault(posixpath.dirname(path), path)
    first_files: dict[str, str] = {}
    for path in first_of_directory.values():  # of the files below a directory, the first is also the first of its own
        for parent in set(_parents(path)) - with_modules:
            if {parent, parent.removeprefix("src/"), parent.removeprefix("lib/")} & named:
                first_files.setdefault(parent, path)
    return set(first_files.values())


def _license_globs(text: str) -> list[str]:
    """Returns the globs for licence files (PEP 639); a build fails if one matches nothing."""
    lists = re.findall(r"^\s*license[-_]files\s*=\s*(?:\{[^}\[]*)?\[([^\]]*)\]", text, re.MULTILINE)
    return [pattern for values in lists for pattern in re.findall(r"[\"']([\w.*?-]+(?:/[\w.*?-]+)*)[\"']", values)]


def _parents(path: str) -> list[str]:
    return [path[:at] for at, character in enumerate(path) if character == "/"]


def _version_is_plain(project: TreeReader, facts: ProjectMetadata, text: str, files: list[str]) -> bool:
    """Whether the build reads the version without an import: `attr:` and flit import a module if its version is no
    literal."""
    own_modules = {
        path.removeprefix("src/").partition("/")[0].removesuffix(".py") for path in files if path.endswith(".py")
    }
    imported = re.findall(r"^[ \t]*(?:from|import)\s+(\w+)", project.read("setup.py") or "", re.MULTILINE)
    if own_modules & set(imported) - {"setup"}:
        return False
    if facts.backend.startswith("flit") and re.search(r"^dynamic\s*=", text, re.MULTILINE):
        name = normal(facts.name).replace("-", "_")
        candidates = [f"{prefix}{name}{suffix}" for prefix in ("", "src/") for suffix in (".py", "/__init__.py")]
        return any(_literal(project.read(path), "__version__") for path in candidates)
    for dotted in re.findall(r"\battr\s*[:=]\s*[\"']?([\w.]+)", text):
        module = dotted.rpartition(".")[0].replace(".", "/")
        candidates = [
            f"{prefix}{module}{suffix}" for prefix in ("", "src/", "lib/") for suffix in (".py", "/__init__.py")
        ]
        name = dotted.rpartition(".")[2]
        if not any(_literal(project.read(path), name) for path in candidates if path in files):
            return False
    return True


def _literal(text: str | None, name: str) -> bool:
    """Whether a module assigns a literal to a name: then setuptools and flit read it without an import."""
    tree = parse_python(text or "")
    for statement in tree.body if tree is not None else ():
        targets = (
            statement.targets if isinstance(statement, ast.Assign)
            else [statement.target] if isinstance(statement, ast.AnnAssign) else []
        )  # fmt: skip
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(statement, "value", None)
            if value is None:
                return False
            try:
                ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return False
            return True
    return False


@lru_cache(maxsize=64)
def _is_named(directory: str, text: str) -> bool:
    return bool(re.search(rf"\b{re.escape(directory)}\b", text))


def _is_non_source(path: str, text: str) -> bool:
    top, slash, _ = path.partition("/")
    return bool(slash) and top in NON_SOURCE_DIRECTORIES and not _is_named(top, text)


def _source_patterns(files: list[str], text: str) -> tuple[str, ...]:
    entries = {path.partition("/")[0] for path in files}
    directories = {path.partition("/")[0] for path in files if "/" in path}
    excluded = {name for name in directories if name in NON_SOURCE_DIRECTORIES and not _is_named(name, text)}
    return tuple(sorted(name for name in entries - excluded if name not in {".git", ".envtool"})) if excluded else ()


def build_text(facts: ProjectMetadata) -> str:
    """Returns the text of the build's files, without the tables of tools that build nothing (pytest, ruff, …)."""
    return "\n".join(_build_lines(text) for text in facts.texts)


def _build_lines(text: str) -> str:
    lines, is_build_table = [], True
    for line in text.splitlines():
        header = re.match(r"^\[+\s*tool\.([\w-]+)", line)
        if header:
            is_build_table = header.group(1) in _BUILDERS
            is_build_table = is_build_table and not re.match(
                r"^\[+\s*tool\.(hatch\.envs|uv\.workspace|pdm\.scripts)", line
            )
        elif re.match(r"^\[", line):
            is_build_table = not re.match(
                r"^\[(dependency-groups|project\.|tool:|flake8|mypy|coverage|options\.extras)", line
            )
        if is_build_table:
            lines.append(line)
    return "\n".join(lines)
