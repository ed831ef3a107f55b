"""What pyproject.toml, setup.py and the tree say about a project. Pure: files come through a `Project`.

Formats: pyproject.toml (PEP 517, 518, 621, 735), the tables of Poetry, uv, PDM and Hatch as far as their dependencies
go, setup.cfg (setuptools documentation, "Declarative Config"); of setup.py what it writes out.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envtool_python import package_layout
from envtool_python.decode import WrongFileError
from envtool_python.poetry import poetry_dependencies, poetry_groups, poetry_version, table
from envtool_python.requirements import name_of, own_extras

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool_python.decode import FileReader

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMetadata:
    """A project. `dependencies` is None where only running its build backend tells (dynamic, setup.py)."""

    name: str = ""
    installable: bool = False  # it is a package, by the rules of the tool that it is made with
    buildable: bool = False  # there is something that pip could be told to install
    dependencies: tuple[str, ...] | None = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    test_lines: tuple[str, ...] = ()  # setup.py's and setup.cfg's tests_require
    requires_python: str = ""  # a PEP 440 specifier
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


def read_facts(project: FileReader, root: str = "") -> ProjectMetadata:
    """The facts of the project at `root` ("" or "sub/"). Raises WrongFileError."""
    text = project.read(f"{root}pyproject.toml")
    setup = project.read(f"{root}setup.py")
    config = project.read(f"{root}setup.cfg")
    whole = _toml(text, f"{root}pyproject.toml") if text is not None else {}
    meta, system, tools = table(whole, "project"), table(whole, "build-system"), table(whole, "tool")
    old = _read_setup_files(setup, config)
    requires = tuple(str(line) for line in system.get("requires", ()))
    backend = str(system.get("build-backend", ""))
    dynamic = set(meta.get("dynamic", ()))
    name = str(meta.get("name", "") or table(tools, "poetry").get("name", "") or old.name)
    buildable = bool(meta or system or setup is not None or (config and "[metadata]" in config))
    installable = buildable and _is_package(
        project, root, has_setup=setup is not None, system=bool(system), tools=tools
    )
    dependencies, extras = _dependencies(meta, tools, old, name, buildable=buildable)
    version_unknown = "version" in dynamic or "version" not in meta
    return ProjectMetadata(
        name=name,
        installable=installable,
        buildable=buildable,
        dependencies=dependencies,
        extras=extras,
        groups={**_tool_groups(tools), **poetry_groups(tools), **table(whole, "dependency-groups")},
        test_lines=old.tests,
        requires_python=_requires_python(meta, tools, old),
        build_requires=requires,
        backend=backend,
        compiled=_is_compiled(backend, requires, setup or "", tools),
        versioned=version_unknown
        and _has_vcs_version(requires, setup or "", tools)
        and not project.read(f"{root}PKG-INFO"),
        declared=_is_declared(meta, tools, requires) and setup is None and config is None,
        tools=tools,
        texts=tuple(part for part in (text, setup, config) if part),
    )


def _is_package(project: FileReader, root: str, *, has_setup: bool, system: bool, tools: Mapping[str, Any]) -> bool:
    """See layout.py: what the project says, else whether there is a build system, else what setuptools would find."""
    answer = package_layout.declared_package(tools)
    if answer is not None:
        return answer
    if system or has_setup or project.read(f"{root}setup.cfg") is not None:
        return True
    if "uv" in tools or project.read(f"{root}uv.lock") is not None:
        return False
    glob = getattr(project, "glob", None)
    if glob is None:  # a layer's inputs, of which somebody has said that they are to be installed
        return True
    return package_layout.is_single_package((path.removeprefix(root) for path in glob(f"{root}**")), tools)


def _dependencies(
    meta: Mapping[str, Any], tools: Mapping[str, Any], old: _SetupMetadata, name: str, *, buildable: bool
) -> tuple[tuple[str, ...] | None, dict[str, tuple[str, ...]]]:
    """What the project requires, None where only its build backend knows, and its extras."""
    extras = {str(key): tuple(map(str, value)) for key, value in table(meta, "optional-dependencies").items()}
    dynamic = set(meta.get("dynamic", ()))
    poetry = table(tools, "poetry")
    if poetry.get("dependencies") and ("dependencies" in dynamic or not meta):
        lines, more = poetry_dependencies(tools)
        return tuple(own_extras(name, {**more, **extras}, lines)), {**more, **extras}
    if meta and not dynamic & {"dependencies", "optional-dependencies"}:
        return tuple(own_extras(name, extras, [str(line) for line in meta.get("dependencies", ())])), extras
    return (None if buildable and not poetry else ()), {**old.extras, **extras}


def _tool_groups(tools: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Development dependencies of uv and PDM from before PEP 735, and of Hatch's environments, as PEP 735 has them."""
    found: dict[str, list[Any]] = {}
    for env, about in table(table(tools, "hatch"), "envs").items():
        lines = [
            line
            for key in ("dependencies", "extra-dependencies")
            for line in (about.get(key, ()) if isinstance(about, dict) else ())
            if isinstance(line, str)
        ]
        if lines:
            found["test" if env == "hatch-test" else "dev" if env == "default" else env] = lines
    for name, lines in table(table(tools, "pdm"), "dev-dependencies").items():
        if isinstance(lines, list):
            found[name] = [_plain_editable(str(line)) for line in lines]
    uv = table(tools, "uv").get("dev-dependencies")
    if isinstance(uv, list):
        found["dev"] = [*found.get("dev", []), *map(str, uv)]
    return found


