"""The whole road on one screen: spec -> graph -> stacks -> results. Every verb of the command line is one function."""

from __future__ import annotations

import difflib
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from envtool import registry
from envtool.api import Detection
from envtool.container import ids
from envtool.errors import BuildError, EnvtoolError, Interrupted, MakeError, NotCachedError, SpecError, UsageError
from envtool.events import Emit, Event
from envtool.lock.changes import Change, changes
from envtool.lock.lock import Lock, items, merged, plain, upgraded
from envtool.model import Env, Json, Spec, Task
from envtool.plan.graph import Graph, graph
from envtool.plan.plan import Plan
from envtool.plan.plan import plan as make_plan
from envtool.plan.subjects import choose
from envtool.plan.why import Explanation
from envtool.project import VENDOR, Files
from envtool.realise.explain import explain
from envtool.realise.gather import Gathered, gather
from envtool.realise.look import known, look
from envtool.realise.places import Lines
from envtool.realise.setting import Cancel, Setting
from envtool.realise.stacks import Stacks
from envtool.realise.vendor import Vendored, archive, folder, is_archive
from envtool.report import bill
from envtool.resolve import file as lock_file
from envtool.resolve import locking
from envtool.run import contents, evidence, provenance, ready, remember, warm
from envtool.run.result import Result
from envtool.run.tasks import scratch_for
from envtool.run.why import explain_tasks
from envtool.spec import load as load_spec
from envtool.spec import published
from envtool.store import layers, scratch, store
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
    again: bool = False  # run tasks whose result is remembered
    locked: bool | None = None  # a lock that no longer fits is an error; None: in CI it is
    offline: bool = False
    expect_cached: bool = False


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


def why(request: Request, names: tuple[str, ...] = ()) -> tuple[Explanation, ...]:
    """Why bases, layers and tasks are cached or not, those that names mean (choose); without names, all bases and
    layers that are not. Each comes after what it stands on. Raises SpecError, UsageError, StoreError."""
    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    chosen = choose(spec, nodes, names)
    free = replace(request, locked=False)  # a lock that does not fit is explained like all else
    setting = _setting(spec, files, nodes, free, _silent, Cancel.make())
    looks = look(nodes, setting)
    lines = lock_file.lines(files, spec.file)
    # of what a task stands on, only what is not cached says anything about it
    wanted = {
        node_id for node_id in chosen.nodes if node_id in chosen.named or not names or looks[node_id].layer is None
    }
    told = explain(nodes, setting, wanted, looks=looks, lock=lines, misses=not names)
    return told + explain_tasks(chosen.tasks, nodes, looks, setting)


def run(request: Request, task: str, emit: Emit, cancel: Cancel) -> tuple[Result, ...]:
    """Run a task in every selected env that has it, side by side. Raises SpecError, UsageError, StoreError."""
    if request.expect_cached and request.refresh:
        raise UsageError("`--expect-cached` and `--refresh` contradict each other", code="usage.contradiction")
    began = time.time_ns()
    spec, files, kinds = _open(request)
    chosen = [(env, each) for env in spec.envs for each in env.tasks if each.name == task]
    if not chosen:
        raise UsageError(_no_task(spec, task), code="no-task", hint="`envtool list` shows envs and their tasks")
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    if request.expect_cached:
        wanted = {node_id for env, _ in chosen for node_id in nodes.stacks[env.name]}
        _check_cached(nodes, wanted, setting, lock_file.lines(files, spec.file))
    stacks = Stacks(nodes, setting)
    directory = evidence.open_run(spec.root)
    stop = threading.Event()
    traces: list[remember.Trace] = []

    def one(env: Env, each: Task) -> Result:
        if stop.is_set() or cancel.is_set():
            return _ended(env, each, "interrupted" if cancel.is_set() else "skipped", "not started")
        log = evidence.log_path(directory, env.name, each.name)
        asked = remember.Asked(env=env, task=each, setting=setting, log=log, host=os.environ)
        result, trace = _result(asked, stacks, again=request.again)
        traces.extend([trace] if trace else [])
        if request.fail_fast and result.outcome not in ("passed", "cached"):
            stop.set()
        return result

    try:
        with ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool:
            done = tuple(pool.map(lambda pair: one(*pair), chosen))
    finally:
        evidence.close_run(spec.root, directory)
    if len(traces) == len(chosen) and not request.args and not request.refresh and not listeners():
        order = {(env.name, each.name): number for number, (env, each) in enumerate(chosen)}
        traces.sort(key=lambda trace: order[trace.env.name, trace.task])
        ready.unchanged(traces, spec, files, setting, selected=request.envs, began=began)
    return done


