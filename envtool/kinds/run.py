"""The kind `run`: commands in the stack below, without network unless the layer asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from envtool.api import PROJECT, Command, Input, Json, Kind, Request

if TYPE_CHECKING:
    from envtool.api import Recipe

INPUTS = "/dev/envtool/inputs"  # the inputs of a layer that is built in the project's place; no part of the layer
DAY = 86400  # seconds

COMMAND: Json = {
    "examples": ["make install"],
    "description": "a shell line (for `/bin/sh -ec`), or a list of commands: each a shell line, or the words of one"
    " command as a list",
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ]
            },
        },
    ],
}


class RunLayer(Kind):
    """A layer that commands build. Of the project they see only the declared inputs, at /project."""

    name: ClassVar[str] = "run"
    schema: ClassVar[Json] = COMMAND
    siblings: ClassVar[Mapping[str, Json]] = {
        "inputs": {
            "description": "project files, directories or globs: the layer is built again when their content changes,"
            " and sees nothing else of the project",
            "type": "array",
            "items": {"type": "string", "minLength": 1},
        },
        "network": {
            "description": "let the commands use the network; what they fetch is not pinned, so the layer is impure",
            "type": "boolean",
            "default": False,
        },
        "secrets": {
            "description": "secrets of the spec that the commands get: never part of the layer; its key has only their"
            " names, so that another value does not build it again",
            "type": "array",
            "examples": [["npm-token"]],
            "items": {"type": "string", "minLength": 1},
        },
        "in_place": {
            "description": "build in the project's place: tasks and layers above see the built files over the project,"
            " writable, and with times for which make, ninja and cargo do not build them again",
            "type": "boolean",
            "default": False,
        },
    }

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns the paths and patterns under `inputs`."""
        paths = _options(options).get("inputs")
        return tuple(Input(str(path)) for path in paths) if paths else ()

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the commands, and whether they had the network. The patterns of `inputs` are no part of it: the
        matched files are in the key."""
        return {
            "run": _material(_options(request.options)["run"]),
            "network": _network(request.options),
            "project": bool(request.inputs),
            **({"in_place": True} if _in_place(request.options) else {}),
            **({"secrets": {**secrets}} if (secrets := _secrets(request.options)) else {}),
        }

    def in_project(self, request: Request, pins: Json) -> Mapping[str, str]:
        """Returns the mount of all that was built in the project's place."""
        return {".": PROJECT} if _in_place(request.options) else {}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that runs the commands."""
        from envtool.api import Call, Recipe, Run, Secret

        in_place, network = _in_place(request.options), _network(request.options)
        cwd = PROJECT if request.inputs or in_place else "/"
        steps = tuple(Run(command=command, cwd=cwd) for command in commands(_options(request.options)["run"]))
        shown = tuple(
            Secret(id=name, target=use["target"], env=use["env"], required=not use["optional"], from_caller=True)
            for name, use in sorted(_secrets(request.options).items())
        )
        if not in_place:
            return Recipe(steps=steps, network=network, shown=shown, phase="running")
        from envtool.kinds import in_place_steps

        arguments = (INPUTS, max(0, request.epoch - DAY))
        before, after = (
            Call(function=function, arguments=arguments)
            for function in (in_place_steps.before_commands, in_place_steps.after_commands)
        )
        return Recipe(steps=(before, *steps, after), network=network, shown=shown, project=INPUTS, phase="running")

    def summary(self, request: Request, pins: Json) -> str:
        """Returns the number of commands, and whether they are built in place or impure."""
        count = len(_material(_options(request.options)["run"]))
        in_place = ", in place" if _in_place(request.options) else ""
        network = ", network" if _network(request.options) else ""
        return f"{count} command{'s' if count != 1 else ''}{in_place}{network}"


def commands(value: Json) -> tuple[Command, ...]:
    """Returns the commands of a `run` value: a string is a shell line; a list has several commands; a list in the list
    has the words of one command."""
    if isinstance(value, str):
        return (Command(shell=value),)
    if not isinstance(value, list):
        raise TypeError(f"not a command: {value!r}")
    return tuple(
        Command(argv=tuple(str(word) for word in item)) if isinstance(item, list) else Command(shell=str(item))
        for item in value
    )


def _material(value: Json) -> list[Json]:
    """Returns the commands of a `run` value as JSON: a shell line as text, an argv as a list."""
    if isinstance(value, str):  # nearly all are one line
        return [value]
    return [[*command.argv] if command.argv else command.shell for command in commands(value)]


def _options(options: Json) -> dict[str, Any]:
    # The options of a kind with siblings are always {name: value, **siblings}, and fit the schema.
    return cast("dict[str, Any]", options)


def _secrets(options: Json) -> dict[str, Any]:
    """Returns the place of each secret by its name: see spec/declared_secrets.py. A list of names has none yet."""
    secrets = _options(options).get("secrets")
    return secrets if isinstance(secrets, dict) else {}


def _network(options: Json) -> bool:
    return bool(_options(options).get("network", False))


def _in_place(options: Json) -> bool:
    return bool(_options(options).get("in_place", False))
