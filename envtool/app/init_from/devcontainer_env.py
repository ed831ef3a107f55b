"""A devcontainer.json as an env: its image, its variables, and what its commands install. Source: the Development
Container Specification, "devcontainer.json reference"."""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

from envtool.app.compose.notes import Note
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv
from envtool.app.init_from.workflow_scripts import JobNeeds
from envtool.errors import Problem, SpecError
from envtool.model import Where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.api import Project
    from envtool.app.compose.notes import Effect
    from envtool.model import Json

# Keys about the editor and the container's start, which are nothing to a task.
_MEANINGLESS = {
    "name": "", "$schema": "", "customizations": "an env has no editor", "settings": "an env has no editor",
    "extensions": "an env has no editor", "remoteUser": "a task runs as an ordinary user: `user: root` of a task",
    "containerUser": "a task runs as an ordinary user: `user: root` of a task", "updateRemoteUserUID": "",
    "workspaceFolder": "a task starts in the project", "workspaceMount": "a task starts in the project",
    "shutdownAction": "a container ends with its task", "overrideCommand": "", "init": "pid 1 reaps",
    "userEnvProbe": "no shell is started", "portsAttributes": "", "otherPortsAttributes": "", "waitFor": "",
    "hostRequirements": "", "postStartCommand": "it is for an editor", "postAttachCommand": "it is for an editor",
}  # fmt: skip
_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
_READ = frozenset({"image", "build", "dockerFile", "context", "containerEnv", "remoteEnv", *_COMMANDS})
_LEFT_OUT = {
    "features": "a feature is a script that downloads: a layer `apt` or a toolchain has its programs",
    "forwardPorts": "an env has no ports: declare a service", "appPort": "an env has no ports: declare a service",
    "mounts": "a task sees the project alone", "runArgs": "a container has no options of Docker",
    "initializeCommand": "nothing of a project is executed on this machine", "privileged": "no container has this",
    "capAdd": "no container has this", "securityOpt": "no container has this", "secrets": "declare them: `secrets:`",
}  # fmt: skip
# A string may lack its end: a second try from each of its characters would take hours.
_COMMENTS = re.compile(r'"(?:[^"\\]|\\.)*+"?|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_COMMAS = re.compile(r'"(?:[^"\\]|\\.)*+"?|,(?=\s*[}\]])', re.DOTALL)
MAX_BYTES = 1 << 20
MAX_KEYS = 200
_MAX_COMMAND = 10_000  # characters


def take_devcontainer(project: Project, path: str, text: str) -> tuple[list[TakenEnv], list[Note]]:
    """Returns the env of a devcontainer.json, and what an env has no place for. Raises SpecError, with the place, for a
    text that is none."""
    document = _parse(path, text)
    notes: list[Note] = []

    def note(line: int, key: str, effect: Effect, message: str, hint: str = "") -> None:
        notes.append(Note(Where(file=path, line=line, column=1), "unit", key, effect, message, hint))

    try:
        keys, reasons = _base(document, posixpath.dirname(path))
        needs = _installs(document, note, text)
        variables = _variables(document, note, text)
        keys |= _layers(project, needs)
    except CannotTakeError as error:
        problem = Problem(
            where=Where(file=path, line=error.line or 1, column=1),
            message=str(error),
            code="init-from",
            hint=error.hint,
        )
        raise SpecError((problem,)) from None
    for key in document:
        if key in _LEFT_OUT:
            note(_line(text, key), key, "left-out", _LEFT_OUT[key])
        elif key not in _READ:
            reason = _MEANINGLESS.get(key, "it is no key of devcontainer.json that envtool knows")
            note(_line(text, key), key, "meaningless" if key in _MEANINGLESS else "left-out", reason)
    keys |= {"set": variables} if variables else {}
    return [TakenEnv("unit", keys, reasons)], notes


