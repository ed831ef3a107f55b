"""Builds of CPython as uv finds them: a list in uv's format (download-metadata.json) says which builds there are, with
their URLs and hashes, and a mirror may have the archives (uv's settings python-downloads-json-url and
python-install-mirror).

A list is a stranger's: of its URLs only those of http and https count, where a mirror is named only what stands behind
`/releases/download/`, as uv does, and nothing is taken without a sha256.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from envtool import api
from envtool.api.toml_reader import read_toml
from envtool.api.toolchains import ToolArchive

MAX_LIST = 32 << 20  # bytes: uv's own has 3 MB
_MAX_CONFIG = 1 << 20  # characters of uv.toml
_LIST = "download-metadata.json"
_MARK = "/releases/download/"  # what a mirror replaces, with all before it
_PATH = re.compile(r"(?:[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,100}/){0,3}[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,200}")
_FORMS = (".tar.gz", ".tar.zst", ".tar.xz")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PRERELEASE = re.compile(r"(?:(?:a|b|rc)\d{1,4})?")
_MAX_NUMBER = 10**6
_HINT = (
    "set UV_PYTHON_DOWNLOADS_JSON_URL, or write `toolchain: {python: {version: …, mirror: URL}}`, where URL is a"
    " list in uv's format"
)


class PythonServer(NamedTuple):
    """Where builds are: the URL of a list, and the URL that has the archives; "" for those that the list names."""

    listed: str
    archives: str


class Build(NamedTuple):
    """One build. `path` is relative to a mirror, `url` is that of the list."""

    version: str
    path: str
    url: str
    sha256: str


class PythonBuilds:
    """A source of CPython: the lists of the spec and of this machine, in this order."""

    name = "uv's list"

    def __init__(self, mirror: str) -> None:
        self.mirror = mirror

    def versions(self, site: api.Site) -> Sequence[str]:
        """See api.toolchains.ToolchainSource."""
        return [*self._builds(site)[1]]

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """The build."""
        server, builds = self._builds(site)
        build = builds[version]
        sealed = api.Sealed(
            urls=(archive_url(server, build),),
            name=build.path.rpartition("/")[2],
            integrity=f"sha256-{base64.b64encode(bytes.fromhex(build.sha256)).decode()}",
        )
        return [ToolArchive(name="python", version=version, path=build.path, sealed=sealed)]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """Mirrors know an archive by its path, lists by its hash. Raises ResolveError if neither knows it."""
        urls: list[str] = []
        for server in self._servers(site):
            if server.archives:
                urls.append(f"{server.archives}/{quote(str(row['path']))}")
                continue
            try:
                builds = _all_builds(server, site)
            except api.FetchError as error:
                if error.code == "offline":
                    raise
                continue
            urls += (build.url for build in builds if build.sha256 == row["sha256"])
        if not urls:
            message = f"no list of Pythons on this machine has {row['path']}"
            raise api.ResolveError(message, code="toolchain-version", hint=_HINT)
        return tuple(dict.fromkeys(urls)), ""

    def _servers(self, site: api.Site) -> tuple[PythonServer, ...]:
        """Raises ResolveError if there is none."""
        named = ([mirror_server(self.mirror)] if self.mirror else []) + host_servers(os.environ)
        if not named:
            raise api.ResolveError("this machine names no list of Pythons", code="toolchain-registry", hint=_HINT)
        if len(named) > bool(self.mirror):
            for url in named[-1]:
                if url.startswith("file:"):
                    site.own(unquote(urlsplit(url).path))
        return tuple(dict.fromkeys(named))

    def _builds(self, site: api.Site) -> tuple[PythonServer, dict[str, Build]]:
        """Returns the builds for this machine by version, of the first list that there is. Raises FetchError,
        ResolveError."""
        first: api.FetchError | None = None
        for server in self._servers(site):
            try:
                builds = _all_builds(server, site)
            except api.FetchError as error:
                if error.code == "offline":
                    raise
                first = first or error
                continue
            return server, {build.version: build for build in builds}
        assert first is not None
        raise first


def _all_builds(server: PythonServer, site: api.Site) -> tuple[Build, ...]:
    """Returns the builds of a list for this machine, which is read once in a run. Raises FetchError, ResolveError."""
    answers: dict[tuple[PythonServer, str], tuple[Build, ...]] = site.shared("python-toolchain: builds", dict)
    if (server, site.arch) not in answers:  # two threads may ask at once: what `shared` calls must not use the site
        answers[server, site.arch] = read_list(site.get(server.listed), site.arch, server)
    return answers[server, site.arch]


def archive_url(server: PythonServer, build: Build) -> str:
    """Returns the URL of an archive."""
    return f"{server.archives}/{quote(build.path)}" if server.archives else build.url


def read_list(content: bytes, arch: str, server: PythonServer) -> tuple[Build, ...]:
    """Returns the builds of CPython for Linux with glibc, sorted. Those that have no hash, or another form than
    `install_only`, are left out. Raises ResolveError for what is no such list."""
    try:
        document: Any = json.loads(content) if len(content) <= MAX_LIST else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise api.ResolveError("what the server has is no list of Pythons in uv's format", code="toolchain-registry")
    builds = (_read_build(entry, arch, server) for entry in document.values())
    return tuple(sorted(build for build in builds if build is not None))


def _read_build(entry: Any, arch: str, server: PythonServer) -> Build | None:
    """Returns a build, or None for what is none for this machine."""
    if not isinstance(entry, dict):
        return None
    if (entry.get("name"), entry.get("os"), entry.get("libc"), entry.get("variant")) != (
        "cpython",
        "linux",
        "gnu",
        None,
    ):
        return None
    if entry.get("arch") not in (arch, {"family": arch, "variant": None}):
        return None
    numbers = [entry.get(key) for key in ("major", "minor", "patch")]
    prerelease, url, sha256 = entry.get("prerelease") or "", entry.get("url"), entry.get("sha256")
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers):
        return None
    if not (isinstance(prerelease, str) and isinstance(url, str) and isinstance(sha256, str)):
        return None
    path = archive_path(url, server)
    if not path or not _SHA256.fullmatch(sha256) or not _PRERELEASE.fullmatch(prerelease):
        return None
    return Build(".".join(map(str, numbers)) + prerelease, path, url, sha256)


def archive_path(url: str, server: PythonServer) -> str:
    """Returns the path of an archive on a mirror; "" for a URL that is none of `install_only`, or that leads to no
    server."""
    if not re.match(r"https?://[^\s/@]+/", url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as https://[/
        return ""
    behind = url.partition(_MARK)[2]
    if not behind and server.archives and url.startswith(f"{server.archives}/"):
        behind = url[len(server.archives) + 1 :]
    if not behind and not server.archives:
        behind = parts.path.rpartition("/")[2]
    path = unquote(behind)
    is_archive = _PATH.fullmatch(path) and path.endswith(_FORMS) and "install_only" in path.rpartition("/")[2]
    return path if is_archive else ""


# ---- where lists are -------------------------------------------------------------------------------------------------


def mirror_server(url: str) -> PythonServer:
    """Returns the server that a URL of the spec names: that of a list, or of a directory with one beside the
    archives."""
    return PythonServer(url, "") if url.endswith(".json") else PythonServer(f"{url}/{_LIST}", url)


def host_servers(environ: Mapping[str, str]) -> list[PythonServer]:
    """Returns the server of this machine's uv, by its variables, else by the uv.toml of the user and of the machine; []
    if there is none. A mirror without a list is asked for one beside its archives."""
    files = [_read_config(path) for path in _config_files(environ)]
    listed, archives = (
        environ.get(variable) or next((str(file[key]) for file in files if key in file), "")
        for variable, key in (
            ("UV_PYTHON_DOWNLOADS_JSON_URL", "python-downloads-json-url"),
            ("UV_PYTHON_INSTALL_MIRROR", "python-install-mirror"),
        )
    )
    if not listed and not archives:
        return []
    archives = _as_url(archives.rstrip("/"))
    return [PythonServer(_as_url(listed) or f"{archives}/{_LIST}", archives)]


def _as_url(place: str) -> str:
    return f"file://{quote(place)}" if place.startswith("/") else place


def _config_files(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return [os.path.join(directory, "uv/uv.toml") for directory in (home, *shared, "/etc")]


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return read_toml(file.read(_MAX_CONFIG))
    except (OSError, ValueError):
        return {}
