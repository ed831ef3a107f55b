"""Which members of two archives differ, and in what. Pure but for reading the two files."""

from __future__ import annotations

import tarfile
import zipfile
from typing import Any

Member = dict[str, Any]


def compare_archives(first: str, second: str) -> list[str]:
    """Lines that name what differs between two archives (zip and wheel, tar plain or compressed), member by member;
    none where they are no archives, or hold the same and are only packed differently."""
    for read in (_read_zip, _read_tar):
        try:
            one, two = read(first), read(second)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError):
            continue
        return _compare_members(one, two) or ["the members are the same, packed differently"]
    return []


def _compare_members(one: dict[str, Member], two: dict[str, Member]) -> list[str]:
    lines = []
    for name in sorted({*one, *two}):
        if name not in two or name not in one:
            lines.append(f"member {name}: only in the {'first' if name in one else 'second'}")
            continue
        kinds = [kind for kind in one[name] if one[name][kind] != two[name][kind]]
        if kinds:
            lines.append(f"member {name}: {', '.join(kinds)}")
    if not lines and [*one] != [*two]:
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

    found: dict[str, Member] = {}
    with tarfile.open(path) as archive:
        for item in archive:
            data = archive.extractfile(item) if item.isreg() else None
            found[item.name] = {
                "type": item.type,
                "content": hashlib.file_digest(data, "sha256").hexdigest() if data else "",  # type: ignore[arg-type]
                "link target": item.linkname,
                "time": item.mtime,
                "mode": item.mode,
                "owner": (item.uid, item.gid, item.uname, item.gname),
            }
    return found
