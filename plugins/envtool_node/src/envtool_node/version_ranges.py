"""Ranges of versions, as package.json has them (https://github.com/npm/node-semver, "Ranges"). Pure."""

from __future__ import annotations

import re

Version = tuple[int, int, int]
Interval = tuple[Version, Version]  # from the first, up to the second, which is left out

_MAX_RANGE = 1000  # characters: a range is a stranger's, and long ones take long to read
_TOP: Version = (1 << 31, 0, 0)
_PARTIAL = r"v?(\d+|[xX*])(?:\.(\d+|[xX*])(?:\.(\d+|[xX*])(?:-[\w.-]+)?(?:\+[\w.-]+)?)?)?"
_COMPARATOR = re.compile(rf"(<=|>=|<|>|=|\^|~>?)?\s*{_PARTIAL}")
_HYPHEN = re.compile(rf"\s*({_PARTIAL})\s+-\s+({_PARTIAL})\s*")


def satisfies(version: str, wanted: str) -> bool:
    """Returns whether a release is in a range: `22`, `22.1`, `>=18 <21 || ^22.1`. A pre-release is only in the range
    that is this version itself. Raises ValueError for what is no range."""
    intervals = parse_range(wanted)
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)
    if match is None:
        return version == wanted.strip().removeprefix("v")
    if re.fullmatch(r"v?\d+\.\d+\.\d+-.*", wanted.strip()):
        return False
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    return any(all(low <= numbers < high for low, high in both) for both in intervals)


def lowest_major(wanted: str) -> int:
    """Returns the first number of the oldest release with long support (an even number) of which a range has the newest
    versions; 0 if there is none among those of these years. Raises ValueError for what is no range."""
    return next((major for major in range(14, 60, 2) if satisfies(f"{major}.99.0", wanted)), 0)


def parse_range(text: str) -> list[list[Interval]]:
    """Returns alternatives, each of intervals that must all contain the version. Raises ValueError."""
    if len(text) > _MAX_RANGE:
        raise ValueError(f"{text[:40]!r}… is too long for a range of versions")
    return [_parse_set(part) for part in text.split("||")]


def _parse_set(text: str) -> list[Interval]:
    if hyphen := _HYPHEN.fullmatch(text):
        low, high = hyphen.group(2, 3, 4), hyphen.group(6, 7, 8)
        return [(_span(low)[0], _span(high)[1])]
    intervals: list[Interval] = []
    position, text = 0, text.strip()
    while position < len(text):
        match = _COMPARATOR.match(text, position)
        if match is None or not re.match(r"\s|$", text[match.end() :]):
            raise ValueError(f"{text!r} is no range of versions")
        intervals.append(_interval(match[1] or "", match.group(2, 3, 4)))
        position = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
    return intervals or [((0, 0, 0), _TOP)]


def _numbers(parts: tuple[str | None, ...]) -> tuple[int, ...]:
    """Returns the numbers before the first that is left out, or is an x."""
    numbers: list[int] = []
    for part in parts:
        if part is None or not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _span(parts: tuple[str | None, ...]) -> Interval:
    """Returns the versions that begin with these numbers."""
    numbers = _numbers(parts)
    if not numbers:
        return (0, 0, 0), _TOP
    return _filled(numbers), _filled((*numbers[:-1], numbers[-1] + 1))


def _filled(numbers: tuple[int, ...]) -> Version:
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def _interval(operator: str, parts: tuple[str | None, ...]) -> Interval:
    low, high = _span(parts)
    match operator:
        case ">=":
            return low, _TOP
        case ">":
            return high, _TOP
        case "<":
            return (0, 0, 0), low
        case "<=":
            return (0, 0, 0), high
        case "^":
            return low, _caret(_numbers(parts))
        case "~" | "~>":
            return low, _span(parts[:2])[1]
    return low, high


def _caret(numbers: tuple[int, ...]) -> Version:
    """Returns the first version that changes the leftmost number that is not 0."""
    if not numbers:
        return _TOP
    for index, number in enumerate(numbers):
        if number or index == len(numbers) - 1:
            return _filled((*numbers[:index], number + 1))
    return _TOP
