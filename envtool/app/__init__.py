"""The whole road on one screen: spec -> graph -> stacks -> results. Every verb of the command line is one function.

request.py   what was asked for, and which spec and envs it means
opening.py   the project as every verb finds it: spec, graph, lock, store
running.py   `run`: a task in many envs
caching.py   the team cache, shown
upkeep.py    the store: gc, verify
looking.py   what is in it: inspect, diff
starting.py  the first spec: detect, check; makefile.py: what a Makefile calls
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from envtool import evidence, git, globs, registry
from envtool.app import together
from envtool.app.caching import cache, cache_key
from envtool.app.looking import diff, inspect
from envtool.app.opening import Opened, free, opened, read, working
from envtool.app.request import SPEC, Request, find_spec, no_task, one_env
from envtool.app.running import run
from envtool.app.starting import around, check, detect
from envtool.app.upkeep import gc, store_path, store_remove, store_size, store_verify
from envtool.errors import MakeError, UsageError
from envtool.events import Emit, Event, Noted, Started
from envtool.lock.changes import Change, changes
from envtool.lock.lock import merged
from envtool.model import Env, Json, Spec
from envtool.plan.plan import Plan
from envtool.plan.plan import plan as make_plan
from envtool.plan.subjects import choose
from envtool.plan.why import Explanation
from envtool.project import VENDOR
from envtool.realise.explain import explain
from envtool.realise.gather import Gathered, gather
from envtool.realise.look import known, look
from envtool.realise.setting import Cancel
from envtool.realise.stacks import Stack, Stacks
from envtool.realise.vendor import Vendored, archive, folder, is_archive
from envtool.report.bill import rendering
from envtool.resolve import file as lock_file
from envtool.resolve import locking
from envtool.resolve.upgrading import moving
from envtool.run import contents, describe, provenance, ready, standin, warm
from envtool.run.result import Result
from envtool.run.tasks import scratch_for
from envtool.run.why import explain_tasks
from envtool.ship.export import Exported
from envtool.ship.image import Wish
from envtool.ship.push import Pushed
from envtool.spec import published
from envtool.store import layers
from envtool.store.packing import Form
from envtool.verify.result import Verified

__all__ = [
    "SPEC",
    "Cancel",
    "Locked",
    "Request",
    "around",
    "cache",
    "cache_key",
    "check",
    "detect",
    "diff",
    "execute",
    "export",
    "fetch",
    "find_spec",
    "gc",
    "inspect",
    "listeners",
    "load",
    "lock",
    "plan",
    "push",
    "run",
    "sbom",
    "schema",
    "statements",
    "store_path",
    "store_remove",
    "store_size",
    "store_verify",
    "vendor",
    "verify",
    "why",
]  # fmt: skip


def load(request: Request) -> Spec:
    """The spec, with only the envs that were asked for. Raises SpecError, UsageError."""
    return read(request)[0]


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml with the kinds that are installed here. Raises UsageError where one has none."""
    kinds = registry.discover()
    if wrong := registry.wrong_schema(kinds):
        raise wrong
    return published(kinds)


def listeners() -> tuple[Callable[[Event], None], ...]:
    """The plugins that want to hear what happens: see api.envtool_event."""
    return registry.discover().hooks("envtool_event")


def plan(request: Request, verb: str = "") -> Plan:
    """What would be used and what built, as far as it can be known without building."""
    at = opened(request)
    if verb and not any(task.name == verb for env in at.spec.envs for task in env.tasks):
        raise no_task(at.spec, verb)
    with together.told(at.spec.envs, Stacks(at.nodes, at.setting), at.setting):
        return make_plan(at.spec, at.nodes, known(at.nodes, at.setting), verb)


