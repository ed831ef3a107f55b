"""The uv that resolves and installs: one version for each envtool-python, known by its hash.

A fixed version starts without a question to an index, and is the same on every machine. Raise it with the hashes of
the index's own page. The wheels for glibc run on glibc 2.17 and later; containers with another libc use pip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool import api
from envtool_python.simple_index import locate_files

if TYPE_CHECKING:
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


def uv_entry(arch: str) -> Entry | None:
    """Returns uv's wheel as an entry of pins without a URL; None if there is none for this architecture."""
    if arch not in _WHEELS:
        return None
    tag, sha256, size = _WHEELS[arch]
    return {"name": "uv", "version": VERSION, "url": f"uv-{VERSION}-py3-none-{tag}.whl", "sha256": sha256, "size": size}


def fetch_uv(entry: Entry, site: api.Site, replacement: str) -> str:
    """Fetches uv's wheel unless the store has it, and returns its path. `replacement` as in `locate_files`. Raises
    FetchError, ResolveError."""
    fetch = api.Fetch(sha256=entry["sha256"], name=str(entry["url"]), size=int(entry["size"]))
    try:
        (path,) = site.fetch([fetch])
    except api.FetchError:  # it is not in the store, and has no URL yet
        (path,) = site.fetch(locate_files([fetch], {fetch.sha256: "uv"}, site, replacement))
    return str(path)
