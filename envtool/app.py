"""The whole road on one screen: spec -> graph -> stacks -> results. Every verb of the command line is one function."""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from envtool import registry
from envtool.api import Detection
from envtool.container import ids
from envtool.errors import BuildError, EnvtoolError, Interrupted, MakeError, SpecError, UsageError
from envtool.events import Emit, Event
from envtool.lock.changes import Change, changes
from envtool.lock.lock import Lock, items, merged, plain, upgraded
from envtool.model import Env, Json, Spec, Task
from envtool.plan.graph import Graph, graph
from envtool.plan.plan import Plan
from envtool.plan.plan import plan as make_plan
from envtool.project import Files
from envtool.realise.setting import Cancel, Setting
from envtool.realise.stacks import Stacks, known
from envtool.resolve import file as lock_file
from envtool.resolve import locking
from envtool.run import evidence, ready, warm
from envtool.run.result import Result
from envtool.run.tasks import run_task, scratch_for
from envtool.spec import load as load_spec
from envtool.spec import published
from envtool.store import scratch, store
from envtool.verify.result import Verified

SPEC = "envtool.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks for. `jobs` 0: one a processor. `file` empty: the nearest envtool.yaml upward."""

    directory: str = "."
    file: str = ""
    envs: tuple[str, ...] = ()  # names, groups or globs; none: all
    jobs: int = 0
    fail_fast: bool = False
    args: tuple[str, ...] = ()
    refresh: bool = False
    locked: bool | None = None  # a lock that no longer fits is an error; None: in CI it is
    offline: bool = False


def load(request: Request) -> Spec:
    """The spec, with only the envs that were asked for. Raises SpecError, UsageError."""
    return _open(request)[0]


def schema() -> dict[str, Json]:
    """The JSON Schema of envtool.yaml with the kinds that are installed here."""
    return published(registry.discover())


def detect(request: Request) -> tuple[Detection, ...]:
    """What the plugins make of a project that has no spec yet, in the order of their names."""
    files = Files(os.path.abspath(request.directory))
    hooks = [getattr(plugin, "envtool_detect", None) for plugin in registry.discover().plugins]
    return tuple(found for hook in hooks if hook is not None for found in hook(project=files))


def listeners() -> tuple[Callable[[Event], None], ...]:
    """The plugins that want to hear what happens: see api.envtool_event."""
    hooks = [getattr(plugin, "envtool_event", None) for plugin in registry.discover().plugins]
    return tuple(hook for hook in hooks if hook is not None)


def plan(request: Request, verb: str = "") -> Plan:
    """What would be used and what built, as far as it can be known without building."""
    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, _silent, Cancel.make())
    return make_plan(spec, nodes, known(nodes, setting), verb)


def run(request: Request, task: str, emit: Emit, cancel: Cancel) -> tuple[Result, ...]:
    """Run a task in every selected env that has it, side by side. Raises SpecError, UsageError, StoreError."""
    spec, files, kinds = _open(request)
    chosen = [(env, each) for env in spec.envs for each in env.tasks if each.name == task]
    if not chosen:
        raise UsageError(_no_task(spec, task), code="no-task", hint="`envtool list` shows envs and their tasks")
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    stacks = Stacks(nodes, setting)
    directory = evidence.open_run(spec.root)
    stop = threading.Event()

    def one(env: Env, each: Task) -> Result:
        if stop.is_set() or cancel.is_set():
            return _ended(env, each, "interrupted" if cancel.is_set() else "skipped", "not started")
        result = _result(env, each, stacks, setting, evidence.log_path(directory, env.name, each.name))
        if request.fail_fast and result.outcome != "passed":
            stop.set()
        return result

    try:
        with ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool:
            return tuple(pool.map(lambda pair: one(*pair), chosen))
    finally:
        evidence.close_run(spec.root, directory)


