"""The uv that resolves and installs: one version for each envtool-python, known by its hash.

A fixed version starts without a question to an index, and is the same on every machine. Raise it with the hashes of
the index's own page. The wheels for glibc run on glibc 2.17 and later; containers with another libc use pip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool import api
from envtool_python.agent_script import UV_PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envtool_python.pins import Entry

VERSION = "0.13.9"
MEMBER = f"uv-{VERSION}.data/scripts/uv"  # the program in the wheel
_WHEELS = {  # `uname -m` -> platform tag, sha256, bytes
    "x86_64": (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
        17606939,
    ),
    "aarch64": (
        "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
        18026789,
    ),
}
_PROGRAMS = {  # `uname -m` -> sha256 and bytes of MEMBER
    "x86_64": ("b73acdf73b96c3ac9e56d2fa933427b3ee6a901e3cce6ba1e3ecb3f91ca0d86a", 38409000),
    "aarch64": ("bbecb5ac518030bb5e84f1999c577228460192832ac24a92bd772735682979f4", 35584104),
}


def uv_entry(arch: str) -> Entry | None:
    """Returns uv's wheel as an entry of pins without a URL; None if there is none for this architecture."""
    if arch not in _WHEELS:
        return None
    tag, sha256, size = _WHEELS[arch]
    return {"name": "uv", "version": VERSION, "url": f"uv-{VERSION}-py3-none-{tag}.whl", "sha256": sha256, "size": size}


def fetch_uv(entry: Entry, site: api.Site, replacement: str) -> str:
    """Fetches uv's wheel unless the store has it, and returns its path. `replacement` as in `locate_files`. Raises
    FetchError, ResolveError."""
    from envtool_python.simple_index import locate_files

    fetch = api.Fetch(sha256=entry["sha256"], name=str(entry["url"]), size=int(entry["size"]))
    try:
        (path,) = site.fetch([fetch])
    except api.FetchError:  # it is not in the store, and has no URL yet
        (path,) = site.fetch(locate_files([fetch], {fetch.sha256: "uv"}, site, replacement))
    return str(path)


def uv_member(wheel: str, arch: str) -> tuple[api.ArchiveMember, ...]:
    """Returns what mounts uv for with_uv.py, which decompresses the wheel where it finds none: () if the pins have
    another wheel than `uv_entry` has."""
    entry = uv_entry(arch)
    if entry is None or entry["url"] != wheel:
        return ()
    sha256, size = _PROGRAMS[arch]
    return (api.ArchiveMember(archive=wheel, member=MEMBER, sha256=sha256, size=size, target=UV_PROGRAM),)


def keep_program(wheel: str, arch: str, site: api.Site) -> api.Bind:
    """Returns the bind that mounts uv for with_uv.py; `wheel` is the path of the wheel. The store keeps the program.
    Raises FetchError."""
    sha256, size = _PROGRAMS[arch]
    try:
        (path,) = site.fetch([api.Fetch(sha256=sha256, name="uv", size=size)])
    except api.FetchError:  # the store has only the wheel
        path = site.keep(_pieces(wheel), sha256=sha256)
    return api.Bind(source=str(path), target=UV_PROGRAM)


def _pieces(wheel: str) -> Iterator[bytes]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
        while piece := file.read(1 << 20):
            yield piece
