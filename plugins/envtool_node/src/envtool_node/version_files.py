"""Which Node.js the files of a project want. Pure."""

from __future__ import annotations

import json
import re

from envtool import api
from envtool_node.version_ranges import parse_range

PLAIN = (".nvmrc", ".node-version")


def decide_node(project: api.Project) -> api.Decision | None:
    """Returns what the first file says that names a version: .nvmrc, .node-version, package.json. Raises SpecError for
    what names a version in another way, such as `lts/*`: which one that is changes."""
    for name in PLAIN:
        text = project.read(name)
        if text is None:
            continue
        lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
        number, wanted = next(((number, line) for number, line in lines if line), (1, ""))
        if not re.fullmatch(r"v?\d+(?:\.\d+){0,2}", wanted):
            raise _wrong(name, number, f"{name} names the Node.js `{wanted}`, which is no version", text)
        return api.Decision(wanted=wanted.removeprefix("v"), origin=name)
    return _decide_by_manifest(project.read("package.json"))


def _decide_by_manifest(text: str | None) -> api.Decision | None:
    try:
        manifest = json.loads(text or "{}")
    except (ValueError, RecursionError):  # what reads its dependencies reports it
        return None
    engines = manifest.get("engines") if isinstance(manifest, dict) else None
    wanted = engines.get("node") if isinstance(engines, dict) else None
    if not isinstance(wanted, str) or not wanted.strip():
        return None
    try:
        parse_range(wanted)
    except ValueError as error:
        lines = (text or "").splitlines()
        number = next((number for number, line in enumerate(lines, 1) if '"engines"' in line), 1)
        raise _wrong("package.json", number, f"engines.node of package.json: {error}", text or "") from None
    return api.Decision(wanted=wanted.strip(), origin="package.json, engines.node")


def _wrong(name: str, number: int, message: str, text: str) -> api.SpecError:
    where = api.Where(file=name, line=number, column=1)
    line = (text.splitlines()[number - 1 : number] or [""])[0]
    hint = 'write a version there, or in the spec: `toolchain: {node: "22"}`'
    return api.SpecError((api.Problem(where=where, message=message, code="toolchain-version", hint=hint, text=line),))
