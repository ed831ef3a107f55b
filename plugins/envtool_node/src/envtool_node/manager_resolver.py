"""The files of a project that pnpm or Yarn locked -> pins.

Pins are JSON:

    {"node": {"version", "npm", "os", "cpu", "libc", "headers"},
     "manager": an item as of "files", of pnpm or Yarn itself,
     "files": [{"name", "version", "file",                  # its file name in a build
                "path" (below a registry), "integrity" (of the lock file, "" none), "sha256", "size"}],
     "lockfile": the path of the project's lock file,
     "trees": [directories that get a node_modules, "" the project's own],
     "links": [directories of workspaces and of links]}

Pins name no registries: another machine finds the same files where its own npm looks.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Sequence

from envtool import api
from envtool_node import pnpm_lock, yarn_lock
from envtool_node.locked_sources import LockedSources, all_platforms, parse_yaml
from envtool_node.lockfile import LockedPackage, NodePlatform, WrongLockError
from envtool_node.package_managers import PackageManager, choose_manager
from envtool_node.places import join
from envtool_node.resolver import InstallSources, check_inputs, fetch_tarballs, inspect_runtime
from envtool_node.version_ranges import lowest_major, satisfies

WORKSPACE = "pnpm-workspace.yaml"
MAX_PROGRAM_SIZE = 64 << 20  # bytes of Yarn's one file
HINT = "name a release of it; workspaces and linked directories work too"


def resolve_pins(
    request: api.Request, site: api.Site, origin: InstallSources, *, manager: str, node: str, version: str
                 ) -> dict[str, api.Json]:  # fmt: skip
    """See the module. Raises ResolveError, FetchError."""
    text = origin.read(origin.lockfile)
    if text is None:
        raise api.ResolveError(f"there is no {origin.lockfile}", code="no-file", hint=f"`{manager} install` makes one")
    runtime = inspect_runtime(site, node, request.stand_in)
    try:
        program = choose_manager(manager, version or default_version(manager, text, origin))
        sources = read_lock(manager, text, origin, runtime.platform)
        workspace = origin.read(join(origin.root, WORKSPACE)) if manager == "pnpm" else None
        stale = pnpm_lock.stale_catalogs(text, origin.lockfile, workspace, WORKSPACE) if workspace else ""
    except WrongLockError as error:
        raise api.ResolveError(str(error), code="node-lock", hint=HINT) from None
    if stale:
        raise api.ResolveError(stale, code="node-lock", hint="`pnpm install --lockfile-only` brings them together")
    _check_format(program, text, origin.lockfile)
    tarballs = {str(number): package for number, package in enumerate((program.package, *sources.packages))}
    check_inputs(origin, sources.linked, tarballs)
    files = fetch_tarballs(site, tarballs, origin.config(), runtime.registry)
    own = next(item for item in files if _is_of(item, program.package))
    _check_digest(site, own, program)
    _check_engine(site, own, program, str(dict(runtime.facts)["version"]))
    kept = [item for item in files if item is not own]
    site.note(f"{len(kept)} package{'' if len(kept) == 1 else 's'}, by {program.name} {program.version}")
    members = {path for path in sources.linked.values() if manager == "yarn"} - {"."}
    return {
        "node": dict(runtime.facts),
        "manager": own,
        "files": [*kept],
        "lockfile": origin.lockfile,
        "trees": [*sorted({*sources.directories, *members, *_workspaces(origin)})],
        "links": [*sorted({join(origin.root, target) for target in sources.linked.values()} - {origin.root})],
    }


def default_version(manager: str, text: str, origin: InstallSources) -> str:
    """Returns the version that installs from a lock file whose project names none. Raises WrongLockError."""
    if manager == "yarn":
        return yarn_lock.default_version(text, origin.lockfile)
    document = parse_yaml(text, origin.lockfile)
    return pnpm_lock.VERSIONS[pnpm_lock.format_version(document, origin.lockfile)]


def read_lock(manager: str, text: str, origin: InstallSources, platform: NodePlatform | None) -> LockedSources:
    """Returns what the lock file pins for a platform; None: for all platforms. Raises WrongLockError."""
    if manager == "pnpm":
        workspace = origin.read(join(origin.root, WORKSPACE)) or ""
        settings = workspace + (origin.read(join(origin.root, "package.json")) or "")
        return pnpm_lock.parse_pnpm_lock(text, origin.lockfile, None if all_platforms(settings) else platform)
    settings = origin.read(join(origin.root, ".yarnrc.yml")) or ""
    registries = yarn_lock.yarnrc_registries(parse_yaml(settings, ".yarnrc.yml") if settings.strip() else {})
    return yarn_lock.parse_yarn_lock(text, origin.lockfile, None if all_platforms(settings) else platform, registries)


def _workspaces(origin: InstallSources) -> list[str]:
    """Returns the directories of the package.json files among the inputs, relative to the project's own: a classic lock
    file does not list workspaces."""
    prefix = "" if origin.root == "." else f"{origin.root}/"
    names = [path.removeprefix(prefix) for path in origin.files if path.startswith(prefix)]
    return [path.removesuffix("/package.json") for path in names if path.endswith("/package.json")]


def _check_format(program: PackageManager, text: str, lockfile: str) -> None:
    """Raises ResolveError if a Yarn of one kind should read the lock file of the other."""
    if program.name == "yarn" and program.is_berry != yarn_lock.is_berry(text):
        raise api.ResolveError(
            f"{lockfile} is of Yarn {'2 or later' if yarn_lock.is_berry(text) else '1'}, and the project names Yarn"
            f" {program.version}",
            code="node-lock",
            hint="`yarn install` by that Yarn writes the lock file anew",
        )


def _is_of(item: api.Json, package: LockedPackage) -> bool:
    assert isinstance(item, dict)
    return (item.get("path"), item["integrity"]) == package.identity


def _check_digest(site: api.Site, item: api.Json, program: PackageManager) -> None:
    """Compares Yarn's own file with the hash of `packageManager`. Raises ResolveError, FetchError."""
    if not program.digest:
        return
    algorithm, _, wanted = program.digest.partition(":")
    content = _read_member(_path_of(site, item), "package/bin/yarn.js")
    try:
        digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() if content else ""
    except (ValueError, TypeError):  # no such algorithm; one without a length of its own, as shake128
        digest = ""
    if digest != wanted:
        raise api.ResolveError(
            f"yarn {program.version} has the {algorithm} {digest or '(none)'}, and packageManager wants {wanted}",
            code="manager-hash",
            hint="the hash stands behind `+` of `packageManager` in package.json",
        )


