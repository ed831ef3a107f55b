"""The JSON Schema of a spec, with the kinds of the installed plugins: `schema`."""

from __future__ import annotations

from envtool import plugins
from envtool.model import Json
from envtool.run import fast_exec
from envtool.run.valid_documents import ValidDocuments
from envtool.spec import editor_schema
from envtool.spec.load import schema_digest

SCHEMAS = "schemas of plugins"  # what stands in the place of a spec's path


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml, with the kinds of the installed plugins. Raises UsageError if the schema of a
    kind is wrong."""
    kinds = plugins.discover()
    known, digest = ValidDocuments(fast_exec.store_directory(), SCHEMAS), schema_digest(kinds)
    if not digest or not known.holds(digest):
        if error := plugins.wrong_schema(kinds):
            raise error
        known.add(digest)
    return editor_schema(kinds)
