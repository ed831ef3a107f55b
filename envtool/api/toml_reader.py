"""Reads TOML that strangers wrote, in time that grows with its length.

Python's own reader takes time that grows with the square of a key's parts (`a.b.c` has three), keeps a kilobyte for
each part, and fails in several ways for what is nested deeply or has a number of thousands of digits.
"""

from __future__ import annotations

import gc
import tomllib
from typing import Any

__all__ = ["MAX_KEY_PARTS", "read_toml"]

MAX_KEY_PARTS = 32  # of one key: Cargo, uv and rustup write at most 6
_MAX_DOTS = 200_000  # outside of strings: in keys they would take 200 MB
_STRING = r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_ENDS_OF_KEYS = frozenset(" \t,=[]{}#")


def read_toml(text: str) -> dict[str, Any]:
    """Returns the document. Raises tomllib.TOMLDecodeError, also for a key of more than MAX_KEY_PARTS parts, and for
    what is nested deeper, or has larger numbers, than Python reads. Source: TOML 1.0."""
    _check_keys(text)
    was_on = gc.isenabled()
    gc.disable()  # it would look through all that was read so far again and again, and find nothing
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # int() of more than 4300 digits
        raise tomllib.TOMLDecodeError(str(error)[:100]) from None
    finally:
        if was_on:
            gc.enable()


def _check_keys(text: str) -> None:
    """Raises TOMLDecodeError. A string counts as one part, whatever is in it."""
    if text.count(".") <= MAX_KEY_PARTS:
        return
    import re

    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") >= MAX_KEY_PARTS and _longest_key(re.sub(_STRING, "s", line)) > MAX_KEY_PARTS:
            raise tomllib.TOMLDecodeError(f"A key of more than {MAX_KEY_PARTS} parts (at line {number}, column 1)")
    if text.count(".") > _MAX_DOTS and re.sub(_STRING, "s", text).count(".") > _MAX_DOTS:
        raise tomllib.TOMLDecodeError(f"More than {_MAX_DOTS} dots outside of strings")


def _longest_key(line: str) -> int:
    """Returns the parts of the longest key in a line without strings."""
    longest = parts = 1
    for piece in line.split(".")[1:]:
        before = piece.strip(" \t")
        parts += 1 if before else -parts + 1
        longest = max(longest, parts)
        if not _ENDS_OF_KEYS.isdisjoint(before):  # the key has ended, and another one may begin
            parts = 1
    return longest
