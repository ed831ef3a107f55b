"""`language: node`: a project's package.json as layers. Pure, except `detect`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from envtool import api
from envtool_node.kinds import OPTIONS
from envtool_node.places import NAMES, join

if TYPE_CHECKING:
    from envtool_node.package_json import PackageJson

# Lock files of other package managers -> the manager. npm would not install the versions that they pin.
OTHER_LOCKFILES = {"bun.lock": "bun", "bun.lockb": "bun"}
RELEASES = {"bookworm": "18", "trixie": "20"}  # https://packages.debian.org/nodejs: Debian suite -> its version
MANAGERS = {"pnpm": "pnpm-lock.yaml", "yarn": "yarn.lock"}
NEWER_PNPM, NEWER_PNPM_NODE, NEWER_PNPM_RELEASE = 11, ">=22.13", "22"  # engines.node of pnpm 11, and what has it
MANAGER_FILES = {  # what they read beside package.json, the lock file and their settings
    "pnpm": ("patches/*.patch",),
    "yarn": (".yarn/patches/*", ".yarn/plugins/**/*.cjs"),
}
NO_TESTS = "no test specified"  # what `npm init` writes, which always fails
TESTS = tuple(  # https://nodejs.org/api/test.html, "Running tests from the command line"
    pattern
    for ending in ("js", "mjs", "cjs")
    for name in (f"*.test.{ending}", f"*-test.{ending}", f"*_test.{ending}", f"test-*.{ending}", f"test.{ending}")
    for pattern in (name, f"**/{name}")
) + tuple(f"{top}test/**/*.{ending}" for top in ("", "**/") for ending in ("js", "mjs", "cjs"))
HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")  # as launchers look for them
SUPPORTED = (
    "supported are package-lock.json, npm-shrinkwrap.json, pnpm-lock.yaml and yarn.lock:"
    " `npm install --package-lock-only` makes the first"
)


class NodeLanguage(api.Language):
    """An env that runs a Node.js project's tests."""

    name: ClassVar[str] = "node"
    options: ClassVar[Mapping[str, api.Json]] = OPTIONS

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """Returns Node.js as an apt layer, if the base is Debian, and the npm layer of what package.json requires.
        Raises SpecError if the project's own files are wrong.
        """
        from envtool_node.package_json import WrongManifestError, parse

        directory = join(str(env.options.get("directory", ".")))
        path = join(directory, "package.json")
        text = project.read(path)
        if text is None:
            raise _spec_error(env, f"there is no {path}", hint="`directory:` says where it is")
        try:
            manifest = parse(text, path)
        except WrongManifestError as error:
            where = api.Where(file=error.file, line=error.line, column=error.column)
            line = (text.splitlines()[error.line - 1 : error.line] or [""])[0]
            raise api.SpecError((api.Problem(where=where, message=str(error), code="npm-file", text=line),)) from None
        lockfile = find_lockfile(project, directory, manifest)
        manager = _choose_manager(env, project, directory, manifest, lockfile)
        return _note_version(env, project, _layers(env, project, directory, manifest, lockfile, manager))


def _note_version(
    env: api.EnvDraft, project: api.Project, drafts: tuple[api.LayerDraft, ...]
) -> tuple[api.LayerDraft, ...]:
    """Returns the layers, with a note if .nvmrc or .node-version wants another Node.js than the env has."""
    from envtool_node.version_files import PLAIN, wanted_nodes

    is_own = env.options.get("node", "node") == "node" and "node" not in env.toolchains
    if not is_own or env.base_kind not in ("debian", "host"):
        return drafts
    try:
        if not any(project.read(file) for file in PLAIN):
            return drafts
    except api.UsageError:  # a file that may not be read, which nothing but this note needs
        return drafts
    from envtool.api.version_choice import note_other_version

    return note_other_version(env, drafts, "node", wanted_nodes(project), RELEASES)


