"""Random graphs, random faults, several threads, and a cancel at any moment: each node is made once, each failure is
said once, and nothing is left."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.build.context import Cancel
from envtool.container import sync_disk
from envtool.errors import EnvtoolError, Interrupted, ResolveError, SandboxError
from envtool.events import Finished, Started
from envtool.store import layers
from tests.depth import examples
from tests.leftovers import descriptors, nothing_left, threads
from tests.unit.build.fakes import FakeShare, World, builds, content

BASES, LAYERS = ("plain9", "img9"), ("ant9", "bee9", "cat9", "dog9")  # in no other text
PARTS = ("img9-stage", "img9-top")
NAMES = (*BASES, *LAYERS, *PARTS)
FETCHES = ("plain9", "ant9", "cat9")
FAULTS = ("resolve", "crash", "missing", "status", "sandbox", "raises")
PATIENCE = 30.0  # seconds: what takes longer hangs


@dataclass(frozen=True)
class Case:
    """`faults`: name of a node -> what goes wrong; `cancel_at`: the number of the event, or of the step of a node's
    life, at which everything is cancelled; 0: never. `team`: names of the nodes whose layers the team cache has."""

    envs: dict
    faults: dict
    cancel_at: int
    threads: int
    team: frozenset
    lost: frozenset
    damaged: frozenset


@st.composite
def cases(draw):
    envs = {}
    for number in range(draw(st.integers(1, 3))):
        chosen = draw(st.lists(st.sampled_from(LAYERS), unique=True, max_size=4))
        rows = []
        for position, name in enumerate(chosen):
            below = chosen[:position]
            needs = draw(st.none() | st.sets(st.sampled_from(below)).map(sorted).map(tuple)) if below else None
            rows.append((name, needs))
        envs[f"e{number}"] = (draw(st.sampled_from(BASES)), tuple(rows))
    some = st.frozensets(st.sampled_from(NAMES), max_size=3)
    used = sorted({name for base, rows in envs.values() for name in (base, *(row[0] for row in rows))})
    used += PARTS if "img9" in used else ()
    least = min(draw(st.sampled_from((0, 1, 2))), len(used))
    faults = draw(st.dictionaries(st.sampled_from(used), st.sampled_from(FAULTS), min_size=least, max_size=3))
    return Case(
        envs=envs,
        faults={name: fault for name, fault in faults.items() if fault != "missing" or name in FETCHES},
        cancel_at=draw(st.just(0) | st.sampled_from(range(1, 25))),
        threads=draw(st.integers(1, 4)),
        team=draw(st.frozensets(st.sampled_from(NAMES))),
        lost=draw(some),
        damaged=draw(some),
    )


class Run:
    """One run of a case: what each env's thread got, and the moments at which it may be cancelled."""

    def __init__(self, top, case, far=()):
        self.case, self.moments, self.lock = case, 0, threading.Lock()
        missing = [name for name, fault in case.faults.items() if fault == "missing"]
        self.world = World(top, case.envs, images=("img9",), fails=self.fails, missing=missing, fetch=FETCHES)
        self.world.on_event = self.moment
        self.world.runner.on("make", self.container)
        self.share = None
        if far:
            by_name = {str(layer.built["name"]): layer for layer in far}
            keys = {name: [layer.key for layer in far if layer.built["name"] == name] for name in by_name}
            self.share = FakeShare(
                [layer for layer in far if layer.built["name"] in case.team],
                lost=[key for name in case.lost for key in keys.get(name, ())],
                damaged=[key for name in case.damaged for key in keys.get(name, ())],
            )
            self.world.again(share=self.share)

    def moment(self, _):
        with self.lock:
            self.moments += 1
            now = self.moments == self.case.cancel_at
        if now:
            self.world.cancel.set()

    def fails(self, step, name, site):
        self.moment(step)
        fault = self.case.faults.get(name)
        if fault == "resolve":
            raise ResolveError(f"{name} has no version")
        if fault == "crash":
            raise KeyError(name)

    def container(self, container):
        name = container.program.steps[0].argv[1]
        self.moment(name)
        container.wait(seconds=0.002)
        fault = self.case.faults.get(name)
        if fault == "sandbox":
            raise SandboxError(f"{name}: refused", code="sandbox")
        if fault == "raises":
            raise RuntimeError(f"{name}: a fault of ours")
        builds(container)
        return 3 if fault == "status" else 0

    def go(self):
        """Returns the stack, or the error, of each env, as several threads get them."""
        results, todo, lock = {}, [*self.case.envs], threading.Lock()

        def work():
            while True:
                with lock:
                    if not todo:
                        return
                    env = todo.pop()
                try:
                    results[env] = self.world.scheduler.stack(env)
                except Exception as error:
                    results[env] = error

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.case.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "it hangs"
        return results