def _plain_editable(line: str) -> str:
    """PDM's `-e file:///${PROJECT_ROOT}/sub#egg=name` as `name @ file:///${PROJECT_ROOT}/sub`."""
    match = re.match(r"^-e\s+(\S+?)#egg=([\w.\[\],-]+)$", line)
    return f"{match.group(2)} @ {match.group(1)}" if match else line


def _requires_python(meta: Mapping[str, Any], tools: Mapping[str, Any], old: _SetupMetadata) -> str:
    if isinstance(meta.get("requires-python"), str):
        return str(meta["requires-python"])
    poetry = table(table(tools, "poetry"), "dependencies").get("python")
    return poetry_version(poetry) if isinstance(poetry, str) else old.python


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetupMetadata:
    """What setup.cfg and setup.py write out, as far as reading tells."""

    name: str = ""
    python: str = ""
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tests: tuple[str, ...] = ()


def _read_setup_files(setup: str | None, config: str | None) -> _SetupMetadata:
    import configparser

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(config or "")
    except configparser.Error:  # its owner will hear of it from setuptools
        parser = configparser.RawConfigParser()
    sections = {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}
    options = sections.get("options", {})
    written = _setup_arguments(setup)
    extras = {key: _text_lines(value) for key, value in sections.get("options.extras_require", {}).items()}
    for key, value in (written["extras_require"] if isinstance(written.get("extras_require"), dict) else {}).items():
        extras[str(key).partition(":")[0]] = _text_lines(value)
    extras.pop("", None)  # `:marker`: of no extra
    return _SetupMetadata(
        name=str(written.get("name") or sections.get("metadata", {}).get("name", "")),
        python=str(written.get("python_requires") or options.get("python_requires", "")),
        extras=extras,
        tests=_text_lines(written.get("tests_require") or options.get("tests_require", "")),
    )


def _text_lines(value: object) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list | tuple | set) else ()
    return tuple(line.strip() for line in map(str, lines) if line.strip())


def _setup_arguments(setup: str | None) -> dict[str, Any]:
    """Arguments of setup() that are written out, or are names of values that are. Of dictionaries and lists, the parts
    that are: an extra counts by its name, whatever computes what it requires."""
    try:
        tree = ast.parse(setup or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values: dict[str, ast.expr] = {}
    for target, value in (
        (to, node.value) for node in tree.body if isinstance(node, ast.Assign) for to in node.targets
    ):
        if isinstance(target, ast.Name):
            values[target.id] = value
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):  # extras["all"] = …
            known = values.get(target.value.id)
            if isinstance(known, ast.Dict):
                known.keys.append(target.slice)
                known.values.append(value)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "setup"]
    keywords = {one.arg: one.value for call in named for one in call.keywords if one.arg}
    return {key: _value(node, values) for key, node in keywords.items()}


def _value(node: ast.expr | None, values: Mapping[str, ast.expr], depth: int = 0) -> Any:
    if depth > 5:
        return None
    if isinstance(node, ast.Name):
        return _value(values.get(node.id), values, depth + 1)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(each, values, depth + 1) for key, each in pairs if isinstance(key, ast.Constant)}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        found = [_value(each, values, depth + 1) for each in node.elts]
        return [each for each in found if isinstance(each, str)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, values, depth + 1), _value(node.right, values, depth + 1)
        return [*left, *right] if isinstance(left, list) and isinstance(right, list) else None
    return node.value if isinstance(node, ast.Constant) else None


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = re.sub(r" \(at .*\)$", "", str(error))
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(place.group(1)), int(place.group(2))) if place else (len(text.splitlines()) or 1, 1)
        raise WrongFileError(message[:1].lower() + message[1:], file=path, line=line, column=column) from None


def _is_compiled(backend: str, requires: Iterable[str], setup: str, tools: Mapping[str, Any]) -> bool:
    if backend.split(".", maxsplit=1)[0] in COMPILING or COMPILERS & {name_of(line) for line in requires}:
        return True
    if table(tools, "setuptools").get("ext-modules") or table(tools, "poetry").get("build"):
        return True
    return bool(_EXTENSIONS.search(setup))


def _has_vcs_version(requires: Iterable[str], setup: str, tools: Mapping[str, Any]) -> bool:
    if VERSIONERS & {name_of(line) for line in requires} or re.search(r"\b(use_scm_version|pbr)\b", setup):
        return True
    version = table(table(tools, "pdm"), "version")
    return version.get("source") == "scm"


def _is_declared(meta: Mapping[str, Any], tools: Mapping[str, Any], requires: Iterable[str]) -> bool:
    described = meta or table(tools, "poetry")
    return "version" in described and not meta.get("dynamic") and not VERSIONERS & {name_of(line) for line in requires}
