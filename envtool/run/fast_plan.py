"""The plan cache, written: everything that decided the container of an env, so that `warm.py` can tell by a few stats
that nothing changed; and all that decided that a run need not be run again, for `told.py`. It is only ever a short cut:
without it, or with a stale one, the long way is taken.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from typing import Any

from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.stack import KnownStack, Stack
from envtool.container import userns
from envtool.container.program import ContainerStep
from envtool.fs import store_files
from envtool.fs.beneath import project_identity, real_path
from envtool.model import Env, Spec
from envtool.plugins import discover
from envtool.project import host_access, rundir, snapshot_cache, source_files
from envtool.project.source_files import ProjectFiles
from envtool.run import fast_exec, fast_test, host_inputs, host_state, provenance, task_container, task_git
from envtool.run.result_cache import CachedResult
from envtool.store import layers, locks

CLOCK_MARGIN = 1_000_000_000  # nanoseconds
MAX_WATCHED = 20_000  # watched paths: beyond, looking at them all is no short cut any more


def prepare_exec_plan(
    env: Env,
    stack: Stack,
    spec: Spec,
    files: ProjectFiles,
    setting: Context,
    *,
    scratch: str = "",
    git: task_git.TaskGit = task_container.NO_GIT,
) -> dict[str, Any]:
    """The plan of an env whose stack stands, as `warm.launch` takes it; kept for the next time, but where a git
    directory has to be made for it: copies are nothing for a short way."""
    program = task_container.make_program(
        env, stack, project=setting.root, hidden=(), host={}, scratch=scratch, allowed=setting.allowed, git=git
    )
    gits = source_files.list_repositories(setting.root, setting.cancel.reader)
    outer = gits[0][1] if gits else None
    # names are found while the container is described once more for each command: the step is only a place for it
    flat = task_container.with_step(program, ContainerStep(cwd=task_container.workdir(env))).to_dict()
    plan: dict[str, Any] = {
        "version": fast_exec.plan_version(),
        "spec": _place(spec),
        "env": env.name,
        "watch": [],
        "program": flat,
        "environment": dict(program.env),
        "passed": env.passed,
        "allowed": host_access.passable_variables(env.passed, setting.allowed, network=env.network),
        "hidden": (source_files.OWN, *git.hidden),
        "repositories": tuple((prefix, os.path.join(setting.root, prefix.rstrip("/"))) for prefix, _ in gits),
        "git": outer.directory if outer else "",
        "locks": tuple(locks.lock_path(setting.store, layers.layer_lock_name(made.layer.key)) for made in stack.made),
    }
    watched = {seen.path: tuple(seen.state) for seen in files.seen()}
    # what says whether a git directory of another place is the project's (repository.elsewhere)
    apart = outer is not None and outer.directory != os.path.join(real_path(setting.root), ".git")
    says = (f"{outer.common}/config", f"{outer.directory}/gitdir") if outer and apart else ()
    for place in (*_decisive_paths(stack, spec, setting), fast_exec.permissions_path(), *userns.MAP_FILES, *says):
        watched.setdefault(place, fast_exec.stat_signature(place))
    if not plan["repositories"]:  # git says what is hidden as soon as there is one
        place = os.path.join(real_path(setting.root), ".git")
        watched.setdefault(place, fast_exec.stat_signature(place))
    if len(watched) <= MAX_WATCHED and not scratch and not git.binds and not env.network and not setting.allowed.said:
        plan["watch"] = sorted(watched.items())
        store_files.replace_if_possible(
            fast_exec.plan_path(setting.store.root, plan["spec"], env.name), store_files.encode_with_checksum(plan)
        )
    plan["let"] = task_container.select_passed(env, os.environ)  # not before it is written: values are nobody else's
    return plan


def write_test_plan(
    traces: Sequence[CachedResult],
    spec: Spec,
    files: ProjectFiles,
    setting: Context,
    *,
    selected: tuple[str, ...],
    began: int,
) -> None:
    """Keep what `told.read` needs to tell, the next time, that all tasks of a run passed before. `selected` are the
    envs as they were asked for, `began` is when this run began to read (ns since the epoch): what was changed after
    that, or less than MARGIN before it, may have been read in two states, and then nothing is kept."""
    if (
        setting.allowed.said
        or len({trace.view for trace in traces}) != 1
        or any(not _is_plain(trace) for trace in traces)
    ):
        return
    if any(made.layer is None for trace in traces for made in trace.stack.made):  # a layer is gone from the store
        return
    place = _place(spec)
    watched = {seen.path: tuple(seen.state) for seen in files.seen()}
    own = setting.store.path("")
    decided = dict.fromkeys(path for trace in traces for path in _decisive_paths(trace.stack, spec, setting))
    for path in (
        *decided,
        *sys.path,
        fast_exec.permissions_path(),
        *userns.MAP_FILES,
        setting.store.path("store.json"),
    ):
        watched.setdefault(path, fast_exec.stat_signature(path))
    states = {
        path: state
        for trace in traces
        for path, state in host_inputs.result_host_state(trace.stack, trace.found.key, setting).items()
    }
    for path in _code():
        if os.path.islink(path):
            watched.setdefault(path, fast_exec.stat_signature(path))
        else:  # whatever becomes of it its ctime tells, in less time
            states[path] = (fast_exec.stat_signature(path) or (0,))[-1]
    for trace in traces:
        watched |= {path: fast_exec.stat_signature(path) for path in (trace.found.log, _result(trace))}
    if any(trace.found.run.git for trace in traces):
        history = host_inputs.read_git_history(setting)
        watched |= {path: fast_exec.stat_signature(path) for path in history.paths}
        if any(trace.found.run.git not in ("", history.digest) for trace in traces):
            return
    # memories of pins are written anew when they change; layers and results never change
    steady = {path for path in watched if path.startswith(own) and not path.startswith(setting.store.path("memo", ""))}
    times = [max(state[4:]) for path, state in watched.items() if state and path not in steady]
    if (
        len(watched) > MAX_WATCHED
        or len(states) > MAX_WATCHED
        or max((*times, *states.values()), default=0) > began - CLOCK_MARGIN
    ):
        return
    plan = {
        "version": fast_test.plan_version(),
        "spec": place,
        "task": traces[0].task,
        "envs": selected,
        "switches": fast_test.switches(os.environ),
        "watch": sorted(watched.items()),
        "machine": host_state.pack(states),
        "root": setting.root,
        "identity": project_identity(setting.root),
        "repository": source_files.sees_git(setting.root),
        "record": snapshot_cache.cache_path(setting.store.root, setting.root),
        "view": traces[0].view,
        "logs": setting.logs,
        "rows": [_row(trace) for trace in traces],
    }
    store_files.replace_if_possible(
        fast_test.plan_path(setting.store.root, place, traces[0].task, selected), store_files.encode_with_checksum(plan)
    )


def _row(trace: CachedResult) -> dict[str, Any]:
    """What is said of one task, and left of it."""
    return {
        "env": trace.env.name,
        "task": trace.task,
        "since": trace.found.run.started,
        "seconds": trace.found.run.seconds,
        "host": trace.found.run.host,
        "copies": _copies(trace),
        "passes": trace.env.passed,
        "passed": fast_test.passed_digests(trace.env.passed),
    }


def _result(trace: CachedResult) -> str:
    return os.path.join(trace.found.directory, "result.json")


def _copies(trace: CachedResult) -> list[tuple[str, str]]:
    """What a run leaves as evidence: (path in the store, name beside the others)."""
    log = rundir.log_path("", trace.env.name, trace.task)
    found = [(trace.found.log, os.path.basename(log))]
    if os.path.exists(trace.found.statement):
        found.append((trace.found.statement, os.path.basename(provenance.path_for(log))))
    return found


def _place(spec: Spec) -> str:
    # of the directory alone: where several projects link to one spec, each has plans of its own
    return os.path.join(real_path(spec.root), os.path.basename(spec.file))


def _is_plain(trace: CachedResult) -> bool:
    """What the short way has words for: a result without outputs or notes, and plain names."""
    name = f"{trace.env.name}{trace.task}"
    return not trace.found.outputs and not trace.found.run.message and name.isascii() and name.isprintable()


def _code() -> Iterator[str]:
    """The files of ours and of plugins: a plan is what they made of it."""
    tops = {"envtool", *(getattr(each, "__name__", type(each).__module__).split(".")[0] for each in discover().plugins)}
    for top in sorted(tops):
        directory = os.path.dirname(getattr(sys.modules.get(top), "__file__", None) or "")
        for parent, directories, names in os.walk(directory) if directory else ():
            directories[:] = [name for name in directories if name != "__pycache__"]
            yield parent
            yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))


def _decisive_paths(stack: KnownStack, spec: Spec, setting: Context) -> Iterator[str]:
    """Paths that decided the stack, beside what was read of the project: inputs, pins, layers, this machine."""
    yield from spec.read
    yield sysconfig.get_path("purelib")  # plugins come and go here
    for made in (*stack.made, *stack.aside):
        settled = made.settled
        if made.layer is not None:
            yield os.path.join(os.path.dirname(made.layer.tree), "layer.json")
            yield made.layer.tree
        yield resolution.pins_cache_path(made, setting)
        yield from settled.node.kind.watches(settled.pins)
        directory = settled.node.spec.directory
        texts = [os.path.join(directory, path) for path in settled.node.kind.texts(settled.node.spec.options)]
        for path in (*texts, *(item.path for item in settled.request.inputs)):
            place = os.path.join(setting.root, path)
            yield place
            while len(place) > len(setting.root):  # names in a directory come and go with its time
                place = os.path.dirname(place)
                yield place
    for _, directory in source_files.repositories(setting.root, setting.cancel.reader):
        yield os.path.join(directory, ".gitmodules")
