"""Reads name and version from the file name of a package, for the common archive formats. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

ARCHIVE_SUFFIX = re.compile(r"\.(?:tar(?:\.(?:gz|xz|bz2|zst|lz4))?|tgz|txz|tbz2|tzst|zip|gem|crate|whl|deb|apk|rpm)$")
NAME_VERSION = re.compile(r"(?P<name>.+?)-v?(?P<version>\d[^-]*(?:-\d[^-]*)*.*)")


def parse_package_file(file: str) -> tuple[str, str]:
    """Returns ("attrs", "25.3.0") for `attrs-25.3.0-py3-none-any.whl`, ("gcc", "4:12.2.0-3") for
    `gcc_4%3a12.2.0-3_amd64.deb`, and (the whole name, "") for a file name without a version."""
    suffix = ARCHIVE_SUFFIX.search(file)
    if suffix is None:
        return file, ""
    stem = file[: suffix.start()]
    if suffix[0] == ".deb" and stem.count("_") == 2:
        name, version, _ = stem.split("_")
        return name, unquote(version)
    if suffix[0] == ".whl" and stem.count("-") >= 4:
        name, version, *_ = stem.split("-")
        return name, version
    match = NAME_VERSION.fullmatch(stem)
    return (match["name"], match["version"]) if match else (file, "")


def normalize_name(name: str) -> str:
    """Normalizes a name as registries do: case, `-`, `_` and `.` make no difference."""
    return re.sub(r"[-_.]+", "-", name).lower()
