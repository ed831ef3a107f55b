"""What the layer kinds `pnpm` and `yarn` do: node_modules of a project from its lock file, by its own package manager,
offline. Imported when a layer needs it: every command that reads a spec imports the module kinds."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_node.places import (
    LOCKFILES,
    TOP,
    WORK,
    files_of,
    join,
    manifest_texts,
    module_parents,
    node_of,
    options_of,
    project_texts,
    root_of,
)
from envtool_node.reduced_manifest import reduce_manifests

if TYPE_CHECKING:
    from envtool_node.resolver import InstallSources

MANAGERS = "/opt/node-managers"  # the layer's directory of the package manager itself
_INSTALL = f"""\
cd "$1" || exit
top=$2 node=$3
shift 3
case $node in */*) PATH="${{node%/*}}:$PATH" ;; esac
export PATH="$top/bin:$PATH"
"$node" {WORK}/serve.js >&2 &
server=$!
tries=0
while ! [ -e {WORK}/listening ]; do
    tries=$((tries + 1))
    if [ $tries -gt 600 ] || ! kill -0 $server; then
        echo "envtool: the server of the pinned packages did not start" >&2
        exit 1
    fi
    sleep 0.1
done
"$@"
status=$?
kill $server
wait $server 2>/dev/null
if [ -s {WORK}/refused ]; then
    echo "envtool: $(head -n 1 {WORK}/refused | sed 's|^/||') is wanted, which is not pinned: package.json and its" >&2
    echo "envtool: lock file do not agree, and an install by ${{top##*/}} brings them together" >&2
    [ $status -ne 0 ] || status=1
fi
exit $status
"""


class ManagerSteps:
    """What the kinds of pnpm and Yarn do, apart from the text of their options."""

    name: ClassVar[str]

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See manager_resolver. Raises ResolveError, FetchError."""
        from envtool_node import manager_resolver

        return manager_resolver.resolve_pins(
            request,
            site,
            self._sources(request, site),
            manager=self.name,
            node=node_of(request),
            version=str(options_of(request).get("version", "")),
        )

    def _sources(self, request: api.Request, site: api.Site) -> InstallSources:
        from envtool_node import resolver

        root = root_of(request)
        return resolver.read_install_sources(request, site, root, join(root, LOCKFILES[self.name]))

    def items(self, pins: api.Json) -> list[dict[str, Any]]:
        """Returns the rows of every pinned tarball, and that of the package manager."""
        return [_manager(pins), *files_of(pins)]

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the tarballs where this machine's npm looks, with its credentials."""
        from envtool_node import manager_resolver, resolver

        origin = self._sources(request, site)
        locked = manager_resolver.locked_urls(self.name, origin)
        return resolver.locate_tarballs(site, origin, fetches, self.items(pins), locked, node_of(request))

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document and the variables; the core adds the files' hashes and the inputs to every key."""
        return {"document": self.build_document(request, pins), "env": {**self.build_variables(request, pins)}}

    def build_document(self, request: api.Request, pins: api.Json) -> dict[str, api.Json]:
        """Returns the document for manager_building.prepare_manager."""
        assert isinstance(pins, dict)
        manifests = [join(api.PROJECT, item.path) for item in request.inputs if item.path.endswith("package.json")]
        lock = project_texts(request).get(str(pins["lockfile"]), "")  # of Yarn alone
        reduced = reduce_manifests(manifest_texts(request), manager=self.name, lock=lock)
        return {
            "blobs": api.BLOBS,
            "root": join(api.PROJECT, root_of(request)),
            "lock": join(api.PROJECT, str(pins["lockfile"])),
            "files": [{"file": item["file"], "path": item.get("path", "")} for item in files_of(pins)],
            "manifests": [*manifests],
            "reduced": {join(api.PROJECT, path): text for path, text in reduced.items()},
            "links": [join(api.PROJECT, str(path)) for path in pins["links"]],  # type: ignore[union-attr]
            "manager": self.name,
            "top": self.top(pins),
            "node": node_of(request),
        }

    def top(self, pins: api.Json) -> str:
        """Returns the directory of the package manager in the layer."""
        return f"{MANAGERS}/{self.name}-{_manager(pins)['version']}"

    def build_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Returns the variables of the installation."""
        raise NotImplementedError

    def task_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Returns the variables with which the package manager runs scripts in tasks."""
        return {}

    def command(self, request: api.Request, pins: api.Json) -> tuple[str, ...]:
        """Returns the command that installs."""
        raise NotImplementedError

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Puts the packages' commands first, then the package manager."""
        node = node_of(request)
        node_directory = f":{posixpath.dirname(node)}" if "/" in node else ""
        commands = f"{join(api.PROJECT, root_of(request))}/node_modules/.bin"
        return {"PATH": f"{commands}:{self.top(pins)}/bin{node_directory}", **self.task_variables(request, pins)}

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Runs the installation, which sees what decides of the package.json files, the lock file and the settings."""
        from envtool_node import manager_building

        assert isinstance(pins, dict)
        node: Any = pins["node"]
        env = {
            "HOME": f"{WORK}/home",
            "CI": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.build_variables(request, pins),
        }
        if node["headers"]:
            env["npm_config_nodedir"] = node["headers"]
        top = self.top(pins)
        words = (join(api.PROJECT, root_of(request)), top, node_of(request))
        trees: list[api.Json] = [f"{join(TOP, tree)}/node_modules" for tree in module_parents(request, pins)]
        return api.Recipe(
            steps=(
                api.Unpack(name=_manager(pins)["file"], target=f"{top}/package", strip=1),
                api.Call(function=manager_building.prepare_manager, arguments=(self.build_document(request, pins),)),
                api.Run(
                    command=api.Command(
                        argv=("/bin/sh", "-c", _INSTALL, self.name, *words, *self.command(request, pins))
                    ),
                    env=env,
                ),
                api.Call(function=manager_building.finish_manager, arguments=(trees,)),
            ),
            phase="installing",
        )


class PnpmSteps(ManagerSteps):
    """An installation by pnpm."""

    name: ClassVar[str] = "pnpm"

    def build_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Pnpm 11 and later read `pnpm_config_…`, the versions before `npm_config_…`."""
        from envtool_node.locked_sources import SERVER

        settings = {
            "registry": SERVER,
            "store_dir": f"{WORK}/store",
            "cache_dir": f"{WORK}/cache",
            "state_dir": f"{WORK}/state",
            "userconfig": f"{WORK}/npmrc",
            "globalconfig": f"{WORK}/none",
            "package_import_method": "copy",
            "side_effects_cache": "false",
            "fetch_retries": "0",
            "manage_package_manager_versions": "false",
            "update_notifier": "false",
            "confirm_modules_purge": "false",
        }
        return {f"{prefix}_config_{key}": value for key, value in settings.items() for prefix in ("npm", "pnpm")}

    def task_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """A task has no network to compare its packages with the lock file's."""
        return {"pnpm_config_verify_deps_before_run": "false"}

    def command(self, request: api.Request, pins: api.Json) -> tuple[str, ...]:
        scripts = options_of(request).get("scripts")
        flags = () if scripts is None else (f"--config.ignore-scripts={'false' if scripts else 'true'}",)
        # pnpm 11 asks the registry for the age of all that its lock file pins: a build has no registry
        trust = ("--config.trust-lockfile=true",) if _major(pins) >= 11 else ()
        return ("pnpm", "install", "--frozen-lockfile", "--reporter=append-only", *trust, *flags)


