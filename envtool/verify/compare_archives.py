"""Lists the members in which two archives differ. Pure, except that it reads the two files."""

from __future__ import annotations

import tarfile
import zipfile
from typing import Any

Member = dict[str, Any]


def compare_archives(first: str, second: str) -> list[str]:
    """Returns lines that name the differences of two archives (zip and wheel, tar plain or compressed), member by
    member; none if the files are not archives, or if the archives are equal and only compressed differently."""
    for read in (_read_zip, _read_tar):
        try:
            members, other_members = read(first), read(second)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError):
            continue
        return _compare_members(members, other_members) or ["the members are the same, packed differently"]
    return []


def _compare_members(first: dict[str, Member], second: dict[str, Member]) -> list[str]:
    lines = []
    for name in sorted({*first, *second}):
        if name not in second or name not in first:
            lines.append(f"member {name}: only in the {'first' if name in first else 'second'}")
            continue
        kinds = [kind for kind in first[name] if first[name][kind] != second[name][kind]]
        if kinds:
            lines.append(f"member {name}: {', '.join(kinds)}")
    if not lines and [*first] != [*second]:
        lines.append("the order of the members")
    return lines


def _read_zip(path: str) -> dict[str, Member]:
    with zipfile.ZipFile(path) as archive:
        return {
            item.filename: {
                "content": (item.CRC, item.file_size),
                "time": item.date_time,
                "mode": item.external_attr,
                "compression": item.compress_type,
                "extra field": item.extra,
            }
            for item in archive.infolist()
        }


def _read_tar(path: str) -> dict[str, Member]:
    import hashlib

    members: dict[str, Member] = {}
    with tarfile.open(path) as archive:
        for item in archive:
            data = archive.extractfile(item) if item.isreg() else None
            members[item.name] = {
                "type": item.type,
                "content": hashlib.file_digest(data, "sha256").hexdigest() if data else "",  # type: ignore[arg-type]
                "link target": item.linkname,
                "time": item.mtime,
                "mode": item.mode,
                "owner": (item.uid, item.gid, item.uname, item.gname),
            }
    return members
