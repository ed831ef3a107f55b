"""The JSON Schema of a service: the keys that every service may have; and of `secrets:`, which services and tasks name.
schema.py adds the kinds and the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec import limits, scalar_types

if TYPE_CHECKING:
    from envtool.model import Json

RESTARTS = ("never", "on-failure", "always")
READY_KEYS = ("tcp", "http", "command", "log", "file")

_PORT: dict[str, Json] = {"type": ["integer", "string"], "examples": [8000]}


def names(description: str, example: str) -> Json:
    """Returns the schema of a list of names, paths or the like."""
    return {
        "description": description,
        "examples": [[example]],
        "type": "array",
        "items": {"type": "string", "minLength": 1},
    }


def service_keys() -> dict[str, Json]:
    """Returns the schemas of a service's own keys, without those of its stack."""
    return {**_process_keys(), **_network_keys(), **_life_keys()}


def service_definitions() -> dict[str, Json]:
    """Returns the definitions that these schemas refer to."""
    return {
        "ready": _ready(),
        "stop": _stop(),
        "prepare": _prepare(),
        "allow": _allow(),
        "service-limits": limits.definition(limits.OF_SERVICES),
    }


def _process_keys() -> dict[str, Json]:
    return {
        "command": {
            "description": "What runs: a line for `sh`, or a list of words that is executed without a shell. Default: "
            "that of the image.",
            "$ref": "#/$defs/command",
        },
        "user": {
            "description": "The user that it runs as: `user`, `root`, or a name of its /etc/passwd. Default: `user`; "
            "with the image's own command that of the image.",
            "type": "string",
            "minLength": 1,
        },
        "project": {
            "description": "Whether it sees the project's files. Default: true, but false with the image's own command "
            "or that of a kind.",
            "type": "boolean",
        },
        "set": {"description": "Variables of its command; `null` removes one.", "$ref": "#/$defs/variables"},
        "path": {
            "description": "Directories that are put before PATH of its command: absolute, or in the project, relative "
            "to this file.",
            "$ref": "#/$defs/path",
        },
        "workdir": {
            "description": "The directory of the project in which it starts, relative to this file.",
            "type": "string",
            "minLength": 1,
        },
        "scratch": {
            "description": "Where the files that it writes are held. Default: `memory`.",
            "enum": ["memory", "disk"],
        },
        "needs": names("Services that are ready before it starts; of those with `once`, that have succeeded.", "db"),
        "secrets": names("Secrets that it gets, by their names under `secrets:`.", "db-password"),
        "prepare": {
            "description": "Commands that run once; the files that they leave are where each later start begins.",
            "$ref": "#/$defs/prepare",
        },
    }


def _network_keys() -> dict[str, Json]:
    return {
        "ready": {
            "description": "How it says that it is ready. Default: it accepts a TCP connection on the first of "
            "`ports`, within 60s.",
            "examples": [{"tcp": 5432}],
            "anyOf": [_PORT, {"$ref": "#/$defs/ready"}],
        },
        "ports": {
            "description": "The TCP ports that it listens on. Default: those that the image exposes.",
            "examples": [[8000]],
            "anyOf": [_PORT, {"type": "array", "items": _PORT}],
        },
        "localhost": {
            "description": "Whether the loopback of tasks leads to its ports, too: programs that have `127.0.0.1:PORT` "
            "written into them find it there. Default: false.",
            "type": "boolean",
        },
        "publish": {
            "description": "Ports that are also on this machine's loopback: `8000` (on a free port) or `8080:8000` (on "
            "8080).",
            "examples": [["8080:8000"]],
            "anyOf": [_PORT, {"type": "array", "items": _PORT}],
        },
        "provides": {
            "description": "Variables that tasks, and services that need it, get. `null` removes one of its kind.",
            "$ref": "#/$defs/variables",
        },
    }


def _life_keys() -> dict[str, Json]:
    return {
        "replicas": {
            "description": "How many containers of it there are. Default: 1.",
            "type": ["integer", "string"],
            "examples": [3],
        },
        "once": {
            "description": "Whether it is to end: others wait for its success. Default: false.",
            "type": "boolean",
        },
        "restart": {
            "description": "Whether it is started again when it ends. Default: `never` beside tasks, `on-failure` "
            "under `envtool up`.",
            "enum": [*RESTARTS],
        },
        "stop": {"description": "How it is stopped.", "$ref": "#/$defs/stop"},
        "limits": {
            "description": "What the container of each replica may use.",
            "$ref": "#/$defs/service-limits",
        },
    }


