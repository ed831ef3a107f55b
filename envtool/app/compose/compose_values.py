"""Reads the forms that a value of a compose file may have. A value of another type is noted as an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.spec.node import describe_type

if TYPE_CHECKING:
    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import YamlNode

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:h|ms|us|µs|ns|m|s)")
_DURATIONS = re.compile(rf"(?:{_DURATION.pattern})+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+)")
MAX_DURATION = 86400.0  # seconds


class Entry(NamedTuple):
    """An entry of a mapping, or `NAME=value` of a list. `value` is None for a name alone."""

    node: YamlNode
    value: str | None


def scalar_text(node: YamlNode) -> str | None:
    """Returns a scalar as compose turns it into text; None for null, a list and a mapping. A plain number is text as Go
    prints it: `0644` is 420, and `3.10` is 3.1."""
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, dict | list):
        return None
    if not node.text:
        return str(value)
    if _INTEGER.fullmatch(node.text):
        return _integer_text(node.text)
    return _float_text(node.text) if _FLOAT.fullmatch(node.text) else str(value)


def _integer_text(text: str) -> str:
    digits = text.replace("_", "").lower()
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    try:
        return str(int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0))
    except ValueError:  # `08`, or more digits than Python converts
        return text


def _float_text(text: str) -> str:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return text
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e21 else repr(number)


def wrong_type(state: ImportState, node: YamlNode, key: str, expected: str) -> None:
    """Notes a value of a wrong type as an error."""
    state.problems.add(node, f"`{key}` is {describe_type(node.value)}, not {expected}", code="type")


def read_text(state: ImportState, node: YamlNode | None, key: str) -> str:
    """Returns a scalar as text; "" if there is none, or if it is null or of a wrong type."""
    if node is None or node.value is None:
        return ""
    text = scalar_text(node)
    if text is None:
        wrong_type(state, node, key, "text")
    return text or ""


def read_texts(state: ImportState, node: YamlNode | None, key: str) -> list[tuple[YamlNode, str]]:
    """Returns the members of a list, or a scalar as the only one."""
    if node is None or node.value is None:
        return []
    if isinstance(node.value, dict):
        wrong_type(state, node, key, "a list")
        return []
    members = node.value if isinstance(node.value, list) else [node]
    return [(member, read_text(state, member, key)) for member in members]


def read_mapping(state: ImportState, node: YamlNode | None, key: str) -> dict[str, YamlNode]:
    """Returns the entries of a mapping."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        wrong_type(state, node, key, "a mapping")
        return {}
    return node.value


def read_entries(state: ImportState, node: YamlNode | None, key: str) -> dict[str, Entry]:
    """Returns the entries of a mapping of scalars, or of a list of `NAME=value`: the last counts."""
    if node is None or node.value is None:
        return {}
    if isinstance(node.value, dict):
        entries: dict[str, Entry] = {}
        for name, value in node.value.items():
            if isinstance(value.value, dict | list):
                wrong_type(state, value, f"{key}: {name}", "text")
            else:
                entries[name] = Entry(node.key(name) if value.value is None else value, scalar_text(value))
        return entries
    if not isinstance(node.value, list):
        wrong_type(state, node, key, "a mapping or a list of `NAME=value`")
        return {}
    pairs = [(member, *text.partition("=")) for member, text in read_texts(state, node, key)]
    return {name: Entry(member, value if equals else None) for member, name, equals, value in pairs if name}


def read_flag(state: ImportState, node: YamlNode | None, key: str) -> bool:
    """Returns true or false; a text of the two words is taken too, since variables are text."""
    if node is None or node.value is None:
        return False
    text = (scalar_text(node) or "").lower()
    if text not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
        wrong_type(state, node, key, "true or false")
    return text in ("true", "yes", "on", "1")


def read_number(state: ImportState, node: YamlNode | None, key: str, default: int) -> int:
    """Returns a whole number of at least 0; `default` if there is none, or if it is wrong."""
    text = read_text(state, node, key).strip()
    if node is None or not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        state.problems.add(node, f"`{key}`: `{text[:40]}` is no whole number", code="compose")
        return default
    return int(text)


def read_duration(state: ImportState, node: YamlNode | None, key: str, default: float) -> float:
    """Returns the seconds of `1m30s`, as Go reads it; `default` if there is none, or if it is wrong."""
    text = read_text(state, node, key).strip()
    if node is None or not text:
        return default
    if text == "0":
        return 0.0
    if not _DURATIONS.fullmatch(text):
        hint = f"write `{text}s`" if text.isdigit() else "write it as in 1m30s"
        state.problems.add(node, f"`{key}`: `{text[:40]}` is no length of time", code="duration", hint=hint)
        return default
    parts = [re.fullmatch(r"([0-9.]+)(\D+)", part) for part in _DURATION.findall(text)]
    return min(MAX_DURATION, sum(float(part[1]) * _UNITS[part[2]] for part in parts if part))


def format_duration(seconds: float) -> str:
    """Returns a length of time as a spec has it: `90s`, `0.5s`."""
    return f"{seconds:.0f}s" if float(seconds).is_integer() else f"{seconds:.3f}".rstrip("0") + "s"