def why(request: Request, names: tuple[str, ...] = ()) -> tuple[Explanation, ...]:
    """Why bases, layers and tasks are cached or not, those that names mean (choose); without names, all bases and
    layers that are not. Each comes after what it stands on. Raises SpecError, UsageError, StoreError."""
    at = opened(free(request))  # a lock that does not fit is explained like all else
    chosen = choose(at.spec, at.nodes, names)
    with together.told(at.spec.envs, Stacks(at.nodes, at.setting), at.setting):
        looks = look(at.nodes, at.setting)
    # of what a task stands on, only what is not cached says anything about it
    wanted = {
        node_id for node_id in chosen.nodes if node_id in chosen.named or not names or looks[node_id].layer is None
    }
    told = explain(at.nodes, at.setting, wanted, looks=looks, lock=at.lock_lines(), misses=not names)
    return told + explain_tasks(chosen.tasks, at.nodes, looks, at.setting)


def fetch(request: Request, emit: Emit, cancel: Cancel) -> Gathered:
    """Bring every pinned file of the selected envs into the store. Raises SpecError, UsageError, MakeError."""
    with working(request, emit, cancel) as at:
        return gather(at.nodes, at.setting, jobs=request.jobs)


def vendor(request: Request, target: str, emit: Emit, cancel: Cancel, *, prune: bool) -> Vendored:
    """Write every pinned file of the spec to a folder (empty: the one beside the spec) or an archive. Raises as `fetch`
    does, and StoreError where it cannot be written."""
    path = os.path.join(os.path.abspath(request.directory), target) if target else ""
    if prune and is_archive(path):
        raise UsageError("`--prune` is for folders: an archive is written anew", code="vendor-prune")
    with working(request, emit, cancel) as at:
        pinned = gather(at.nodes, at.setting, jobs=request.jobs).files
    if is_archive(path):
        return archive(pinned, at.setting.store, path, check=cancel.check, project=at.spec.root)
    path = path or os.path.join(at.spec.root, VENDOR)
    return folder(pinned, at.setting.store, path, prune=prune, check=cancel.check, project=at.spec.root)


def sbom(request: Request, env: str, form: rendering.Format, emit: Emit, cancel: Cancel) -> str:
    """The bill of materials of one env, whose stack is made where it was not. Raises as `execute` does."""
    with working(request, emit, cancel) as at:
        chosen = one_env(at.spec, env)
        stack = _made(at, chosen)
        with layers.using(at.setting.store, [made.layer for made in stack.made]):
            return rendering.render(contents.bill(chosen.name, stack, at.kinds.plugins), form)


def export(
    request: Request,
    env: str,
    path: str,
    form: str,
    emit: Emit,
    cancel: Cancel,
    *,
    tag: str = "",
    compress: Form = "",
    bare: bool = False,
    project: bool = False,
    out: int = -1,
) -> Exported:
    """Write one env, whose stack is made where it was not, as an image: see ship.target for what `path`, `form` and
    `tag` mean, and ship.image.Wish for the rest. `out` is a descriptor for what goes to standard output. Raises as
    `execute` does."""
    from envtool.ship import export, target

    where = target.target(path, form)
    with working(request, emit, cancel) as at:
        chosen = one_env(at.spec, env)
        name = target.name(chosen, tag, where.form)
        stack = _made(at, chosen)
        if where.form == "devcontainer":
            if bare or project or compress:
                text = (
                    "`--bare`, `--project` and `--compress` are for images, and a devcontainer is a file that names one"
                )
                raise UsageError(text, code="export-devcontainer")
            named = [name for name in chosen.passed if not globs.is_glob(name)]
            describe.check((replace(chosen, network=True),), at.setting.allowed, named)  # an editor's container has one
            where = where.below(os.path.abspath(request.directory) if path.rpartition(":")[2] else at.spec.root)
            return export.devcontainer(chosen, stack, at.setting, where, spec=at.spec.file, name=name)
        where = where.below(os.path.abspath(request.directory))
        wish = Wish(name=name, bare=bare, project=project)
        return export.export(chosen, stack, at.setting, where, wish, form=compress, out=out)


def push(
    request: Request,
    env: str,
    to: str,
    emit: Emit,
    cancel: Cancel,
    *,
    compress: Form,
    bare: bool = False,
    project: bool = False,
) -> Pushed:
    """Put one env, whose stack is made where it was not, as an image into a registry. Raises as `execute` does."""
    from envtool.ship import push

    where = push.where(to)
    with working(request, emit, cancel) as at:
        chosen = one_env(at.spec, env)
        stack = _made(at, chosen)
        wish = Wish(name=str(where), bare=bare, project=project)
        return push.push(chosen, stack, at.setting, where, wish, form=compress)


