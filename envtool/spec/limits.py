"""Reads `limits:` of envs, tasks, services and layers, and `--limit` of the command line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from envtool.errors import UsageError, near_name_hint
from envtool.model import Limit
from envtool.spec import scalar_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from envtool.model import Json, Limits
    from envtool.spec.node import Problems, YamlNode

SIZES, NUMBERS, TIMES = ("memory", "disk"), ("pids", "files"), ("time", "idle")
NAMES = ("memory", "cpus", "pids", "disk", "files", "time", "idle")
OF_SERVICES = NAMES[:5]  # a service waits for requests, for as long as it is needed
OF_ENV = (
    "What the container of each of its tasks, of `exec` and of `shell` may use; `time` and `idle` are of tasks alone."
)
ENFORCE = ("must", "try")
MOST_NUMBER = 1 << 22  # processes of Linux (pid_max), and more than enough files
MOST_PROCESSORS = 1 << 13
# What a container needs itself, or a process to start.
LEAST = {"memory": 16_000_000, "disk": 1_000_000, "pids": 1, "files": 16, "cpus": 0.01, "time": 0.001, "idle": 1.0}
_WRITE = {
    "memory": "write 500MB, 2G, or a number of bytes: at least 16MB",
    "disk": "write 500MB, 2G, or a number of bytes: at least 1MB",
    "pids": f"write a number from 1 to {MOST_NUMBER}",
    "files": f"write a number from 16 to {MOST_NUMBER}",
    "cpus": f"write a number of processors from 0.01 to {MOST_PROCESSORS}, as 1.5",
    "time": "write 30s, 5m, 1h30m, or a number of seconds",
    "idle": "write 30s, 5m, 1h30m, or a number of seconds: at least 1s",
}


def definition(names: Iterable[str]) -> Json:
    """Returns the JSON Schema of `limits:` with the limits of these names."""
    number: dict[str, Json] = {"type": ["integer", "string"]}
    keys: dict[str, Json] = {
        "memory": {
            "description": "The most memory of all its processes and of the files that it holds in memory together. "
            "Default: nine tenths of the machine's, of its processes.",
            "$ref": "#/$defs/size",
        },
        "cpus": {
            "description": "How many processors it may use: `1.5` is one and a half. Default: all.",
            "type": ["number", "string"],
            "examples": [1.5],
        },
        "pids": {
            "description": "The most processes and threads at one time. Default: 8192.",
            "examples": [500],
            **number,
        },
        "disk": {
            "description": "The most that it may write to its own files, which are held in memory (`scratch: memory`). "
            "Default: half of `memory`, else half of the machine's memory.",
            "$ref": "#/$defs/size",
        },
        "files": {
            "description": "The most open files of one process. Default: as many as envtool itself may have.",
            "examples": [1024],
            **number,
        },
        "time": {"description": "It is ended after this time, as by `timeout`.", "$ref": "#/$defs/duration"},
        "idle": {
            "description": "It is ended when for this time it wrote nothing and used less than a hundredth of a "
            "processor.",
            "$ref": "#/$defs/duration",
        },
    }
    return {
        "type": "object",
        "examples": [{"memory": "2G", "pids": 500}],
        "properties": {
            **{name: keys[name] for name in names},
            "enforce": {
                "description": "What a limit is that this machine cannot enforce: an error (`must`, the default), or a "
                "warning (`try`).",
                "enum": [*ENFORCE],
            },
        },
        "additionalProperties": False,
    }


def reference(description: str) -> Json:
    """Returns the JSON Schema of one `limits:` key."""
    return {"description": description, "$ref": "#/$defs/limits"}


def render_limits(problems: Problems, nodes: Iterable[YamlNode | None], render: Callable[[YamlNode], str]) -> Limits:
    """Returns the limits of several `limits:`, of which later ones replace earlier ones, by name. `render` returns the
    text of a scalar. Notes wrong values."""
    limits: dict[str, Limit] = {}
    enforce = ENFORCE[0]
    for node in nodes:
        for name, value in node.mapping().items() if node is not None else ():
            if name == "enforce":
                enforce = render(value)
                continue
            text = render(value) if isinstance(value.value, str | int | float) else ""
            if isinstance(value.value, bool) or name not in NAMES or not text:
                continue  # the schema or the template has been reported
            number = parse_limit(name, text)
            if number is None:
                message = f"`{text}` is not a limit of `{name}`"
                problems.add(value, message, code="limit", hint=_WRITE[name])
            else:
                limits[name] = Limit(number, str(value.where))
    must = enforce != ENFORCE[1]
    return {name: limit._replace(must=must) for name, limit in limits.items()}


def parse_limit(name: str, text: str) -> float | None:
    """Returns a limit: bytes, processors, a number or seconds. None: it is none, or out of range."""
    number: float | None
    if name in SIZES:
        number = scalar_types.parse_size(text)
    elif name in TIMES:
        number = scalar_types.parse_duration(text)
    elif name in NUMBERS:
        number = (
            int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= MOST_NUMBER else None
        )
    else:
        try:
            number = float(text)
        except ValueError:
            return None
        number = number if math.isfinite(number) and number <= MOST_PROCESSORS else None
    return number if number is not None and number >= LEAST[name] else None


def parse_options(texts: Iterable[str]) -> dict[str, Limit]:
    """Returns the limits of `--limit NAME=VALUE`. Raises UsageError."""
    limits: dict[str, Limit] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in NAMES:
            hint = near_name_hint(name, NAMES)
            raise UsageError(f"`--limit {text}`: there is no limit `{name}`", code="usage.limit", hint=hint)
        number = parse_limit(name, value.strip()) if equals else None
        if number is None:
            raise UsageError(f"`--limit {text}`: expected {name}=VALUE", code="usage.limit", hint=_WRITE[name])
        limits[name] = Limit(number, f"--limit {text}")
    return limits


def merge_times(
    problems: Problems, fields: Mapping[str, YamlNode], timeout: float | None, limits: Limits, label: str
) -> float | None:
    """Returns the time of one level, which may be written as `timeout` or as a limit; notes one that is written
    twice."""
    own = fields.get("limits")
    if own is None or own.get("time") is None or "time" not in limits:
        return timeout
    if timeout is not None:
        message = f"{label} has its time twice: `timeout`, and `time` of its limits"
        problems.add(own.key("time"), message, code="limit-twice", hint="remove one of them")
    return limits["time"].value
