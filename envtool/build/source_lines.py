"""Where in the project's files the things stand that `envtool why` names: looked for, since a Spec only knows the
place of each whole layer."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from envtool.build.assess import Assessment
from envtool.build.context import Context
from envtool.build.resolution import MadeLayer
from envtool.errors import UsageError
from envtool.fs.beneath import open_beneath
from envtool.model import Where
from envtool.plan.change_values import LocationLookup
from envtool.plan.package_names import normalize_name
from envtool.project import host_access

LockLineFinder: TypeAlias = Callable[[str, str], str]  # (name, version) of a pin -> "envtool.lock:118", or nothing
MAX_SEARCHED = 1 << 18  # bytes of a file that is searched for names


def locate_items(
    look: Assessment, below: Iterable[MadeLayer], setting: Context, lock: LockLineFinder | None
) -> LocationLookup:
    """The places of one node's pins, options and variables."""
    spec = look.node.spec
    setters = _setters(below)

    def option(text: str) -> str:
        return find_in_spec(setting.root, spec.where, text)

    def pin(name: str, version: str) -> str:
        known = lock(name, version) if lock else ""
        asked = _find_requirement(look, name, setting.root)
        return ", from ".join(word for word in (known, asked) if word)

    return LocationLookup(option=option, pin=pin, variable=lambda name: setters.get(name, ""))


def _setters(below: Iterable[MadeLayer]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for made in below:
        node = made.settled.node
        names = {*node.kind.variables(made.settled.request, made.settled.pins), *getattr(node.spec, "set", {})}
        found |= dict.fromkeys(names, f"{node.spec.where.file}:{node.spec.where.line}")
    return found


def _lines(root: str, file: str) -> list[str]:
    try:
        with host_access.open_regular(open_beneath(root, file, os.O_PATH), file, MAX_SEARCHED) as text:
            return text.read(MAX_SEARCHED).decode().splitlines()
    except (OSError, UsageError, UnicodeDecodeError):
        return []


def _block(lines: list[str], where: Where) -> Iterable[tuple[int, str]]:
    """The lines of one item of a spec (numbers from 1): from where it begins to the next that is not its own. Keys of a
    list's item stand as deep as the first one; those of a mapping are its siblings."""
    first = lines[where.line - 1 : where.line]
    depth = where.column - 1 if first and first[0].lstrip().startswith("-") else where.column
    for number in range(where.line, len(lines) + 1):
        line = lines[number - 1]
        indent = len(line) - len(line.lstrip())
        if number > where.line and line.strip() and not line.lstrip().startswith("#") and indent < depth:
            return
        yield number, line


def find_in_spec(root: str, where: Where, text: str) -> str:
    """The line of a layer's item that holds a text (the first line of it), else the item's own."""
    wanted = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for number, line in _block(_lines(root, where.file), where):
        if wanted and wanted in line:
            return f"{where.file}:{number}"
    return f"{where.file}:{where.line}"


def _find_requirement(look: Assessment, name: str, root: str) -> str:
    """Where a package of this name is asked for: a line of an input that begins with it, or one of the layer's own."""
    words = r"[-_.]+".join(re.escape(word) for word in normalize_name(name).split("-"))
    begins = re.compile(rf"[\s\"'\[,-]*{words}(?![\w-])", re.IGNORECASE)
    for item in look.request.inputs if look.request else ():
        if item.content and not item.link:
            for number, line in enumerate(_lines(root, item.path), 1):
                if begins.match(line):
                    return f"{item.path}:{number}"
    where = look.node.spec.where
    inside = re.compile(rf"(?<![\w.-]){words}(?![\w-])", re.IGNORECASE)
    for number, line in _block(_lines(root, where.file), where):
        if inside.search(line.partition(" #")[0]):
            return f"{where.file}:{number}"
    return ""
