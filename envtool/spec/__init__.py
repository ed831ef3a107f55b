"""Text -> Spec. Pure: what it reads of the project comes through the `api.Project` it is given.

declarations   Bases and layers as declared, and rendered for one env
docs           The schema as a page to read: docs/reference.md, kept true by a test
envs           One env of the file -> its `Env`s, one for each point of its matrix
hints          What to write in place of what a spec has
inherit        `extends` and `defaults`: mappings merge key by key, everything else replaces
language       `language: NAME` -> the layers that the plugin adds to an env
load           The road from the project's text to a Spec
matrix         A matrix as CI systems have it -> its points
node           A parsed value that knows where it stands, and the collector of what is wrong
scalar_types   Small texts with a meaning: durations, sizes, paths, names
schema         The one schema
tasks          The tasks of one env
team_cache     `cache:` at the top of a spec
template       Jinja2 on one scalar
validate       A value against a schema
yaml_errors    What is wrong with a text that is no YAML
yaml_reader    YAML text -> Node, from PyYAML's events, so that limits hold *before* anything grows
"""

from __future__ import annotations

from envtool.spec.docs import reference
from envtool.spec.load import load
from envtool.spec.schema import editor_schema, schema

__all__ = ["editor_schema", "load", "reference", "schema"]
