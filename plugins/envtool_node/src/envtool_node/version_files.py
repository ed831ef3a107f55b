"""Which Node.js the files of a project want. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from envtool import api
from envtool_node.version_ranges import parse_range

PLAIN = (".nvmrc", ".node-version")


def wanted_nodes(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .nvmrc, .node-version and package.json say. Raises SpecError for what names a version in another way,
    such as `lts/*`: which one that is changes."""
    for name in PLAIN:
        text = project.read(name)
        if text is None:
            continue
        lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
        number, wanted = next(((number, line) for number, line in lines if line), (1, ""))
        if not re.fullmatch(r"v?\d+(?:\.\d+){0,2}", wanted):
            raise _wrong(name, number, f"{name} names the Node.js `{wanted}`, which is no version", text)
        yield api.WantedVersion(wanted=wanted.removeprefix("v"), file=name, line=number)
    yield from _engines(project.read("package.json"))


def _engines(text: str | None) -> Iterator[api.WantedVersion]:
    try:
        manifest = json.loads(text or "{}")
    except (ValueError, RecursionError):  # what reads its dependencies reports it
        return
    engines = manifest.get("engines") if isinstance(manifest, dict) else None
    wanted = engines.get("node") if isinstance(engines, dict) else None
    if not isinstance(wanted, str) or not wanted.strip():
        return
    lines = (text or "").splitlines()
    start = next((number for number, line in enumerate(lines, 1) if '"engines"' in line), 1)
    try:
        parse_range(wanted)
    except ValueError as error:
        raise _wrong("package.json", start, f"engines.node of package.json: {error}", text or "") from None
    line = next((number for number, line in enumerate(lines, 1) if number >= start and '"node"' in line), start)
    wanted = wanted.strip()
    yield api.WantedVersion(wanted=wanted, file="package.json", line=line, entry="engines.node", allows=wanted)


def _wrong(name: str, number: int, message: str, text: str) -> api.SpecError:
    where = api.Where(file=name, line=number, column=1)
    line = (text.splitlines()[number - 1 : number] or [""])[0]
    hint = 'write a version there, or in the spec: `toolchain: {node: "22"}`'
    return api.SpecError((api.Problem(where=where, message=message, code="toolchain-version", hint=hint, text=line),))
