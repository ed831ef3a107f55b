"""Which files of a project an editable install depends on. Pure.

An editable install points to the sources: their content decides nothing, so an edit must not build it again. What does:
the build's own files, what they name, and where packages are (`__init__.py`): by their names alone where pyproject.toml
says all there is to say, else also by their content, where a version may be written. Where the build runs code of the
project that may read anything, all of the project counts but directories like `tests`.
"""

from __future__ import annotations

import ast
import posixpath
import re
from typing import TYPE_CHECKING

from envtool_python.requirements import name_of, normal

if TYPE_CHECKING:
    from envtool_python.decode import TreeReader
    from envtool_python.metadata import ProjectMetadata

# Where setup.py and build backends look for a version, a description or requirements.
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

_ANY_FILE = re.compile(  # code that finds files by itself, or runs more of the project than can be seen
    r"\b(glob|rglob|walk|listdir|scandir|iterdir|import_module|__import__|backend-path|sys\.path|cmdclass|cmd_class)\b"
    r"|hatch\.(build|metadata)(\.targets\.\w+)?\.hooks\.(?!vcs\b|version\b)|^\s*(build|script)\s*=\s*['\"{].*\.py",
    re.MULTILINE,
)
# What a build may require that looks into no more files than are found here. Anything else may read all (Cython, cffi).
_PLAIN = frozenset(
    {"dunamai", "flit", "flit-core", "flit-scm", "hatch-fancy-pypi-readme", "hatch-requirements-txt", "hatch-vcs"}
    | {"hatchling", "packaging", "pbr", "pdm-backend", "pdm-pep517", "pip", "poetry", "poetry-core", "setuptools"}
    | {"poetry-dynamic-versioning", "setuptools-git-versioning", "setuptools-scm", "toml", "tomli", "tomlkit", "wheel"}
    | {"trove-classifiers", "uv-build", "uv-dynamic-versioning", "versioningit"}
)
_TOKEN = re.compile(r"[\w./*-]+")
_BUILDERS = frozenset({"setuptools", "setuptools_scm", "hatch", "flit", "poetry", "pdm", "uv", "scikit-build"})


