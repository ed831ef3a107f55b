"""The layer on top of an exported stack: what containers of ours get when they start, and those of others do not.

The user of tasks (id 1000) with a home, the project's directory with what layers show in it, and /tmp and /run where
the base has none. Its tar is made here, by the rules of store/canonical.py. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envtool.store import ocitar

USER = 1000
NAME = "envtool"
HOME = "home/envtool"
NAMES = ("etc/passwd", "etc/group")
_LINES = {"etc/passwd": b"envtool:x:1000:1000::/home/envtool:/bin/sh\n", "etc/group": b"envtool:x:1000:\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One member: a directory, a file with `content`, or a symlink to `link`."""

    mode: int
    owner: int = 0
    content: bytes | None = None
    link: str = ""


def layer(
    exists: Callable[[str], bool],
    files: dict[str, bytes],
    shown: Sequence[tuple[str, str]],
    *,
    project: str,
    epoch: int,
) -> bytes:
    """The tar. `exists` tells of a path (relative to the root) whether the stack has it; `files` are those of NAMES
    that it has, with their content; `shown` what layers show inside the project: (directory, place in the project),
    both absolute; `project` is the project's directory."""
    items: dict[str, Item] = {}
    top = project.strip("/")
    for path, mode, owner in (("tmp", 0o1777, 0), ("run", 0o755, 0), (HOME, 0o755, USER), (top, 0o755, USER)):
        if path == HOME or not exists(path):
            items[path] = Item(mode=mode, owner=owner)
    for path in NAMES:
        text = files.get(path, b"")
        known = any(line.split(b":")[2:3] == [b"%d" % USER] for line in text.split(b"\n"))
        if not known and (path in files or not exists(path)):
            gap = b"" if not text or text.endswith(b"\n") else b"\n"
            items[path] = Item(mode=0o644, content=text + gap + _LINES[path])
    for source, place in shown:
        items[place.strip("/")] = Item(mode=0o777, link=source)
        name = posixpath.basename(place)
        if posixpath.dirname(place) == project and not exists(name):
            # a project that is mounted covers the first; what is looked for upward (node_modules) is found here
            items[name] = Item(mode=0o777, link=source)
    for path in [*items]:
        owner = USER if path.startswith(top + "/") else 0
        while path := posixpath.dirname(path):
            if path not in items and not exists(path):
                items[path] = Item(mode=0o755, owner=owner)
    return tar(items, epoch)


def user(passwd: bytes) -> str:
    """What the user of tasks is called where /etc/passwd is this: passwd(5)."""
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if fields[2:3] == [b"%d" % USER]:
            return fields[0].decode("utf-8", "replace")
    return NAME


def tar(items: dict[str, Item], epoch: int) -> bytes:
    """Members by path, each directory before its content, as a tar with all times at `epoch` (seconds)."""
    pieces: list[bytes] = []
    for path in sorted(items, key=lambda path: path.encode("utf-8", "surrogateescape").split(b"/")):
        item, name = items[path], path.encode("utf-8", "surrogateescape")
        kind = ocitar.SYMBOLIC if item.link else ocitar.DIRECTORY if item.content is None else ocitar.REGULAR
        content = item.content or b""
        pieces += [
            ocitar.header(
                name + (b"/" if kind == ocitar.DIRECTORY else b""),
                kind,
                mode=item.mode,
                uid=item.owner,
                gid=item.owner,
                size=len(content),
                mtime=epoch,
                link=item.link.encode("utf-8", "surrogateescape"),
            ),
            content,
            ocitar.padding(len(content)),
        ]
    return b"".join((*pieces, ocitar.END))