def _check_engine(site: api.Site, item: api.Json, program: PackageManager, node: str) -> None:
    """Compares the env's Node.js with the one that the package manager wants. Raises ResolveError, FetchError."""
    try:
        wanted = str(json.loads(_read_member(_path_of(site, item), "package/package.json"))["engines"]["node"])
        fits = satisfies(node, wanted)
    except (ValueError, KeyError, TypeError, RecursionError):  # it says nothing of Node.js
        return
    if not fits:
        raise api.ResolveError(
            f"{program.name} {program.version} wants Node.js {wanted}, and the env has {node}",
            code="manager-node",
            hint=f'`toolchain: {{node: "{lowest_major(wanted) or 22}"}}` in the env adds another',
        )


def _path_of(site: api.Site, item: api.Json) -> str:
    """Returns the tarball of an item of the pins. Raises FetchError."""
    assert isinstance(item, dict)
    fetch = api.Fetch(sha256=str(item["sha256"]), name=str(item["file"]), size=int(str(item["size"])))
    (path,) = site.fetch([fetch])
    return str(path)


def _read_member(path: str, name: str) -> bytes:
    """Returns one file of a tarball; b"" if there is no such file."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name == name and member.isreg() and member.size <= MAX_PROGRAM_SIZE:
                    file = archive.extractfile(member)
                    assert file is not None
                    return file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return b""
    return b""


def locked_urls(manager: str, origin: InstallSources) -> dict[tuple[str, str], str]:
    """Returns identity -> URL, of the tarballs in the project's own lock file."""
    try:
        sources = read_lock(manager, origin.read(origin.lockfile) or "", origin, None)
    except WrongLockError:
        return {}
    packages: Sequence[LockedPackage] = sources.packages
    return {package.identity: package.resolved for package in packages}
