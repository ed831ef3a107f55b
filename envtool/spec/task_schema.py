"""Builds the JSON Schemas of what is between tasks: outputs, needs, attempts and the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec.service_schema import names

if TYPE_CHECKING:
    from envtool.model import Json

OUTPUTS: Json = {
    "description": "Files and directories (patterns) that are copied back, also when the task fails; with "
    "`{paths: […], when: passed}` only when it passes.",
    "examples": [["dist/*"], {"paths": ["dist/*"], "when": "passed"}],
    "anyOf": [{"$ref": "#/$defs/strings"}, {"$ref": "#/$defs/long-outputs"}],
}
LONG_OUTPUTS: Json = {
    "type": "object",
    "properties": {
        "paths": {"description": "Files and directories (patterns) that are copied back.", "$ref": "#/$defs/strings"},
        "when": {
            "description": "`always`: also when the task fails (the default). `passed`: what a run that did not pass "
            "leaves stays beside its log.",
            "enum": ["always", "passed"],
        },
    },
    "required": ["paths"],
    "additionalProperties": False,
}
RETRIES: Json = {
    "description": "How often the task runs again after it has failed. One that passes only then is reported as flaky, "
    "and is not remembered.",
    "examples": [2],
    "type": "integer",
    "minimum": 0,
    "maximum": 20,
}
INPUTS: Json = {
    "description": "The files of the project that a result depends on. `all`: every file that the task sees (the "
    "default). `observed`: those that it read, and the names of all.",
    "enum": ["all", "observed"],
}
INPUTS_OF_ENV: Json = {"description": "For each task that has none of its own.", "enum": ["all", "observed"]}
NEEDS: Json = names(
    "Tasks that have to pass before it, and whose outputs it sees at their paths: `TASK` of its env, or `TASK@ENV`; "
    "of all points of a matrix, if ENV is one.",
    "build",
)
CACHES: Json = {
    "description": "Directories that are kept from run to run, each for one env and path: of the project, below `~`, "
    "or absolute. What is in them is no part of a result.",
    "examples": [["~/.cache/ccache", "target"]],
    "type": "array",
    "items": {"type": "string", "minLength": 1},
}
PIPELINE: Json = {
    "description": "The tasks, of all envs, that `envtool ci` runs as one graph by their `needs`. Only the main spec "
    "file may have this key.",
    "examples": [["lint", "test", "build"]],
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "minItems": 1,
}