def fetch(request: Request, emit: Emit, cancel: Cancel) -> Gathered:
    """Bring every pinned file of the selected envs into the store. Raises SpecError, UsageError, MakeError."""
    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    return gather(nodes, _setting(spec, files, nodes, request, emit, cancel), jobs=request.jobs)


def vendor(request: Request, target: str, emit: Emit, cancel: Cancel, *, prune: bool) -> Vendored:
    """Write every pinned file of the spec to a folder (empty: the one beside the spec) or an archive. Raises as `fetch`
    does, and StoreError where it cannot be written."""
    path = os.path.join(os.path.abspath(request.directory), target) if target else ""
    if prune and is_archive(path):
        raise UsageError("`--prune` is for folders: an archive is written anew", code="vendor-prune")
    spec, files, kinds = _open(request)
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    pinned = gather(nodes, setting, jobs=request.jobs).files
    if is_archive(path):
        return archive(pinned, setting.store, path, check=cancel.check)
    return folder(pinned, setting.store, path or os.path.join(spec.root, VENDOR), prune=prune, check=cancel.check)


def sbom(request: Request, env: str, form: bill.Format, emit: Emit, cancel: Cancel) -> str:
    """The bill of materials of one env, whose stack is made where it was not. Raises as `execute` does."""
    spec, files, kinds = _open(request)
    chosen = _one_env(spec, env)
    nodes = graph(spec, kinds)
    setting = _setting(spec, files, nodes, request, emit, cancel)
    stack = Stacks(nodes, setting).stack(chosen.name)
    with layers.using(setting.store, [made.layer for made in stack.made]):
        return bill.render(contents.bill(chosen.name, stack, kinds.plugins), form)


def statements(results: Sequence[Result]) -> str:
    """The provenance of the results that passed, an in-toto statement a line."""
    return provenance.bundle(results)


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


def _check_cached(nodes: Graph, wanted: set[str], setting: Setting, lines: Lines) -> None:
    """Raise NotCachedError, with what `why` says, where one of these bases and layers is not cached."""
    misses = explain(nodes, setting, wanted, lock=lines, misses=True)
    if misses:
        count = f"{len(misses)} of {len(wanted)} bases and layers"
        verb = "is" if len(misses) == 1 else "are"
        hint = "without `--expect-cached` they are made; `envtool why NAME` says more of one"
        raise NotCachedError(f"{count} {verb} not cached", misses=misses, hint=hint)


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
        cached_only=request.expect_cached,
        arguments=request.args,
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


def _result(asked: remember.Asked, stacks: Stacks, *, again: bool) -> tuple[Result, remember.Trace | None]:
    env, task, log = asked.env, asked.task, asked.log
    try:
        return remember.perform(asked, stacks, again=again)
    except SpecError:
        raise
    except Interrupted:
        return _ended(env, task, "interrupted", "interrupted"), None
    except EnvtoolError as error:
        if isinstance(error, BuildError) and error.output:
            with open(log, "w") as file:
                file.write(error.output)
        else:
            log = ""
        text = f"{error.message}\n  {error.hint}" if error.hint else error.message
        return _ended(env, task, "error", text, log=log), None


def _ended(env: Env, task: Task, outcome: str, message: str, log: str = "") -> Result:
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