def _ready() -> Json:
    return {
        "type": "object",
        "examples": [{"http": "8000/health", "within": "20s"}],
        "properties": {
            "tcp": {"description": "It accepts a connection on this port.", **_PORT},
            "http": {
                "description": "It answers GET with a status from 200 to 399: PORT, or PORT/PATH.",
                "type": ["integer", "string"],
                "examples": ["8000/health"],
            },
            "command": {"description": "The command succeeds in its container.", "$ref": "#/$defs/command"},
            "log": {
                "description": "It has written a line in which this regular expression is found.",
                "type": "string",
                "minLength": 1,
                "examples": ["ready to accept connections"],
            },
            "file": {
                "description": "The file exists in its container.",
                "type": "string",
                "minLength": 1,
                "examples": ["/run/ready"],
            },
            "within": {
                "description": "It fails if it is not ready after this time, or, with `once`, has not ended. Default: "
                "60s.",
                "$ref": "#/$defs/duration",
            },
        },
        "minProperties": 1,
        "additionalProperties": False,
    }


def _stop() -> Json:
    return {
        "type": "object",
        "examples": [{"signal": "INT", "grace": "30s"}],
        "properties": {
            "signal": {
                "description": "The signal that asks it to end. Default: that of the image, or TERM.",
                "type": "string",
                "minLength": 1,
            },
            "grace": {"description": "After this time it is killed. Default: 10s.", "$ref": "#/$defs/duration"},
        },
        "minProperties": 1,
        "additionalProperties": False,
    }


def _prepare() -> Json:
    return {
        "examples": ["psql -f schema.sql"],
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"$ref": "#/$defs/command"}, "minItems": 1},
            {
                "type": "object",
                "examples": [{"run": "psql -f schema.sql", "inputs": ["schema.sql"]}],
                "properties": {
                    "before": {
                        "description": "Commands that run while it is not up.",
                        "$ref": "#/$defs/commands",
                    },
                    "run": {"description": "Commands that run once it is ready.", "$ref": "#/$defs/commands"},
                    "inputs": names(
                        "The project files (patterns) that these commands read: after an edit of one they run again.",
                        "schema.sql",
                    ),
                    "data": names(
                        "The directories that are kept. Default: all that was written, but for /tmp, /run and "
                        "/var/log.",
                        "/var/lib/postgresql",
                    ),
                },
                "minProperties": 1,
                "additionalProperties": False,
            },
        ],
    }


def _allow() -> Json:
    return {
        "type": "object",
        "examples": [{"allow": ["pypi.example.org:443", "*.example.org:443"]}],
        "properties": {
            "allow": names(
                "What may be connected to, as HOST:PORT; `*.` stands for any host below a domain.",
                "pypi.example.org:443",
            )
        },
        "required": ["allow"],
        "additionalProperties": False,
    }


def secrets_section() -> Json:
    """Returns the schema of the section."""
    return {
        "description": "Secrets by name. Tasks, services and `run` layers that name one get it: as the file "
        "/run/secrets/NAME, unless it says otherwise. Only the caller says where the value is (`--allow-secret`, or "
        "their own configuration).",
        "type": "object",
        "examples": [{"npm-token": {"env": "NPM_TOKEN"}}],
        "propertyNames": {
            "pattern": scalar_types.NAME,
            "errorMessage": "letters, digits, `.`, `_` and `-`, a letter or digit first, at most 64",
        },
        "additionalProperties": {"$ref": "#/$defs/secret"},
    }


def secret_definition() -> Json:
    """Returns the schema of one secret."""
    return {
        "type": "object",
        "examples": [{"env": "NPM_TOKEN"}],
        "properties": {
            "env": {
                "description": "The variable that has the value. Then there is no file, unless `target` names one.",
                "examples": ["NPM_TOKEN"],
                "type": "string",
                "pattern": scalar_types.VARIABLE,
                "errorMessage": "letters, digits and `_`, no digit first",
            },
            "target": {
                "description": "The absolute path of the file. Default: /run/secrets/NAME.",
                "examples": ["/run/secrets/npmrc"],
                "type": "string",
                "minLength": 1,
            },
            "optional": {
                "description": "Whether commands run without it where the caller does not give it. Default: false: "
                "an error before anything starts.",
                "type": "boolean",
                "default": False,
            },
        },
        "additionalProperties": False,
    }
