"""Says which limit ended a container, how far it was over, and which line of the spec raises it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.fs.sizes import format_limit, format_size

if TYPE_CHECKING:
    from envtool.container.limit_watch import Exceeded
    from envtool.container.messages import Exit
    from envtool.model import Limits


def limit_name(ended: Exit) -> str:
    """Returns the name of the limit that ended a container; empty for none."""
    if ended.exceeded is not None:
        return str(ended.exceeded.limit)
    return "time" if ended.timed_out else ""


def describe_limit(ended: Exit, timeout: float | None) -> str:
    """Returns which limit ended a container, and how far it was over."""
    return f"timed out after {timeout or 0:g}s" if ended.exceeded is None else _reason(ended.exceeded)


def describe_remedy(ended: Exit, limits: Limits) -> str:
    """Returns the place in the spec of the limit that ended a container, or what to write there; empty for none."""
    if ended.exceeded is not None:
        return _remedy(ended.exceeded)
    where = limits["time"].where if ended.timed_out and "time" in limits else ""
    return f"a larger `time` raises the limit ({where})" if where else ""


def describe_end(ended: Exit, limits: Limits, timeout: float | None) -> str:
    """Returns both in one sentence."""
    return "; ".join(filter(None, (describe_limit(ended, timeout), describe_remedy(ended, limits))))


def _reason(exceeded: Exceeded) -> str:
    value, process = exceeded.limit_value, exceeded.process
    sampled = " (sampled)" if exceeded.sampled else ""
    match exceeded.limit:
        case "memory":
            largest = f"; the largest process is {process}" if process else ""
            return f"used {format_size(int(exceeded.used))} of memory, and may have {_size(value)}{largest}{sampled}"
        case "pids":
            crowd = f": {process}" if process else ""
            return f"started more than {value:g} processes{crowd}{sampled}"
        case "disk":
            return f"filled its disk: what it writes may take {_size(value)}"
        case "files":
            return f"has {value:g} files open in {process}, and may have no more"
        case _:
            return f"idle for {exceeded.used:.1f}s: it printed nothing, and used no processor"


def _remedy(exceeded: Exceeded) -> str:
    name, where = exceeded.limit, exceeded.where
    if where:
        return f"a larger `{name}` raises the limit ({where})"
    scratch = ", and `scratch: disk` has none" if name == "disk" else ""
    return f"this is the default: `limits: {{{name}: …}}` sets another{scratch}"


def _size(value: float) -> str:
    """Returns a limit as one would write it; a default, of a part of the machine's memory, as a measured size."""
    exact = format_limit(int(value))
    return exact if len(exact) < 9 else format_size(int(value))  # "1500 MiB"
