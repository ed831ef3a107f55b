"""What pyproject.toml, setup.py and the tree say about a project. Pure: files come through a `Project`.

Formats: pyproject.toml (PEP 517, 518, 621, 735), Poetry's own table as far as its groups go.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from envtool_python.requirements import name_of, own_extras

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMPILING = (
    "mesonpy",
    "scikit_build_core",
    "skbuild",
    "maturin",
    "sipbuild",
    "enscons",
    "setuptools_rust",
    "py_build_cmake",
)
COMPILERS = frozenset({"cython", "cffi", "pybind11", "nanobind", "setuptools-rust", "mypyc", "numpy", "scikit-build"})
VERSIONERS = frozenset(
    {"setuptools-scm", "setuptools-git-versioning", "hatch-vcs", "versioningit", "flit-scm", "pbr", "dunamai"}
    | {"poetry-dynamic-versioning", "uv-dynamic-versioning"}
)
_EXTENSIONS = re.compile(r"\b(ext_modules|cffi_modules|rust_extensions|cmdclass_ext|cythonize)\b")


class Files(Protocol):
    """What this module needs of `api.Project`."""

    def read(self, path: str) -> str | None:
        """Text of a project-relative file, None when there is none."""


class WrongFileError(ValueError):
    """pyproject.toml cannot be understood: the message, and where in it (line and column from 1)."""

    def __init__(self, message: str, *, file: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.file, self.line, self.column = file, line, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A project. `dependencies` is None where only running its build backend tells (dynamic, setup.py)."""

    name: str = ""
    installable: bool = False
    dependencies: tuple[str, ...] | None = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    build_requires: tuple[str, ...] = ()
    backend: str = ""
    compiled: bool = False
    versioned: bool = False  # its version comes from version control, which builds do not see
    declared: bool = False  # all metadata is written in pyproject.toml: no build reads modules for it
    tools: Mapping[str, Any] = field(default_factory=dict)  # the [tool] table
    texts: tuple[str, ...] = ()  # what decides the build: pyproject.toml, setup.py and setup.cfg, those that there are

    @property
    def install(self) -> str:
        """How it is installed where nobody says: a wheel where editable installs of its backend are of another kind."""
        by_wheel = self.backend.partition(".")[0] in COMPILING or "scikit-build" in map(name_of, self.build_requires)
        return "wheel" if by_wheel else "editable"


def read_facts(project: Files, root: str = "") -> Facts:
    """The facts of the project at `root` ("" or "sub/"). Raises WrongFileError."""
    text = project.read(f"{root}pyproject.toml")
    setup = project.read(f"{root}setup.py")
    config = project.read(f"{root}setup.cfg")
    table = _toml(text, f"{root}pyproject.toml") if text is not None else {}
    meta, system, tools = _table(table, "project"), _table(table, "build-system"), _table(table, "tool")
    groups = {**_poetry_groups(tools), **_table(table, "dependency-groups")}
    requires = tuple(str(line) for line in system.get("requires", ()))
    backend = str(system.get("build-backend", ""))
    dynamic = set(meta.get("dynamic", ()))
    name = str(meta.get("name", "") or _table(tools, "poetry").get("name", ""))
    extras = {str(key): tuple(value) for key, value in _table(meta, "optional-dependencies").items()}
    installable = bool(meta or system or setup is not None or (config and "[metadata]" in config))
    known = bool(meta) and not dynamic & {"dependencies", "optional-dependencies"}
    dependencies: tuple[str, ...] | None = None
    if known:
        dependencies = tuple(own_extras(name, extras, [str(line) for line in meta.get("dependencies", ())]))
    elif not installable:
        dependencies = ()
    version_unknown = "version" in dynamic or "version" not in meta
    return Facts(
        name=name,
        installable=installable,
        dependencies=dependencies,
        extras=extras,
        groups=groups,
        build_requires=requires,
        backend=backend,
        compiled=_compiled(backend, requires, setup or "", tools),
        versioned=version_unknown and _versioned(requires, setup or "", tools) and not project.read(f"{root}PKG-INFO"),
        declared=_declared(meta, tools, requires) and setup is None and config is None,
        tools=tools,
        texts=tuple(part for part in (text, setup, config) if part),
    )


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = re.sub(r" \(at .*\)$", "", str(error))
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(place.group(1)), int(place.group(2))) if place else (len(text.splitlines()) or 1, 1)
        raise WrongFileError(message[:1].lower() + message[1:], file=path, line=line, column=column) from None


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key, {})
    return found if isinstance(found, dict) else {}


