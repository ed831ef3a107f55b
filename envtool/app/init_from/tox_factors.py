"""Names of tox's environments (`py{310,311}-django{4,5}`), and the lines that hold for one of them
(`py311: mock`). Source: tox's documentation, "Generative environments", "Factors and factor-conditional settings"."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from envtool.app.init_from.taken_spec import CannotTakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envtool.app.init_from.ini_lines import IniLine, IniValue

MAX_ENVS = 200  # of one file
_CONDITION = re.compile(r"^(?P<condition>[\w!,.{}\s-]*[\w}])\s*:(?:\s+|$)(?P<rest>.*)", re.DOTALL)
_RANGE = re.compile(r"(\d+)-(\d+)")


def expand_names(value: IniValue | None) -> dict[str, int]:
    """Returns the names in `env_list`, with their lines. Raises CannotTakeError for more than MAX_ENVS."""
    names: dict[str, int] = {}
    count = 0
    for line in value.lines if value else ():
        for name in _expand(line):
            names.setdefault(name, line.line)
            count += 1  # the same name may come out of many combinations
            if count > MAX_ENVS:
                raise CannotTakeError(f"more than {MAX_ENVS} environments", "name one: `-e`", line.line)
    return names


def _expand(line: IniLine) -> Iterator[str]:
    for text in _alternatives(line.text):
        yield from filter(None, (name.strip() for name in _products(text)))


def _alternatives(text: str) -> list[str]:
    """Returns the parts of a text between commas and blanks that are not in braces."""
    return re.findall(r"(?:\{[^{}]*\}|[^,{}\s])+", text)


def _products(text: str) -> Iterator[str]:
    """Yields `py310-a` and `py311-a` for `py{310,311}-a`, at most MAX_ENVS + 1."""
    parts = [
        [member for entry in part.split(",") for member in _range(entry.strip())] if number % 2 else [part]
        for number, part in enumerate(re.split("[{}]", text))
    ]
    yield from itertools.islice(map("".join, itertools.product(*parts)), MAX_ENVS + 1)


def _range(text: str) -> list[str]:
    """Returns the numbers of `10-13`; any other text as it is."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return [text]
    first, last = int(match[1][:6]), int(match[2][:6])
    step = 1 if first <= last else -1
    return [str(number) for number in range(first, last + step, step)][: MAX_ENVS + 1]


def lines_for(value: IniValue | None, name: str) -> list[IniLine]:
    """Returns the lines of a value that hold for the environment of this name, without their conditions."""
    factors = {*name.split("-"), name}
    lines: list[IniLine] = []
    for line in value.lines if value else ():
        match = _CONDITION.match(line.text)
        if match is None or not _is_condition(match["condition"]):
            lines.append(line)
        elif match["rest"] and _holds(match["condition"], factors):
            lines.append(line._replace(text=match["rest"].strip()))
    return lines


def _is_condition(text: str) -> bool:
    return all(re.fullmatch(r"!?[\w.{},-]+", part) for part in _alternatives(text)) and bool(_alternatives(text))


def _holds(condition: str, factors: set[str]) -> bool:
    for alternative in _alternatives(condition):
        for product in _products(alternative):
            words = product.split("-")
            if all((word[1:] not in factors) if word.startswith("!") else word in factors for word in words):
                return True
    return False
