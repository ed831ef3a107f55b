"""Releases of Rust on a channel server, as rustup finds them: the manifest of a channel, whose name may be a version,
says which components a release has, with their archives and hashes ("Release Channel Layout" of the Rust Forge).

A manifest is a stranger's. It names archives below the server's `dist` alone: of a URL only what stands behind `/dist/`
counts, so that an archive comes from the server that was asked, as with rustup's own mirrors.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from envtool import api
from envtool.api.toml_reader import read_toml
from envtool.api.toolchains import ToolArchive

TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
COMPONENTS = ("rustc", "cargo", "rust-std")  # the first is the toolchain itself
FURTHER = ("clippy", "rustfmt")  # that a release may lack
MAX_MANIFEST = 4 << 20  # bytes: that of 1.95 has 1 MB
_MAX_LINE = 2000  # characters of a line in it: those of 1.80 and 1.95 have 250
_MAX_STORED = 1 << 16  # bytes of an installed toolchain's manifest that are read
_VERSION = re.compile(r"(\d{1,9}\.\d{1,9}\.\d{1,9}) ")
_PATH = re.compile(r"(?:\d{4}-\d\d-\d\d/)?[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}\.tar\.(?:xz|gz)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r'^url = "((?:https?)://[^"\s]{1,200}?)/dist/', re.MULTILINE)


class Component(NamedTuple):
    """An archive of a release. `path` is relative to the server's `dist`."""

    name: str
    path: str
    sha256: str


class RustRelease(NamedTuple):
    """A release for one target."""

    version: str
    components: tuple[Component, ...]


class RustChannel:
    """A source of Rust: the channel servers of the spec and of this machine, in this order. `wanted` and `earlier` are
    the versions whose manifests are asked for: a server has no list of them."""

    name = "Rust channel server"

    def __init__(self, wanted: str, earlier: str, mirror: str) -> None:
        self.wanted, self.earlier, self.mirror = wanted, earlier, mirror

    def versions(self, site: api.Site) -> Sequence[str]:
        """Returns the release that is wanted, and the earlier one if it is still there; if the server has no such
        release, others that it has, for people. Raises FetchError if no server answers, and ResolveError."""
        _target(site)
        first: api.FetchError | None = None
        versions: list[str] = []
        for channel in dict.fromkeys(filter(None, (self.wanted, self.earlier))):
            try:
                versions.append(self._release(channel, site).version)
            except api.FetchError as error:
                if error.code == "offline":
                    raise
                first = first or error
        if versions:
            return versions
        nearby = [*self._nearby(site)]
        if not nearby and first is not None:
            raise first
        return nearby

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """The compiler, cargo, the standard library, and clippy and rustfmt if the release has them."""
        known = (release for release in self._answers(site).values() if release.version == version)
        release = next(known, None) or self._release(version, site)
        return [self._archive(component, release.version, site) for component in release.components]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """See api.toolchains.ToolchainSource."""
        return tuple(f"{server}/dist/{row['path']}" for server in self._servers(site)), ""

    def _archive(self, component: Component, version: str, site: api.Site) -> ToolArchive:
        sealed = api.Sealed(
            urls=tuple(f"{server}/dist/{component.path}" for server in self._servers(site)),
            name=component.path.rpartition("/")[2],
            integrity=f"sha256-{base64.b64encode(bytes.fromhex(component.sha256)).decode()}",
        )
        return ToolArchive(name=component.name, version=version, path=component.path, sealed=sealed)

    def _servers(self, site: api.Site) -> tuple[str, ...]:
        """Returns the URLs of the servers. Raises ResolveError if there is none."""
        servers = tuple(dict.fromkeys(filter(None, (self.mirror, host_server(os.environ)))))
        if not servers:
            raise api.ResolveError(
                "this machine names no channel server of Rust",
                code="toolchain-registry",
                hint="set RUSTUP_DIST_SERVER, or write `toolchain: {rust: {version: …, mirror: URL}}`",
            )
        for server in servers:
            if server.startswith("file:") and server != self.mirror:
                site.own(unquote(urlsplit(server).path))
        return servers

    def _answers(self, site: api.Site) -> dict[str, RustRelease]:
        answers: dict[tuple[str, ...], dict[str, RustRelease]] = site.shared("rust-toolchain: releases", dict)
        return answers.setdefault((site.arch, *self._servers(site)), {})

    def _release(self, channel: str, site: api.Site) -> RustRelease:
        """Returns the release of a channel by the first server that has it. Raises FetchError, ResolveError."""
        answers = self._answers(site)
        if channel not in answers:  # two threads may ask at once: what `shared` calls must not use the site
            answers[channel] = self._ask(channel, site)
        return answers[channel]

    def _ask(self, channel: str, site: api.Site) -> RustRelease:
        first: api.FetchError | None = None
        for server in self._servers(site):
            url = f"{server}/dist/channel-rust-{channel}.toml"
            try:
                content, digest = site.get(url), site.get(f"{url}.sha256")
            except api.FetchError as error:
                if error.code == "offline":
                    raise
                first = first or error
                continue
            expected = digest[:64].decode(errors="replace")
            if hashlib.sha256(content).hexdigest() != expected:
                raise api.ResolveError(
                    f"channel-rust-{channel}.toml has another hash than channel-rust-{channel}.toml.sha256",
                    code="toolchain-hash",
                    hint="the server may be changing it just now: try again",
                )
            return read_manifest(content, channel, _target(site))
        assert first is not None
        raise first

    def _nearby(self, site: api.Site) -> Iterator[str]:
        """Yields versions that the server has: the newest of the wanted minor version, and the newest of all."""
        channels = (".".join(self.wanted.split(".")[:2]), "stable")
        for channel in dict.fromkeys(name for name in channels if name != self.wanted):
            try:
                yield self._release(channel, site).version
            except (api.FetchError, api.ResolveError):
                continue


