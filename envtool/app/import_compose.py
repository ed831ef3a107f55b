"""Converts compose files into a spec: `import compose`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from envtool import plugins
from envtool.app.command_request import SPEC, CommandRequest
from envtool.app.compose import compose_values as values
from envtool.app.compose import use_kinds
from envtool.app.compose.compose_files import MAX_FILES, SECTIONS, ComposeFiles, read_dotenv
from envtool.app.compose.convert_service import ConvertedService, convert_service
from envtool.app.compose.host_names import choose_names, find_other_names
from envtool.app.compose.image_base import read_base
from envtool.app.compose.left_out import TOP_KEYS, note_keys
from envtool.app.compose.notes import COPIED_HINT, ImportState, Note, listed_names
from envtool.app.compose.spec_text import write_spec
from envtool.app.compose.wait_order import Dependency, check_cycles, dependencies
from envtool.app.permissions import resolve_permissions
from envtool.errors import SpecError, UsageError
from envtool.lazy_dataclass import dataclass
from envtool.model import Json
from envtool.project.host_access import HostAccess
from envtool.project.source_files import ProjectFiles
from envtool.spec.node import YamlNode, make_source

MAX_SERVICES = 1000
_OVERRIDES = re.compile(r"(?P<name>(?:docker-)?compose)\.(?P<ending>ya?ml)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeImport:
    """The spec for compose files, with notes on what differs."""

    text: str
    services: tuple[str, ...]  # their names in the spec
    notes: tuple[Note, ...]
    override: str = ""  # a file beside the only one, which compose reads by itself


def import_compose(
    request: CommandRequest, files: Sequence[str], given: Mapping[str, str], directory: str, *, kinds: bool = False
) -> ComposeImport:
    """Returns the spec for compose files, of which the later are merged over the earlier. `files` are the caller's
    paths, in or below `directory`, that of the spec. `given` are values of variables, over those of `.env`. Raises
    SpecError with each error and its place, UsageError. `kinds`: services are of a kind where that is the same."""
    root = os.path.abspath(directory)
    if not os.path.isdir(root):
        raise UsageError(f"no directory `{directory}`", code="no-directory")
    paths = [path_in_project(root, os.path.join(request.directory, file), file) for file in files]
    state = ImportState(project=ProjectFiles(root, HostAccess(root, resolve_permissions(request, root))))
    state.variables = _variables(state, paths, given)
    whole = ComposeFiles(state).read_all(paths)
    services = _services(state, whole)
    _note_copied(state, _beside(paths), services)
    services = _with_kinds(services) if kinds else services
    state.problems.raise_any()
    notes = state.ordered_notes()
    text = write_spec(" ".join(files), services, notes, state.names)
    _check(state, root, text)
    override = _override(state, paths[0]) if len(paths) == 1 else ""
    return ComposeImport(
        text=text, services=tuple(service.name for service in services), notes=notes, override=override
    )


def path_in_project(root: str, path: str, named: str) -> str:
    """Returns the path relative to the project. Raises UsageError where it is elsewhere."""
    parent = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    relative = os.path.relpath(os.path.join(parent, os.path.basename(path)), os.path.realpath(root))
    if relative == ".." or relative.startswith("../"):
        hint = "the spec is for a directory above it: `envtool -C DIRECTORY import compose FILE`"
        raise UsageError(f"`{named}` is not in {root}", code="import-outside", hint=hint)
    return relative


def _beside(paths: Sequence[str]) -> str:
    """Returns the path of the `.env` beside the first file."""
    return posixpath.join(posixpath.dirname(paths[0]), ".env")


def _variables(state: ImportState, paths: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that stand for `${NAME}`: those of a `.env` of the project beside the first file, and over
    them the caller's own `--set`. The caller's environment is not read: the spec would be another on each machine."""
    beside = _beside(paths)
    state.variables = {"PWD": ".", **given}
    if not state.has_file(beside):
        return {"PWD": ".", **given}
    read = read_dotenv(state, beside)
    state.problems.raise_any()
    state.dotenv = frozenset(name for name, value in read.items() if value and name not in given)
    state.used.clear()  # a value of `.env` may use another one
    return {"PWD": ".", **{name: value for name, value in read.items() if value is not None}, **given}


