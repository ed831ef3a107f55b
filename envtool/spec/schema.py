"""The JSON Schema of a spec. It validates specs, `envtool schema` prints it for editors, and docs.py writes the
reference page from it.

The core's keys are declared here; kinds and languages declare theirs. Text that may be a template has no pattern here,
because an editor would complain about `{{`: its value is checked after rendering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec import limits, scalar_types
from envtool.spec.service_schema import names, secret_definition, secrets_section, service_definitions, service_keys
from envtool.spec.task_schema import (
    CACHES,
    INPUTS,
    INPUTS_OF_ENV,
    LONG_OUTPUTS,
    NEEDS,
    OUTPUTS,
    PIPELINE,
    RETRIES,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.model import Json
    from envtool.plugins import PluginRegistry

LAYER_KEYS = ("limits", "needs", "path", "set")


def schema(registry: PluginRegistry) -> dict[str, Json]:
    """Returns the JSON Schema (2020-12) of a spec, for these kinds and languages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "envtool.yaml",
        "description": "Environments and the tasks to run in them.",
        "type": "object",
        "properties": {
            "version": {"description": "Version of this format: 1.", "const": 1},
            "bases": _named_mapping(
                "Bases by name: each is the root file system that an env can start from. `host` is built in.",
                "base",
                {"dev": {"debian": "bookworm"}},
            ),
            "layers": _named_mapping(
                "Layers by name: each adds files to a base.", "layer", {"tools": {"apt": ["gcc", "make"]}}
            ),
            "defaults": {
                "description": "Keys and values that every env of this file inherits. Mappings are merged key by key; "
                "lists and scalars of the env replace those of `defaults`; `base` is replaced as a whole.",
                "examples": [{"base": {"debian": "bookworm"}}],
                "$ref": "#/$defs/defaults",
            },
            "secrets": secrets_section(),
            "services": _services(),
            "envs": _named_mapping("Environments by name.", "env", {"unit": {"tasks": {"test": "pytest"}}}),
            "pipeline": PIPELINE,
            "include": {
                "description": "Other spec files, relative to this one. In a list, all files share their names, so "
                "each name may be declared once. With `NAME: FILE`, the file's `unit` is called `NAME/unit` outside of "
                "it. Paths in an included file are relative to it, and its envs run in its directory.",
                "examples": [["services/api/envtool.yaml"]],
                "anyOf": [
                    {"$ref": "#/$defs/strings"},
                    {
                        "type": "object",
                        "propertyNames": _NAME,
                        "additionalProperties": {"type": "string", "minLength": 1},
                    },
                ],
            },
            "cache": {
                "description": "The team cache: other machines use the layers that one machine built. Only the main "
                "spec file may have this key, for the whole project.",
                "examples": [{"registry": "registry.example.org/team/layers"}],
                "$ref": "#/$defs/cache",
            },
        },
        "required": ["version"],
        "additionalProperties": False,
        "$defs": {
            **_definitions(),
            "base": _base(registry),
            "layer": _layer(registry),
            "service": _service(registry),
            "env": _env(registry, extends=True),
            "defaults": _env(registry, extends=False),
        },
    }


_NAME: Json = {
    "pattern": scalar_types.NAME,
    "errorMessage": "letters, digits, `.`, `_` and `-`, a letter or digit first, at most 64",
}
_AXIS: Json = {"pattern": scalar_types.AXIS, "errorMessage": "letters, digits and `_`, a letter first, at most 64"}
_VARIABLE: Json = {"pattern": scalar_types.VARIABLE, "errorMessage": "letters, digits and `_`, no digit first"}


def _named_mapping(description: str, definition: str, example: Json) -> Json:
    return {
        "description": description,
        "type": "object",
        "examples": [example],
        "propertyNames": _NAME,
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
    }


def _services() -> Json:
    return {
        "description": "Services by name: what envs and tasks need beside them, such as a database. The name is a host "
        "name: letters, digits and `-`.",
        "type": "object",
        "examples": [{"web": {"command": "python3 -m http.server 8000", "ready": 8000}}],
        "additionalProperties": {"$ref": "#/$defs/service"},
    }