def editable_inputs(project: TreeReader, facts: ProjectMetadata) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files and globs, each of which matches; and more, of which only the names count. Both empty: everything."""
    everything = project.glob("**")
    text = build_text(facts)
    helped = {name_of(line) for line in facts.build_requires} - _PLAIN
    if helped or _ANY_FILE.search(text) or not _version_is_plain(project, facts, text, everything):
        return _source_patterns(everything, text), ()
    chosen = {pattern for pattern in METADATA_FILES if project.glob(pattern)}
    tokens = set(_TOKEN.findall(text))
    names = {posixpath.basename(token) for token in tokens if token[-1:] not in "./"}
    chosen |= {path for path in everything if path in tokens or posixpath.basename(path) in names}
    chosen |= {module for token in tokens for module in _modules(token)} & set(everything)
    chosen |= {pattern for pattern in _licenses(text) if project.glob(pattern)}
    modules = {pattern for pattern in MODULES if project.glob(pattern)} | _namespaces(everything, text)
    modules |= _without_modules(everything, tokens)
    if facts.compiled:  # headers are named by the sources alone
        chosen |= {path for path in everything if not path.endswith(".py") and not _is_non_source(path, text)}
    if facts.declared:
        return tuple(sorted(chosen)), tuple(sorted(modules))
    versions = {pattern for pattern in VERSIONS if project.glob(pattern)}
    return tuple(sorted(chosen | modules | versions)), ()


def _modules(token: str) -> list[str]:
    """Files that a dotted name may mean: of `a.b.c`, a/b/c.py, a/b.py and a.py, also below src."""
    if "/" in token or "." not in token:
        return []
    parts = token.split(".")
    found = ["/".join(parts[:count]) + ".py" for count in range(1, len(parts) + 1)]
    return [*found, *(f"src/{path}" for path in found)]


def _namespaces(everything: list[str], text: str) -> set[str]:
    """One file of each directory that has modules but no __init__.py: it may be a package without one."""
    first: dict[str, str] = {}
    packages = {posixpath.dirname(path) for path in everything if path.endswith("/__init__.py")}
    for path in sorted(everything):
        directory = posixpath.dirname(path)
        if path.endswith(".py") and directory and directory not in packages and not _is_non_source(path, text):
            first.setdefault(directory, path)
    return set(first.values())


def _without_modules(everything: list[str], tokens: set[str]) -> set[str]:
    """One file of each directory that the build's files name and that has no modules (stubs, data): build backends
    refuse to go without it."""
    named = {form.strip("./") for token in tokens for form in (token, token.replace(".", "/"))}
    seen = {parent for path in everything if path.endswith(".py") for parent in _parents(path)}
    first: dict[str, str] = {}
    for path in sorted(everything):
        for parent in set(_parents(path)) - seen:
            if {parent, parent.removeprefix("src/"), parent.removeprefix("lib/")} & named:
                first.setdefault(parent, path)
    return set(first.values())


def _licenses(text: str) -> list[str]:
    """The globs for files of licences (PEP 639), each of which a build wants to match something."""
    lists = re.findall(r"^\s*license[-_]files\s*=\s*(?:\{[^}\[]*)?\[([^\]]*)\]", text, re.MULTILINE)
    return [pattern for values in lists for pattern in re.findall(r"[\"']([\w.*?-]+(?:/[\w.*?-]+)*)[\"']", values)]


def _parents(path: str) -> list[str]:
    return [path[:at] for at, character in enumerate(path) if character == "/"]


def _version_is_plain(project: TreeReader, facts: ProjectMetadata, text: str, everything: list[str]) -> bool:
    """Whether reading the version imports nothing: `attr:` and flit import a module whose version is no literal."""
    tops = {
        path.removeprefix("src/").partition("/")[0].removesuffix(".py") for path in everything if path.endswith(".py")
    }
    imported = re.findall(r"^[ \t]*(?:from|import)\s+(\w+)", project.read("setup.py") or "", re.MULTILINE)
    if tops & set(imported) - {"setup"}:
        return False
    if facts.backend.startswith("flit") and re.search(r"^dynamic\s*=", text, re.MULTILINE):
        name = normal(facts.name).replace("-", "_")
        homes = [f"{top}{name}{end}" for top in ("", "src/") for end in (".py", "/__init__.py")]
        return any(_literal(project.read(path), "__version__") for path in homes)
    for dotted in re.findall(r"\battr\s*[:=]\s*[\"']?([\w.]+)", text):
        module = dotted.rpartition(".")[0].replace(".", "/")
        homes = [f"{top}{module}{end}" for top in ("", "src/", "lib/") for end in (".py", "/__init__.py")]
        name = dotted.rpartition(".")[2]
        if not any(_literal(project.read(path), name) for path in homes if path in everything):
            return False
    return True


def _literal(text: str | None, name: str) -> bool:
    """Whether a module gives a name a plain value: then setuptools and flit read it without importing anything."""
    try:
        statements = ast.parse(text or "").body
    except (SyntaxError, ValueError):
        return False
    for statement in statements:
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


def _named(directory: str, text: str) -> bool:
    return bool(re.search(rf"\b{re.escape(directory)}\b", text))


def _is_non_source(path: str, text: str) -> bool:
    top, slash, _ = path.partition("/")
    return bool(slash) and top in NON_SOURCE_DIRECTORIES and not _named(top, text)


def _source_patterns(everything: list[str], text: str) -> tuple[str, ...]:
    top = {path.partition("/")[0] for path in everything}
    inner = {path.partition("/")[0] for path in everything if "/" in path}
    aside = {name for name in inner if name in NON_SOURCE_DIRECTORIES and not _named(name, text)}
    return tuple(sorted(name for name in top - aside if name not in {".git", ".envtool"})) if aside else ()


def build_text(facts: ProjectMetadata) -> str:
    """The build's files without the tables of tools that build nothing (pytest, ruff, …)."""
    return "\n".join(_build_lines(text) for text in facts.texts)


def _build_lines(text: str) -> str:
    kept, keep = [], True
    for line in text.splitlines():
        table = re.match(r"^\[+\s*tool\.([\w-]+)", line)
        if table:
            keep = table.group(1) in _BUILDERS
            keep = keep and not re.match(r"^\[+\s*tool\.(hatch\.envs|uv\.workspace|pdm\.scripts)", line)
        elif re.match(r"^\[", line):
            keep = not re.match(r"^\[(dependency-groups|project\.|tool:|flake8|mypy|coverage|options\.extras)", line)
        if keep:
            kept.append(line)
    return "\n".join(kept)