class YarnSteps(ManagerSteps):
    """An installation by Yarn, 1 or later."""

    name: ClassVar[str] = "yarn"

    def build_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Yarn 1 takes the server from its lock file; later versions from their settings."""
        from envtool_node.locked_sources import SERVER

        if not _is_berry(pins):
            return {"npm_config_userconfig": f"{WORK}/npmrc", "npm_config_globalconfig": f"{WORK}/none"}
        scripts = options_of(request).get("scripts")
        return {
            **self.task_variables(request, pins),
            "YARN_NPM_REGISTRY_SERVER": SERVER.rstrip("/"),
            "YARN_UNSAFE_HTTP_WHITELIST": "127.0.0.1",
            "YARN_ENABLE_GLOBAL_CACHE": "0",
            "YARN_ENABLE_MIRROR": "0",
            "YARN_CACHE_FOLDER": f"{WORK}/cache",
            "YARN_GLOBAL_FOLDER": f"{WORK}/global",
            "YARN_CHECKSUM_BEHAVIOR": "throw",
            "YARN_ENABLE_PROGRESS_BARS": "0",
            "YARN_ENABLE_INLINE_BUILDS": "1",
            "YARN_HTTP_RETRY": "0",
            **({"YARN_ENABLE_HARDENED_MODE": "0"} if _major(pins) >= 4 else {}),
            **({} if scripts is None else {"YARN_ENABLE_SCRIPTS": "1" if scripts else "0"}),
        }

    def task_variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """`yarn run` reads the state of the installation. A project with Plug'n'Play gets node_modules, too."""
        if not _is_berry(pins):
            return {}
        return {
            "YARN_IGNORE_PATH": "1",
            "YARN_ENABLE_TELEMETRY": "0",
            "YARN_NODE_LINKER": "node-modules",
            "YARN_INSTALL_STATE_PATH": f"{join(self.top(pins), 'state', root_of(request))}/install-state.gz",
        }

    def command(self, request: api.Request, pins: api.Json) -> tuple[str, ...]:
        if _is_berry(pins):
            return ("yarn", "install", "--immutable")
        scripts = options_of(request).get("scripts")
        flags = ("--ignore-scripts",) if scripts is False else ()
        return ("yarn", "install", "--frozen-lockfile", "--non-interactive", "--no-progress", "--production=false",
                "--cache-folder", f"{WORK}/cache", *flags)  # fmt: skip


STEPS: Mapping[str, ManagerSteps] = {"pnpm": PnpmSteps(), "yarn": YarnSteps()}


def _is_berry(pins: api.Json) -> bool:
    return bool(_manager(pins)["name"] == "@yarnpkg/cli-dist")


def _major(pins: api.Json) -> int:
    return int(_manager(pins)["version"].partition(".")[0])


def _manager(pins: api.Json) -> dict[str, Any]:
    assert isinstance(pins, dict)
    return pins["manager"]  # type: ignore[return-value]
