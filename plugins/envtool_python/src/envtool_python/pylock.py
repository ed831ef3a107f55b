"""What uv chose: a pylock.toml (PEP 751) -> entries of pins. Pure.

uv lists every wheel of a version that may run here; the one whose tags come first (PEP 425, PEP 600) is pinned, as pip
chooses. uv ignores upper bounds of `Requires-Python`, and believes file names: a choice that pip would refuse is left
to pip, and so is one without a URL and a sha256 of the index.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from envtool.api.toml_reader import read_toml
from envtool_python.pip_config import file_name
from envtool_python.python_versions import fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.tags import Tag

    from envtool_python.pins import Entry


class NotPinnedError(ValueError):
    """What uv chose cannot be pinned; the message says why."""


def entries_of(text: str, info: Mapping[str, Any]) -> list[Entry]:
    """Returns the chosen files, in the order of the lock. `info` is the container's Python, as inside.py reports it.
    Raises NotPinnedError."""
    ranks = {tag: rank for rank, tag in enumerate(tags_of(info))}
    try:
        packages = read_toml(text).get("packages", [])
    except tomllib.TOMLDecodeError as error:
        raise NotPinnedError(f"uv's answer is no TOML: {error}") from None
    return [_entry(package, ranks) for package in packages]


def _entry(package: Mapping[str, Any], ranks: Mapping[Tag, int]) -> Entry:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    best: tuple[tuple[int, int], Mapping[str, Any]] | None = None
    for wheel in package.get("wheels", ()):
        try:
            _, _, build, tags = parse_wheel_filename(file_name(str(wheel.get("url", ""))))
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=-1)
        order = (rank, -(build[0] if build else 0))
        if rank >= 0 and (best is None or order < best[0]):
            best = (order, wheel)
    file = best[1] if best else package.get("sdist")
    name, version = str(package.get("name", "")), str(package.get("version", ""))
    if not file or not version or not str(file.get("url", "")).startswith(("https://", "http://")):
        raise NotPinnedError(f"{name} comes from a place that is no index")
    sha256 = str(file.get("hashes", {}).get("sha256", ""))
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise NotPinnedError(f"the index says no sha256 of {name} {version}")
    return {
        "name": name,
        "version": version,
        "url": str(file["url"]),
        "sha256": sha256,
        "size": int(file.get("size", 0)),
        "direct": False,
    }


def check_metadata(entry: Entry, said: Sequence[Sequence[str]], python: str) -> None:
    """Raises NotPinnedError if pip would refuse this choice of uv's: the package says that it is another one, or is not
    for this Python. `said` has what with_uv.py reports; a wheel that is not in it cannot be judged."""
    from packaging.utils import canonicalize_name, canonicalize_version

    def identity(name: str, version: str) -> tuple[str, str]:
        return canonicalize_name(name), canonicalize_version(version)

    chosen = identity(entry["name"], entry["version"])
    records = [record for record in said if identity(record[0], record[1]) == chosen]
    if not records and entry["url"].endswith(".whl"):
        raise NotPinnedError(f"uv has kept no metadata of {entry['name']} {entry['version']}")
    for _, _, name, version, requires_python in records:
        if identity(name, version) != chosen:
            raise NotPinnedError(f"{entry['name']} {entry['version']} says that it is {name} {version}")
        if not fits(requires_python, python):
            raise NotPinnedError(f"{entry['name']} {entry['version']} is for Python {requires_python}, not {python}")


def tags_of(info: Mapping[str, Any]) -> list[Tag]:
    """Returns the tags of wheels that a CPython on glibc runs, the best first. Raises NotPinnedError for any other."""
    from packaging.tags import compatible_tags, cpython_tags

    version = tuple(int(part) for part in re.findall(r"\d+", str(info.get("version", "")))[:2])
    interpreter = "cp" + "".join(map(str, version))
    libc = re.fullmatch(r"glibc 2\.(\d+)", str(info.get("libc", "")))
    machine = re.fullmatch(r"linux-(x86_64|aarch64)", str(info.get("platform", "")))
    plain = str(info.get("abi", "")).startswith(f"cpython-{interpreter[2:]}-")  # not 313t, no debug build
    if info.get("implementation") != "cpython" or not plain or not libc or not machine:
        raise NotPinnedError(f"uv is used for CPython on glibc, not for {info.get('abi')} on {info.get('libc')}")
    platforms = _platforms(int(libc[1]), machine[1])
    return [
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter, platforms),
    ]


def _platforms(minor: int, machine: str) -> list[str]:
    """Returns the platform tags of glibc 2.`minor`, the newest first (PEP 600, and the older names)."""
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    oldest = 5 if machine == "x86_64" else 17
    platforms = []
    for number in range(minor, oldest - 1, -1):
        platforms.append(f"manylinux_2_{number}_{machine}")
        if number in legacy:
            platforms.append(f"{legacy[number]}_{machine}")
    return [*platforms, f"linux_{machine}"]