def _cache() -> Json:
    return {
        "type": "object",
        "properties": {
            "registry": {
                "description": "A repository of any OCI registry: HOST[:PORT]/NAME, without a tag.",
                "type": "string",
            },
            "push": {
                "description": "Which machines push layers: `ci` (those with a signing key where the variable CI is "
                "set), `always` (all with a signing key) or `never`, the default.",
                "enum": ["ci", "always", "never"],
            },
            "results": {
                "description": "Whether the results of passed tasks are shared, too. Default: false.",
                "type": "boolean",
            },
            "network": {
                "description": "Whether layers that were built with a network, a cache or a secret are shared, too "
                "(`run` with `network: true`, a Dockerfile's RUN). Their content depends on the moment of the build. "
                "Default: false.",
                "type": "boolean",
            },
            "trust": {
                "description": "Public keys, as `envtool cache key` prints them (`ssh-ed25519 …`). A layer or result "
                "that none of these keys signed is not used.",
                "type": "array",
                "items": {"type": "string", "minLength": 1},
            },
        },
        "required": ["registry"],
        "additionalProperties": False,
    }


def _matrix(text: Json) -> dict[str, Json]:
    return {
        "matrix": {
            "type": "object",
            "minProperties": 1,
            "examples": [{"suite": ["bookworm", "trixie"]}],
            "properties": {
                "include": {
                    "description": "More points, or more values for points that match.",
                    "$ref": "#/$defs/points",
                },
                "exclude": {"description": "Points to leave out.", "$ref": "#/$defs/points"},
            },
            "propertyNames": _AXIS,
            "additionalProperties": {
                "type": "array",
                "items": text,
                "minItems": 1,
                "examples": [["bookworm", "trixie"]],
            },
        },
        "points": {
            "type": "array",
            "examples": [[{"suite": "trixie"}]],
            "items": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _AXIS,
                "additionalProperties": text,
            },
        },
    }


def _definitions() -> dict[str, Json]:
    text: Json = {"type": ["string", "integer"]}
    return {
        "cache": _cache(),
        "secret": secret_definition(),
        "strings": {"type": "array", "items": {"type": "string", "minLength": 1}},
        "variables": {
            "type": "object",
            "examples": [{"APP_MODE": "test"}],
            "propertyNames": _VARIABLE,
            "additionalProperties": {"type": ["string", "integer", "null"]},
        },
        "path": {"examples": [["bin"]], "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/strings"}]},
        "size": {"type": ["string", "integer"], "examples": ["500MB", "2GiB"]},
        "duration": {"type": ["string", "number"], "examples": ["30s", "5m", "1h30m", 90]},
        **_matrix(text),
        "command": {
            "examples": ["make check"],
            "description": "A line for `sh`, or a list of words that is executed without a shell.",
            "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/argv"}],
        },
        "argv": {"examples": [["make", "check"]], "type": "array", "items": text, "minItems": 1},
        "commands": {
            "examples": ["make check"],
            "description": "One line for `sh`, or a list of commands that run one after the other: each a line, or a "
            "list of words that is executed without a shell.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"$ref": "#/$defs/command"}, "minItems": 1},
            ],
        },
        "task": {
            "examples": ["make check"],
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"$ref": "#/$defs/command"}, "minItems": 1},
                {"$ref": "#/$defs/long-task"},
            ],
        },
        "long-task": _long_task(),
        "long-outputs": LONG_OUTPUTS,
        "limits": limits.definition(limits.NAMES),
        **service_definitions(),
    }


def _long_task() -> Json:
    return {
        "type": "object",
        "properties": {
            "run": {
                "description": "One line for `sh`, or a list of commands that run one after the other: each a "
                "line, or a list of words that is executed without a shell. `{{ args }}` stands for the arguments "
                "after `--` on the command line.",
                "$ref": "#/$defs/commands",
            },
            "outputs": OUTPUTS,
            "outputs_limit": {
                "description": "The most that all outputs together may have, including the holes in sparse files. "
                "Default: 2GiB. A task with more fails.",
                "$ref": "#/$defs/size",
            },
            "inputs": INPUTS,
            "retries": RETRIES,
            "timeout": {"description": "The task is ended after this time.", "$ref": "#/$defs/duration"},
            "limits": limits.reference("What its container may use; each limit replaces that of the env."),
            "user": {
                "description": "The user that the commands run as. Default: `user`, an ordinary user.",
                "enum": ["user", "root"],
            },
            "services": names("Services that run beside it, besides those of its env.", "db"),
            "secrets": names("Secrets that its commands get, by their names under `secrets:`.", "npm-token"),
            "needs": NEEDS,
            "caches": CACHES,
        },
        "required": ["run"],
        "additionalProperties": False,
    }


