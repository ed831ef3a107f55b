"""What belongs beside the sources: extension modules, version modules, whatever a build makes that a checkout lacks.

Runs in containers, like inside.py: standard library only, 3.8 and later. Builds see a copy of the project at SOURCE;
what they write there, and what their wheels have, is kept in the layer and shown in the project by `Kind.generated`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WORK = "/tmp/envtool-python"
PROJECT = "/project"
SOURCE = WORK + "/source"


def files_below(top: str, known: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(path below `top`, path) of all files and links, but for what builds leave for themselves: that lies in new
    directories, of which no file is `known`."""
    directories = {path[:at] for path in known for at, character in enumerate(path) if character == "/"}
    for place, inner, names in os.walk(top):
        below = os.path.relpath(place, top)
        for name in [*inner]:
            path = os.path.normpath(os.path.join(below, name))
            if os.path.islink(os.path.join(place, name)):
                names.append(name)
            elif known and path not in directories and is_for_builds(os.path.join(place, name)):
                inner.remove(name)
        for name in names:
            yield os.path.normpath(os.path.join(below, name)), os.path.join(place, name)


def is_for_builds(directory: str) -> bool:
    """Whether only a build has use for a directory that it made."""
    name = os.path.basename(directory)
    return (
        name in ("build", "dist", "_skbuild", "__pycache__", ".eggs")
        or name.endswith((".egg-info", ".dist-info"))
        or os.path.exists(directory + "/CACHEDIR.TAG")
    )


def keep_written(before: set[str], keep: str) -> None:
    """Keep what a build wrote beside the sources, and nothing that was there before."""
    for path, place in files_below(SOURCE, before):
        if path in before or path.endswith((".o", ".pyc", ".log")):
            continue
        os.makedirs(os.path.dirname(os.path.join(keep, path)), exist_ok=True)
        if os.path.islink(place):
            os.symlink(pointed(os.readlink(place).encode()).decode(), os.path.join(keep, path))
        elif os.path.isfile(place):
            with open(place, "rb") as file:
                write_kept(os.path.join(keep, path), file.read(), os.stat(place).st_mode & 0o777)


def write_kept(path: str, content: bytes, mode: int) -> None:
    """A file that is kept, its directories too."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(pointed(content))
    os.chmod(path, mode)


def pointed(content: bytes) -> bytes:
    """Text with the project's path instead of its copy's; anything else as it is, where lengths count."""
    return content if b"\0" in content else content.replace(SOURCE.encode(), PROJECT.encode())


def keep_members(wheel: str, root: str, before: set[str], keep: str, editable: bool) -> bool:
    """Keep what a wheel has and the sources lack, for packages that are found in the project's directory first; whether
    there are any.

    An editable install of a backend that makes none is the wheel without what is in the project, and a path to that.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = [(item, archive.read(item)) for item in archive.infolist()]
    homes: dict[str, str] = {}
    for top in {item.filename.partition("/")[0] for item, _ in members}:
        for home in (root, root + "/src", root + "/lib", root + "/python") if editable else (root,):
            place = os.path.normpath(os.path.join(home, top))
            if any(path == place or path.startswith(place + "/") for path in before):
                homes.setdefault(top, os.path.normpath(home))
    left = []
    for item, content in members:
        top = item.filename.partition("/")[0]
        if top not in homes:
            left.append((item, content))
        elif os.path.normpath(os.path.join(homes[top], item.filename)) not in before:
            write_kept(os.path.normpath(os.path.join(keep, homes[top], item.filename)), content, 0o644)
    if editable:
        paths = "".join(os.path.normpath(os.path.join(PROJECT, home)) + "\n" for home in sorted({*homes.values()}))
        name = "__editable__." + os.path.basename(wheel).partition("-")[0] + ".pth"
        left.append((zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), paths.encode()))
        write_wheel(wheel, left)
    return bool(homes)


def point_to_project(wheel: str, root: str) -> None:
    """Make an editable wheel that was built in the copy point to the project, and say that it is editable
    (direct_url.json, PEP 610).
    """
    with zipfile.ZipFile(wheel) as archive:
        members = [(item, pointed(archive.read(item))) for item in archive.infolist()]
    address = json.dumps({"dir_info": {"editable": True}, "url": "file://" + root}, sort_keys=True).encode()
    info = os.path.dirname(record_of(members))
    write_wheel(wheel, [*members, (zipfile.ZipInfo(info + "/direct_url.json", (1980, 1, 1, 0, 0, 0)), address)])


def record_of(members: list[tuple[zipfile.ZipInfo, bytes]]) -> str:
    """The name of a wheel's RECORD."""
    (record,) = [item.filename for item, _ in members if item.filename.endswith(".dist-info/RECORD")]
    return record


def write_wheel(wheel: str, members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    """Write a wheel anew, with a RECORD of its own."""
    record = record_of(members)
    rows = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for item, content in members:
            if item.filename == record:
                continue
            archive.writestr(item, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{item.filename},sha256={digest},{len(content)}\n")
        archive.writestr(record, "".join(rows) + record + ",,\n")
