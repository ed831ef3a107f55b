"""Checks the contract of kinds of services: `check_service_kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import jsonschema_rs

from envtool import api
from envtool.errors import PluginError
from envtool.plugin_calls import wrap_service_kind

if TYPE_CHECKING:
    from envtool.api import Json

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # in `provides`, an address that only the service itself has


def check_service_kind(
    kind: api.ServiceKind,
    value: Json,
    project: api.Project,
    *,
    wrong: Sequence[Json] = (),
    base_kind: str = "",
    options: Mapping[str, Json] | None = None,
) -> api.ServiceDraft:
    """Returns what a kind makes of `value`, with `options` beside it, on the user's base of `base_kind` ("": the user
    has none). Checks that the schema takes the value and refuses those of `wrong`, that two calls return the same, that
    the draft can be used, and that its variables follow the service's name. Raises AssertionError."""
    schema = cast("dict[str, object]", kind.schema)
    assert schema.get("description"), f"{kind.name}: the schema has no description for the reference page"
    checker = jsonschema_rs.validator_for(schema)
    assert checker.is_valid(value), f"{kind.name}: {value!r} does not fit the schema"
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
        assert checker.is_valid(text), f"{kind.name}: the schema refuses {text!r}, and a template gives a string"
    for wrong_value in wrong:
        assert not checker.is_valid(wrong_value), f"{kind.name}: the schema takes {wrong_value!r}"
    given = options or {}
    for name, option in given.items():
        option_schema = cast("dict[str, object]", kind.options[name])
        assert option_schema.get("description"), f"{kind.name}: the schema of `{name}` has no description"
        assert jsonschema_rs.is_valid(option_schema, option), f"{kind.name}: `{name}: {option}` does not fit its schema"

    def draft(host: str) -> api.ServiceDraft:
        declaration = api.ServiceDeclaration(
            name=host,
            host=host,
            value=value,
            options=given,
            base_kind=base_kind,
            where=api.Where(file="envtool.yaml", line=1, column=1),
        )
        try:
            return wrap_service_kind(kind, "the tested plugin").service(declaration, project)
        except PluginError as error:
            raise AssertionError(f"{kind.name}: {error.message}") from error

    first, second, other = draft("mine"), draft("mine"), draft("other")
    assert first == second, f"{kind.name}: two calls, two answers"
    _check_use(kind.name, first, base_kind)
    for variable, text in first.provides.items():
        loopback = [address for address in LOOPBACK if address in text]
        assert not loopback, f"{kind.name}: {variable} names {loopback[0]}, and the service is another host"
        expected = text.replace("mine", "other")
        assert other.provides.get(variable) == expected, f"{kind.name}: {variable} does not follow the service's name"
    return first


def _check_use(name: str, draft: api.ServiceDraft, base_kind: str) -> None:
    assert draft.base_kind or base_kind, f"{name}: there is no base"
    names = [layer.name for layer in draft.layers]
    assert len({*names}) == len(names), f"{name}: two layers have one name: {names}"
    if draft.command is not None:
        assert draft.ready or draft.ports, f"{name}: nothing says when it is ready: `ready`, or `ports`"
    kept = [path for path in draft.files for directory in draft.data if path.startswith(f"{directory}/")]
    assert not kept, f"{name}: {kept[0]} is in a directory of `data`, whose files are those that prepare commands wrote"
