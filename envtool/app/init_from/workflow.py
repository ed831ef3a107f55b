"""The jobs of a workflow of GitHub (`.github/workflows/x.yml`) as envs: one for each point of a matrix. Source:
GitHub's documentation, "Workflow syntax for GitHub Actions"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool.app.compose.compose_files import ComposeReader
from envtool.app.compose.notes import Note
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv, env_name
from envtool.app.init_from.workflow_job import Job, take_job
from envtool.app.init_from.workflow_matrix import matrix_points
from envtool.errors import Problem, SpecError
from envtool.model import Where
from envtool.spec.node import Problems, make_source, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.api import Project
    from envtool.app.compose.notes import Effect
    from envtool.spec.node import YamlNode

MAX_ENVS = 200  # of one file
MAX_JOBS = 200
_LEFT_OUT = "the env is left out: "


def take_workflow(project: Project, path: str, text: str) -> tuple[list[TakenEnv], list[Note]]:
    """Returns the envs of a workflow, and what differs. Raises SpecError, with the place, for a text that is no
    workflow, or of which no job can be taken over."""
    root = _parse(path, text)
    notes: list[Note] = []

    def note(env: str, line: int, key: str, effect: Effect, message: str, hint: str = "") -> None:
        notes.append(Note(Where(file=path, line=line, column=1), env, key, effect, message, hint))

    jobs = root.get("jobs")
    if jobs is None or not jobs.mapping():
        raise _error(path, 1, f"`{path}` has no `jobs:`")
    if len(jobs.mapping()) > MAX_JOBS:
        raise _error(path, jobs.line, f"more than {MAX_JOBS} jobs")
    envs: list[TakenEnv] = []
    for name, node in jobs.mapping().items():
        _take_points(project, root, (name, node), envs, note)
        if len(envs) > MAX_ENVS:
            raise _error(path, node.line, f"more than {MAX_ENVS} jobs, with the points of their matrices")
    if not envs:
        reasons = [entry for entry in notes if entry.message.startswith(_LEFT_OUT)]
        raise SpecError(tuple(
            Problem(where=entry.where, message=f"`{entry.key}`: {entry.message}", code="init-from", hint=entry.hint)
            for entry in reasons
        ) or _error(path, 1, f"`{path}` has no job").problems)  # fmt: skip
    return envs, notes


def _take_points(
    project: Project, root: YamlNode, named: tuple[str, YamlNode], envs: list[TakenEnv], note: Callable[..., None]
) -> None:
    """Adds the envs of one job. Points of a matrix that differ in nothing that an env has are one env."""
    name, node = named
    try:
        points = matrix_points(node.get("strategy"))
    except CannotTakeError as error:
        note(name, error.line or node.line, name, "left-out", f"{_LEFT_OUT}{error}", error.hint)
        return
    refused: set[tuple[int, str]] = set()
    for point in points:
        unused = env_name(_point_name(name, point), [env.name for env in envs])
        entries: list[tuple[Any, ...]] = []  # they count only if there is an env for them
        try:
            taken = take_job(project, Job(name, node, root, point), lambda *entry, add=entries.append: add(entry))
            _check_hosts(taken, envs, node)
        except CannotTakeError as error:
            place = (error.line or node.line, str(error))
            if place not in refused:  # once for all points
                note(unused, place[0], name, "left-out", f"{_LEFT_OUT}{error}", error.hint)
            refused.add(place)
            continue
        if len(envs) <= MAX_ENVS and not any((env.keys, env.services) == (taken.keys, taken.services) for env in envs):
            envs.append(taken._replace(name=unused))
            for entry in entries:
                note(unused, *entry)


def _check_hosts(taken: TakenEnv, envs: list[TakenEnv], node: YamlNode) -> None:
    """Raises CannotTakeError where a step looks for a service by its name, and another job has another one of this
    name: the services of a spec have different names."""
    for env in envs:
        for name, keys in taken.services.items():
            others = env.services.get(name, keys)
            if others != keys and "localhost" not in (keys if isinstance(keys, dict) else {}):
                raise CannotTakeError(f"another job has another service `{name}`", "give it another name", node.line)


def _point_name(name: str, point: Mapping[str, object]) -> str:
    texts = [str(value) for value in point.values() if isinstance(value, str) and value and len(value) <= 20]
    return "-".join([name, *texts[:4]])


def _parse(path: str, text: str) -> YamlNode:
    """Returns the root of the file: YAML 1.2, with anchors, bounded as a spec is. Raises SpecError."""
    problems = Problems()
    source = make_source(text, path)
    root = parse(text, source, problems, ComposeReader(source, problems))
    problems.raise_any()
    if root is None or not isinstance(root.value, dict):
        raise _error(path, 1, f"`{path}` is no workflow: it has no keys")
    return root


def _error(path: str, line: int, message: str) -> SpecError:
    return SpecError((Problem(where=Where(file=path, line=line, column=1), message=message, code="init-from"),))
