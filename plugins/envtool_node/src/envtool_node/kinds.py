"""The layer kind `npm`: node_modules of a project, from its lock file, by an offline `npm ci`."""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_node.lockfile import NAMES, OMIT, REGISTRY, NodePlatform, WrongLockError, parse_lockfile, select_tarballs
from envtool_node.places import QUIET, WORK, join

if TYPE_CHECKING:
    from envtool_node import resolver

TOP = "/opt/npm"  # where node_modules is in the layer; it is seen at its own place in the project
# npm asks a registry for what package.json has and the lock file has not, before it says that the two do not agree.
_CI = f"""\
case $1 in */*) PATH="${{1%/*}}:$PATH" ;; esac
cd "$2" || exit
shift 2
npm ci --offline "$@" 2>{WORK}/said
status=$?
cat {WORK}/said >&2
wanted=$(sed -n 's|.*request to {REGISTRY}\\([^ ]*\\) failed.*|\\1|p' {WORK}/said | head -n 1)
if [ -n "$wanted" ]; then
    echo "envtool: npm wants $wanted, which is not pinned: package.json and its lock file do not agree;" >&2
    echo "envtool: \\`npm install --package-lock-only\\` brings them together" >&2
fi
exit $status
"""


def strings(description: str) -> dict[str, api.Json]:
    """The schema of a list of names."""
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


OPTIONS: dict[str, api.Json] = {
    "node": {
        "type": "string",
        "minLength": 1,
        "description": "the command in the env (default: node); with a path, npm is looked for beside it",
    },
    "directory": {"type": "string", "minLength": 1, "description": "where package.json is (default: beside the spec)"},
    "omit": {
        "type": "array",
        "items": {"enum": [*OMIT]},
        "uniqueItems": True,
        "description": "sorts of dependencies that are left out (default: none, or what the project's .npmrc says)",
    },
    "scripts": {
        "type": "boolean",
        "description": "whether packages' install scripts run, without network (default: yes, or what the project's"
        " .npmrc and package.json say to npm)",
    },
}


_TEXT = api.shapes.TEXT
_BESIDE: api.Json = {  # of package.json: `..` may be in it
    "type": "string",
    "pattern": r"^(?!/)[^\x00-\x1f\x7f]*$",
    "errorMessage": "a relative path on one line",
}
PINS = api.shapes.record(
    {
        "node": api.shapes.record(dict.fromkeys(("version", "npm", "os", "cpu", "libc", "headers"), _TEXT)),
        "files": api.shapes.rows(
            api.shapes.record(
                {
                    "name": _TEXT,
                    "version": _TEXT,
                    "file": api.shapes.FILE,
                    "integrity": {
                        "type": "string",
                        "pattern": "^[A-Za-z0-9+/=? -]*$",
                        "errorMessage": "hashes as npm writes them, as in sha512-…",
                    },
                    "sha256": api.shapes.SHA256,
                    "size": api.shapes.SIZE,
                },
                {"path": api.shapes.PATH, "url": api.shapes.URL},
            )
        ),
        "lock": {"anyOf": [{"type": "null"}, api.shapes.mapping({"type": "object"}, _BESIDE)]},
        "lockfile": {"anyOf": [{"type": "null"}, api.shapes.PATH]},
        "trees": api.shapes.rows(_BESIDE),
        "links": api.shapes.rows(api.shapes.PATH),
    }
)


