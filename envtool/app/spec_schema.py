"""The schema of a spec, with what the installed plugins add."""

from __future__ import annotations

from envtool import plugins
from envtool.model import Json
from envtool.spec import editor_schema


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml with the kinds that are installed here. Raises UsageError where one has none."""
    kinds = plugins.discover()
    if wrong := plugins.wrong_schema(kinds):
        raise wrong
    return editor_schema(kinds)
