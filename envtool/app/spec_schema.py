"""The JSON Schema of a spec, with the kinds of the installed plugins: `schema`."""

from __future__ import annotations

from envtool import plugins
from envtool.errors import report_fault
from envtool.model import Json
from envtool.run import fast_exec
from envtool.run.valid_documents import ValidDocuments
from envtool.spec import editor_schema
from envtool.spec.load import schema_digest

SCHEMAS = "schemas of plugins"  # what stands in the place of a spec's path


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml, with the kinds of the installed plugins but for those with a wrong schema."""
    kinds = plugins.used()
    known, digest = ValidDocuments(fast_exec.store_directory(), SCHEMAS), schema_digest(kinds)
    if not digest or not known.holds(digest):
        if fault := plugins.wrong_schema(kinds):
            while fault:
                report_fault(fault)
                kinds = plugins.discover(faults=(*kinds.faults, fault))
                fault = plugins.wrong_schema(kinds)
            return editor_schema(kinds)
        known.add(digest)
    return editor_schema(kinds)
