"""Chooses the reader of a file for `init --from`, and checks the spec that it returns."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from envtool import plugins
from envtool.app.command_request import SPEC, CommandRequest
from envtool.app.init_from.taken_spec import TakenEnv, TakenSpec, share_services, write_taken_spec
from envtool.app.permissions import resolve_permissions
from envtool.errors import SpecError, UsageError
from envtool.project.host_access import HostAccess
from envtool.project.source_files import ProjectFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envtool.api import Project
    from envtool.app.compose.notes import Note
    from envtool.model import Json

    Reader = Callable[[Project, str, str], tuple[list[TakenEnv], list[Note]]]

FORMATS = "tox.ini, noxfile.py, Dockerfile, compose.yaml, devcontainer.json and .github/workflows/*.yml"
_DOCKERFILE = re.compile(r"(?:Docker|Container)file(?:[.-][\w.-]+)?|[\w.-]+\.(?:Docker|docker|Container|container)file")
_COMPOSE = re.compile(r"(?:.*[.-])?compose(?:[.-].*)?\.ya?ml")


def take_over(request: CommandRequest, file: str, directory: str) -> TakenSpec:
    """Returns the spec for the file of another tool: a path of the caller, in or below `directory`, that of the spec.
    Raises SpecError with each error and its place, UsageError."""
    from envtool.app import import_compose

    if _COMPOSE.fullmatch(posixpath.basename(file)) and ".github/workflows/" not in f"/{file}":
        taken = import_compose.import_compose(request, [file], {}, directory)
        return TakenSpec(taken.text, (), taken.notes, taken.services, taken.override)
    root = os.path.abspath(directory)
    path = import_compose.path_in_project(root, os.path.join(request.directory, file), file)
    reader = _reader(path)
    if reader is None:
        hint = f"known are {FORMATS}"
        raise UsageError(f"`{file}` is no file that `init --from` reads", code="usage.format", hint=hint)
    project = ProjectFiles(root, HostAccess(root, resolve_permissions(request, root)))
    content = project.read_bytes(path)
    if content is None:
        raise UsageError(f"there is no file `{file}` in {root}", code="usage.file", hint="git ignores it, perhaps")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"`{file}` is not UTF-8", code="usage.file") from None
    if "\0" in text:
        raise UsageError(f"`{file}` has a NUL, and is no text", code="usage.file")
    envs, notes = reader(project, path, text)
    ordered = tuple(dict.fromkeys(notes))
    _, services = share_services(envs)
    text = write_taken_spec(path, envs, ordered)
    result = TakenSpec(text, tuple(env.name for env in envs), ordered, tuple(services), next_verb=next_verb(envs))
    _check(project, root, result.text)
    return result


def next_verb(envs: Sequence[TakenEnv]) -> str:
    """Returns what can be typed after `envtool` with these envs: their tests, else another task, else a shell."""
    tasks = [name for env in envs for name in _table(env.keys.get("tasks"))]
    if not tasks:
        return f"shell {shlex.quote(envs[0].name)}" if envs else "up"
    return "test" if "test" in tasks else f"run {shlex.quote(tasks[0])}"


def _table(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _reader(path: str) -> Reader | None:
    from envtool.app.init_from import dockerfile_env, noxfile, tox_ini, workflow

    directory, name = posixpath.split(path)
    if directory == ".github/workflows" and name.endswith((".yml", ".yaml")):
        return workflow.take_workflow
    if name in ("devcontainer.json", ".devcontainer.json"):
        from envtool.app.init_from.devcontainer_env import take_devcontainer

        return take_devcontainer
    if _DOCKERFILE.fullmatch(name):
        return dockerfile_env.take_dockerfile
    if name == "tox.ini":
        return tox_ini.take_tox_ini
    if name == "noxfile.py":
        return noxfile.take_noxfile
    return None


def _check(project: ProjectFiles, root: str, text: str) -> None:
    """Raises SpecError if the spec would be wrong."""
    from envtool.app.read_spec import load_with_plugins
    from envtool.app.starter import ProjectWithTexts

    try:
        load_with_plugins(ProjectWithTexts(project, {SPEC: text}), SPEC, root=root, registry=plugins.used())
    except SpecError as error:
        hint = "these are places in the spec that would have been written, or in the project's own files; nothing is"
        raise SpecError(error.problems, hint=hint) from None