def failing(case, env, pulled):
    """Whether a node of an env's stack fails by itself, where nothing is cancelled; `pulled` are names of nodes."""
    base, rows = case.envs[env]
    names = {base, *(name for name, _ in rows), *(PARTS if base == "img9" else ())}
    early = {"resolve", "crash"}
    return {name for name in names if case.faults.get(name) and (case.faults[name] in early or name not in pulled)}


def check_results(run, results, pulled):
    case = run.case
    errors = {}
    for env, result in results.items():
        fails = failing(case, env, pulled)
        if not isinstance(result, Exception):
            assert not fails, (env, fails)
            assert all(layers.find(run.world.context.store, made.layer.key) == made.layer for made in result.layers)
        elif isinstance(result, Interrupted):
            assert case.cancel_at
        else:
            (name,) = [
                name
                for name in fails
                if f"{name}`" in str(result) or f"files/{name}" in str(result) or f"{name}:" in str(result)
            ]
            assert isinstance(result, EnvtoolError) or case.faults[name] == "raises"
            errors.setdefault(name, set()).add(id(result))
    if not case.cancel_at:
        assert all(isinstance(results[env], Exception) == bool(failing(case, env, pulled)) for env in case.envs)
    return errors


def check_events(run, errors):
    """Each piece of work begins once and ends once; what failed is said of the node that failed, once, and of no
    other, and all who wanted it get that one error."""
    begun = Counter(event.id for event in run.world.events if isinstance(event, Started))
    ended = [event for event in run.world.events if isinstance(event, Finished)]
    assert begun == Counter(event.id for event in ended)
    assert set(begun.values()) <= {1}
    waiting = run.world.scheduler
    assert all(future.done() for future in (*waiting._futures.values(), *waiting._answers.values())), (
        "somebody would wait"
    )
    failed = Counter(event.name for event in ended if event.outcome in ("failed", "error"))
    assert set(failed) <= set(run.case.faults)
    assert all(len(ids) <= failed[name] for name, ids in errors.items()), (errors, failed)
    assert all(event.outcome != "interrupted" for event in ended) or run.case.cancel_at


def check_nothing_kept(run):
    context = run.world.context
    assert run.world.runner.running == 0
    for _ in range(len(os.sched_getaffinity(0))):
        assert context.turns.acquire(blocking=False), "a turn is not given back"
    assert not context.disk_space._builds
    run.world.close()
    assert not os.listdir(context.store.path("tmp")), "a directory is left"
    for top, _, names in os.walk(context.store.path("locks")):
        for name in names:
            with open(os.path.join(top, name), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody has it


@pytest.fixture(scope="module")
def quick_disk():
    """No test here ends with the machine: nothing is flushed to the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_disk, "syncfs", lambda path, cancel: None)
        yield


def stored(run):
    return {*os.listdir(run.world.context.store.path("layers"))}


def names_of(run, outcome):
    return {event.name for event in run.world.events if isinstance(event, Finished) and event.outcome == outcome}


def check_once(run, before, since):
    """No container ran twice, and each that ended well made one layer."""
    programs = run.world.runner.programs[since:]
    assert set(Counter((*program.root.lowers, program.steps[0].argv) for program in programs).values()) <= {1}
    new = len(stored(run) - before)
    built = [
        event for event in run.world.events if isinstance(event, Finished) and event.outcome in ("built", "pulled")
    ]
    assert new == len(built)


def mended(run):
    """The same run again, on what the first one left: what is stored is not made again, and nothing fails."""
    before, since = stored(run), len(run.world.runner.programs)
    for name in FETCHES:
        (run.world.root / "files" / name).write_bytes(content(name))
    run.case = replace(run.case, faults={}, cancel_at=0)
    run.world.cancel.close()
    run.world.cancel = Cancel.make()
    run.world.again(cancel=run.world.cancel)
    results = run.go()
    assert not any(isinstance(result, Exception) for result in results.values()), results
    check_once(run, before, since)


@pytest.mark.any_caller
@settings(
    max_examples=examples(10, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(cases())
def test_each_node_once_each_failure_once_and_nothing_left(quick_disk, case):
    top = tempfile.mkdtemp()
    try:
        far = ()
        if case.team:
            whole = Run(f"{top}/far", replace(case, faults={}, cancel_at=0))
            stacks = whole.go().values()
            far = {
                made.layer.key: made.layer for stack in stacks for made in (*stack.layers, *stack.other_stages)
            }.values()
            whole.world.close()
        gc.collect()  # files that an earlier test forgot are closed now, not meanwhile
        with nothing_left(descriptors, threads):
            run = Run(f"{top}/here", case, far)
            with nothing_left(threads):
                results = run.go()
            errors = check_results(run, results, names_of(run, "pulled"))
            check_events(run, errors)
            check_once(run, set(), 0)
            mended(run)
            check_nothing_kept(run)
    finally:
        shutil.rmtree(top)
