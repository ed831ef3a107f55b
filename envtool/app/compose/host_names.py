"""Names of services: their names in the spec, and the further names that compose gives them, which do not exist
here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.app.compose import compose_values as values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import YamlNode

_NO_HOST = re.compile(r"0x[0-9a-f]*|[0-9]+|all|envtool|localhost")  # addresses, and names with a meaning of their own
_WORD = re.compile(r"(?<![A-Za-z0-9_.-])[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?(?![A-Za-z0-9_-])")


def choose_names(state: ImportState, node: YamlNode, declared: Mapping[str, YamlNode]) -> dict[str, str]:
    """Returns a different host name for each service, by its name in the compose file."""
    names: dict[str, str] = {}
    for name in declared:
        plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:50].rstrip("-") or "service"
        plain = f"service-{plain}" if _NO_HOST.fullmatch(plain) else plain
        own, number = plain, 1
        while own in names.values() or (own != name and own in declared):
            number += 1
            own = f"{plain}-{number}"
        names[name] = own
        if own != name:
            message = f"a host name has small letters, digits and `-`: it is called `{own}`"
            state.note(node.key(name), name, "changed", message, f"write `{own}` where `{name}` is used as a host")
    return names


def find_other_names(state: ImportState, services: Mapping[str, YamlNode]) -> dict[str, str]:
    """Returns the names by which compose knows services, and envtool does not -> the services' own names: of
    containers, hosts, aliases and links."""
    others: dict[str, str] = {}
    for name, service in services.items():
        own = state.names[name]
        networks = service.get("networks")
        for key in ("container_name", "hostname"):
            others[values.read_text(state, service.get(key), key)] = own
        for child in (networks.mapping() if networks is not None else {}).values():
            for _, alias in values.read_texts(state, child.get("aliases"), "aliases"):
                others[alias] = own
        for _, link in values.read_texts(state, service.get("links"), "links"):
            target, _, alias = link.partition(":")
            if alias and target in state.names:
                others[alias] = state.names[target]
    others |= state.names
    known = {*state.names.values()}
    return {other: own for other, own in others.items() if other and other not in known}


def note_host_names(state: ImportState, node: YamlNode, key: str, text: str) -> None:
    """Notes each word of a value that is a host name in compose, but not here."""
    for word in dict.fromkeys(_WORD.findall(text) if state.other_names else ()):
        if word in state.other_names:
            own = state.other_names[word]
            message = f"if `{word[:60]}` is meant as a host here: the service is called `{own}`"
            state.note(node, key, "changed", message, f"write `{own}` in its place")
