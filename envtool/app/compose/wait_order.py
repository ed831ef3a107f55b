"""`depends_on` and `links` of a service: which others it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import YamlNode

_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")


class Dependency(NamedTuple):
    """A service that another waits for; `once`: for its successful end."""

    node: YamlNode
    name: str
    once: bool = False


def dependencies(state: ImportState, service: YamlNode) -> list[Dependency]:
    """Returns the services that one waits for: `depends_on` and `links`. Notes names that no service has as errors."""
    node = service.get("depends_on")
    found: list[Dependency] = []
    if node is not None and isinstance(node.value, dict):
        for name, child in node.value.items():
            condition = values.read_text(state, child.get("condition"), "condition") or _CONDITIONS[0]
            if condition not in _CONDITIONS:
                hint = f"write {', '.join(_CONDITIONS)}"
                state.problems.add(child, f"`{condition[:40]}` is no condition", code="compose", hint=hint)
            found.append(Dependency(node.key(name), name, condition == _CONDITIONS[2]))
            if child.get("required") is not None and not values.read_flag(state, child.get("required"), "required"):
                state.note(child.key("required"), "depends_on", "changed", f"`{name}` is needed here, always")
    else:
        found += [Dependency(member, name) for member, name in values.read_texts(state, node, "depends_on")]
    for member, link in values.read_texts(state, service.get("links"), "links"):
        name, _, alias = link.partition(":")
        found.append(Dependency(member, name))
        if alias and alias != name:
            hint = f"write `{name}` where `{alias}` is"
            state.note(member, "links", "left-out", f"a service has one name here: `{name}`, not `{alias}`", hint)
    for dependency in found:
        if dependency.name not in state.names:
            hint = state.problems.nearest_hint(dependency.name, [*state.names])
            state.problems.add(dependency.node, f"no service `{dependency.name}`", code="compose", hint=hint)
    return found


def check_cycles(state: ImportState, needs: Mapping[str, Sequence[Dependency]]) -> None:
    """Notes services that wait for each other as an error, at the dependency that closes the circle."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        pending: list[tuple[str, Dependency | None]] = [(start, None)]
        while pending:
            name, dependency = pending.pop()
            if not name:  # the end of the services that the last of the path waits for
                done.add(path.pop())
            elif name in path:
                assert dependency is not None
                chain = " → ".join([*path[path.index(name) :], name])
                message = f"services wait for each other: {chain}"
                hint = "none of them could start first: remove one of these dependencies"
                state.problems.add(dependency.node, message, code="cycle", hint=hint)
            elif name not in done:
                path.append(name)
                pending.append(("", None))
                pending += [(other.name, other) for other in reversed(needs.get(name, ()))]