def _base(registry: PluginRegistry) -> Json:
    return {
        "description": "One kind of base with its options.",
        "examples": [{"debian": "bookworm"}],
        "type": "object",
        "properties": {name: kind.schema for name, kind in sorted(registry.bases.items())},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


def _layer(registry: PluginRegistry) -> Json:
    siblings: dict[str, list[Json]] = {}
    for _, kind in sorted(registry.layers.items()):
        for key, value in kind.siblings.items():
            siblings.setdefault(key, []).append(value)
    return {
        "description": "One kind of layer with its options.",
        "examples": [{"apt": ["gcc", "make"]}],
        "type": "object",
        "properties": {
            **_any_plugin_options(siblings),
            **{name: kind.schema for name, kind in sorted(registry.layers.items())},
            "needs": {
                "description": "Layers that must be below this one. Without `needs`, all layers before it are. The "
                "name of the env's language, or of a layer that the language adds, may be in the list.",
                "$ref": "#/$defs/strings",
            },
            "limits": {"description": "What the container of its build may use.", "$ref": "#/$defs/limits"},
            "path": {
                "description": "Directories that are put before PATH for everything above this layer: absolute, or "
                "in the project, relative to this file.",
                "$ref": "#/$defs/path",
            },
            "set": {
                "description": "Variables for everything above this layer. Lists of directories (PATH, CPATH, "
                "PYTHONPATH and the like) are put before the list set below; `null` removes a variable.",
                "$ref": "#/$defs/variables",
            },
        },
        "minProperties": 1,
        "additionalProperties": False,
    }


def _env(registry: PluginRegistry, *, extends: bool) -> Json:
    own: dict[str, Json] = {
        **_stack_keys(),
        **_variable_keys(),
        **_command_defaults(),
        "language": _language(registry),
        "tasks": {
            "description": "Commands under a verb: `test`, `build`, or any other.",
            "type": "object",
            "examples": [{"test": "make check"}],
            "propertyNames": _NAME,
            "additionalProperties": {"$ref": "#/$defs/task"},
        },
    }
    if extends:
        own["extends"] = {
            "description": "An env, or several, to inherit from. Mappings are merged key by key; lists and scalars "
            "replace inherited ones, and later envs replace earlier ones; `base` is replaced as a whole.",
            "anyOf": [{"type": "string"}, {"$ref": "#/$defs/strings"}],
        }
    options: dict[str, list[Json]] = {}
    for _, language in sorted(registry.languages.items()):
        for key, value in language.options.items():
            options.setdefault(key, []).append(value)
    options |= {name: [offer.value.schema] for name, offer in sorted(registry.env_keys.items())}
    return {
        "type": "object",
        "examples": [{"tasks": {"test": "pytest"}}],
        "properties": {**_any_plugin_options(options), **own},
        "additionalProperties": False,
    }


def _service(registry: PluginRegistry) -> Json:
    options: dict[str, list[Json]] = {}
    for _, language in sorted(registry.languages.items()):
        for key, value in language.options.items():
            options.setdefault(key, []).append(value)
    for name, offer in sorted(registry.env_keys.items()):
        options.setdefault(name, []).append(offer.value.schema)
    for _, kind in sorted(registry.services.items()):
        for key, value in kind.options.items():
            options.setdefault(key, []).append(value)
    own = {
        **{name: kind.schema for name, kind in sorted(registry.services.items())},
        **{key: value for key, value in _stack_keys().items() if key != "matrix"},
        "language": _language(registry),
        **service_keys(),
    }
    plugin_keys = {key: schemas for key, schemas in options.items() if key not in own}
    return {
        "type": "object",
        "examples": [{"command": "python3 -m http.server 8000", "ready": 8000}],
        "properties": {**_any_plugin_options(plugin_keys), **own},
        "additionalProperties": False,
    }


def _stack_keys() -> dict[str, Json]:
    """Returns the schemas of an env's keys that decide its stack and its points."""
    return {
        "base": {
            "description": "The name of a base, or one written in place. Default: `host`.",
            "examples": [{"debian": "bookworm"}],
            "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/base"}],
        },
        "layers": {
            "description": "Layers, bottom first: names, or layers written in place.",
            "examples": [[{"apt": ["gcc", "make"]}]],
            "type": "array",
            "items": {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/layer"}]},
        },
        "matrix": {
            "description": "Axes with their values: one env for each combination, named `env[value,value]`. "
            "`{{ matrix.AXIS }}` stands for the value. `include` and `exclude` work as in CI matrices.",
            "$ref": "#/$defs/matrix",
        },
    }


