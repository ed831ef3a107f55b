"""Which Node.js the files of a project want. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from envtool import api
from envtool_node.version_ranges import parse_range

PLAIN = (".nvmrc", ".node-version")
# Releases with long support, as nvm names them: `lts/iron` is 20 (https://github.com/nodejs/Release)
LONG_SUPPORT = {
    "argon": "4", "boron": "6", "carbon": "8", "dubnium": "10", "erbium": "12", "fermium": "14", "gallium": "16",
    "hydrogen": "18", "iron": "20", "jod": "22", "krypton": "24",
}  # fmt: skip
_VERSION = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,2})(?:\.[xX*])?")
_SHOWN = 40  # characters of a wrong version in a message


def wanted_nodes(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .nvmrc, .node-version and package.json say. Raises SpecError for what names a version in another way,
    such as `lts/*`: which one that is changes."""
    for name in PLAIN:
        text = project.read(name)
        if text is None:
            continue
        lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
        number, wanted = next(((number, line) for number, line in lines if line), (1, ""))
        wanted = LONG_SUPPORT.get(wanted.lower().removeprefix("lts/"), wanted)
        match = _VERSION.fullmatch(wanted)
        if match is None:
            message = f"{name} names the Node.js `{wanted[:_SHOWN]}`, which is no version"
            raise _wrong(name, number, message, text)
        yield api.WantedVersion(wanted=match[1], file=name, line=number)
    yield from _manifest(project.read("package.json") or "")


def _manifest(text: str) -> Iterator[api.WantedVersion]:
    """Yields what package.json says: the version of Volta (https://docs.volta.sh/advanced/workspaces), then
    `devEngines.runtime` and `engines.node`."""
    try:
        manifest = json.loads(text or "{}")
    except (ValueError, RecursionError):  # what reads its dependencies reports it
        return
    manifest = manifest if isinstance(manifest, dict) else {}
    volta = _entry(manifest.get("volta"), "node")
    if match := _VERSION.fullmatch(volta):
        yield api.WantedVersion(wanted=match[1], file="package.json", line=_line(text, "volta"), entry="volta.node")
    developers = manifest.get("devEngines")
    runtimes = developers.get("runtime") if isinstance(developers, dict) else None
    for runtime in runtimes if isinstance(runtimes, list) else [runtimes]:
        if _entry(runtime, "name") == "node" and (wanted := _entry(runtime, "version")):
            yield _range(text, "devEngines", "devEngines.runtime", wanted)
    if wanted := _entry(manifest.get("engines"), "node"):
        yield _range(text, "engines", "engines.node", wanted)


def _entry(table: object, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _line(text: str, key: str, below: str = "node") -> int:
    """Returns the line of a key, or the next one that has the key below it."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines, 1) if f'"{key}"' in line), 1)
    return next((number for number, line in enumerate(lines, 1) if number >= start and f'"{below}"' in line), start)


def _range(text: str, key: str, entry: str, wanted: str) -> api.WantedVersion:
    """Returns what an entry with a range says. Raises SpecError for what is no range."""
    line = _line(text, key)
    try:
        parse_range(wanted)
    except ValueError as error:
        raise _wrong("package.json", line, f"{entry} of package.json: {error}", text) from None
    return api.WantedVersion(wanted=wanted, file="package.json", line=line, entry=entry, allows=wanted)


def _wrong(name: str, number: int, message: str, text: str) -> api.SpecError:
    where = api.Where(file=name, line=number, column=1)
    line = (text.splitlines()[number - 1 : number] or [""])[0]
    hint = 'write a version there, or in the spec: `toolchain: {node: "22"}`'
    return api.SpecError((api.Problem(where=where, message=message, code="toolchain-version", hint=hint, text=line),))
