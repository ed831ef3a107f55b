"""A Dockerfile as the base of an env: envtool builds it as it is, instruction by instruction."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NoReturn, cast

from envtool.app.compose.notes import Note
from envtool.app.init_from.taken_spec import TakenEnv
from envtool.errors import EnvtoolError, Problem, ResolveError, SpecError
from envtool.model import Where

if TYPE_CHECKING:
    from envtool.api import Project, Site
    from envtool.app.compose.notes import Effect
    from envtool.model import Json

# Instructions about how an image is started. None has an effect on a task, which has commands of its own.
_STARTED = {
    "CMD": ("left-out", "a task has commands of its own", "write them: `tasks: {test: …}`"),
    "ENTRYPOINT": ("left-out", "a task has commands of its own", "write them: `tasks: {test: …}`"),
    "WORKDIR": ("changed", "it holds for instructions: a task starts in the project", "`workdir:` names a directory"),
    "USER": ("changed", "it holds for the instructions: a task runs as an ordinary user", "`user: root` of a task"),
    "EXPOSE": ("left-out", "an env has no ports", "declare a service"),
    "VOLUME": ("meaningless", "what a task writes is dropped at its end", ""),
    "HEALTHCHECK": ("left-out", "an env is not checked", "`ready:` of a service"),
    "STOPSIGNAL": ("left-out", "a task is ended with all of its processes", "`stop:` of a service"),
    "LABEL": ("meaningless", "nobody reads labels here", ""),
    "MAINTAINER": ("meaningless", "nobody reads it here", ""),
}  # fmt: skip


def take_dockerfile(_project: Project, path: str, text: str) -> tuple[list[TakenEnv], list[Note]]:
    """Returns the env whose base is built from a Dockerfile, and what its last stage says that an env has no place
    for. Raises SpecError for a text that is no Dockerfile."""
    from envtool.kinds.dockerfile.parser import DockerfileError, parse

    try:
        instructions = parse(text)
    except (DockerfileError, EnvtoolError) as error:
        line = getattr(error, "line", 0) or 1
        raise _error(path, line, str(error)) from None
    starts = [number for number, instruction in enumerate(instructions) if instruction.name == "FROM"]
    if not starts:
        raise _error(path, 1, f"`{path}` has no FROM")
    notes: list[Note] = []
    for instruction in instructions[starts[-1] :]:
        if instruction.name in _STARTED:
            effect, message, hint = _STARTED[instruction.name]
            notes.append(_note(path, instruction.line, instruction.name, effect, message, hint))  # type: ignore[arg-type]
    directory = posixpath.dirname(path)
    options: Json = {"context": directory, "file": path} if directory else path
    _check(path, text, {"context": directory or ".", "file": path})
    reasons = {
        "base": f"{path}, each instruction as a layer; RUN has a network while it is built, as in Docker. Its context"
        f" is {directory or 'the directory of this file'}. Write the command of the tests: `tasks: {{test: …}}`"
    }
    return [TakenEnv("unit", {"base": {"dockerfile": options}}, reasons)], notes


class _NoFiles:
    """The project for a check that reads no further file of it."""

    def open(self, path: str, *, limit: int = 0) -> NoReturn:
        """Raises ResolveError, as for a directory: no file is missing."""
        del limit
        raise ResolveError(path, code="not-a-file")


def _check(path: str, text: str, options: Json) -> None:
    """Raises SpecError for what is wrong in the Dockerfile whatever its images are."""
    from envtool.api import Request
    from envtool.kinds.dockerfile.base import Dockerfile

    where = Where(file=path, line=1, column=1)
    request = Request(
        name="unit", options=options, inputs=(), where=where, arch="x86_64", epoch=0, texts={path: text}
    )  # fmt: skip
    Dockerfile().check(request, cast("Site", _NoFiles()))


def _note(path: str, line: int, key: str, effect: Effect, message: str, hint: str) -> Note:
    return Note(Where(file=path, line=line, column=1), "unit", key, effect, message, hint)


def _error(path: str, line: int, message: str) -> SpecError:
    return SpecError((Problem(where=Where(file=path, line=line, column=1), message=message, code="init-from"),))