def statements(results: Sequence[Result]) -> str:
    """The provenance of the results that passed, an in-toto statement a line."""
    return provenance.bundle(results)


def verify(
    request: Request, names: tuple[str, ...], emit: Emit, cancel: Cancel, *, build: bool = False
) -> tuple[Verified, ...]:
    """Make layers (or with `build` the outputs of the task `build`) twice under variation, and compare. `names` are
    those of bases, layers and envs, or globs. Raises SpecError, UsageError, StoreError."""
    from envtool.verify import chosen, everything

    with working(request, emit, cancel) as at:
        stacks = Stacks(at.nodes, at.setting)
        targets = chosen.outputs(at.spec, names) if build else chosen.layers(at.spec, stacks.graph(), names)
        directory, note = evidence.open_run(at.spec.root)
        if note:
            emit(Noted(text=note))
        try:
            return everything.verify(targets, stacks, at.setting, directory, request.jobs, request.fail_fast)
        finally:
            evidence.close_run(at.spec.root, directory)


def lock(request: Request, upgrade: tuple[str, ...] | None, emit: Emit, cancel: Cancel) -> Locked:
    """Settle everything that floats, make it, and write the lock. `upgrade`: None keeps what still fits, () moves all,
    names move what they name. Raises SpecError, UsageError, MakeError, Interrupted."""
    asked = replace(free(request), refresh=upgrade == ())
    with (
        working(asked, emit, cancel, parts=False) as at,  # pins may move
        ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool,
    ):
        old, nodes = at.setting.lock, at.nodes
        stacks = Stacks(nodes, moving(at.setting, nodes, upgrade) if upgrade else at.setting)
        with together.told(at.spec.envs, stacks, at.setting):
            stacks.check(env.name for env in at.spec.envs)
            [*pool.map(lambda env: stacks.stack(env.name), at.spec.envs)]
    found = locking.entries(stacks.graph(), stacks.made())
    names = frozenset((entry.question.subject, entry.question.name) for entry in found) if request.envs else None
    new = merged(old, found, platforms=frozenset(entry.question.platform for entry in found), names=names)
    written = lock_file.write(at.spec.root, at.spec.file, new)
    name = lock_file.name(at.spec.file)
    return Locked(file=name, changes=changes(old, new), entries=len(new.entries), written=written)


def _made(at: Opened, env: Env, *, runs: bool = False) -> Stack:
    """The stack of an env; where commands are to run in it, the caller has to allow what `pass:` asks for. Raises
    SpecError, MakeError, Interrupted."""
    stacks = Stacks(at.nodes, at.setting)
    with together.told((env,), stacks, at.setting, runs=runs):
        if runs:
            describe.check((env,), at.setting.allowed, os.environ)
            describe.check_workdir(env, at.setting.gate())
        return stacks.stack(env.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What `lock` did."""

    file: str
    changes: tuple[Change, ...]
    entries: int
    written: bool


def execute(request: Request, env: str, argv: tuple[str, ...], *, terminal: bool, emit: Emit, cancel: Cancel) -> int:
    """Make one env and run a command in it (`argv` empty: a shell). Returns the command's own status."""
    with working(request, emit, cancel) as at:
        chosen = one_env(at.spec, env)
        stack = _made(at, chosen, runs=True)
        with scratch_for(chosen, at.setting) as directory, standin.shown(at.setting) as shown:
            prepared = ready.prepare(chosen, stack, at.spec, at.files, at.setting, scratch=directory, git=shown)
            emit(
                Started(id="command", subject="task", name="exec", env=env, time=time.time())
            )  # it has the terminal now
            try:
                return warm.launch(prepared, argv, terminal=terminal, cancel=cancel.reader)
            except git.Failure as error:
                raise MakeError(f"the project cannot be read: {error}", code="project-git") from error
