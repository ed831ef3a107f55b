"""Path patterns as specs have them: `*`, `?` and `[…]` within one component, `**` for any number of components.

A pattern may be written to waste our time, so matching takes time proportional to pattern times path and no more: the
text between two stars is matched at the first place where it fits, and never again further on (an atomic group). No
match is lost by that, since a star that could reach the later place reaches it from the earlier one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAGIC = re.compile(r"[*?\[]")
_STARS = re.compile(r"[*?]")
_NEVER = r"(?!)"


def is_glob(pattern: str) -> bool:
    """Returns whether a pattern can match anything but itself."""
    return MAGIC.search(pattern) is not None


def literal_directory(pattern: str) -> str:
    """Returns the components before the first that is a glob: everything that the pattern matches is below them."""
    parts = pattern.split("/")
    return "/".join(parts[: next((index for index, part in enumerate(parts) if is_glob(part)), len(parts))])


@lru_cache(maxsize=512)
def to_regex(pattern: str) -> str:
    """Returns a regular expression (for fullmatch) for one pattern. `a/**` matches everything below `a`, not `a`."""
    blocks: list[list[str]] = [[]]  # lists of components; a `**` is between two lists
    for part in pattern.split("/"):
        if part != "**":
            blocks[-1].append(part)
        elif blocks[-1] or len(blocks) == 1:
            blocks.append([])
    first, *middle, last = blocks if len(blocks) > 1 else [[], *blocks]
    regex = "".join(_component(part) + "/" for part in first)
    for block in middle:
        regex += "(?>(?:[^/]++/)*?" + "".join(_component(part) + "/" for part in block) + ")"
    if len(blocks) > 1:
        regex += "(?:[^/]++/)*" if last else "(?s:.+)"
    return regex + "/".join(_component(part) for part in last)


def matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Returns one expression for any of the patterns; without patterns it matches nothing."""
    return re.compile("|".join(f"(?:{to_regex(pattern)})" for pattern in patterns) or _NEVER)


def select(pattern: str, paths: Iterable[str], *, below: bool = False) -> list[str]:
    """Returns the paths that a pattern matches, in their order; with `below` also those in a directory that it matches.
    Of a project's many thousand paths, few have the longest text of the pattern, and only these are matched: that takes
    ten times as long as looking for a text."""
    if not (is_glob(pattern) or below):
        return [path for path in paths if path == pattern]
    start = f"{literal}/" if (literal := literal_directory(pattern)) and is_glob(pattern) else literal
    text = _longest_text(pattern)
    matches = matcher((pattern, f"{pattern}/**") if below else (pattern,)).fullmatch
    return [path for path in paths if text in path and path.startswith(start) and matches(path)]


def _longest_text(pattern: str) -> str:
    """Returns the longest text that each match of a pattern has: it is in one component, and before any bracket."""
    return max((text for part in pattern.split("/") for text in _STARS.split(part.partition("[")[0])), key=len)


@lru_cache(maxsize=512)
def name_pattern(pattern: str) -> re.Pattern[str]:
    """Returns an expression (for fullmatch) of a pattern for names: `*` and `?` match any characters, every other
    character itself, also brackets, since names may have them (`unit[trixie]`).
    """
    chunks = [["." if c == "?" else re.escape(c) for c in chunk] for chunk in pattern.split("*")]
    return re.compile(starred(("".join(chunk) for chunk in chunks), "."), re.DOTALL)


def matches_name(pattern: str, *names: str) -> bool:
    """Returns whether a pattern on a command line means one of these names: of an env its name and its group, so that
    the name of a group means all its envs."""
    match = name_pattern(pattern).fullmatch
    return pattern in names or any(match(name) for name in names)


def starred(chunks: Iterable[str], any_one: str) -> str:
    """Returns an expression for chunks of a fixed length with a star between any two; `any_one` matches a character
    that a star may skip. Followed by the end (or by a character that no star skips) it matches the same as with `.*`,
    without backtracking.
    """
    first, *following = chunks
    if not following:
        return first
    middle = "".join(f"(?>{any_one}*?{chunk})" for chunk in following[:-1] if chunk)
    return f"{first}{middle}{any_one}*{following[-1]}"


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
            if end < 0:  # as in fnmatch, an open bracket matches itself
                chunks[-1] += r"\["
                continue
            chunks[-1] += _class(part[index:end])
            index = end + 1
        else:
            chunks[-1] += re.escape(character)
    return starred(chunks, "[^/]")


def fault(pattern: str) -> tuple[str, str]:
    """Returns what is wrong with a pattern, and what to do; two empty texts where nothing is. Matching accepts such a
    pattern all the same, and takes a bracket that is not closed literally.
    """
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
    """Returns the expression of a character class. A range that ends before it starts is empty; no class matches a
    slash.
    """
    inverted = body[0] in "!^"
    body = body[inverted:]
    ranges = ""
    index = 0
    while index < len(body):
        low = high = body[index]
        index += 1
        if body[index : index + 1] == "-" and index + 1 < len(body):
            high = body[index + 1]
            index += 2
        if low <= high:
            ranges += re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}"
    if not ranges:
        return "[^/]" if inverted else _NEVER
    return f"[^/{ranges}]" if inverted else f"(?!/)[{ranges}]"
