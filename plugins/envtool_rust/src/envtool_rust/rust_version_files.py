"""Which Rust the files of a project want: rust-toolchain.toml, or rust-toolchain, as rustup reads them. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from envtool import api
from envtool.api.toml_reader import read_toml

FILES = ("rust-toolchain", "rust-toolchain.toml")  # rustup takes the first if there are both
_MAX_TEXT = 1 << 16  # characters of a file
_RELEASE = re.compile(r"(\d{1,9}\.\d{1,9}(?:\.\d{1,9})?)(?:-[a-z0-9_]+-[a-z0-9_-]+)?")  # a target may stand behind it


def wanted_rusts(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what the files say. Raises SpecError for a channel that is no release, such as `stable`: which one that is
    changes."""
    for name in FILES:
        text = project.read(name)
        if text is None:
            continue
        channel = _channel(text, name)
        if not channel:  # rustup's `path`, or components alone
            continue
        lines = text.splitlines()
        line = next((number for number, words in enumerate(lines, 1) if channel in words), 1)
        release = _RELEASE.fullmatch(channel)
        if release is None:
            shown = channel[:40]
            raise _wrong(name, line, f"{name} names the Rust `{shown}`, which is no version", text)
        yield api.WantedVersion(wanted=release[1], file=name, line=line)


def _channel(text: str, name: str) -> str:
    """Returns the channel that a file names, or "". Raises SpecError."""
    if name == FILES[0] and len(text.strip().splitlines()) == 1 and "[" not in text:
        return text.strip()
    try:
        if len(text) > _MAX_TEXT:
            raise tomllib.TOMLDecodeError("it is too large")
        document = read_toml(text)
    except ValueError as error:
        raise _wrong(name, 1, f"{name} is no TOML: {str(error)[:80]}", text) from None
    toolchain = document.get("toolchain")
    channel = toolchain.get("channel") if isinstance(toolchain, dict) else None
    return channel.strip() if isinstance(channel, str) else ""


def _wrong(name: str, number: int, message: str, text: str) -> api.SpecError:
    where = api.Where(file=name, line=number, column=1)
    line = (text.splitlines()[number - 1 : number] or [""])[0][:200]
    hint = 'write a version there, or in the spec: `toolchain: {rust: "1.80"}`'
    return api.SpecError((api.Problem(where=where, message=message, code="toolchain-version", hint=hint, text=line),))
