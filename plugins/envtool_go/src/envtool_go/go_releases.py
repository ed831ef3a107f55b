"""Releases of Go as modules of this machine's proxies (https://go.dev/doc/toolchain#download): which versions there
are, their archives, and what the checksum database says about them (https://go.dev/design/25530-sumdb)."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from envtool import api
from envtool.api.toolchains import ToolArchive
from envtool_go.go_files import ModuleVersion
from envtool_go.module_hashes import hash_archive
from envtool_go.module_proxies import ModuleLocator, host_settings, plain_url

MODULE = "golang.org/toolchain"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "ppc64le": "ppc64le", "riscv64": "riscv64"}
_RELEASE = re.compile(r"1\.[0-9]{1,9}(?:\.[0-9]{1,9})?(?:(?:rc|beta)[0-9]{1,9})?")
_SECONDS = 60  # that the go of this machine may take to say which proxy it uses


class GoProxy:
    """A source of Go: the module golang.org/toolchain of a proxy."""

    name = "Go proxy"

    def versions(self, site: api.Site) -> Sequence[str]:
        """See api.toolchains.ToolchainSource."""
        answers: dict[str, tuple[str, ...]] = site.shared("go-toolchain: versions", dict)
        if site.arch not in answers:  # two threads may ask at once: what `shared` calls must not use the site
            answers[site.arch] = _ask_versions(site)
        return answers[site.arch]

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """The archive of the release, which is compared with the checksum database unless GOSUMDB is off."""
        module = _module(version, site)
        expected = _database_hash(site, module)
        sealed = api.Sealed(urls=_locator(site).urls(module, "zip"), name=f"go-{version}.zip")

        def check(path: Path) -> None:
            with open(path, "rb") as file:
                try:
                    actual = hash_archive(file)
                except ValueError as error:
                    raise api.ResolveError(f"Go {version}: {error}", code="toolchain-hash") from None
            if expected and actual != expected:
                raise api.ResolveError(
                    f"Go {version}: the proxy's archive has the hash {actual}, the checksum database has {expected}",
                    code="toolchain-hash",
                    hint="the proxy has another file than everybody else: ask who runs it",
                )

        return [ToolArchive(name="go", version=version, path=module.version, sealed=sealed, check=check)]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """See api.toolchains.ToolchainSource."""
        return _locator(site).urls(ModuleVersion(MODULE, str(row["path"])), "zip"), ""


class _Settings(NamedTuple):
    """What the go of this machine uses by default."""

    proxy: str
    database: str


def _module(version: str, site: api.Site) -> ModuleVersion:
    return ModuleVersion(MODULE, f"v0.0.1-go{version}.linux-{_architecture(site)}")


def _architecture(site: api.Site) -> str:
    if site.arch not in ARCHITECTURES:
        raise api.ResolveError(f"it has Go for {', '.join(ARCHITECTURES)}, and not for {site.arch}", code="platform")
    return ARCHITECTURES[site.arch]


def _ask_versions(site: api.Site) -> tuple[str, ...]:
    """Returns the releases that the first proxy with an answer lists: 1.21.0, 1.22rc1. Raises FetchError,
    ResolveError."""
    ending = f".linux-{_architecture(site)}"
    urls = [f"{proxy}/{MODULE}/@v/list" for proxy in _locator(site).proxies()]
    error: api.FetchError | None = None
    for url in urls:
        try:
            lines = site.get(url).decode(errors="replace").split()
        except api.FetchError as failure:
            error = error or failure
            continue
        names = (line.removesuffix(ending) for line in lines if line.endswith(ending))
        versions = [name.removeprefix("v0.0.1-go") for name in names]
        return tuple(version for version in versions if _RELEASE.fullmatch(version))
    assert error is not None
    raise error


def _database_hash(site: api.Site, module: ModuleVersion) -> str:
    """Returns the `h1:` hash that the checksum database has, asked through the proxies first, as Go does; "" if this
    machine turns the database off. Raises ResolveError.

    The answer is trusted as the connection is: its signature and the log are not checked."""
    settings = host_settings(os.environ)
    words = (settings.database or _host_defaults().database or "off").split()
    name = words[0].partition("+")[0]
    if name == "off":
        return ""
    bases = [f"{proxy}/sumdb/{name}" for proxy in _locator(site).proxies() if not proxy.startswith("file:")]
    bases.append(words[1].rstrip("/") if len(words) > 1 else f"https://{name}")
    failures = []
    for base in bases:
        try:
            answer = site.get(f"{base}/lookup/{MODULE}@{module.version}").decode(errors="replace")
        except api.FetchError as error:
            if error.code == "offline":
                raise
            failures.append(error.message)
            continue
        for line in answer.splitlines():
            if line.startswith(f"{MODULE} {module.version} h1:"):
                return line.split()[-1]
        failures.append(f"{plain_url(base)} has no hash of it")
    raise api.ResolveError(
        f"the checksum database {name} gives no hash of {module.path} {module.version}: {'; '.join(failures)}",
        code="toolchain-hash",
        hint="GOSUMDB says which database is asked; with GOSUMDB=off the proxy's first answer is pinned",
    )


def _locator(site: api.Site) -> ModuleLocator:
    return ModuleLocator(host_settings(os.environ), site, lambda: _host_defaults().proxy)


def has_proxy(environ: Mapping[str, str]) -> bool:
    """Whether this machine names a proxy, or has a Go, whose default is one. Asks nobody."""
    proxy = host_settings(environ).proxy
    if proxy:
        return any(part.strip() not in ("", "off", "direct") for part in re.split("[,|]", proxy))
    return bool(api.find_program("go", environ.get("PATH", "")))


@functools.cache
def _host_defaults() -> _Settings:
    """Asks the go of this machine, outside of any project. Without one, there are no defaults."""
    go = api.find_program("go", os.environ.get("PATH", ""))
    if not go:
        return _Settings("", "")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GO111MODULE": "on"}
    try:
        completed = subprocess.run(
            [go, "env", "GOPROXY", "GOSUMDB"],
            cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return _Settings("", "")
    proxy, database, *_ = [*completed.stdout.splitlines(), "", ""]
    return _Settings(proxy.strip(), database.strip())