def _layers(
    env: api.EnvDraft, project: api.Project, directory: str, manifest: PackageJson, lockfile: str, manager: str
) -> tuple[api.LayerDraft, ...]:
    used_names = {*env.layer_names, *env.above}
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian" and env.options.get("node", "node") == "node" and "node" not in env.toolchains:
        name = _choose_name("nodejs", used_names)
        drafts.append(api.LayerDraft(name=name, kind="apt", options=["nodejs", "npm"], after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    if not (manifest.dependencies or manifest.workspaces or lockfile or manager):
        return tuple(drafts)
    options: dict[str, api.Json] = {key: env.options[key] for key in OPTIONS if key in env.options}
    if directory == ".":
        options.pop("directory", None)
    if manager:
        drafts.append(_manager_layer(env, project, directory, manifest, manager, options, used_names, needs))
        return tuple(drafts)
    from envtool_node.package_json import further_inputs

    inputs = further_inputs(manifest, directory, project.glob)
    if inputs:
        options["inputs"] = [*inputs]
    drafts.append(
        api.LayerDraft(name=_choose_name("node-modules", used_names), kind="npm", options=options, needs=needs)
    )
    return tuple(drafts)


def _choose_name(name: str, used_names: set[str]) -> str:
    while name in used_names:
        name = f"node-{name}"
    used_names.add(name)
    return name


def _manager_layer(
    env: api.EnvDraft,
    project: api.Project,
    directory: str,
    manifest: PackageJson,
    manager: str,
    options: dict[str, api.Json],
    used_names: set[str],
    needs: tuple[str, ...],
) -> api.LayerDraft:
    """Returns the layer of a project that pnpm or Yarn locked. Raises SpecError."""
    from dataclasses import replace

    from envtool_node.locked_sources import workspace_patterns
    from envtool_node.package_json import WrongManifestError, further_inputs

    if "omit" in options:
        raise _spec_error(env, f"`omit` is of npm, and {MANAGERS[manager]} is of {manager}", hint="remove `omit`")
    if manifest.manager == manager and manifest.manager_version:
        options["version"] = manifest.manager_version
    if manager == "pnpm":
        try:
            patterns = workspace_patterns(project.read(join(directory, "pnpm-workspace.yaml")) or "")
        except WrongManifestError as error:
            raise _spec_error(env, str(error), hint="pnpm reads it, too") from None
        manifest = replace(manifest, workspaces=patterns)
    inputs = set(further_inputs(manifest, directory, project.glob))
    inputs |= {join(directory, path) for path in manifest.patches if not join(path).startswith(("/", ".."))}
    inputs |= {path for pattern in MANAGER_FILES[manager] for path in project.glob(join(directory, pattern))}
    if inputs - {join(directory, "package.json")}:
        options["inputs"] = [*sorted(inputs - {join(directory, "package.json")})]
    return api.LayerDraft(name=_choose_name("node-modules", used_names), kind=manager, options=options, needs=needs)


def find_lockfile(project: api.Project, directory: str, manifest: PackageJson) -> str:
    """Returns the name of npm's lock file that counts, or "". package-lock.json does not count where `packageManager`
    names pnpm or Yarn, and the project has the lock file of that manager: npm wrote it once, and nobody updates it."""
    name = next((name for name in NAMES if project.read(join(directory, name)) is not None), "")
    others = MANAGERS.get(manifest.manager, "") if name == "package-lock.json" else ""
    return "" if others and project.read(join(directory, others)) is not None else name


def _choose_manager(
    env: api.EnvDraft, project: api.Project, directory: str, manifest: PackageJson, lockfile: str
) -> str:
    """Returns the package manager whose lock file counts, "" for npm. Raises SpecError."""
    if lockfile:
        return ""
    for name, manager in OTHER_LOCKFILES.items():
        path = join(directory, name)
        if _has_file(project, path):
            raise _spec_error(env, f"{path} is of {manager}, which is not supported", hint=SUPPORTED)
    path = join(directory, "package.json")
    if manifest.manager not in ("", "npm", *MANAGERS):
        raise _spec_error(
            env, f"{path}: its packageManager is {manifest.manager}, which is not supported", hint=SUPPORTED
        )
    locked = [name for name, file in MANAGERS.items() if project.read(join(directory, file)) is not None]
    if manifest.manager in MANAGERS and manifest.manager not in locked:
        raise _spec_error(
            env,
            f"{path}: its packageManager is {manifest.manager}, and there is no"
            f" {join(directory, MANAGERS[manifest.manager])}",
            hint=f"`{manifest.manager} install` makes one",
        )
    if len(locked) > 1 and manifest.manager not in locked:
        raise _spec_error(
            env,
            f"there are lock files of {' and '.join(locked)}",
            hint=f'{path} says which counts: `"packageManager": "{locked[0]}@…"`',
        )
    return manifest.manager if manifest.manager in locked else (locked[0] if locked else "")


def _has_file(project: api.Project, path: str) -> bool:
    return bool(project.glob(path)) if path.endswith("b") else project.read(path) is not None  # bun.lockb is binary


def _spec_error(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="npm", hint=hint),))


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's files suggest, at most one detection. Runs no code of the project."""
    from shutil import which

    from envtool_node.package_json import WrongManifestError, parse
    from envtool_node.script_commands import script_programs

    text = project.read("package.json")
    if text is None:
        return []
    try:
        manifest = parse(text, "package.json")
    except WrongManifestError as error:
        return [api.Detection(language="node", reason=f"{error.file}:{error.line}: {error}")]
    locked = any(project.read(name) is not None for name in (*NAMES, *MANAGERS.values()))
    manager = next((manager for name, manager in OTHER_LOCKFILES.items() if _has_file(project, name)), manifest.manager)
    if not locked and manager in MANAGERS:
        return [
            api.Detection(
                language="node",
                reason=f"package.json, of {manager} and without {MANAGERS[manager]}: `{manager} install` makes it",
            )
        ]
    if not locked and manager not in ("", "npm"):
        return [
            api.Detection(
                language="node", reason=f"package.json, but of {manager}, which is not supported: {SUPPORTED}"
            )
        ]
    host_has_node = which("node", path=HOST_PATH) and which("npm", path=HOST_PATH)
    env: dict[str, api.Json] = {**({} if host_has_node else {"base": {"debian": "bookworm"}}), "language": "node"}
    toolchain, why_toolchain = _choose_toolchain(
        project, manifest, "" if host_has_node else f"{RELEASES['bookworm']}.99.0"
    )
    env |= {"toolchain": toolchain} if toolchain else {}
    script = manifest.scripts.get("test", "")
    if sibling_error := _unlinked_sibling(project, manifest):  # no test could import it
        return [api.Detection(language="node", reason=f"package.json, {sibling_error}", env=env)]
    programs: tuple[str, ...] = ()
    if script and NO_TESTS not in script:
        browsers = bool(host_has_node) and any(which(name, path=HOST_PATH) for name in BROWSERS)
        task, reason = _script_test(project, manifest, browsers=browsers)
        if not task:
            return [api.Detection(language="node", reason=reason, env=env)]
        programs = script_programs(manifest.scripts)
        task, reason = _prepared(project, manifest, text, task, reason)
    elif _tested_workspace(project, manifest):
        task, reason = "npm test --workspaces --if-present -- {{ args }}", "package.json with workspaces"
    elif any(project.glob(pattern) for pattern in TESTS):
        task, reason = "node --test {{ args }}", "package.json"
    else:
        return [api.Detection(language="node", reason="package.json, and no tests", env=env)]
    reason += why_toolchain
    return [api.Detection(language="node", reason=reason, env={**env, "tasks": {"test": task}}, programs=programs)]