def _variable_keys() -> dict[str, Json]:
    """Returns the schemas of an env's keys that decide the variables of its tasks."""
    return {
        "path": {
            "description": "Directories that are put before PATH in its tasks: absolute, or in the project, relative "
            "to this file.",
            "$ref": "#/$defs/path",
        },
        "set": {
            "description": "Variables of its tasks. Lists of directories (PATH, CPATH, PYTHONPATH and the like) are "
            "put before the list that its layers set; `null` removes a variable.",
            "$ref": "#/$defs/variables",
        },
        "pass": {
            "description": "Variables of the caller that its tasks get; `*` and `?` are patterns. If the env has a "
            "network, and for every pattern, the caller has to allow them (`--allow-pass`), except TERM, LANG, CI and "
            "the like.",
            "examples": [["NPM_TOKEN"]],
            "type": "array",
            "items": {
                "type": "string",
                "pattern": scalar_types.PASSED_PATTERN,
                "errorMessage": scalar_types.PASSED_WORDS,
            },
        },
    }


def _command_defaults() -> dict[str, Json]:
    """Returns the schemas of an env's keys that decide how its commands run."""
    return {
        "workdir": {
            "description": "The directory in which tasks start, relative to this file.",
            "type": "string",
            "minLength": 1,
        },
        "network": {
            "description": "Whether its commands have this machine's network. Without it there are only loopback and "
            "services, and a result cannot depend on anything outside. `allow` names what may be reached instead.",
            "examples": [{"allow": ["pypi.example.org:443"]}],
            "anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/allow"}],
        },
        "services": names("Services that run beside each of its tasks, and all that they need.", "db"),
        "scratch": {
            "description": "Where the files that tasks write are held during the task. Default: `memory`.",
            "enum": ["memory", "disk"],
        },
        "outputs_limit": {"description": "For each task that has none of its own.", "$ref": "#/$defs/size"},
        "timeout": {"description": "For each task that has none of its own.", "$ref": "#/$defs/duration"},
        "inputs": INPUTS_OF_ENV,
        "limits": limits.reference(limits.OF_ENV),
        "user": {"description": "For each task that has none of its own.", "enum": ["user", "root"]},
        "caches": CACHES,
    }


def _language(registry: PluginRegistry) -> dict[str, Json]:
    known: dict[str, Json] = {"enum": [*sorted(registry.languages)]} if registry.languages else {}
    name: dict[str, Json] = {"type": "string", **known}
    options = {name: language.options for name, language in sorted(registry.languages.items())}
    with_keys: Json = {key: {**options_schema(keys), "additionalProperties": False} for key, keys in options.items()}
    mapping: Json = {"type": "object", "minProperties": 1, "properties": with_keys, "additionalProperties": False}
    return {
        "description": "Adds the layers that a project in this language needs. In a list of several, each stands on "
        "the compilers and interpreters of those before it. A key that two of them have is written with its language, "
        "as in `[{go: {directory: server}}, node]`.",
        "anyOf": [name, {"type": "array", "minItems": 1, "maxItems": 20, "items": {"anyOf": [name, mapping]}}],
    }


def _any_plugin_options(offers: Mapping[str, list[Json]]) -> dict[str, Json]:
    """Returns one schema for each key. If several plugins have the same key, a value may fit the schema of any of them:
    the env's own plugin checks it afterwards."""
    properties: dict[str, Json] = {}
    for key, schemas in sorted(offers.items()):
        different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
        properties[key] = different[0] if len(different) == 1 else {"anyOf": different}
    return properties


def options_schema(keys: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the schema of a mapping with these keys, for checking the rendered options of a kind or language."""
    return {"type": "object", "properties": {**keys}}


def editor_schema(registry: PluginRegistry) -> dict[str, Json]:
    """Returns the schema for editors: each value with a pattern may also be a template, which is checked after
    rendering."""
    return {key: _with_templates(value) for key, value in schema(registry).items()}


def _with_templates(value: Json) -> Json:
    if isinstance(value, list):
        return [_with_templates(item) for item in value]
    if not isinstance(value, dict):
        return value
    widened = {key: inner if key == "not" else _with_templates(inner) for key, inner in value.items()}
    if isinstance(value.get("pattern"), str):
        widened["pattern"] = f"(?:{value['pattern']})|\\{{[{{%]"
    return widened
