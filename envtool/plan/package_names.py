"""What the name of a pinned file says: name and version, for the shapes that package archives have. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

ARCHIVE_SUFFIX = re.compile(r"\.(?:tar(?:\.(?:gz|xz|bz2|zst|lz4))?|tgz|txz|tbz2|tzst|zip|gem|crate|whl|deb|apk|rpm)$")
NAME_VERSION = re.compile(r"(?P<name>.+?)-v?(?P<version>\d[^-]*(?:-\d[^-]*)*.*)")


def parse_package_file(file: str) -> tuple[str, str]:
    """("attrs", "25.3.0") of `attrs-25.3.0-py3-none-any.whl`, ("gcc", "4:12.2.0-3") of `gcc_4%3a12.2.0-3_amd64.deb`;
    (the whole name, "") of a file that does not say."""
    ending = ARCHIVE_SUFFIX.search(file)
    if ending is None:
        return file, ""
    stem = file[: ending.start()]
    if ending[0] == ".deb" and stem.count("_") == 2:
        name, version, _ = stem.split("_")
        return name, unquote(version)
    if ending[0] == ".whl" and stem.count("-") >= 4:
        name, version, *_ = stem.split("-")
        return name, version
    found = NAME_VERSION.fullmatch(stem)
    return (found["name"], found["version"]) if found else (file, "")


def normalize_name(name: str) -> str:
    """A name as registries compare it: case, `-`, `_` and `.` make no difference."""
    return re.sub(r"[-_.]+", "-", name).lower()
