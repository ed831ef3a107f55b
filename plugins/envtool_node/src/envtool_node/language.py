"""`language: node`: what a project's package.json says, as layers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_node.kinds import OPTIONS
from envtool_node.lockfile import NAMES
from envtool_node.manifest import Manifest, WrongManifestError, further_inputs, parse
from envtool_node.resolving import join

# Lock files of other package managers -> theirs. What they pin, npm would not install.
OTHERS = {"yarn.lock": "yarn", "pnpm-lock.yaml": "pnpm", "bun.lock": "bun", "bun.lockb": "bun"}
SUPPORTED = "supported are package-lock.json and npm-shrinkwrap.json: `npm install --package-lock-only` makes one"


class Node(api.Language):
    """An env that runs a Node.js project's tests."""

    name: ClassVar[str] = "node"
    options: ClassVar[Mapping[str, api.Json]] = OPTIONS

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """Node.js by apt where the base has that, and what package.json requires. Raises SpecError where the project's
        own files are wrong.
        """
        directory = join(str(env.options.get("directory", ".")))
        path = join(directory, "package.json")
        text = project.read(path)
        if text is None:
            raise _wrong(env, f"there is no {path}", hint="`directory:` says where it is")
        try:
            manifest = parse(text, path)
        except WrongManifestError as error:
            where = api.Where(file=error.file, line=error.line, column=error.column)
            line = (text.splitlines()[error.line - 1 : error.line] or [""])[0]
            raise api.SpecError((api.Problem(where=where, message=str(error), code="npm-file", text=line),)) from None
        locked = next((name for name in NAMES if project.read(join(directory, name)) is not None), "")
        _check_manager(env, project, directory, manifest, locked)
        return _layers(env, project, directory, manifest, locked)


def _layers(
    env: api.EnvDraft, project: api.Project, directory: str, manifest: Manifest, locked: str
) -> tuple[api.LayerDraft, ...]:
    taken = {*env.layer_names, *env.above}
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian" and env.options.get("node", "node") == "node":
        name = _new("nodejs", taken)
        drafts.append(api.LayerDraft(name=name, kind="apt", options=["nodejs", "npm"], after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    if not (manifest.dependencies or manifest.workspaces or locked):
        return tuple(drafts)
    options: dict[str, api.Json] = {key: env.options[key] for key in OPTIONS if key in env.options}
    if directory == ".":
        options.pop("directory", None)
    inputs = further_inputs(manifest, directory, project.glob)
    if inputs:
        options["inputs"] = [*inputs]
    drafts.append(api.LayerDraft(name=_new("node-modules", taken), kind="npm", options=options, needs=needs))
    return tuple(drafts)


def _new(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"node-{name}"
    taken.add(name)
    return name


def _check_manager(env: api.EnvDraft, project: api.Project, directory: str, manifest: Manifest, locked: str) -> None:
    if locked:
        return
    for name, manager in OTHERS.items():
        path = join(directory, name)
        if _there(project, path):
            raise _wrong(env, f"{path} is of {manager}, which is not supported", hint=SUPPORTED)
    if manifest.manager not in ("", "npm"):
        path = join(directory, "package.json")
        raise _wrong(env, f"{path}: its packageManager is {manifest.manager}, which is not supported", hint=SUPPORTED)


def _there(project: api.Project, path: str) -> bool:
    return bool(project.glob(path)) if path.endswith("b") else project.read(path) is not None  # bun.lockb is no text


def _wrong(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="npm", hint=hint),))


def detect(project: api.Project) -> list[api.Detection]:
    """A guess from package.json alone."""
    text = project.read("package.json")
    if text is None:
        return []
    try:
        scripts = parse(text, "package.json").scripts
    except WrongManifestError:
        scripts = {}
    task = "npm test -- {{ args }}" if "test" in scripts else "node --test {{ args }}"
    reason = "package.json" + (" with a test script" if "test" in scripts else "")
    return [api.Detection(language="node", reason=reason, env={"language": "node", "tasks": {"test": task}})]