def _compiled(backend: str, requires: Iterable[str], setup: str, tools: Mapping[str, Any]) -> bool:
    if backend.split(".", maxsplit=1)[0] in COMPILING or COMPILERS & {name_of(line) for line in requires}:
        return True
    if _table(tools, "setuptools").get("ext-modules") or _table(tools, "poetry").get("build"):
        return True
    return bool(_EXTENSIONS.search(setup))


def _versioned(requires: Iterable[str], setup: str, tools: Mapping[str, Any]) -> bool:
    if VERSIONERS & {name_of(line) for line in requires} or re.search(r"\b(use_scm_version|pbr)\b", setup):
        return True
    version = _table(_table(tools, "pdm"), "version")
    return version.get("source") == "scm"


def _declared(meta: Mapping[str, Any], tools: Mapping[str, Any], requires: Iterable[str]) -> bool:
    table = meta or _table(tools, "poetry")
    return "version" in table and not meta.get("dynamic") and not VERSIONERS & {name_of(line) for line in requires}


def _poetry_groups(tools: Mapping[str, Any]) -> dict[str, list[str]]:
    """Poetry's groups as PEP 735 would write them."""
    poetry = _table(tools, "poetry")
    tables = {name: _table(group, "dependencies") for name, group in _table(poetry, "group").items()}
    if poetry.get("dev-dependencies"):
        tables.setdefault("dev", _table(poetry, "dev-dependencies"))
    return {
        name: [line for package, value in table.items() if package != "python" for line in poetry_lines(package, value)]
        for name, table in tables.items()
    }


def poetry_lines(package: str, value: Any) -> list[str]:
    """A dependency in Poetry's notation as PEP 508 lines; none where it is not about an index (path, git)."""
    if isinstance(value, list):
        return [line for item in value for line in poetry_lines(package, item)]
    if isinstance(value, str):
        return [package + poetry_version(value)]
    if not isinstance(value, dict) or "version" not in value:
        return []
    extras = f"[{','.join(value['extras'])}]" if value.get("extras") else ""
    markers = [f"({value['markers']})"] if value.get("markers") else []
    bounds = re.findall(r"(<=|>=|==|!=|<|>)\s*([\d.]+)", str(value.get("python", "")))
    markers += [f"python_version {bound[0]} '{bound[1]}'" for bound in bounds]
    return [
        package + extras + poetry_version(str(value["version"])) + (f"; {' and '.join(markers)}" if markers else "")
    ]


def poetry_version(text: str) -> str:
    """`^1.2` and `~1.2` as ranges; a bare version means exactly that one; `*` anything."""
    parts = []
    for part in (piece.strip() for piece in text.split(",")):
        match = re.match(r"^(\^|~)\s*([0-9]{1,18}(?:\.[0-9]{1,18})*)(?![0-9])(.*)$", part)
        if match:
            numbers = [int(number) for number in match.group(2).split(".")]
            if match.group(1) == "^":
                keep = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
            else:
                keep = min(1, len(numbers) - 1)
            upper = [*numbers[:keep], numbers[keep] + 1]
            parts.append(f">={match.group(2)}{match.group(3)},<{'.'.join(map(str, upper))}")
        elif part and part != "*":
            parts.append(part.replace(" ", "") if part[0] in "<>=!~" else f"=={part}")
    return ",".join(parts)