def _choose_toolchain(project: api.Project, manifest: PackageJson, version: str) -> tuple[api.Json, str]:
    """Returns the value of `toolchain`, and the reason, if the project or its package manager wants another Node.js
    than a version ("": that of this machine); (None, "") if not."""
    from envtool_node.version_ranges import satisfies

    if wanted := _excluding_range(project, version):
        return ["node"], f"; its engines.node wants {wanted}: a toolchain"
    major = manifest.manager_version.partition(".")[0]
    if manifest.manager == "pnpm" and major.isdecimal() and int(major) >= NEWER_PNPM:
        version = version or _host_version()
        if version and not satisfies(version, NEWER_PNPM_NODE):
            number = manifest.manager_version.partition("+")[0]
            return {"node": NEWER_PNPM_RELEASE}, f"; its pnpm {number} wants Node.js {NEWER_PNPM_NODE}: a toolchain"
    return None, ""


def _excluding_range(project: api.Project, version: str) -> str:
    """Returns the range of `engines.node` in package.json if it excludes a version of Node.js ("": that of this
    machine), else ""."""
    from envtool_node.version_files import wanted_nodes
    from envtool_node.version_ranges import satisfies

    try:
        wanted = next((each.allows for each in wanted_nodes(project) if each.allows), "")
    except (api.SpecError, api.UsageError):  # it is reported where the version counts
        return ""
    version = version or (_host_version() if wanted else "")
    return wanted if wanted and version and not satisfies(version, wanted) else ""