def _target(site: api.Site) -> str:
    if site.arch not in TARGETS:
        raise api.ResolveError(f"it has Rust for {', '.join(TARGETS)}, and not for {site.arch}", code="platform")
    return TARGETS[site.arch]


def read_manifest(content: bytes, channel: str, target: str) -> RustRelease:
    """Returns the release that a manifest describes. Raises ResolveError for what is no manifest of rustup's second
    version, and for a release without an archive that is needed."""
    try:
        version, components = _read(content, target)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f": {error}" if type(error) is ValueError else ""
        message = f"channel-rust-{channel}.toml is no manifest of a release of Rust{reason}"
        raise api.ResolveError(message, code="toolchain-registry") from None
    missing = [name for name in COMPONENTS if name not in {component.name for component in components}]
    if missing:
        message = f"Rust {version} has no {', '.join(missing)} for {target}"
        raise api.ResolveError(message, code="toolchain-version")
    return RustRelease(version, components)


def _read(content: bytes, target: str) -> RustRelease:
    """Raises ValueError, TypeError, KeyError, AttributeError, RecursionError."""
    if len(content) > MAX_MANIFEST or max(map(len, content.split(b"\n"))) > _MAX_LINE:
        raise ValueError("it is too large")
    manifest = read_toml(content.decode())
    if manifest["manifest-version"] != "2":
        raise ValueError("its version is not 2")
    packages, renames = manifest["pkg"], manifest.get("renames", {})
    match = _VERSION.match(packages["rustc"]["version"])
    if match is None:
        raise ValueError("its rustc has no version")
    names = {name: str(renames.get(name, {}).get("to", name)) for name in (*COMPONENTS, *FURTHER)}
    components = (_component(name, packages.get(package), target) for name, package in names.items())
    return RustRelease(match[1], tuple(component for component in components if component is not None))


def _component(name: str, package: Any, target: str) -> Component | None:
    """Returns an archive, by preference the smaller of the two forms; None if there is none. Raises ValueError,
    KeyError, TypeError, AttributeError."""
    entry = package["target"].get(target) if package else None
    if not entry or entry["available"] is not True:
        return None
    url, sha256 = (str(entry[key]) for key in (("xz_url", "xz_hash") if "xz_url" in entry else ("url", "hash")))
    path = url.partition("/dist/")[2]
    if not _PATH.fullmatch(path):
        raise ValueError(f"`{url[:100]}` is no archive in a server's `dist`")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"the hash of {path} is no sha256")
    return Component(name, path, sha256)


def host_server(environ: Mapping[str, str]) -> str:
    """Returns the channel server of this machine's rustup, without a slash at its end: by its variables, else the one
    that the manifest of an installed toolchain names. "" if there is no rustup."""
    if server := environ.get("RUSTUP_DIST_SERVER", ""):
        return server.rstrip("/")
    if root := environ.get("RUSTUP_DIST_ROOT", ""):  # its older name, with `dist`
        return root.rstrip("/").removesuffix("/dist")
    home = environ.get("RUSTUP_HOME") or os.path.join(os.path.expanduser("~"), ".rustup")
    toolchains = os.path.join(home, "toolchains")
    try:
        names = sorted(os.listdir(toolchains))
    except OSError:
        return ""
    for name in names:
        try:
            with open(f"{toolchains}/{name}/lib/rustlib/multirust-channel-manifest.toml", encoding="utf-8") as file:
                match = _URL.search(file.read(_MAX_STORED))
        except (OSError, ValueError):
            continue
        if match:
            return match[1]
    return ""
