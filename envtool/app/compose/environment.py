"""`environment` and `env_file` of a service: the variables of its command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.app.compose import compose_values as values
from envtool.app.compose.compose_files import read_dotenv
from envtool.app.compose.host_names import note_host_names
from envtool.app.compose.notes import COPIED_HINT, listed_names
from envtool.build.stack import PATH_LISTS
from envtool.spec.scalar_types import VARIABLE, resolve_project_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import YamlNode


def read_variables(state: ImportState, service: YamlNode) -> Mapping[str, str]:
    """Returns the variables of a service: those of its files, and over them its own. Notes names that no spec can have,
    and values that only the caller's shell has."""
    variables = _from_files(state, service.get("env_file"))
    for name, (node, given) in values.read_entries(state, service.get("environment"), "environment").items():
        value = state.look_up(name) if given is None else given
        if value is None:
            message = f"`{name}` has the value of the caller's shell in compose: not set here"
            hint = f"write its value under `set:`, or use `--set {name}=…`"
            state.note(node, "environment", "left-out", message, hint)
            continue
        _add(state, node, "environment", variables, name, value)
    return variables


def _add(state: ImportState, node: YamlNode, key: str, variables: dict[str, str], name: str, value: str) -> None:
    if not re.fullmatch(VARIABLE, name):
        message = f"`{name[:60]}` cannot be the name of a variable here: letters, digits and `_`"
        state.note(node, key, "left-out", message, "most programs that read such a name have a file of settings")
        return
    if "\0" in value:
        state.problems.add(node, f"the value of `{name}` has a NUL", code="compose")
        return
    if name in PATH_LISTS:
        message = f"`{name}` is a list of directories: it is put before that of the image, and does not replace it"
        state.note(node, key, "changed", message)
    note_host_names(state, node, key, value)
    variables[name] = value


def _from_files(state: ImportState, node: YamlNode | None) -> dict[str, str]:
    variables: dict[str, str] = {}
    members = node.items() if node is not None and isinstance(node.value, list) else [node]
    for member in members:
        if member is None or member.value is None:
            continue
        is_mapping = isinstance(member.value, dict)
        path = values.read_text(state, member.get("path") if is_mapping else member, "env_file")
        required = member.get("required") is None or values.read_flag(state, member.get("required"), "required")
        raw = values.read_text(state, member.get("format"), "format") == "raw"
        inside = resolve_project_path(path, member.source.directory)
        if inside is None or not state.has_file(inside):
            if required or inside is None:
                reason = "is not a file of the project (git ignores it, or it is elsewhere): not read"
                hint = "write its variables under `set:`, or commit it and import again"
                state.note(member, "env_file", "left-out", f"`{path}` {reason}", hint)
            continue
        read = {name: value for name, value in read_dotenv(state, inside, member, raw=raw).items() if value is not None}
        for name, value in read.items():
            _add(state, member, "env_file", variables, name, value)
        if read:
            message = f"the values in `{path}` are written into the spec, where all can read them: {listed_names(read)}"
            state.note(member, "env_file", "changed", message, COPIED_HINT)
    return variables
