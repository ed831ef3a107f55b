"""Path patterns as specs write them: `*`, `?` and `[…]` within one component, `**` for any number of components.

A pattern may be written to make us wait, so matching takes time that grows with pattern times path and no faster:
what stands between two stars is looked for at the first place where it fits, and never again further on (an atomic
group). Nothing is lost by that, since a star that could reach the later place reaches it from the earlier one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAGIC = re.compile(r"[*?\[]")
_NEVER = r"(?!)"


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match anything but itself."""
    return MAGIC.search(pattern) is not None


def literal_directory(pattern: str) -> str:
    """The components before the first that is a glob: all that it matches is below there."""
    parts = pattern.split("/")
    return "/".join(parts[: next((at for at, part in enumerate(parts) if is_glob(part)), len(parts))])


@lru_cache(maxsize=512)
def to_regex(pattern: str) -> str:
    """A regular expression (to be used with fullmatch) for one pattern. `a/**` matches all below `a`, not `a`."""
    blocks: list[list[str]] = [[]]  # of components; between two of them there is a `**`
    for part in pattern.split("/"):
        if part != "**":
            blocks[-1].append(part)
        elif blocks[-1] or len(blocks) == 1:
            blocks.append([])
    first, *middle, last = blocks if len(blocks) > 1 else [[], *blocks]
    out = "".join(_component(part) + "/" for part in first)
    for block in middle:
        out += "(?>(?:[^/]++/)*?" + "".join(_component(part) + "/" for part in block) + ")"
    if len(blocks) > 1:
        out += "(?:[^/]++/)*" if last else "(?s:.+)"
    return out + "/".join(_component(part) for part in last)


def matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for any of the patterns; none match nothing."""
    return re.compile("|".join(f"(?:{to_regex(pattern)})" for pattern in patterns) or _NEVER)


@lru_cache(maxsize=512)
def name_pattern(pattern: str) -> re.Pattern[str]:
    """An expression (for fullmatch) of a pattern for names: `*` and `?` mean any characters, and all else itself,
    brackets too, since they are parts of names (`unit[trixie]`)."""
    chunks = [["." if c == "?" else re.escape(c) for c in chunk] for chunk in pattern.split("*")]
    return re.compile(starred(("".join(chunk) for chunk in chunks), "."), re.DOTALL)


def starred(chunks: Iterable[str], any_one: str) -> str:
    """An expression for chunks of a fixed length with a star between any two; `any_one` matches what a star may skip.
    Followed by the end (or by what no star skips) it matches what the same with `.*` does, without trying it all."""
    first, *rest = chunks
    if not rest:
        return first
    middle = "".join(f"(?>{any_one}*?{chunk})" for chunk in rest[:-1] if chunk)
    return f"{first}{middle}{any_one}*{rest[-1]}"


def _component(part: str) -> str:
    chunks: list[str] = [""]
    index = 0
    while index < len(part):
        character = part[index]
        index += 1
        if character == "*":
            chunks.append("")
        elif character == "?":
            chunks[-1] += "[^/]"
        elif character == "[":
            end = part.find("]", index + 1 + (part[index : index + 1] in ("!", "^")))
            if end < 0:  # as fnmatch has it: an open bracket stands for itself
                chunks[-1] += r"\["
                continue
            chunks[-1] += _class(part[index:end])
            index = end + 1
        else:
            chunks[-1] += re.escape(character)
    return starred(chunks, "[^/]")


def fault(pattern: str) -> tuple[str, str]:
    """What a pattern has that cannot be meant, and what to do; empty where it has nothing of the kind.
    Matching takes it all the same, a bracket that is not closed for itself."""
    for part in pattern.split("/"):
        index = part.find("[")
        while index >= 0:
            end = part.find("]", index + 2 + (part[index + 1 : index + 2] in ("!", "^")))
            if end < 0:
                return f"the `[` in `{part}` is not closed", "write `]` after it; a bracket of a name is written `[[]`"
            if _class(part[index + 1 : end]) == _NEVER:
                return f"`{part[index : end + 1]}` matches no character", "a range goes up, as in `[a-z]`"
            index = part.find("[", end + 1)
    return "", ""


def _class(body: str) -> str:
    """One character of a class: ranges that end before they begin are empty, and a slash is in none."""
    inverted = body[0] in "!^"
    body = body[inverted:]
    found = ""
    index = 0
    while index < len(body):
        low = high = body[index]
        index += 1
        if body[index : index + 1] == "-" and index + 1 < len(body):
            high = body[index + 1]
            index += 2
        if low <= high:
            found += re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}"
    if not found:
        return "[^/]" if inverted else _NEVER
    return f"[^/{found}]" if inverted else f"(?!/)[{found}]"
