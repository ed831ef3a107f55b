"""Completes an error about the project or the caller with all others of the same sort.

Building an env stops at the first file, secret or variable that is missing or not allowed. Its user should see all of
them at once: when a build ended with such an error, the functions here look for the others. Envs that were built
without an error are not checked twice.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.stack import KnownLayer
from envtool.errors import EnvtoolError, MakeError, Problem, SpecError, UsageError
from envtool.model import Env
from envtool.plan.graph import Graph, Node
from envtool.project import host_access

ACCESS_CODES = frozenset(  # codes of errors about things that are missing or not allowed
    ("outside", "pass-not-allowed", "secret-not-allowed", "secret-missing")
) | {"input-outside", "input-missing", "input-kind", "project-file", "not-a-file", "too-large"}


class SchedulerLike(Protocol):
    """What this module needs of build.scheduler.Scheduler."""

    @property
    def known(self) -> Graph: ...
    def finished_layers(self) -> Sequence[KnownLayer]: ...
    def check_secrets(self, envs: Iterable[str]) -> None: ...


class NothingBuilt(NamedTuple):
    """A graph of which nothing is built: for verbs that only read."""

    known: Graph

    def finished_layers(self) -> tuple[KnownLayer, ...]:
        """Returns no layers."""
        return ()

    def check_secrets(self, envs: Iterable[str]) -> None:
        """Asks for none."""


def complete_error(
    raised: EnvtoolError, envs: Sequence[Env], scheduler: SchedulerLike, context: Context, *, runs: bool = False
) -> EnvtoolError:
    """Returns an error about these envs as it is reported (see `add_other_problems`); the hint is the command line that
    allows all of it."""
    error = add_other_problems(raised, envs, scheduler, context, runs=runs)
    if line := context.allowed.all():
        error.hint = f"to allow all of it: `{line}`"
    return error


def add_other_problems(
    error: EnvtoolError, envs: Iterable[Env], scheduler: SchedulerLike, context: Context, *, runs: bool = True
) -> EnvtoolError:
    """Returns an error about a thing that is missing or not allowed (ACCESS_CODES) with all such problems of these
    envs; any other error unchanged. `runs`: commands run in the envs, and get variables of the caller. Raises nothing:
    a second error would hide the first."""
    try:
        return _add_other_problems(error, envs, scheduler, context, runs=runs)
    except Exception:
        return error


def _add_other_problems(
    error: EnvtoolError, envs: Iterable[Env], scheduler: SchedulerLike, context: Context, *, runs: bool
) -> EnvtoolError:
    problems = error.problems if isinstance(error, SpecError) else ()
    if not {error.code, *(problem.code for problem in problems)} & ACCESS_CODES:
        return error
    all_problems = dict.fromkeys(problems)
    envs = tuple(envs)
    try:
        scheduler.check_secrets([env.name for env in envs] if runs else ())
    except SpecError as other:
        all_problems |= dict.fromkeys(other.problems)
    for env in envs:
        all_problems |= dict.fromkeys(host_access.passed_problems((env,), context.allowed, os.environ) if runs else ())
        for node in _nodes_of_env(scheduler.known, env):
            all_problems |= dict.fromkeys(
                (*resolution.input_problems(node, context), *_secret_problems(node, scheduler, context))
            )
    if isinstance(error, SpecError):
        return SpecError(tuple(sorted(all_problems, key=lambda problem: problem.where)), hint=error.hint)
    more = [f"{problem.where}: {problem.message}" for problem in all_problems if problem.message not in error.message]
    completed = copy.copy(error)  # other envs have the same
    completed.message = "\n".join((error.message, *more))
    completed.args = (completed.message,)
    return completed


def _secret_problems(node: Node, scheduler: SchedulerLike, context: Context) -> Iterator[Problem]:
    """Secrets that a sublayer of a base, not built yet, asks for and may not have."""
    from envtool.api import Secret

    if (
        not node.of
        or resolution.needs_resolution(node.kind)
        or node.id in {layer.resolved.node.id for layer in scheduler.finished_layers()}
    ):
        return
    try:
        mounts = node.kind.build(resolution.request_from_resolved(node, (), (), context), None).shown
    except (SpecError, MakeError):
        return
    for mount in mounts:
        if isinstance(mount, Secret):
            try:
                context.host_access().secret(mount.id, mount.source)
            except UsageError as error:
                yield Problem(where=node.spec.where, message=error.message, code=error.code, hint=error.hint)


def _nodes_of_env(graph: Graph, env: Env) -> Iterator[Node]:
    ids = graph.stacks[env.name]
    yield from (graph.nodes[node_id] for node_id in dict.fromkeys((*ids, *graph.parts.get(ids[0], ()))))
