"""What pyproject.toml, setup.py and the tree say about a project. Pure: a FileReader reads the files.

Formats: pyproject.toml (PEP 517, 518, 621, 735), the dependencies in the tables of Poetry, uv, PDM and Hatch, setup.cfg
(setuptools documentation, "Declarative Config"), and the literals of setup.py.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envtool.api.toml_reader import read_toml
from envtool_python import package_layout
from envtool_python.decode import DecodedFiles, WrongFileError, parse_python
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
    """The metadata of a project. `dependencies` is None if only its build backend knows them (dynamic, setup.py)."""

    name: str = ""
    installable: bool = False  # it is a package, by the rules of its packaging tool
    buildable: bool = False  # pip could install it
    dependencies: tuple[str, ...] | None = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    test_lines: tuple[str, ...] = ()  # setup.py's and setup.cfg's tests_require
    requires_python: str = ""  # a PEP 440 specifier
    build_requires: tuple[str, ...] = ()
    backend: str = ""
    compiled: bool = False
    versioned: bool = False  # its version comes from version control, which the container does not have
    declared: bool = False  # all metadata is written in pyproject.toml: no build reads modules for it
    tools: Mapping[str, Any] = field(default_factory=dict)  # the [tool] table
    texts: tuple[str, ...] = ()  # of pyproject.toml, setup.py and setup.cfg, those that exist: they decide the build

    @property
    def install(self) -> str:
        """The default mode of installing: `wheel` for backends whose editable installs differ, else `editable`."""
        by_wheel = self.backend.partition(".")[0] in COMPILING or "scikit-build" in map(name_of, self.build_requires)
        return "wheel" if by_wheel else "editable"


def read_facts(project: FileReader, root: str = "") -> ProjectMetadata:
    """Reads the metadata of the project at `root` ("" or "sub/"), of DecodedFiles once. Raises WrongFileError."""
    if isinstance(project, DecodedFiles):
        return project.once(("facts", root), lambda: _read_facts(project, root))
    return _read_facts(project, root)


def _read_facts(project: FileReader, root: str) -> ProjectMetadata:
    text = project.read(f"{root}pyproject.toml")
    setup = project.read(f"{root}setup.py")
    config = project.read(f"{root}setup.cfg")
    document = _toml(text, f"{root}pyproject.toml") if text is not None else {}
    project_table, build_system, tools = (
        table(document, "project"),
        table(document, "build-system"),
        table(document, "tool"),
    )
    setup_metadata = _read_setup_files(setup, config)
    requires = tuple(str(line) for line in build_system.get("requires", ()))
    backend = str(build_system.get("build-backend", ""))
    dynamic = set(project_table.get("dynamic", ()))
    name = str(project_table.get("name", "") or table(tools, "poetry").get("name", "") or setup_metadata.name)
    buildable = bool(project_table or build_system or setup is not None or (config and "[metadata]" in config))
    installable = buildable and _is_package(
        project, root, has_setup=setup is not None, system=bool(build_system), tools=tools
    )
    dependencies, extras = _dependencies(project_table, tools, setup_metadata, name, buildable=buildable)
    version_unknown = "version" in dynamic or "version" not in project_table
    return ProjectMetadata(
        name=name,
        installable=installable,
        buildable=buildable,
        dependencies=dependencies,
        extras=extras,
        groups={**_tool_groups(tools), **poetry_groups(tools), **table(document, "dependency-groups")},
        test_lines=setup_metadata.tests,
        requires_python=_requires_python(project_table, tools, setup_metadata),
        build_requires=requires,
        backend=backend,
        compiled=_is_compiled(backend, requires, setup or "", tools),
        versioned=version_unknown
        and _has_vcs_version(requires, setup or "", tools)
        and not project.read(f"{root}PKG-INFO"),
        declared=_is_declared(project_table, tools, requires) and setup is None and config is None,
        tools=tools,
        texts=tuple(content for content in (text, setup, config) if content),
    )


def _is_package(project: FileReader, root: str, *, has_setup: bool, system: bool, tools: Mapping[str, Any]) -> bool:
    """Whether the project is a package: by its own declaration, else by its build system (a uv project without one is
    none), else by setuptools' discovery."""
    declared = package_layout.declared_package(tools)
    if declared is not None:
        return declared
    if system or has_setup or project.read(f"{root}setup.cfg") is not None:
        return True
    if "uv" in tools or project.read(f"{root}uv.lock") is not None:
        return False
    glob = getattr(project, "glob", None)
    if glob is None:  # the inputs of a layer, whose options say that the project is to be installed
        return True
    return package_layout.is_single_package((path.removeprefix(root) for path in glob(f"{root}**")), tools)


def _dependencies(
    project_table: Mapping[str, Any],
    tools: Mapping[str, Any],
    setup_metadata: _SetupMetadata,
    name: str,
    *,
    buildable: bool,
) -> tuple[tuple[str, ...] | None, dict[str, tuple[str, ...]]]:
    """Returns the project's requirements (None if only its build backend knows them) and its extras."""
    extras = {str(key): tuple(map(str, value)) for key, value in table(project_table, "optional-dependencies").items()}
    dynamic = set(project_table.get("dynamic", ()))
    poetry = table(tools, "poetry")
    if poetry.get("dependencies") and ("dependencies" in dynamic or not project_table):
        lines, poetry_extras = poetry_dependencies(tools)
        return tuple(own_extras(name, {**poetry_extras, **extras}, lines)), {**poetry_extras, **extras}
    if project_table and not dynamic & {"dependencies", "optional-dependencies"}:
        return tuple(own_extras(name, extras, [str(line) for line in project_table.get("dependencies", ())])), extras
    return (None if buildable and not poetry else ()), {**setup_metadata.extras, **extras}


