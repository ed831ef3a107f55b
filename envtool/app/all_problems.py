"""What is wrong with what envs ask of the project and of the caller, told all at once.

Making an env stops at the first thing that it may not have, or that is not there. Whoever mends that should not hear of
the next one only then: so where something of that kind ended it, all else of that kind is looked for. An env in which
nothing is wrong is not looked at twice.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from envtool.api import Secret
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import KnownLayer
from envtool.errors import EnvtoolError, MakeError, Problem, SpecError, UsageError
from envtool.model import Env
from envtool.plan.graph import Graph, Node

ACCESS_CODES = frozenset(  # codes of what is not there, or may not be had
    ("outside", "pass-not-allowed", "secret-not-allowed", "secret-missing")
) | {"input-outside", "input-missing", "input-kind", "project-file", "not-a-file", "too-large"}


class Stood(Protocol):
    """What together needs of realise.stacks.Stacks."""

    @property
    def known(self) -> Graph: ...
    def made(self) -> Sequence[KnownLayer]: ...


@dataclass(frozen=True, slots=True)
class Unmade:
    """A graph of which nothing is made: for verbs that only look."""

    known: Graph

    def made(self) -> tuple[KnownLayer, ...]:
        """Nothing."""
        return ()


@contextmanager
def report_all_problems(envs: Sequence[Env], stacks: Stood, setting: Context, *, runs: bool = False) -> Iterator[None]:
    """Complete what is raised about these envs (see `complete`), and say what to type so that all of it is allowed."""
    try:
        yield
    except EnvtoolError as raised:
        error = add_other_problems(raised, envs, stacks, setting, runs=runs)
        if line := setting.allowed.all():
            error.hint = f"to allow all of it: `{line}`"
        raise error from raised


def add_other_problems(
    error: EnvtoolError, envs: Iterable[Env], stacks: Stood, setting: Context, *, runs: bool = True
) -> EnvtoolError:
    """The error with all else that these envs ask for and that is not there, or may not be had, if it is of that kind;
    any other as it is. `runs`: commands run in them, which have variables of the caller's. Raises nothing: what goes
    wrong here would hide what went wrong before."""
    try:
        return _add_other_problems(error, envs, stacks, setting, runs=runs)
    except Exception:
        return error


def _add_other_problems(
    error: EnvtoolError, envs: Iterable[Env], stacks: Stood, setting: Context, *, runs: bool
) -> EnvtoolError:
    said = error.problems if isinstance(error, SpecError) else ()
    if not {error.code, *(problem.code for problem in said)} & ACCESS_CODES:
        return error
    from envtool.run import task_container

    found = dict.fromkeys(said)
    for env in envs:
        found |= dict.fromkeys(task_container.passed_problems((env,), setting.allowed, os.environ) if runs else ())
        for node in _nodes_of_env(stacks.known, env):
            found |= dict.fromkeys(
                (*resolution.input_problems(node, setting), *_secret_problems(node, stacks, setting))
            )
    if isinstance(error, SpecError):
        return SpecError(tuple(sorted(found, key=lambda each: each.where)), hint=error.hint)
    more = [f"{each.where}: {each.message}" for each in found if each.message not in error.message]
    completed = copy.copy(error)  # other envs have the same
    completed.message = "\n".join((error.message, *more))
    completed.args = (completed.message,)
    return completed


def _secret_problems(node: Node, stacks: Stood, setting: Context) -> Iterator[Problem]:
    """Secrets of a part of a base that has yet to be built, and that may not be had."""
    if (
        not node.of
        or resolution.needs_resolution(node.kind)
        or node.id in {made.settled.node.id for made in stacks.made()}
    ):
        return
    try:
        shown = node.kind.build(resolution.request_from_resolved(node, (), (), setting), None).shown
    except (SpecError, MakeError):
        return
    for each in shown:
        if isinstance(each, Secret):
            try:
                setting.host_access().secret(each.id, each.source)
            except UsageError as error:
                yield Problem(where=node.spec.where, message=error.message, code=error.code, hint=error.hint)


def _nodes_of_env(graph: Graph, env: Env) -> Iterator[Node]:
    ids = graph.stacks[env.name]
    yield from (graph.nodes[each] for each in dict.fromkeys((*ids, *graph.parts.get(ids[0], ()))))
