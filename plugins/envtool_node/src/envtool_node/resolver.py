"""The files of a project -> pins: exactly the tarballs that `npm ci` unpacks on the stack below.

Pins are JSON:

    {"node": {"version", "npm", "os", "cpu", "libc", "headers"},
     "files": [{"name", "version", "file",                  # what a build sees it as
                "path" (below a registry) or "url",         # a URL only where the project names one itself
                "integrity" (of the lock file, "" none), "sha256", "size"}],
     "lock": null, or the packages of a lock file that npm made: where the project has none, or one of version 1,
     "lockfile": its path in the project, or null,
     "trees": [directories that get a node_modules, "" the project's own],
     "links": [directories of workspaces and `file:` dependencies]}

Registries are not named: another machine finds the same files where its own npm looks.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envtool import api
from envtool_node.lockfile import (
    NAMES,
    Entry,
    LockedPackage,
    NodePlatform,
    WrongLockError,
    linked_directories,
    node_modules_parents,
    parse_lockfile,
    select_tarballs,
    strip_registry_hosts,
)
from envtool_node.npmrc import NpmConfig, file_name, host_config, plain_url, redact_credentials, sanitize_project_npmrc
from envtool_node.package_json import PackageJson, WrongManifestError, parse
from envtool_node.places import QUIET, WORK, join

NO_NODE, NO_NPM = 97, 98
MOST = 64 << 20  # bytes of a lock file
CAFILE = "/run/envtool/npm/cafile.pem"
HINT_NODE = "add a layer that has it, such as `apt: [nodejs, npm]`, and name it in this layer's `needs`"

_FACTS = """\
process.report.excludeNetwork = true;
const report = process.report.getReport();
const shared = (report.sharedObjects || []).join(" ");
const path = require("path"), fs = require("fs");
const prefix = path.dirname(path.dirname(fs.realpathSync(process.execPath)));
const libc = report.header.glibcVersionRuntime ? "glibc" : /musl/.test(shared) ? "musl" : "";
const headers = fs.existsSync(path.join(prefix, "include/node/node_version.h")) ? prefix : "";
console.log(JSON.stringify({version: process.versions.node, os: process.platform, cpu: process.arch, libc, headers}));
"""
# The directory of a node that is given by its path comes first: its npm is beside it.
_FIND = f"""\
set -eu
case $1 in */*) PATH="${{1%/*}}:$PATH" ;; esac
command -v "$1" >/dev/null 2>&1 || exit {NO_NODE}
command -v npm >/dev/null 2>&1 || exit {NO_NPM}
mkdir -p {WORK}
"""
_ASK = _FIND + '"$1" -e "$2"\nnpm --version\nnpm config get registry\n'
# Settings come as text: what is the caller's alone cannot be read through a bind by container root.
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
    """What the stack below has."""

    facts: Mapping[str, api.Json]  # "version", "npm", "os", "cpu", "libc", "headers"
    registry: str  # where its npm looks when nothing is configured

    @property
    def platform(self) -> NodePlatform:
        return NodePlatform(os=str(self.facts["os"]), cpu=str(self.facts["cpu"]), libc=str(self.facts["libc"]))


def inspect_runtime(site: api.Site, node: str) -> NodeRuntime:
    """What its Node.js and npm are. Raises ResolveError."""
    done = _run(site, _ASK, (node, _FACTS), {**QUIET}, node=node)
    document, version, registry = done.decode().strip().splitlines()[-3:]
    if int(version.partition(".")[0]) < 7:
        raise api.ResolveError(
            f"npm {version} of this env is too old: lock files are read by npm 7 and later",
            code="npm-old",
            hint="take a newer suite, or a layer that brings a newer Node.js",
        )
    facts = {**json.loads(document), "npm": version}
    return NodeRuntime(facts=facts, registry=registry.rstrip("/") + "/")


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
    done = site.run(command, env=env, binds=binds, network=network)
    if done.status in (NO_NODE, NO_NPM):
        what = node if done.status == NO_NODE else "npm"
        raise api.ResolveError(f"there is no {what} in this env", code="no-node", hint=HINT_NODE)
    if done.status:
        said = done.stderr.decode(errors="replace")
        raise api.ResolveError(f"npm could not settle it: {last_words(said)}", code="resolve", hint=hint_for(said))
    return done.stdout


def last_words(text: str) -> str:
    """What npm gave as the reason, on one line, without credentials."""
    lines = [line.strip() for line in redact_credentials(text).splitlines()]
    said = [line.removeprefix("npm").strip().removeprefix("ERR!").removeprefix("error").strip() for line in lines
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
    )
    told = [line for line in said if line and not line.startswith(useless)]
    chosen = told[:3] or [line for line in lines if line][-2:]
    sentence = "; ".join(dict.fromkeys(line.rstrip(".") for line in chosen)) or "it said nothing"
    return sentence[:1].lower() + sentence[1:]


def hint_for(said: str) -> str:
    """What to do about what npm said."""
    if "E404" in said or "ETARGET" in said or "No matching version" in said:
        return "it was looked for where `npm config get registry` says on this machine; is the name right?"
    if "ERESOLVE" in said:
        return "two packages want different versions of a third: say which, in package.json `overrides`"
    if "E401" in said or "E403" in said:
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
        """Text of a declared input, None for what is none."""
        if path not in self.files:
            return None
        try:
            with self.site.open(path, limit=MOST) as file:
                return file.read().decode("utf-8")
        except api.ResolveError as error:
            if error.code == "no-file":
                return None
            raise
        except UnicodeDecodeError:
            raise api.ResolveError(f"{path} is not UTF-8", code="npm-file") from None

    def config(self) -> NpmConfig:
        """The settings of npm on this machine, and in the project's own file."""
        return host_config(self.read(join(self.root, ".npmrc")) or "", os.environ, self.site.variable)

    @property
    def manifest(self) -> PackageJson:
        """Raises ResolveError."""
        path = join(self.root, "package.json")
        try:
            return parse(self.read(path) or "{}", path)
        except WrongManifestError as error:
            raise api.ResolveError(f"{error.file}:{error.line}: {error}", code="npm-file") from None


def read_install_sources(request: api.Request, site: api.Site, root: str, lockfile: str) -> InstallSources:
    """`lockfile` "": whichever is there."""
    files = frozenset(item.path for item in request.inputs)
    found = lockfile or next((path for name in NAMES if (path := join(root, name)) in files), "")
    return InstallSources(root=root, files=files, site=site, lockfile=found)


# ---- all of it ------------------------------------------------------------------------------------------------------


def resolve_pins(
    request: api.Request, site: api.Site, origin: InstallSources, *, node: str, omit: Sequence[str]
) -> dict[str, api.Json]:
    """See the module. Raises ResolveError, FetchError."""
    stack = inspect_runtime(site, node)
    config = origin.config()
    text = origin.read(origin.lockfile) if origin.lockfile else None
    try:
        packages = parse_lockfile(text, origin.lockfile) if text is not None else None
        made = None
        if packages is None:
            site.note("npm settles versions" if text is None else f"npm reads {origin.lockfile}, which is of version 1")
            kept = text if text is not None else _previous_lockfile(request)
            packages = made = strip_registry_hosts(_make_lockfile(site, origin, config, node=node, lock=kept))
        places = select_tarballs(packages, stack.platform, omit)
        linked = linked_directories(packages)
    except WrongLockError as error:
        raise api.ResolveError(
            str(error),
            code="npm-lock",
            hint="name a release of it, or a tarball by URL or `file:`; workspaces and `link`ed directories work too",
        ) from None
    _check_links(origin, linked)
    _check_local(origin, places)
    files = _fetch_tarballs(site, places, config, stack.registry)
    site.note(f"{len(files)} packages")
    tops = node_modules_parents([*places, *linked])
    _check_inside(origin.root, tops)
    return {
        "node": dict(stack.facts),
        "files": files,
        "lock": made,
        "lockfile": origin.lockfile if made is None else None,
        "trees": [*tops],
        "links": [*sorted({join(origin.root, target) for target in linked.values()})],
    }


def _previous_lockfile(request: api.Request) -> str | None:
    """The lock file of an earlier answer, to stay near to."""
    packages = request.keep.get("lock") if isinstance(request.keep, dict) else None
    return json.dumps({"lockfileVersion": 3, "requires": True, "packages": packages}) if packages else None


def _make_lockfile(
    site: api.Site, origin: InstallSources, config: NpmConfig, *, node: str, lock: str | None
) -> Mapping[str, Entry]:
    """Let the npm of the stack make a lock file of version 3, from another one or from package.json alone."""
    binds = []
    env = {**QUIET, "ENVTOOL_NPMRC": config.text(), "ENVTOOL_LOCK": lock or ""}
    env["ENVTOOL_PROJECT_NPMRC"] = sanitize_project_npmrc(origin.read(join(origin.root, ".npmrc")) or "")
    if config.cafile:
        binds.append(api.Bind(source=os.path.realpath(config.cafile), target=CAFILE))
        env["npm_config_cafile"] = CAFILE
    words = (node, join(api.PROJECT, origin.root), "lock" if lock else "")
    answer = _run(site, _RESOLVE, words, env, node=node, binds=binds, network=True)
    packages = parse_lockfile(answer.decode(), "package-lock.json")
    if packages is None:
        raise api.ResolveError("npm of this env makes lock files of version 1 alone", code="npm-old")
    return packages


def _fetch_tarballs(
    site: api.Site, places: Mapping[str, LockedPackage], config: NpmConfig, default: str
) -> list[api.Json]:
    """The tarballs, fetched once, with their sha256; each once, in the order of their names."""
    once = {package.identity: package for package in places.values() if not package.local}
    chosen = sorted(once.values(), key=lambda item: (item.name, item.version, item.identity))
    names = blob_names(chosen)
    sealed = []
    for package, name in zip(chosen, names, strict=True):
        first, *others = tarball_urls(package.name, package.path, package.url, package.resolved, config, default)
        sealed.append(
            api.Sealed(
                urls=(first, *others),
                name=name,
                integrity=package.integrity,
                authorization=config.authorization(first),
            )
        )
    learnt = site.learn(sealed)
    for package, fetch in zip(chosen, learnt, strict=True):
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
        for package, name, fetch in zip(chosen, names, learnt, strict=True)
    ]


def tarball_urls(name: str, path: str, url: str, resolved: str, config: NpmConfig, default: str) -> tuple[str, ...]:
    """Where a tarball may be, in order: the URL that the project names; else the registry that this machine has for the
    package, where the lock file saw it, and where npm looks when nothing is configured. With their own credentials.
    """
    if not path:
        return (url,)
    configured = config.registry(name)
    found = [configured + path] if configured else []
    found += [resolved] if resolved else []
    return tuple(dict.fromkeys(found or [default + path]))


def blob_names(packages: Sequence[LockedPackage]) -> list[str]:
    """A file name for each: its own, with the scope before it; told apart by number where two share it."""
    names: list[str] = []
    for package in packages:
        scope = package.name.rpartition("/")[0].lstrip("@")
        base = file_name(package.path or package.url)
        name = re.sub(r"[^\w.+@-]", "_", f"{scope}-{base}" if scope else base)[-200:].lstrip(".") or "package.tgz"
        taken = sum(other == name or other.startswith(f"{name}.") for other in names)
        names.append(f"{name}.{taken}" if taken else name)
    return names


# ---- what cannot be ---------------------------------------------------------------------------------------------


def _check_links(origin: InstallSources, linked: Mapping[str, str]) -> None:
    for place, target in linked.items():
        path = join(origin.root, target)
        if path.startswith(("/", "..")):
            raise api.ResolveError(f"{place} leads out of the project, to {target}", code="npm-link")
        manifest = join(path, "package.json")
        if manifest not in origin.files:
            raise api.ResolveError(
                f"{place} is a link to {target}, whose package.json is not among the layer's inputs",
                code="npm-inputs",
                hint=f"add `inputs: [{posixpath.dirname(path) or '.'}/*/package.json]` to the layer",
            )


def _check_local(origin: InstallSources, places: Mapping[str, LockedPackage]) -> None:
    for package in places.values():
        path = join(origin.root, package.local) if package.local else ""
        if path and path not in origin.files:
            raise api.ResolveError(
                f"{package.name} is the file {package.local}, which is not among the layer's inputs",
                code="npm-inputs",
                hint=f"add `inputs: [{path}]` to the layer",
            )


def _check_inside(root: str, tops: Sequence[str]) -> None:
    for top in tops:
        if join(root, top).startswith(("/", "..")):
            raise api.ResolveError(f"{top} would get a node_modules outside of the project", code="npm-link")
