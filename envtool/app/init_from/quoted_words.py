"""A list of words as a command of a shell: other tools start programs without one, so each word is quoted."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = re.compile("(\0args(?::[^\0]*)?\0)")


def shell_command(words: Sequence[str]) -> str:
    """Returns the words as a command that a shell splits into the same words. The mark of the arguments stays outside
    of quotes."""
    return " ".join(_quote(word) for word in words)


def _quote(word: str) -> str:
    parts = _MARK.split(word)
    if len(parts) == 1:
        return shlex.quote(word)
    return "".join(part if part.startswith("\0args") else shlex.quote(part) if part else "" for part in parts)
