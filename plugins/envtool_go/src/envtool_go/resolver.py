"""The files of a project -> pins: exactly the modules that go.mod and go.sum name.

Pins are JSON:

    {"modules": [{"name", "version", "sum" ("h1:…"), "sha256", "size"}],      # archives
     "manifests": [{"module", "version", "sum", "sha256", "size"}]}           # go.mod files

Pins name no proxy. Each file is checked by its hash in go.sum, and no code of the project or of a module runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from envtool import api
from envtool_go.go_files import (
    GoFileError,
    ModuleVersion,
    NeededModules,
    escaped,
    missing_sums,
    needed_modules,
    parse_go_file,
)
from envtool_go.module_hashes import hash_archive, hash_manifest
from envtool_go.module_proxies import ModuleLocator, host_locator, plain_url

NO_GO = 97
HINT_GO = "add a layer that has it, such as `apt: [golang-go]`, and name it in this layer's `needs`"
_ASK = f"""\
command -v "$1" >/dev/null 2>&1 || exit {NO_GO}
export HOME=/tmp GOTOOLCHAIN=local
cd /tmp && exec "$1" env GOPROXY
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoSources:
    """The files of a request's project that decide the pins: path -> text."""

    files: Mapping[str, str]  # go.mod, go.work
    sums: Mapping[str, str]  # go.sum, go.work.sum

    def needed(self) -> NeededModules:
        """Raises ResolveError."""
        try:
            files = [parse_go_file(text, path) for path, text in sorted(self.files.items())]
            needed = needed_modules(files, [(text, path) for path, text in sorted(self.sums.items())])
        except GoFileError as error:
            raise api.ResolveError(f"{error} ({error.file}:{error.line})", code="go-file") from None
        if missing := missing_sums(files, needed.archives):
            raise api.ResolveError(
                f"go.sum has no hash of {missing[0].path}, which go.mod requires",
                code="go-sum",
                hint="`go mod tidy` writes it",
            )
        return needed


def resolve_pins(site: api.Site, sources: GoSources, go: str, name: str) -> dict[str, api.Json]:
    """See the module. `name` is that of the kind. Raises ResolveError, FetchError."""
    needed = sources.needed()
    locator = stack_locator(site, go, name)
    archives = learn_files(site, locator, needed.archives, "zip")
    manifests = learn_files(site, locator, needed.manifests, "mod")
    modules: list[api.Json] = [{"name": module.path, **row} for module, row in archives]
    return {"modules": modules, "manifests": [{"module": module.path, **row} for module, row in manifests]}


def stack_locator(site: api.Site, go: str, name: str) -> ModuleLocator:
    """Returns a locator for which Go's own default is that of the Go in the stack."""
    return host_locator(site, lambda: site.shared(f"{name}: GOPROXY of {go}", lambda: default_proxy(site, go)))


def default_proxy(site: api.Site, go: str) -> str:
    """Returns GOPROXY as the Go of the stack has it. Raises ResolveError."""
    completed = site.run(api.Command(argv=("/bin/sh", "-c", _ASK, "go", go)))
    if completed.status == NO_GO:
        raise api.ResolveError(f"there is no {go} in this env", code="no-go", hint=HINT_GO)
    if completed.status:
        words = completed.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise api.ResolveError(f"{go} does not work: {words[0][:300]}", code="no-go", hint=HINT_GO)
    return completed.stdout.decode(errors="replace").strip()


def learn_files(
    site: api.Site, locator: ModuleLocator, hashes: Mapping[ModuleVersion, str], ending: str
) -> list[tuple[ModuleVersion, dict[str, api.Json]]]:
    """Fetches a file of each module, and checks it by its `h1:` hash. Returns each with the values of its pin. Raises
    ResolveError, FetchError."""
    sealed = [
        api.Sealed(urls=locator.urls(module, ending), name=blob_name(module.path, module.version, ending))
        for module in hashes
    ]
    fetches = site.learn(sealed)
    paths = site.fetch([replace(fetch, mirrors=()) for fetch in fetches]) if fetches else []
    rows = []
    for (module, expected), fetch, path in zip(hashes.items(), fetches, paths, strict=True):
        with open(path, "rb") as file:
            try:
                actual = hash_archive(file) if ending == "zip" else hash_manifest(file.read())
            except ValueError as error:
                raise api.ResolveError(f"{module.path} {module.version}: {error}", code="go-sum") from None
        if actual != expected:
            raise api.ResolveError(
                f"{module.path} {module.version}: its {ending} has the hash {actual}, and go.sum has {expected}",
                code="go-sum",
                hint="the proxy has another file than the one that go.sum was written for",
            )
        site.seen(fetch.sha256, plain_url(fetch.url))
        values: dict[str, api.Json] = {
            "version": module.version, "sum": expected, "sha256": fetch.sha256, "size": fetch.size,
        }  # fmt: skip
        rows.append((module, values))
    return rows


def blob_name(path: str, version: str, ending: str) -> str:
    """Returns the name of a module's file in a build: at most 255 bytes, and one for each module."""
    name = f"{escaped(path).replace('/', '+')}@{escaped(version)}.{ending}"
    if len(name) <= 200:
        return name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:40]}-{name[-120:]}"


def located(
    fetches: Sequence[api.Fetch], names: Mapping[str, ModuleVersion], locator: ModuleLocator
) -> list[api.Fetch]:
    """Returns the fetches with the URLs of this machine. `names`: name of a file in a build -> its module."""
    found = []
    for fetch in fetches:
        urls = locator.urls(names[fetch.name], fetch.name.rpartition(".")[2])
        first, *others = dict.fromkeys([*([fetch.url] if fetch.url else []), *urls])
        found.append(replace(fetch, url=first, mirrors=tuple(others)))
    return found