def _tool_groups(tools: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns development dependencies of uv and PDM (their formats before PEP 735) and of Hatch's environments, as
    groups in the format of PEP 735."""
    groups: dict[str, list[Any]] = {}
    for env, settings in table(table(tools, "hatch"), "envs").items():
        lines = [
            line
            for key in ("dependencies", "extra-dependencies")
            for line in (settings.get(key, ()) if isinstance(settings, dict) else ())
            if isinstance(line, str)
        ]
        if lines:
            groups["test" if env == "hatch-test" else "dev" if env == "default" else env] = lines
    for name, lines in table(table(tools, "pdm"), "dev-dependencies").items():
        if isinstance(lines, list):
            groups[name] = [_plain_editable(str(line)) for line in lines]
    uv = table(tools, "uv").get("dev-dependencies")
    if isinstance(uv, list):
        groups["dev"] = [*groups.get("dev", []), *map(str, uv)]
    return groups


def _plain_editable(line: str) -> str:
    """Returns PDM's `-e file:///${PROJECT_ROOT}/sub#egg=name` as `name @ file:///${PROJECT_ROOT}/sub`."""
    match = re.match(r"^-e\s+(\S+?)#egg=([\w.\[\],-]+)$", line)
    return f"{match.group(2)} @ {match.group(1)}" if match else line


def _requires_python(project_table: Mapping[str, Any], tools: Mapping[str, Any], setup_metadata: _SetupMetadata) -> str:
    if isinstance(project_table.get("requires-python"), str):
        return str(project_table["requires-python"])
    poetry = table(table(tools, "poetry"), "dependencies").get("python")
    return poetry_version(poetry) if isinstance(poetry, str) else setup_metadata.python


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetupMetadata:
    """The literal values of setup.cfg and setup.py."""

    name: str = ""
    python: str = ""
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tests: tuple[str, ...] = ()


def _config_sections(text: str | None) -> dict[str, dict[str, str]]:
    """Returns the sections of setup.cfg; none if it cannot be read."""
    if not text:
        return {}
    import configparser

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.Error:  # setuptools reports it
        return {}
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}


def _read_setup_files(setup: str | None, config: str | None) -> _SetupMetadata:
    sections = _config_sections(config)
    options = sections.get("options", {})
    arguments = _setup_arguments(setup)
    extras = {key: _text_lines(value) for key, value in sections.get("options.extras_require", {}).items()}
    for key, value in (
        arguments["extras_require"] if isinstance(arguments.get("extras_require"), dict) else {}
    ).items():
        extras[str(key).partition(":")[0]] = _text_lines(value)
    extras.pop("", None)  # `:marker` belongs to no extra
    return _SetupMetadata(
        name=str(arguments.get("name") or sections.get("metadata", {}).get("name", "")),
        python=str(arguments.get("python_requires") or options.get("python_requires", "")),
        extras=extras,
        tests=_text_lines(arguments.get("tests_require") or options.get("tests_require", "")),
    )


def _text_lines(value: object) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list | tuple | set) else ()
    return tuple(line.strip() for line in map(str, lines) if line.strip())


def _setup_arguments(setup: str | None) -> dict[str, Any]:
    """Returns the arguments of setup() that are literals, or names of literals. Of dictionaries and lists, the literal
    parts: an extra counts by its name even if its requirements are computed."""
    tree = parse_python(setup or "")
    if tree is None:
        return {}
    values: dict[str, ast.expr] = {}
    for target, value in (
        (target, node.value) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    ):
        if isinstance(target, ast.Name):
            values[target.id] = value
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):  # extras["all"] = …
            mapping = values.get(target.value.id)
            if isinstance(mapping, ast.Dict):
                mapping.keys.append(target.slice)
                mapping.values.append(value)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    setup_calls = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "setup"]
    keywords = {keyword.arg: keyword.value for call in setup_calls for keyword in call.keywords if keyword.arg}
    return {key: _value(node, values) for key, node in keywords.items()}


def _value(node: ast.expr | None, values: Mapping[str, ast.expr], depth: int = 0) -> Any:
    if depth > 5:
        return None
    if isinstance(node, ast.Name):
        return _value(values.get(node.id), values, depth + 1)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(item, values, depth + 1) for key, item in pairs if isinstance(key, ast.Constant)}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [_value(item, values, depth + 1) for item in node.elts]
        return [item for item in items if isinstance(item, str)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, values, depth + 1), _value(node.right, values, depth + 1)
        return [*left, *right] if isinstance(left, list) and isinstance(right, list) else None
    return node.value if isinstance(node, ast.Constant) else None


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return read_toml(text)
    except tomllib.TOMLDecodeError as error:
        message = re.sub(r" \(at .*\)$", "", str(error))
        position = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (
            (int(position.group(1)), int(position.group(2))) if position else (len(text.splitlines()) or 1, 1)
        )
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


def _is_declared(project_table: Mapping[str, Any], tools: Mapping[str, Any], requires: Iterable[str]) -> bool:
    described = project_table or table(tools, "poetry")
    return (
        "version" in described
        and not project_table.get("dynamic")
        and not VERSIONERS & {name_of(line) for line in requires}
    )