def verify(
    request: Request, names: tuple[str, ...], emit: Emit, cancel: Cancel, *, build: bool = False
) -> tuple[Verified, ...]:
    """Make layers (or with `build` the outputs of the task `build`) twice under variation, and compare. `names` are
    those of bases, layers and envs, or globs. Raises SpecError, UsageError, StoreError."""
    from envtool.verify import chosen, everything

    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    targets = chosen.outputs(spec, names) if build else chosen.layers(spec, nodes, names)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    directory = evidence.open_run(spec.root)
    try:
        return everything.verify(targets, Stacks(nodes, setting), setting, directory, request.jobs, request.fail_fast)
    finally:
        evidence.close_run(spec.root, directory)


def lock(request: Request, upgrade: tuple[str, ...] | None, emit: Emit, cancel: Cancel) -> Locked:
    """Settle everything that floats, make it, and write the lock. `upgrade`: None keeps what still fits, () moves all,
    names move what they name. Raises SpecError, UsageError, MakeError, Interrupted."""
    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    free = replace(request, locked=False, refresh=upgrade == ())
    setting = _setting(spec, files, nodes, free, emit, cancel)
    old = setting.lock
    if upgrade:
        rest, moving, unknown = upgraded(old, upgrade)
        unknown = tuple(name for name in unknown if name not in {node.spec.name for node in nodes.nodes.values()})
        if unknown:
            raise UsageError(
                f"nothing here is called {', '.join(unknown)}", code="lock-name", hint=_lockable(old, nodes)
            )
        _movable(old, nodes, upgrade)
        setting = replace(setting, lock=rest, moving=moving)
    stacks = Stacks(nodes, setting)
    with ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool:
        [*pool.map(lambda env: stacks.stack(env.name), spec.envs)]
    found = locking.entries(nodes, stacks.made())
    names = frozenset((entry.question.subject, entry.question.name) for entry in found) if request.envs else None
    new = merged(old, found, platforms=frozenset(entry.question.platform for entry in found), names=names)
    written = lock_file.write(spec.root, spec.file, new)
    return Locked(file=lock_file.name(spec.file), changes=changes(old, new), entries=len(new.entries), written=written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What `lock` did."""

    file: str
    changes: tuple[Change, ...]
    entries: int
    written: bool


def _movable(old: Lock, nodes: Graph, names: tuple[str, ...]) -> None:
    """Raise UsageError for a package that only a newer base can move."""
    fixed = {node.spec.name: node for node in nodes.nodes.values() if node.kind.of_base}
    for entry in old.entries:
        node = fixed.get(entry.question.name)
        has = {plain(str(item["name"])) for item in items(entry.pins)} if node else set()
        bound = [name for name in names if plain(name) in has]
        if node and bound and not {entry.question.name, nodes.nodes[node.below[0]].spec.name} & {*names}:
            base = nodes.nodes[node.below[0]].spec.name
            raise UsageError(
                f"`{bound[0]}` in layer `{node.spec.name}` is chosen from the index of base `{base}`",
                code="lock-base",
                hint=f"`envtool lock --upgrade {base}` moves the index, and all that has a newer version in it",
            )


def _lockable(old: Lock, nodes: Graph) -> str:
    return (
        "there are "
        + ", ".join(sorted({node.spec.name for node in nodes.nodes.values()})[:12])
        + (", and the packages in them" if old.entries else "")
    )


def execute(request: Request, env: str, argv: tuple[str, ...], *, terminal: bool, emit: Emit, cancel: Cancel) -> int:
    """Make one env and run a command in it (`argv` empty: a shell). Returns the command's own status."""
    spec, files, kinds = _open(request)
    chosen = _one_env(spec, env)
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    stack = Stacks(nodes, setting).stack(chosen.name)
    with scratch_for(chosen, setting) as directory:
        prepared = ready.prepare(chosen, stack, spec, files, setting, scratch=directory)
        status = warm.launch(prepared, argv, terminal=terminal, cancel=cancel.reader)
    if status is None:
        raise MakeError("git cannot say which files of the project it ignores", code="project-git")
    return status


def _open(request: Request) -> tuple[Spec, Files, registry.Registry]:
    path = find_spec(request)
    root = os.path.dirname(path)
    files = Files(root)
    kinds = registry.discover()
    spec = load_spec(files, os.path.basename(path), root=root, registry=kinds, args=request.args)
    return _select(spec, request.envs), files, kinds


def find_spec(request: Request) -> str:
    """Absolute path of the spec: the file named, else the nearest `envtool.yaml` upward. Raises UsageError."""
    start = os.path.abspath(request.directory)
    if not os.path.isdir(start):
        raise UsageError(f"no directory `{request.directory}`", code="no-directory")
    if request.file:
        path = os.path.join(start, request.file)
        if not os.path.isfile(path):
            raise UsageError(f"no file `{request.file}`", code="no-spec")
        return os.path.abspath(path)
    directory = start
    while True:
        path = os.path.join(directory, SPEC)
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(directory)
        if parent == directory:
            hint = "`envtool init` writes one for this project"
            raise UsageError(f"no {SPEC} in {start} or above it", code="no-spec", hint=hint)
        directory = parent


def _setting(spec: Spec, files: Files, nodes: Graph, request: Request, emit: Emit, cancel: Cancel) -> Setting:
    """What realising needs, with the lock, if there is one. Raises SpecError where it has to fit and does not."""
    place = store.locate(idmap=ids.describe())
    scratch.sweep(place, remove=ids.remove)
    locked = lock_file.read(files, spec.file)
    setting = Setting(
        store=place,
        root=spec.root,
        arch=os.uname().machine,
        emit=emit,
        cancel=cancel,
        refresh=request.refresh,
        lock=locked or Lock(),
        offline=request.offline,
    )
    if locked is None and request.locked:
        name = lock_file.name(spec.file)
        raise UsageError(f"no {name} beside {spec.file}", code="no-lock", hint="`envtool lock` writes it")
    if locked is not None and not request.refresh and (_in_ci() if request.locked is None else request.locked):
        locking.check(nodes, locked, setting, lock_file.name(spec.file))
    return setting


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def _select(spec: Spec, patterns: tuple[str, ...]) -> Spec:
    if not patterns:
        return spec
    wanted: set[str] = set()
    for pattern in patterns:
        # brackets are part of names (`unit[trixie]`), so only * and ? are wild
        wild = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")).fullmatch
        found = {env.name for env in spec.envs if env.group == pattern or wild(env.name)}
        if not found:
            raise _no_env(spec, pattern)
        wanted |= found
    return replace(spec, envs=tuple(env for env in spec.envs if env.name in wanted))


def _one_env(spec: Spec, name: str) -> Env:
    exact = [env for env in spec.envs if env.name == name] or [env for env in spec.envs if env.group == name]
    if not exact:
        raise _no_env(spec, name)
    if len(exact) > 1:
        names = ", ".join(env.name for env in exact)
        raise UsageError(f"`{name}` is a matrix: say which of {names}", code="env-ambiguous")
    return exact[0]


def _no_env(spec: Spec, name: str) -> UsageError:
    names = [env.name for env in spec.envs]
    near = difflib.get_close_matches(name, [*names, *{env.group for env in spec.envs}], n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"envs: {', '.join(names[:12])}"
    return UsageError(f"no env `{name}`", code="no-env", hint=hint)


def _no_task(spec: Spec, task: str) -> str:
    if len(spec.envs) == 1:
        return f"env `{spec.envs[0].name}` has no task `{task}`"
    return f"no env has a task `{task}`"


def _result(env: Env, task: Task, stacks: Stacks, setting: Setting, log: str) -> Result:
    try:
        return run_task(env, task, stacks.stack(env.name), setting, log=log, host=os.environ)
    except SpecError:
        raise
    except Interrupted:
        return _ended(env, task, "interrupted", "interrupted")
    except EnvtoolError as error:
        if isinstance(error, BuildError) and error.output:
            with open(log, "w") as file:
                file.write(error.output)
        else:
            log = ""
        text = f"{error.message}\n  {error.hint}" if error.hint else error.message
        return _ended(env, task, "error", text, log=log)


def _ended(env: Env, task: Task, outcome: str, message: str, log: str = "") -> Result:
    import time

    return Result(
        env=env.name,
        task=task.name,
        outcome=outcome,  # type: ignore[arg-type]
        status=None,
        seconds=0.0,
        started=time.time(),
        log=log,
        message=message,
    )


def _silent(_: object) -> None:
    pass
