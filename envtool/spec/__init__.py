"""Reads a spec: the text of envtool.yaml -> a Spec. Pure: it reads the project only through an `api.Project`.

declarations   checks declared bases and layers, and renders them for one env
declared_caches reads `caches:` of envs and tasks
declared_secrets reads `secrets:`, and those that tasks, services and layers name
docs           writes docs/reference.md from the schema; a test keeps the page up to date
envs           expands one env of the file into `Env`s, one for each point of its matrix
hints          finds the hint for a wrong key or value: an example, the right place, or the right name
inherit        merges envs with what they inherit through `extends` and `defaults`
limits         reads `limits:` of envs, tasks, services and layers, and `--limit`
load           reads a spec with its included files, checks it and expands its envs
matrix         expands a matrix into its points
node           parses YAML text into YamlNodes, with limits on size and depth; Problems collects errors
scalar_types   parses durations, sizes, paths and names
own_problems   decides which errors in the project's own files stop a command
plugin_keys    asks plugins what `language:` and their own keys add to an env
render_service renders one service: its stack, and what the user wrote over what its kind stands for
schema         builds the JSON Schema of a spec
select_envs    finds the envs that names and patterns on a command line mean
service_hosts  finds the hosts that a service's command and variables name
service_kinds  asks a plugin what the kind of a service stands for
service_reader reads the declared services, and renders those that each env uses
service_schema the JSON Schema of a service's own keys, and of `secrets:`
service_values reads ports, checks, signals and prepare commands of a service, and `network: {allow:}`
task_needs     resolves the needs of tasks, and the names of the pipeline
task_schema    the JSON Schemas of what is between tasks: outputs, needs, attempts, the pipeline
tasks          reads the tasks of one env
team_cache_key reads `cache:`
template       renders Jinja2 templates in one scalar, within limits
validate       checks a value against a schema, and words the errors
yaml_errors    explains why a text is not YAML
"""

from __future__ import annotations

from envtool.spec.load import load
from envtool.spec.schema import editor_schema, schema

__all__ = ["editor_schema", "load", "schema"]
