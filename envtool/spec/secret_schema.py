"""The JSON Schema of `secrets:` at the top of a spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec import scalar_types

if TYPE_CHECKING:
    from envtool.model import Json


def secrets() -> Json:
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


def secret() -> Json:
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
