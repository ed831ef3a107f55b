"""The one schema: it validates, it is what `envtool schema` prints for editors, and reference.py makes a page of it.

Core keys are here; kinds and languages bring theirs. Text that a template may stand for is not bound by patterns here
(an editor would complain about `{{`); the values are checked once rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec import scalar_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.model import Json
    from envtool.plugins import PluginRegistry

LAYER_KEYS = ("needs", "path", "set")
SERVICES = "services"  # known to be planned: told apart from a slip
ENV_KEYS = frozenset({
    "base", "extends", "language", "layers", "matrix", "network", "outputs_limit", "pass", "path", "scratch", "set",
    "tasks", "timeout", "user", "workdir",
})  # fmt: skip


def schema(registry: PluginRegistry) -> dict[str, Json]:
    """The JSON Schema (2020-12) of a spec, for these kinds and languages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "envtool.yaml",
        "description": "Environments and the tasks to run in them.",
        "type": "object",
        "properties": {
            "version": {"description": "Version of this format: 1.", "const": 1},
            "bases": _named_mapping(
                "Bases by name: what a stack stands on. `host` is always there.",
                "base",
                {"dev": {"debian": "bookworm"}},
            ),
            "layers": _named_mapping(
                "Layers by name: steps on top of a base.", "layer", {"tools": {"apt": ["gcc", "make"]}}
            ),
            "defaults": {
                "description": "What every env of this file has where it does not say otherwise. Mappings are merged "
                "key by key; lists and scalars of the env replace those given here; `base` is replaced as a whole.",
                "examples": [{"base": {"debian": "bookworm"}}],
                "$ref": "#/$defs/defaults",
            },
            "envs": _named_mapping("Environments by name.", "env", {"unit": {"tasks": {"test": "pytest"}}}),
            "include": {
                "description": "Other spec files, relative to this one: a list, whose names are all shared, so that "
                "each may be used once; or `NAME: FILE`, and what the file calls `unit` is `NAME/unit` outside of it. "
                "Paths in an included file are relative to it, and its envs run in its directory.",
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
                "description": "The team cache: layers that one machine built, for all others. It is the whole "
                "project's, so it stands in the file where all begins.",
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


def _named_mapping(description: str, what: str, example: Json) -> Json:
    return {
        "description": description,
        "type": "object",
        "examples": [example],
        "propertyNames": _NAME,
        "additionalProperties": {"$ref": f"#/$defs/{what}"},
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
                "description": "Who puts layers there: `ci` (where the variable CI is set and a signing key is there), "
                "`always` (whoever has a signing key) or `never`, unless said.",
                "enum": ["ci", "always", "never"],
            },
            "results": {
                "description": "Whether results of tasks that passed are shared, too; not unless said.",
                "type": "boolean",
            },
            "network": {
                "description": "Whether layers that were built with a network, a cache or a secret are shared, too "
                "(`run` with `network: true`, a Dockerfile's RUN): what they came to hangs on the moment. Not unless "
                "said.",
                "type": "boolean",
            },
            "trust": {
                "description": "Public keys, as `envtool cache key` prints them (`ssh-ed25519 …`): what none of them "
                "signed is not used.",
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
            "description": "A line for `sh`, or a list of words that is executed as it is.",
            "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/argv"}],
        },
        "argv": {"examples": [["make", "check"]], "type": "array", "items": text, "minItems": 1},
        "commands": {
            "examples": ["make check"],
            "description": "One line for `sh`, or a list of commands that run one after the other: each a line, or a "
            "list of words that is executed as it is.",
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
    }


def _long_task() -> Json:
    return {
        "type": "object",
        "properties": {
            "run": {
                "description": "One line for `sh`, or a list of commands that run one after the other: each a "
                "line, or a list of words that is executed as it is. `{{ args }}` is what follows `--` on the "
                "command line.",
                "$ref": "#/$defs/commands",
            },
            "outputs": {
                "description": "Files and directories (patterns) that are copied back, also when the task fails.",
                "$ref": "#/$defs/strings",
            },
            "outputs_limit": {
                "description": "The most that its outputs may have together, holes in files counted: 2GiB unless "
                "said. A task with more fails.",
                "$ref": "#/$defs/size",
            },
            "timeout": {"description": "The task is ended after this time.", "$ref": "#/$defs/duration"},
            "user": {"description": "Who runs it; an ordinary user unless said.", "enum": ["user", "root"]},
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
                "description": "Layers that must stand below it. Without it a layer stands on all before it. The env's "
                "language, or a layer that it adds, may be among them.",
                "$ref": "#/$defs/strings",
            },
            "path": {
                "description": "Directories that come before PATH, for all that stands on it: absolute, or of the "
                "project, relative to this file.",
                "$ref": "#/$defs/path",
            },
            "set": {
                "description": "Variables for all that stands on it. Lists of places (PATH, CPATH, PYTHONPATH and "
                "their kin) come before what is set below; `null` takes a variable away.",
                "$ref": "#/$defs/variables",
            },
        },
        "minProperties": 1,
        "additionalProperties": False,
    }


