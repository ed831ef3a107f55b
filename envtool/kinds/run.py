"""`run`: commands of one's own, in the stack below, offline unless they say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from envtool.api import PROJECT, Call, Command, Json, Kind, Recipe, Request, Run

INPUTS = "/dev/envtool/inputs"  # where a layer that is built in the project's place has its inputs: nothing keeps it
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
    """A layer made by commands. Only its declared inputs are visible to it, at /project."""

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
        "in_place": {
            "description": "build in the project's place: what the commands make there lies over the project in tasks"
            " and in layers above, writable, and with times for which make, ninja and cargo do not build it again",
            "type": "boolean",
            "default": False,
        },
    }

    def inputs(self, options: Json) -> tuple[str, ...]:
        """See Kind."""
        return tuple(str(path) for path in _options(options).get("inputs", ()))

    def material(self, request: Request, pins: Json) -> Json:
        """What is executed, and whether it saw the network. Not the patterns: what they matched is in the key."""
        return {
            "run": [_material(command) for command in commands(_options(request.options)["run"])],
            "network": _network(request.options),
            "project": bool(request.inputs),
            **({"in_place": True} if _in_place(request.options) else {}),
        }

    def in_project(self, request: Request, pins: Json) -> Mapping[str, str]:
        """All that was built in place."""
        return {".": PROJECT} if _in_place(request.options) else {}

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        in_place, network = _in_place(request.options), _network(request.options)
        cwd = PROJECT if request.inputs or in_place else "/"
        steps = tuple(Run(command=command, cwd=cwd) for command in commands(_options(request.options)["run"]))
        if not in_place:
            return Recipe(steps=steps, network=network, phase="running")
        from envtool.kinds import in_place_steps

        arguments = (INPUTS, max(0, request.epoch - DAY))
        begin, finish = (
            Call(function=each, arguments=arguments)
            for each in (in_place_steps.before_commands, in_place_steps.after_commands)
        )
        return Recipe(steps=(begin, *steps, finish), network=network, project=INPUTS, phase="running")

    def summary(self, request: Request, pins: Json) -> str:
        """The number of commands, and what is impure."""
        count = len(commands(_options(request.options)["run"]))
        notes = [
            *(["in place"] if _in_place(request.options) else []),
            *(["network"] if _network(request.options) else []),
        ]
        return ", ".join([f"{count} command{'s' if count != 1 else ''}", *notes])


def commands(value: Json) -> tuple[Command, ...]:
    """The commands that a `run` value means: a string is a shell line, a list is several of these, a list in the list
    the words of one."""
    if isinstance(value, str):
        return (Command(shell=value),)
    if not isinstance(value, list):
        raise TypeError(f"not a command: {value!r}")
    return tuple(
        Command(argv=tuple(str(word) for word in item)) if isinstance(item, list) else Command(shell=str(item))
        for item in value
    )


def _material(command: Command) -> Json:
    return [*command.argv] if command.argv else command.shell


def _options(options: Json) -> dict[str, Any]:
    # a kind with siblings is always given {name: value, **siblings}; the schema has been checked
    return cast("dict[str, Any]", options)


def _network(options: Json) -> bool:
    return bool(_options(options).get("network", False))


def _in_place(options: Json) -> bool:
    return bool(_options(options).get("in_place", False))
