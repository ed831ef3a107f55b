"""The JSON Schema of a spec, with the kinds of the installed plugins: `schema`."""

from __future__ import annotations

from envtool import plugins
from envtool.model import Json
from envtool.spec import editor_schema


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml, with the kinds of the installed plugins. Raises UsageError if the schema of a
    kind is wrong."""
    kinds = plugins.discover()
    if error := plugins.wrong_schema(kinds):
        raise error
    return editor_schema(kinds)