def _env(registry: PluginRegistry, *, extends: bool) -> Json:
    own: dict[str, Json] = {
        "base": {
            "description": "The name of a base, or one written in place. `host` unless said.",
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
            "description": "Axes with their values: one env for each combination, named `env[value,value]`. Values "
            "are put in as `{{ matrix.AXIS }}`. `include` and `exclude` work as in CI matrices.",
            "$ref": "#/$defs/matrix",
        },
        "path": {
            "description": "Directories that come before PATH in its tasks: absolute, or of the project, relative to "
            "this file.",
            "$ref": "#/$defs/path",
        },
        "set": {
            "description": "Variables of its tasks. Lists of places (PATH, CPATH, PYTHONPATH and their kin) come "
            "before what its layers set; `null` takes a variable away.",
            "$ref": "#/$defs/variables",
        },
        "pass": {
            "description": "Variables of the caller that are let through, with `*` and `?`. With a network, or by a"
            " pattern, those that the caller allows (`--allow-pass`), beside TERM, LANG, CI and their kin.",
            "examples": [["NPM_TOKEN"]],
            "type": "array",
            "items": {
                "type": "string",
                "pattern": scalar_types.PASSED_PATTERN,
                "errorMessage": scalar_types.PASSED_WORDS,
            },
        },
        "workdir": {"description": "Where tasks start, relative to this file.", "type": "string", "minLength": 1},
        "network": {
            "description": "Whether its commands see this machine's network. Without it there is only loopback, and a "
            "result cannot depend on anything outside.",
            "type": "boolean",
        },
        "scratch": {"description": "Where what tasks write is held: `memory` unless said.", "enum": ["memory", "disk"]},
        "outputs_limit": {"description": "For each task that has none of its own.", "$ref": "#/$defs/size"},
        "timeout": {"description": "For each task that has none of its own.", "$ref": "#/$defs/duration"},
        "user": {"description": "For each task that has none of its own.", "enum": ["user", "root"]},
        "language": {"description": "Adds the layers that a project in this language needs.", **_languages(registry)},
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
            "replace what was inherited, the later the stronger; `base` is replaced as a whole.",
            "anyOf": [{"type": "string"}, {"$ref": "#/$defs/strings"}],
        }
    options: dict[str, list[Json]] = {}
    for _, language in sorted(registry.languages.items()):
        for key, value in language.options.items():
            options.setdefault(key, []).append(value)
    return {
        "type": "object",
        "examples": [{"tasks": {"test": "pytest"}}],
        "properties": {**_any_plugin_options(options), **own},
        "additionalProperties": False,
    }


def _languages(registry: PluginRegistry) -> dict[str, Json]:
    return {"enum": [*sorted(registry.languages)]} if registry.languages else {"type": "string"}


def _any_plugin_options(offers: Mapping[str, list[Json]]) -> dict[str, Json]:
    """Keys that several plugins own: any of their schemas will do here; each checks its own afterwards."""
    out: dict[str, Json] = {}
    for key, several in sorted(offers.items()):
        different = [one for index, one in enumerate(several) if one not in several[:index]]
        out[key] = different[0] if len(different) == 1 else {"anyOf": different}
    return out


def options_schema(keys: Mapping[str, Json]) -> dict[str, Json]:
    """The schema of a mapping with (only) these keys: for checking a kind's or a language's rendered options."""
    return {"type": "object", "properties": {**keys}}


def editor_schema(registry: PluginRegistry) -> dict[str, Json]:
    """The schema as editors see it: where a value has to look like something, it may also be a template, which is
    judged when it is rendered."""
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
