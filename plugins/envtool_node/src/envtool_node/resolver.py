"""The files of a project -> pins: exactly the tarballs that `npm ci` unpacks on the parent layers.

Pins are JSON:

    {"node": {"version", "npm", "os", "cpu", "libc", "headers"},
     "files": [{"name", "version", "file",                  # its file name in a build
                "path" (below a registry) or "url",         # a URL only if the project itself names it
                "integrity" (of the lock file, "" none), "sha256", "size"}],
     "lock": the packages of a lock file that npm made, if the project has none or one of version 1; else null,
     "lockfile": the path of the project's lock file if that is used as it is, else null,
     "trees": [directories that get a node_modules, "" the project's own],
     "links": [directories of workspaces and `file:` dependencies]}

Pins name no registries: another machine finds the same files where its own npm looks.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from envtool import api
from envtool_node.lockfile import (
    Entry,
    LockedPackage,
    NodePlatform,
    WrongLockError,
    linked_directories,
    node_modules_parents,
    parse_lockfile,
    select_tarballs,
    strip_registry_hosts,
    without_unfit_bundled,
)
from envtool_node.npmrc import NpmConfig, file_name, host_config, plain_url, redact_credentials, sanitize_project_npmrc
from envtool_node.package_json import PackageJson, WrongManifestError, parse
from envtool_node.places import NAMES, QUIET, WORK, join

NO_NODE, NO_NPM = 97, 98
CPUS = {"x86_64": "x64", "aarch64": "arm64"}  # `uname -m` -> process.arch
MAX_FILE_SIZE = 64 << 20  # bytes of a lock file
CAFILE = "/run/envtool/npm/cafile.pem"
HINT_NODE = "add a layer that has it, such as `apt: [nodejs, npm]`, and name it in this layer's `needs`"

_RUNTIME_SCRIPT = """\
process.report.excludeNetwork = true;
const report = process.report.getReport();
const shared = (report.sharedObjects || []).join(" ");
const path = require("path"), fs = require("fs");
const prefix = path.dirname(path.dirname(fs.realpathSync(process.execPath)));
const libc = report.header.glibcVersionRuntime ? "glibc" : /musl/.test(shared) ? "musl" : "";
const headers = fs.existsSync(path.join(prefix, "include/node/node_version.h")) ? prefix : "";
console.log(JSON.stringify({version: process.versions.node, os: process.platform, cpu: process.arch, libc, headers}));
"""
# With a path to node, its directory comes first: the matching npm is there.
_FIND = f"""\
set -eu
case $1 in */*) PATH="${{1%/*}}:$PATH" ;; esac
command -v "$1" >/dev/null 2>&1 || exit {NO_NODE}
command -v npm >/dev/null 2>&1 || exit {NO_NPM}
mkdir -p {WORK}
"""
_INSPECT = _FIND + '"$1" -e "$2"\nnpm --version\nnpm config get registry\n'
# Settings are passed as text: container root cannot read a bind of a file that only the caller may read.
_RESOLVE = (
    _FIND
    + """\
printf '%s' "$ENVTOOL_NPMRC" > "$npm_config_userconfig"
cd "$2"
if [ -e .npmrc ]; then printf '%s' "$ENVTOOL_PROJECT_NPMRC" > .npmrc; fi
rm -f npm-shrinkwrap.json package-lock.json
if [ -n "$3" ]; then printf '%s' "$ENVTOOL_LOCK" > package-lock.json; fi
npm install --package-lock-only --ignore-scripts --lockfile-version=3 >&2
exec cat package-lock.json
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRuntime:
    """The Node.js and npm of the parent layers."""

    facts: Mapping[str, api.Json]  # "version", "npm", "os", "cpu", "libc", "headers"
    registry: str  # npm's default registry

    @property
    def platform(self) -> NodePlatform:
        return NodePlatform(os=str(self.facts["os"]), cpu=str(self.facts["cpu"]), libc=str(self.facts["libc"]))


def inspect_runtime(site: api.Site, node: str, stand_in: api.StandIn | None = None) -> NodeRuntime:
    """Asks the Node.js and npm of the parent layers for their versions. Raises ResolveError; for another architecture
    also if nobody here knows its name in Node's words (code other-platform)."""
    output = _run(site, _INSPECT, (node, _RUNTIME_SCRIPT), {**QUIET}, node=node)
    document, version, registry = output.decode().strip().splitlines()[-3:]
    if int(version.partition(".")[0]) < 7:
        raise api.ResolveError(
            f"npm {version} of this env is too old: lock files are read by npm 7 and later",
            code="npm-old",
            hint="take a newer suite, or a layer that installs a newer Node.js",
        )
    facts = {**json.loads(document), "npm": version}
    if stand_in is not None:
        facts = _of_target(facts, stand_in, site.arch)
    return NodeRuntime(facts=facts, registry=registry.rstrip("/") + "/")


def _of_target(facts: Mapping[str, api.Json], stand_in: api.StandIn, arch: str) -> dict[str, api.Json]:
    """Returns what the Node.js of the other architecture says of itself. A toolchain may have another version there."""
    if arch not in CPUS:
        raise api.ResolveError(f"nobody here knows what Node.js calls {arch}", code="other-platform")
    versions: dict[str, api.Json] = {}
    for layer in stand_in.layers:
        own, other = toolchain_versions(layer.own_pins), toolchain_versions(layer.pins)
        if layer.kind == "node-toolchain" and own == (facts["version"], facts["npm"]):
            versions = dict(zip(("version", "npm"), other, strict=True))
    return {**facts, "cpu": CPUS[arch], **versions}


def toolchain_versions(pins: api.Json) -> tuple[api.Json, ...]:
    """Returns the versions of the archives of a toolchain: Node.js, then npm."""
    archives: Any = pins.get("archives", ()) if isinstance(pins, dict) else ()
    return tuple(row["version"] for row in archives)


def _run(
    site: api.Site,
    script: str,
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    node: str,
    binds: Sequence[api.Bind] = (),
    network: bool = False,
) -> bytes:
    command = api.Command(argv=("/bin/sh", "-c", script, "npm", *words))
    completed = site.run(command, env=env, binds=binds, network=network)
    if completed.status in (NO_NODE, NO_NPM):
        program = node if completed.status == NO_NODE else "npm"
        raise api.ResolveError(f"there is no {program} in this env", code="no-node", hint=HINT_NODE)
    if completed.status:
        output = completed.stderr.decode(errors="replace")
        raise api.ResolveError(
            f"npm could not resolve the dependencies: {last_words(output)}", code="resolve", hint=hint_for(output)
        )
    return completed.stdout


def last_words(text: str) -> str:
    """Returns the reason that npm gave for its failure, on one line, without credentials."""
    lines = [line.strip() for line in redact_credentials(text).splitlines()]
    errors = [line.removeprefix("npm").strip().removeprefix("ERR!").removeprefix("error").strip() for line in lines
            if line.startswith(("npm ERR!", "npm error"))]  # fmt: skip
    useless = (
        "code ",
        "errno ",
        "syscall ",
        "A complete log",
        "Log files",
        "This is a",
        "It was not possible",
        "path ",
        "notarget In most cases",
        "notarget a package version that",
    )
    reasons = [line for line in errors if line and not line.startswith(useless)]
    sentences = reasons[:3] or [line for line in lines if line][-2:]
    sentence = "; ".join(dict.fromkeys(line.rstrip(".") for line in sentences)) or "it said nothing"
    return sentence[:1].lower() + sentence[1:]


_NO_VERSION = re.compile(r"No matching version found for ((?:@[\w.~-]{1,100}/)?[\w.~-]{1,200})@")


def hint_for(output: str) -> str:
    """Returns what to do about npm's error; "" if nothing is known."""
    if version := _NO_VERSION.search(output):
        return (
            "where `npm config get registry` says on this machine, no version fits:"
            f" `npm view {version[1]} versions` lists those that are there"
        )
    if "E404" in output or "ETARGET" in output:
        return "it was looked for where `npm config get registry` says on this machine; is the name right?"
    if "ERESOLVE" in output:
        return "two packages want different versions of a third: say which, in package.json `overrides`"
    if "E401" in output or "E403" in output:
        return "credentials are taken from this machine's .npmrc files"
    return ""


# ---- the project's files ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSources:
    """A project to install: `root` is its directory in the project, `lockfile` the path of its lock file ("" none)."""

    root: str
    files: frozenset[str]  # paths of the request's inputs
    site: api.Site
    lockfile: str

    def read(self, path: str) -> str | None:
        """Returns the text of an input, or None if the path is none. Raises ResolveError."""
        if path not in self.files:
            return None
        try:
            with self.site.open(path, limit=MAX_FILE_SIZE) as file:
                return file.read().decode("utf-8")
        except api.ResolveError as error:
            if error.code == "no-file":
                return None
            raise
        except UnicodeDecodeError:
            raise api.ResolveError(f"{path} is not UTF-8", code="npm-file") from None

    def config(self) -> NpmConfig:
        """Reads npm's settings on this machine and in the project's own file. Raises ResolveError."""
        return host_config(self.read(join(self.root, ".npmrc")) or "", os.environ, self.site.variable)

    @property
    def manifest(self) -> PackageJson:
        """The project's package.json. Raises ResolveError."""
        path = join(self.root, "package.json")
        try:
            return parse(self.read(path) or "{}", path)
        except WrongManifestError as error:
            raise api.ResolveError(f"{error.file}:{error.line}: {error}", code="npm-file") from None


def read_install_sources(request: api.Request, site: api.Site, root: str, lockfile: str) -> InstallSources:
    """Returns the project in `root`; with `lockfile` "", its lock file is the first of NAMES that exists."""
    files = frozenset(item.path for item in request.inputs)
    lockfile_path = lockfile or next((path for name in NAMES if (path := join(root, name)) in files), "")
    return InstallSources(root=root, files=files, site=site, lockfile=lockfile_path)


# ---- the pins -------------------------------------------------------------------------------------------------------


def resolve_pins(
    request: api.Request, site: api.Site, origin: InstallSources, *, node: str, omit: Sequence[str]
) -> dict[str, api.Json]:
    """See the module. Raises ResolveError, FetchError."""
    runtime = inspect_runtime(site, node, request.stand_in)
    config = origin.config()
    text = origin.read(origin.lockfile) if origin.lockfile else None
    try:
        packages = parse_lockfile(text, origin.lockfile) if text is not None else None
        generated = None
        if packages is None:
            site.note("npm resolves versions" if text is None else f"npm reads {origin.lockfile}, which has version 1")
            previous = text if text is not None else _previous_lockfile(request)
            packages = _make_lockfile(site, origin, config, node=node, lock=previous)
            packages = generated = strip_registry_hosts(without_unfit_bundled(packages))
        tarballs = select_tarballs(packages, runtime.platform, omit)
        linked = linked_directories(packages)
    except WrongLockError as error:
        raise api.ResolveError(
            str(error),
            code="npm-lock",
            hint="name a release of it, or a tarball by URL or `file:`; workspaces and `link`ed directories work too",
        ) from None
    check_inputs(origin, linked, tarballs)
    files = fetch_tarballs(site, tarballs, config, runtime.registry)
    site.note(f"{len(files)} package{'' if len(files) == 1 else 's'}")
    directories = node_modules_parents([*tarballs, *linked])
    _check_inside(origin.root, directories)
    return {
        "node": dict(runtime.facts),
        "files": files,
        "lock": generated,
        "lockfile": origin.lockfile if generated is None else None,
        "trees": [*directories],
        "links": [*sorted({join(origin.root, target) for target in linked.values()})],
    }


def _previous_lockfile(request: api.Request) -> str | None:
    """Returns the lock file in the earlier pins: npm keeps its versions where it can."""
    packages = request.keep.get("lock") if isinstance(request.keep, dict) else None
    return json.dumps({"lockfileVersion": 3, "requires": True, "packages": packages}) if packages else None


def _make_lockfile(
    site: api.Site, origin: InstallSources, config: NpmConfig, *, node: str, lock: str | None
) -> Mapping[str, Entry]:
    """Runs the npm of the stack to make a lock file of version 3, from another lock file or from package.json alone.
    Returns its packages. Raises ResolveError."""
    binds = []
    env = {**QUIET, "ENVTOOL_NPMRC": config.text(), "ENVTOOL_LOCK": lock or ""}
    env["ENVTOOL_PROJECT_NPMRC"] = sanitize_project_npmrc(origin.read(join(origin.root, ".npmrc")) or "")
    if config.cafile:
        binds.append(api.Bind(source=os.path.realpath(config.cafile), target=CAFILE))
        env["npm_config_cafile"] = CAFILE
    words = (node, join(api.PROJECT, origin.root), "lock" if lock else "")
    output = _run(site, _RESOLVE, words, env, node=node, binds=binds, network=True)
    packages = parse_lockfile(output.decode(), "package-lock.json")
    if packages is None:
        raise api.ResolveError("npm of this env makes lock files of version 1 alone", code="npm-old")
    return packages


def fetch_tarballs(
    site: api.Site, tarballs: Mapping[str, LockedPackage], config: NpmConfig, default: str
) -> list[api.Json]:
    """Fetches each tarball once and returns the `files` of the pins, sorted by name."""
    unique = {package.identity: package for package in tarballs.values() if not package.local}
    packages = sorted(unique.values(), key=lambda item: (item.name, item.version, item.identity))
    names = blob_names(packages)
    sealed = []
    for package, name in zip(packages, names, strict=True):
        first, *others = tarball_urls(package.name, package.path, package.url, package.resolved, config, default)
        sealed.append(
            api.Sealed(
                urls=(first, *others),
                name=name,
                integrity=package.integrity,
                authorization=config.authorization(first),
            )
        )
    fetches = site.learn(sealed)
    for package, fetch in zip(packages, fetches, strict=True):
        if package.path:
            site.seen(fetch.sha256, plain_url(fetch.url))
    return [
        {
            "name": package.name,
            "version": package.version,
            "file": name,
            **({"path": package.path} if package.path else {"url": package.url}),
            "integrity": package.integrity,
            "sha256": fetch.sha256,
            "size": fetch.size,
        }
        for package, name, fetch in zip(packages, names, fetches, strict=True)
    ]


def tarball_urls(name: str, path: str, url: str, resolved: str, config: NpmConfig, default: str) -> tuple[str, ...]:
    """Returns the URLs of a tarball, the best first; they keep the credentials that they contain.

    Without `path`, that is `url` alone, which the project names. Else the URL in this machine's registry for the
    package, then that of the lock file; if there is neither, the URL in npm's default registry.
    """
    if not path:
        return (url,)
    configured = config.registry(name)
    urls = [configured + path] if configured else []
    urls += [resolved] if resolved else []
    return tuple(dict.fromkeys(urls or [default + path]))


def locate_tarballs(
    site: api.Site,
    origin: InstallSources,
    fetches: Sequence[api.Fetch],
    items: Sequence[Mapping[str, Any]],
    locked_urls: Mapping[tuple[str, str], str],
    node: str,
) -> list[api.Fetch]:
    """Returns the pinned tarballs with their URLs where this machine's npm looks, and its credentials for them. `items`
    are the pins' rows, `locked_urls` the URLs in the project's own lock file, by identity. Raises ResolveError."""
    config = origin.config()
    rows = {item["sha256"]: item for item in items}
    default = ""
    located = []
    for fetch in fetches:
        item = rows[fetch.sha256]
        path, url = item.get("path", ""), item.get("url", "")
        locked_url = locked_urls.get((path or url, item["integrity"]), "")
        if path and not (fetch.url or locked_url or config.registry(item["name"]) or default):
            default = inspect_runtime(site, node).registry
        urls = tarball_urls(item["name"], path, url, locked_url, config, default)
        first, *others = dict.fromkeys([*([fetch.url] if fetch.url else []), *urls])
        located.append(replace(fetch, url=first, mirrors=(*others,), authorization=config.authorization(first)))
    return located


def blob_names(packages: Sequence[LockedPackage]) -> list[str]:
    """Returns a file name for each package: its own with the scope before it, and a number if two would be the same."""
    names: list[str] = []
    taken: Counter[str] = Counter()  # each name, and each beginning of one that ends before a dot
    for package in packages:
        scope = package.name.rpartition("/")[0].lstrip("@")
        base = file_name(package.path or package.url)
        name = re.sub(r"[^\w.+@-]", "_", f"{scope}-{base}" if scope else base)[-200:].lstrip(".") or "package.tgz"
        number = taken[name]
        chosen = f"{name}.{number}" if number else name
        while taken[chosen] and chosen != name:  # another package has a file of that name itself
            number += 1
            chosen = f"{name}.{number}"
        names.append(chosen)
        taken.update([names[-1], *(names[-1][: dot.start()] for dot in re.finditer(r"\.", names[-1]))])
    return names


# ---- checks -----------------------------------------------------------------------------------------------------


def check_inputs(origin: InstallSources, linked: Mapping[str, str], tarballs: Mapping[str, LockedPackage]) -> None:
    """Raises ResolveError if a linked directory's package.json or a local tarball is not among the inputs."""
    _check_links(origin, linked)
    _check_local(origin, tarballs)


def _check_links(origin: InstallSources, linked: Mapping[str, str]) -> None:
    for location, target in linked.items():
        path = join(origin.root, target)
        if path.startswith(("/", "..")):
            raise api.ResolveError(f"{location} leads out of the project, to {target}", code="npm-link")
        manifest = join(path, "package.json")
        if manifest not in origin.files:
            raise api.ResolveError(
                f"{location} is a link to {target}, whose package.json is not among the layer's inputs",
                code="npm-inputs",
                hint=f"add `inputs: [{posixpath.dirname(path) or '.'}/*/package.json]` to the layer",
            )


def _check_local(origin: InstallSources, tarballs: Mapping[str, LockedPackage]) -> None:
    for package in tarballs.values():
        path = join(origin.root, package.local) if package.local else ""
        if path and path not in origin.files:
            raise api.ResolveError(
                f"{package.name} is the file {package.local}, which is not among the layer's inputs",
                code="npm-inputs",
                hint=f"add `inputs: [{path}]` to the layer",
            )


def _check_inside(root: str, directories: Sequence[str]) -> None:
    for directory in directories:
        if join(root, directory).startswith(("/", "..")):
            raise api.ResolveError(f"{directory} would get a node_modules outside of the project", code="npm-link")
