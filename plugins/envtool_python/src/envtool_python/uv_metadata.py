"""What the packages that uv chose say of themselves, from uv's cache. Runs in containers, like inside.py.

uv takes `Requires-Python` for a lower bound, and believes the version in a wheel's file name. pip does neither, so
uv_resolver.py has to see what uv read. uv keeps it as MessagePack (github.com/msgpack/msgpack/blob/master/spec.md), one
file for each wheel: [name, version, [requirements], Requires-Python or nil, …], and source distributions unpacked.
The version of uv is pinned, and so is this format.
"""

from __future__ import annotations

import os
from typing import Any

LIMIT = 1 << 20  # bytes of PKG-INFO that may hold its headers


def read_cache(cache: str) -> list[list[str]]:
    """Returns [name and version of the file, name, version and Requires-Python that it says] of each. Raises ValueError
    for a file of another format."""
    found = []
    for directory, _, files in os.walk(cache):
        parts = os.path.relpath(directory, cache).split(os.sep)
        if parts[0].startswith("wheels-"):
            for file in files:
                if file.endswith(".msgpack"):
                    said = _wheel(os.path.join(directory, file))
                    found.append([parts[-1], file.partition("-")[0], *said])
        elif parts[0].startswith("sdists-") and _is_source(parts) and "PKG-INFO" in files:
            found.append([parts[-4], parts[-3], *_source(os.path.join(directory, "PKG-INFO"))])
    return found


def _is_source(parts: list[str]) -> bool:
    """Whether a directory is sdists-N/pypi/NAME/VERSION/ID/src, or sdists-N/index/ID/NAME/VERSION/ID/src."""
    return parts[-1] == "src" and len(parts) == (6 if parts[1] == "pypi" else 7)


def _wheel(path: str) -> list[str]:
    """Name, version and Requires-Python. Raises ValueError if the file has another format."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        count, at = _length(content, 0)
        if count < 4:
            raise ValueError(f"{path} has {count} fields")
        fields = []
        for _ in range(4):
            value, at = _value(content, at)
            fields.append(value)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    name, version, _, python = fields
    if not isinstance(name, str) or not isinstance(version, str) or not isinstance(python, (str, type(None))):
        raise ValueError(f"{path} has other fields")  # noqa: TRY004 - the caller expects one kind of error
    return [name, version, python or ""]


def _length(content: bytes, at: int) -> tuple[int, int]:
    """How many values an array has, and where the first begins."""
    kind = content[at]
    if kind & 0xF0 == 0x90:
        return kind & 0x0F, at + 1
    if kind not in (0xDC, 0xDD):
        raise ValueError(f"no array begins at byte {at}")
    end = at + (3 if kind == 0xDC else 5)
    return int.from_bytes(content[at + 1 : end], "big"), end


def _value(content: bytes, at: int) -> tuple[Any, int]:
    """A text, nil or an array of these, and where the next value begins."""
    kind = content[at]
    if kind == 0xC0:
        return None, at + 1
    if kind & 0xE0 == 0xA0:
        size, at = kind & 0x1F, at + 1
    elif kind in (0xD9, 0xDA, 0xDB):
        end = at + 1 + (1 << (kind - 0xD9))
        size, at = int.from_bytes(content[at + 1 : end], "big"), end
    else:
        count, at = _length(content, at)
        values = []
        for _ in range(count):
            value, at = _value(content, at)
            values.append(value)
        return values, at
    if at + size > len(content):
        raise ValueError("a text is longer than the file")
    return content[at : at + size].decode(), at + size


def _source(path: str) -> list[str]:
    """The same of a source distribution (Core metadata: headers, then a blank line)."""
    with open(path, "rb") as file:
        headers = file.read(LIMIT).decode("utf-8", "replace").replace("\r\n", "\n").partition("\n\n")[0]
    said = {"name": "", "version": "", "requires-python": ""}
    for line in headers.split("\n"):
        key, _, value = line.partition(":")
        if key.lower() in said:
            said[key.lower()] = value.strip()
    return [*said.values()]