def _parse(path: str, text: str) -> dict[str, Any]:
    """Returns the object of a JSON text with comments. Raises SpecError."""
    line, message = 1, "it is larger than 1 MiB"
    if len(text) <= MAX_BYTES:
        plain = text
        for pattern in (_COMMENTS, _COMMAS):
            plain = pattern.sub(_blank, plain)
        try:
            document = json.loads(plain)
        except json.JSONDecodeError as error:
            line, message = error.lineno, f"it is not JSON: {error.msg.lower()}"
        except (ValueError, RecursionError):
            message = "it is nested too deep, or has a number too long"
        else:
            if isinstance(document, dict) and len(document) <= MAX_KEYS:
                return document
            message = f"it has more than {MAX_KEYS} keys" if isinstance(document, dict) else "it is not a JSON object"
    raise SpecError((Problem(where=Where(file=path, line=line, column=1), message=message, code="init-from"),))


def _blank(match: re.Match[str]) -> str:
    """Returns a string as it is, and blanks of the same lines for a comment or a last comma."""
    return match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])


def _line(text: str, key: str) -> int:
    position = text.find(json.dumps(key))
    return text.count("\n", 0, position) + 1 if position >= 0 else 1


def _base(document: Mapping[str, Any], directory: str) -> tuple[dict[str, Json], dict[str, str]]:
    if "dockerComposeFile" in document:
        raise CannotTakeError("its containers are those of a compose file", "take that file over: `--from`")
    build = document.get("build")
    file = build.get("dockerfile") if isinstance(build, dict) else document.get("dockerFile")
    reasons = {"base": "that of devcontainer.json. Write the command of the tests: `tasks: {test: …}`"}
    if isinstance(file, str):
        context = build.get("context", ".") if isinstance(build, dict) else document.get("context", ".")
        paths = [posixpath.normpath(posixpath.join(directory, str(part)[:500])) for part in (file, context)]
        if any(path.startswith(("..", "/")) for path in paths):
            raise CannotTakeError("its Dockerfile, or the context of it, is not in the project")
        if isinstance(build, dict) and build.keys() - {"dockerfile", "context"}:
            raise CannotTakeError("options of `build` besides the Dockerfile and its context have no counterpart")
        return {"base": {"dockerfile": {"context": paths[1], "file": paths[0]}}}, reasons
    image = document.get("image")
    if not isinstance(image, str) or not image or len(image) > 500 or not image.isprintable():
        raise CannotTakeError("it has neither an image nor a Dockerfile")
    if "${" in image:
        raise CannotTakeError("its image has a variable of the editor", "write the image out")
    return {"base": {"image": image}}, reasons


def _installs(document: Mapping[str, Any], note: Callable[..., None], text: str) -> JobNeeds:
    """Returns what the commands after the container's creation install. Other commands are named: a layer `run` may do
    the same."""
    needs = JobNeeds(note=note)
    for key in _COMMANDS:
        value = document.get(key)
        scripts = [*value.values()] if isinstance(value, dict) else [value]
        for script in scripts if value is not None else ():
            command = script if isinstance(script, str) else None
            if isinstance(script, list) and all(isinstance(word, str) for word in script):
                import shlex

                command = shlex.join(script)
            if command is None or len(command) > _MAX_COMMAND:
                message = f"it is no command of at most {_MAX_COMMAND:,} characters"
                note(_line(text, key), key, "left-out", message)
                continue
            try:
                needs.add_script(command, line=_line(text, key), directory=".", shell="", variables={}, may_fail=False)
            except CannotTakeError as error:
                note(_line(text, key), key, "left-out", str(error), error.hint)
    for command in needs.commands:
        first = next((key for key in _COMMANDS if key in document), _COMMANDS[-1])
        note(_line(text, first), first, "left-out", f"`{command[:60]}` is not run", "a layer `run`, or a task, runs it")
    return needs


def _layers(project: Project, needs: JobNeeds) -> dict[str, Json]:
    from envtool.app.init_from.workflow_job import install_keys

    return install_keys(project, needs)


def _variables(document: Mapping[str, Any], note: Callable[..., None], text: str) -> dict[str, Json]:
    variables: dict[str, Json] = {}
    for key in ("containerEnv", "remoteEnv"):
        values = document.get(key)
        for name, value in values.items() if isinstance(values, dict) else ():
            if not isinstance(value, str) or "${" in value or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                note(_line(text, key), key, "left-out", f"`{name[:60]}` has a value that only the editor knows")
            elif not value.isprintable():
                raise CannotTakeError(f"the value of `{name}` has control characters", "", _line(text, key))
            else:
                variables[name] = value
    return variables