def _note_copied(state: ImportState, path: str, services: Sequence[ConvertedService]) -> None:
    """Notes which variables of `.env`, the file at `path`, the spec has the values of."""
    texts = [*_texts([service.keys for service in services])]
    names = [
        name for name in state.used if name in state.dotenv and any(state.variables[name] in text for text in texts)
    ]
    if names:
        message = f"its values are written into the spec, where all can read them: {listed_names(names)}"
        node = YamlNode(None, make_source("", path, order=MAX_FILES + 1), 1, 1)
        state.note(node, ".env", "changed", message, f"{COPIED_HINT}, or give another value: `--set NAME=VALUE`")


def _texts(value: Json) -> Iterator[str]:
    """Yields all texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member)


def _services(state: ImportState, whole: YamlNode) -> list[ConvertedService]:
    """Returns the services of the merged files."""
    node = whole.get("services")
    if node is None:
        hint = "write its services below `services:`: files without it are of a version that compose no longer reads"
        state.problems.add(whole, "no `services:`", code="compose", hint=hint)
        return []
    note_keys(state, whole, frozenset({*SECTIONS, "include"}) - TOP_KEYS.keys(), TOP_KEYS)
    declared = values.read_mapping(state, node, "services")
    if not declared:
        state.problems.add(node, "no service", code="compose", hint="write one below `services:`")
    if len(declared) > MAX_SERVICES:
        state.problems.add(node, f"more than {MAX_SERVICES:,} services", code="limit")
        return []
    state.secrets = values.read_mapping(state, whole.get("secrets"), "secrets")
    state.configs = values.read_mapping(state, whole.get("configs"), "configs")
    state.names = choose_names(state, node, declared)
    valid = {}
    for name, service in declared.items():
        if isinstance(service.value, dict):
            valid[name] = service
        else:
            values.wrong_type(state, service, f"services: {name}", "a mapping")
    state.other_names = find_other_names(state, valid)
    needs = {name: dependencies(state, service) for name, service in valid.items()}
    check_cycles(state, needs)
    converted = _convert(state, valid, needs)
    if not converted and not state.problems.noted:
        reasons = [note for note in state.ordered_notes() if note.service and note.effect == "left-out"]
        message = "no service can be taken over" + (f": {reasons[0].message}" if reasons else "")
        state.problems.add(node, message, code="compose", hint=reasons[0].hint if reasons else "")
    return converted


def _convert(
    state: ImportState, services: Mapping[str, YamlNode], needs: Mapping[str, Sequence[Dependency]]
) -> list[ConvertedService]:
    """Returns the services that have a base, in their order."""
    bases = {}
    for name, service in services.items():
        state.service = name
        bases[name] = read_base(state, service)
    ends = {dependency.name for found in needs.values() for dependency in found if dependency.once}
    published: set[int] = set()
    converted = []
    for name, service in services.items():
        state.service = name
        if bases[name].base is None:
            continue
        own = []
        for dependency in needs[name]:
            if dependency.name in bases and bases[dependency.name].base is None:
                message = f"`{dependency.name}` is left out: not waited for"
                state.note(dependency.node, "depends_on", "left-out", message)
            elif dependency.name in bases:
                own.append(state.names[dependency.name])
        converted.append(
            convert_service(state, name, service, bases[name], own, once=name in ends, published=published)
        )
    state.service = ""
    return converted


def _with_kinds(services: Sequence[ConvertedService]) -> list[ConvertedService]:
    """Returns the services with kinds instead of images. If several services have one kind, none of them provides the
    kind's variable, since it could mean any of them."""
    provides = [use_kinds.provided(service.with_kind or {}) for service in services]
    return [
        service
        if service.with_kind is None
        else service._replace(
            keys=use_kinds.without_url(service.with_kind) if provides.count(variable) > 1 else service.with_kind,
            with_kind=None,
        )
        for service, variable in zip(services, provides, strict=True)
    ]


def _check(state: ImportState, root: str, text: str) -> None:
    """Raises SpecError if the spec would be wrong."""
    from envtool.app.read_spec import load_with_plugins
    from envtool.app.starter import ProjectWithTexts

    try:
        load_with_plugins(ProjectWithTexts(state.project, {SPEC: text}), SPEC, root=root, registry=plugins.used())
    except SpecError as error:
        hint = "these are places in the spec that would have been written; nothing is: change the compose file there"
        raise SpecError(error.problems, hint=hint) from None


def _override(state: ImportState, path: str) -> str:
    """Returns the file that compose reads over this one if the command line names no files."""
    match = _OVERRIDES.fullmatch(posixpath.basename(path))
    if not match:
        return ""
    beside = posixpath.join(posixpath.dirname(path), f"{match['name']}.override.{match['ending']}")
    return beside if state.has_file(beside) else ""