class Npm(api.Kind):
    """`npm: {}`, `npm: {lockfile: web/package-lock.json}`."""

    name: ClassVar[str] = "npm"
    pins: ClassVar[api.Json] = PINS
    needs_only: ClassVar[bool] = True
    schema: ClassVar[api.Json] = {
        "description": "node_modules of a project: pinned by its lock file (or settled by npm where it has none),"
        " fetched by hash, installed by the npm of the env, offline",
        "examples": [{"directory": "web"}],
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "lockfile": {
                "type": "string",
                "minLength": 1,
                "description": "default: npm-shrinkwrap.json or package-lock.json beside package.json",
            },
            **OPTIONS,
            "inputs": strings("further files that npm reads, or globs: package.json of workspaces, local tarballs"),
        },
    }

    def inputs(self, options: api.Json) -> tuple[str, ...]:
        """package.json and what is named."""
        chosen = _options(options)
        named = [chosen["lockfile"]] if chosen.get("lockfile") else []
        return (join(_directory(chosen), "package.json"), *named, *chosen.get("inputs", ()))

    def optional_inputs(self, options: api.Json) -> tuple[str, ...]:
        """The lock file where none is named, and npm's settings."""
        chosen = _options(options)
        names = (".npmrc",) if chosen.get("lockfile") else (".npmrc", *NAMES)
        return tuple(join(_directory(chosen), name) for name in names)

    def question(self, request: api.Request) -> api.Json:
        """With a lock file the answer depends on it and on which other files there are, without one on package.json;
        never on what .npmrc says, which is of one machine."""
        lock = _options(request.options).get("lockfile")
        names = {join(request.directory, lock)} if lock else {join(_root(request), name) for name in NAMES}
        files = [item for item in request.inputs if posixpath.basename(item.path) != ".npmrc"]
        locked = any(item.path in names for item in files)
        return [
            request.options,
            request.directory,
            [[item.path, "" if locked and item.path not in names else item.sha256] for item in files],
        ]

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See resolving.py. Raises ResolveError, FetchError."""
        from envtool_node import resolver

        chosen = _options(request.options)
        origin = self._sources(request, site)
        return resolver.resolve_pins(request, site, origin, node=_node(chosen), omit=chosen.get("omit", ()))

    def _sources(self, request: api.Request, site: api.Site) -> resolver.InstallSources:
        from envtool_node import resolver

        named = _options(request.options).get("lockfile")
        lockfile = join(request.directory, named) if named else ""
        return resolver.read_install_sources(request, site, _root(request), lockfile)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every tarball."""
        return tuple(
            api.Fetch(url=item.get("url", ""), sha256=item["sha256"], name=item["file"], size=int(item["size"]))
            for item in _files(pins)
        )

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Where this machine's npm looks, with the credentials that it has."""
        from envtool_node import resolver

        origin = self._sources(request, site)
        config = origin.config()
        files = {item["sha256"]: item for item in _files(pins)}
        resolved = _resolved(origin)
        default = ""
        answer = []
        for fetch in fetches:
            item = files[fetch.sha256]
            path, url = item.get("path", ""), item.get("url", "")
            there = resolved.get((path or url, item["integrity"]), "")
            if path and not (fetch.url or there or config.registry(item["name"]) or default):
                default = resolver.inspect_runtime(site, _node(_options(request.options))).registry
            places = resolver.tarball_urls(item["name"], path, url, there, config, default)
            first, *others = dict.fromkeys([*([fetch.url] if fetch.url else []), *places])
            answer.append(replace(fetch, url=first, mirrors=(*others,), authorization=config.authorization(first)))
        return answer

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """What the build is told; the files' hashes and the inputs are in every key anyway."""
        return {
            "told": self.told(request, pins),
            "flags": [*self.flags(request)],
            "node": _node(_options(request.options)),
        }

    def told(self, request: api.Request, pins: api.Json) -> dict[str, api.Json]:
        """The document of building.py's `prepare`."""
        assert isinstance(pins, dict)
        root = join(api.PROJECT, _root(request))
        lock = pins["lock"] if pins["lock"] is not None else join(api.PROJECT, str(pins["lockfile"]))
        manifests = [join(api.PROJECT, item.path) for item in request.inputs if item.path.endswith("package.json")]
        return {
            "blobs": api.BLOBS,
            "root": root,
            "lock": lock,
            "files": [_told(item) for item in _files(pins)],
            "manifests": [*manifests],
            "links": [join(api.PROJECT, str(path)) for path in pins["links"]],  # type: ignore[union-attr]
        }

    def flags(self, request: api.Request) -> tuple[str, ...]:
        """For npm, of what the spec says."""
        chosen = _options(request.options)
        flags = [f"--{'omit' if sort in chosen['omit'] else 'include'}={sort}" for sort in OMIT if "omit" in chosen]
        if "scripts" in chosen:
            flags.append("--no-ignore-scripts" if chosen["scripts"] else "--ignore-scripts")
        return tuple(flags)

    def in_project(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Each node_modules at the place where npm would have made it."""
        return {join(top, "node_modules"): f"{join(TOP, top)}/node_modules" for top in _tops(request, pins)}

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """The packages' commands come first, and npm asks nobody whether there is a newer one of it."""
        node = _node(_options(request.options))
        beside = f":{posixpath.dirname(node)}" if "/" in node else ""
        return {
            "PATH": f"{join(api.PROJECT, _root(request))}/node_modules/.bin{beside}",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        }

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """`npm ci` on a project of which it sees package.json files and the lock."""
        from envtool_node import building

        assert isinstance(pins, dict)
        node: Any = pins["node"]
        env = {
            **QUIET,
            "npm_config_registry": REGISTRY,
            "npm_config_foreground_scripts": "true",
            "npm_config_logs_max": "0",
            "HOME": f"{WORK}/home",
            "PYTHONDONTWRITEBYTECODE": "1",  # node-gyp is Python in the stack's own directories
        }
        if node["headers"]:
            env["npm_config_nodedir"] = node["headers"]
        words = (_node(_options(request.options)), join(api.PROJECT, _root(request)), *self.flags(request))
        tops: list[api.Json] = [f"{join(TOP, top)}/node_modules" for top in _tops(request, pins)]
        return api.Recipe(
            steps=(
                api.Call(function=building.prepare_install, arguments=(self.told(request, pins),)),
                api.Run(command=api.Command(argv=("/bin/sh", "-c", _CI, "npm", *words)), env=env),
                api.Call(function=building.open_node_modules, arguments=(tops,)),
            ),
            phase="installing",
        )

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 packages`."""
        number = len(_files(pins))
        return f"{number} package{'' if number == 1 else 's'}"


def _resolved(origin: resolver.InstallSources) -> dict[tuple[str, str], str]:
    """Where the project's own lock file saw its tarballs."""
    try:
        packages = parse_lockfile(origin.read(origin.lockfile) or "{}", origin.lockfile) or {}
        found = select_tarballs(packages, NodePlatform(os="", cpu=""))
    except WrongLockError:
        return {}
    return {package.identity: package.resolved for package in found.values()}


def _told(item: Mapping[str, Any]) -> api.Json:
    """A tarball as the cache has it: by the hash of the lock file, else by its sha256."""
    digest = api.integrity_digest(item["integrity"]) or f"sha256:{item['sha256']}"
    algorithm, _, value = digest.partition(":")
    return {
        "name": item["file"],
        "digest": digest,
        "identity": item.get("path") or item["url"],
        "said": item["integrity"],
        "integrity": f"{algorithm}-{base64.b64encode(bytes.fromhex(value)).decode()}",
    }


def _options(options: api.Json) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


def _files(pins: api.Json) -> list[dict[str, Any]]:
    assert isinstance(pins, dict)
    return pins["files"]  # type: ignore[return-value]


def _node(chosen: Mapping[str, Any]) -> str:
    return str(chosen.get("node", "node"))


def _directory(chosen: Mapping[str, Any]) -> str:
    """Of package.json, relative to the spec."""
    return str(chosen.get("directory") or posixpath.dirname(chosen.get("lockfile", "")) or ".")


def _root(request: api.Request) -> str:
    return join(request.directory, _directory(_options(request.options)))


def _tops(request: api.Request, pins: api.Json) -> list[str]:
    assert isinstance(pins, dict)
    return [join(_root(request), str(top)) for top in pins["trees"]]  # type: ignore[union-attr]
