"""Path patterns as specs write them: `*`, `?` and `[…]` within one component, `**` for any number of components."""

from __future__ import annotations

import re
from functools import lru_cache

MAGIC = re.compile(r"[*?\[]")


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match anything but itself."""
    return MAGIC.search(pattern) is not None


@lru_cache(maxsize=512)
def expression(pattern: str) -> str:
    """A regular expression (to be used with fullmatch) for one pattern. `a/**` matches all below `a`, not `a`."""
    parts = pattern.split("/")
    out: list[str] = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            out.append("(?s:.+)" if last else "(?:[^/]+/)*")
        else:
            out.append(_component(part) + ("" if last else "/"))
    return "".join(out)


def matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for any of the patterns; none match nothing."""
    return re.compile("|".join(f"(?:{expression(pattern)})" for pattern in patterns) or r"(?!)")


def _component(part: str) -> str:
    out: list[str] = []
    index = 0
    while index < len(part):
        character = part[index]
        index += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            end = part.find("]", index + 1 + (part[index : index + 1] in ("!", "^")))
            if end < 0:  # as fnmatch has it: an open bracket stands for itself
                out.append(r"\[")
                continue
            body = part[index:end].replace("\\", r"\\").replace("[", r"\[")
            body = "^" + body[1:] if body[0] in "!^" else body
            out.append(f"[{body}]")
            index = end + 1
        else:
            out.append(re.escape(character))
    return "".join(out)