def _host_version() -> str:
    """Returns the version of this machine's Node.js, as in "22.1.0"; "" where it does not say. It gets neither this
    process's variables, which can name modules to load, nor the project's directory."""
    import re
    import subprocess

    words, environ = ("node", "--version"), {"PATH": HOST_PATH}
    try:
        ran = subprocess.run(
            words, cwd="/", env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.fullmatch(r"v(\d{1,9}\.\d{1,9}\.\d{1,9})\s*", ran.stdout.decode(errors="replace"), re.ASCII)
    return match[1] if match else ""


def _script_test(project: api.Project, manifest: PackageJson, *, browsers: bool) -> tuple[str, str]:
    """Returns the command of the test script, by the manager of the lock file, and the reason; see script_commands.
    The command is empty if the script could test nothing."""
    from envtool_node.script_commands import manager_test, missing_test_path, npm_test, passes_without_tests

    paths = [path for path in project.glob("**/*") if "node_modules" not in path.split("/")]
    if passes_without_tests(manifest.scripts["test"], paths):
        return "", "package.json with a test script, and no tests: it would pass"
    if missing := missing_test_path(manifest.scripts, paths):
        return "", f"package.json with a test script, and no tests: there is no {missing}"
    if not find_lockfile(project, ".", manifest):
        locked = [name for name, file in MANAGERS.items() if project.read(file) is not None]
        if locked:
            name = manifest.manager if manifest.manager in locked else locked[0]
            return manager_test(manifest.scripts, name)
    return npm_test(manifest.scripts, browsers=browsers)


def _prepared(project: api.Project, manifest: PackageJson, text: str, task: str, reason: str) -> tuple[str, str]:
    """Returns the task, after what makes the files that the package consists of, and the reason."""
    from envtool_node.script_commands import prepare_commands

    manager = "npm"
    if not find_lockfile(project, ".", manifest):
        locked = [name for name, file in MANAGERS.items() if project.read(file) is not None]
        manager = manifest.manager if manifest.manager in locked else (locked or ["npm"])[0]
    paths = {path for path in project.glob("**/*") if "node_modules" not in path.split("/")}
    commands, missing = prepare_commands(text, manifest.scripts, manager, paths)
    if not commands:
        return task, reason
    return f"{commands} && {task}", f"{reason}; its `prepare` makes {missing} first, as `{manager} install` does"


def _tested_workspace(project: api.Project, manifest: PackageJson) -> bool:
    """Whether a package of the workspace has a test script."""
    from envtool_node.package_json import further_inputs

    for path in further_inputs(manifest, ".", project.glob) if manifest.workspaces else ():
        if not path.endswith("package.json"):
            continue
        script = _read_manifest(project, path)
        if script and (command := str(script.scripts.get("test") or "")) and NO_TESTS not in command:
            return True
    return False


def _unlinked_sibling(project: api.Project, manifest: PackageJson) -> str:
    """Returns an error text if the package requires a neighbour of the checkout that no workspace links, else "".

    npm would take the neighbour's name from the registry, and a layer cannot reach a path above its directory.
    """
    directory = str(getattr(project, "directory", "."))
    top = "../" * (directory.count("/") + 1) if directory != "." else ""
    members = (directory.rpartition("/")[0] + "/").lstrip("/") + "*"
    advice = f'for that one write `"workspaces": ["{members}"]` into {top}package.json'
    if outside_path := next((path for path in manifest.local if path.startswith("../")), ""):
        return f"which requires {outside_path}: {advice}"
    for path in project.glob(f"{top}**/package.json") if top and manifest.dependencies else ():
        neighbour = (
            None if "node_modules" in path.split("/") or path == "package.json" else _read_manifest(project, path)
        )
        if neighbour and neighbour.name and ":" not in manifest.dependencies.get(neighbour.name, ":"):
            return f"which requires {neighbour.name}, and {path.removesuffix('/package.json')} is called so: {advice}"
    return ""


def _read_manifest(project: api.Project, path: str) -> PackageJson | None:
    from envtool_node.package_json import WrongManifestError, parse

    try:
        return parse(project.read(path) or "{}", path)
    except WrongManifestError:  # another package, whose errors do not matter here
        return None
