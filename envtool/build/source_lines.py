"""Finds the lines of the project's files that `envtool why` names. A Spec knows only the place of each whole layer: the
rest is searched for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from envtool.build.assess import NodeState
from envtool.build.context import Context
from envtool.build.stack import KnownLayer
from envtool.errors import UsageError
from envtool.fs.beneath import open_beneath
from envtool.model import Where
from envtool.plan.change_values import LocationLookup
from envtool.plan.package_names import normalize_name
from envtool.project import host_access

LockLineFinder: TypeAlias = Callable[[str, str], str]  # (name, version) of a pin -> "envtool.lock:118", or ""
MAX_SEARCHED = 1 << 18  # bytes of a file that is searched for names


def locate_items(
    state: NodeState, below: Iterable[KnownLayer], context: Context, lock: LockLineFinder | None
) -> LocationLookup:
    """Returns what finds the lines of one node's pins, options and variables."""
    spec = state.node.spec
    setters = _setters(below)

    def option(text: str) -> str:
        return find_in_spec(context.root, spec.where, text)

    def pin(name: str, version: str) -> str:
        lock_line = lock(name, version) if lock else ""
        requirement = _find_requirement(state, name, context.root)
        return ", from ".join(word for word in (lock_line, requirement) if word)

    return LocationLookup(option=option, pin=pin, variable=lambda name: setters.get(name, ""))


def _setters(below: Iterable[KnownLayer]) -> Mapping[str, str]:
    setters: dict[str, str] = {}
    for made in below:
        node = made.resolved.node
        names = {*node.kind.variables(made.resolved.request, made.resolved.pins), *getattr(node.spec, "set", {})}
        setters |= dict.fromkeys(names, f"{node.spec.where.file}:{node.spec.where.line}")
    return setters


def _lines(root: str, file: str) -> list[str]:
    try:
        with host_access.open_regular(open_beneath(root, file, os.O_PATH), file, MAX_SEARCHED) as text:
            return text.read(MAX_SEARCHED).decode().splitlines()
    except (OSError, UsageError, UnicodeDecodeError):
        return []


def _block(lines: list[str], where: Where) -> Iterable[tuple[int, str]]:
    """Yields the lines of one item of a spec (numbered from 1), up to the next line that is not part of it. The keys of
    an item in a list are indented as far as its first key; those of a mapping are its siblings."""
    first = lines[where.line - 1 : where.line]
    depth = where.column - 1 if first and first[0].lstrip().startswith("-") else where.column
    for number in range(where.line, len(lines) + 1):
        line = lines[number - 1]
        indent = len(line) - len(line.lstrip())
        if number > where.line and line.strip() and not line.lstrip().startswith("#") and indent < depth:
            return
        yield number, line


def find_in_spec(root: str, where: Where, text: str) -> str:
    """Returns the line of a layer's item that holds a text (its first line), else the line of the item."""
    wanted = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for number, line in _block(_lines(root, where.file), where):
        if wanted and wanted in line:
            return f"{where.file}:{number}"
    return f"{where.file}:{where.line}"


def _find_requirement(state: NodeState, name: str, root: str) -> str:
    """Returns the line that asks for a package: a line of an input that begins with its name, or a line of the layer's
    own options."""
    words = r"[-_.]+".join(re.escape(word) for word in normalize_name(name).split("-"))
    at_start = re.compile(rf"[\s\"'\[,-]*{words}(?![\w-])", re.IGNORECASE)
    for item in state.request.inputs if state.request else ():
        if item.content and not item.link:
            for number, line in enumerate(_lines(root, item.path), 1):
                if at_start.match(line):
                    return f"{item.path}:{number}"
    where = state.node.spec.where
    anywhere = re.compile(rf"(?<![\w.-]){words}(?![\w-])", re.IGNORECASE)
    for number, line in _block(_lines(root, where.file), where):
        if anywhere.search(line.partition(" #")[0]):
            return f"{where.file}:{number}"
    return ""
