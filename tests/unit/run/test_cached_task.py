"""Request, find, run, store: which task runs, which is answered from a cache, and why a result is not stored."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool import keys
from envtool.api import Looked
from envtool.build.context import Context
from envtool.container.outputs import OutputReceiver
from envtool.project import snapshot
from envtool.project.snapshot import SnapshotError
from envtool.run import cached_task, provenance, result_cache, shared_results
from envtool.run.result_cache import LocalCache, NotCacheable, OffCache, RecordedRun, TeamResultCache
from envtool.run.task_request import TaskResult
from envtool.store import record_results, results
from tests.unit.run.fakes import ENV, TASK, FakeStacks, World, stack_of

DIST = replace(TASK, outputs=("dist/*",))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.cancel.close()


def perform(world, stacks=None, *, again=False, run=None, **call):
    """(outcome, the cached result or None, why it is not cached) of one task."""
    world.context.unremembered.clear()
    stacks = stacks or FakeStacks(stack_of())
    result, cached = cached_task.run_task_cached(world.call(**call), stacks, again=again, run=run or world.runner())
    return result.outcome, cached, [*world.context.unremembered]


def known(**more):
    """Stacks of which the layers are known before they are built, and may not be built."""
    return FakeStacks(None, known=stack_of(**more))


def test_a_task_that_passed_is_not_run_again(world):
    outcome, first, why = perform(world)
    assert (outcome, why) == ("passed", [])
    stacks = known()
    outcome, second, _ = perform(world, stacks)
    assert (outcome, world.runs, stacks.built) == ("cached", 1, 0)
    assert second.stored == first.stored
    assert (second.view, second.task, second.env) == (first.view, "test", ENV)
    assert [event.outcome for event in world.events if type(event).__name__ == "Finished"] == ["cached"]


def test_what_a_cached_task_leaves(world):
    perform(world)
    call = world.call()
    result, _ = cached_task.run_task_cached(call, known(), again=False, run=world.runner())
    with open(call.log) as log, open(provenance.path_for(call.log)) as statement:
        assert log.read() == "said\n"
        assert "in-toto.io/Statement" in statement.read()
    assert (result.seconds, result.log, result.commands, result.where) == (0.5, call.log, (), "")


def test_a_stack_that_is_built_and_comes_out_the_same_is_answered_too(world):
    perform(world)
    stacks = FakeStacks(stack_of(tree="/built anew"))
    assert perform(world, stacks)[0] == "cached"
    assert stacks.built == 1
    assert perform(world, FakeStacks(stack_of(), known=stack_of(("d0", "k0"))))[0] == "cached", "not what was known"


@pytest.mark.parametrize(
    "change",
    [
        lambda world: {"again": True},
        lambda world: {"stacks": FakeStacks(stack_of(("d1", "k1")))},
        lambda world: {"task": replace(TASK, user="root")},
        lambda world: {"host": {"MY_A": "2"}},
        lambda world: (world.root / "file").write_text("two\n") and {},
        lambda world: (world.root / "new").write_text("") or {},
        lambda world: (world.root / "file").chmod(0o755) or {},
        lambda world: _damage(world, "log", "sa1d\n"),
        lambda world: _damage(world, "result.json", "{}"),
    ],
)
def test_what_makes_a_task_run_again(world, change):
    perform(world)
    assert perform(world, **change(world))[0] == "passed"
    assert world.runs == 2


def _damage(world, name, text):
    for path in (world.top / "store").rglob(f"results/*/{name}"):
        path.write_text(text)
    return {}


def test_a_task_that_fails_is_neither_stored_nor_a_reason_to_say_so(world):
    outcome, cached, why = perform(world, run=world.runner("failed"))
    assert (outcome, cached, why) == ("failed", None, [])
    result, _ = cached_task.run_task_cached(
        world.call(), FakeStacks(stack_of()), again=False, run=world.runner("failed")
    )
    assert (result.commands, result.where) == (("true",), "envtool.yaml:1")
    assert world.runs == 2


def test_a_task_with_a_network_is_run_every_time_and_not_reported(world):
    for _ in range(2):
        assert perform(world, FakeStacks(stack_of(), known=stack_of()), env=replace(ENV, network=True)) == (
            "passed",
            None,
            [],
        )
    assert (world.runs, [*_results(world)]) == (2, [])


def _results(world):
    return [path.name for path in (world.top / "store").rglob("results/*") if len(path.name) == 64]


def test_a_machine_that_could_not_be_read(world):
    looked = Looked(states={}, trees=(), unseen="no permission to read /opt")
    stacks = FakeStacks(stack_of(looked=looked), known=stack_of(looked=looked))
    assert perform(world, stacks) == ("passed", None, ["no permission to read /opt"])
    assert perform(world, stacks, run=world.runner("failed"))[2] == []


def test_a_project_that_cannot_be_read(world, monkeypatch):
    def fail(*args, **options):
        raise SnapshotError("git is gone")

    monkeypatch.setattr(snapshot, "take_snapshot", fail)
    for _ in range(2):
        assert perform(world, FakeStacks(stack_of(), known=stack_of())) == ("passed", None, ["git is gone"])
    assert world.runs == 2


def _git(world, *words):
    who = ("-c", "user.name=n", "-c", "user.email=e")
    subprocess.run(["git", "-C", str(world.root), *who, *words], check=True)


def _replace(path):
    text = path.read_text()
    path.unlink()
    path.write_text("other")
    path.unlink()
    path.write_text(text)


def _dist(world):
    """Copies dist/x back from the container."""
    (world.top / "x").write_text("made")
    receiver = OutputReceiver(str(world.root), owned=False, patterns=("dist/*",))
    receiver.copy(str(world.top / "x"), "dist/x", 0o644, 0)
    assert receiver.finish() == (("dist/x",), ())


@pytest.mark.parametrize(
    ("during", "task", "why"),
    [
        (lambda world: (world.root / "file").write_text("two"), TASK, "file was touched while it ran"),
        (lambda world: (world.root / "a").write_text("") or (world.root / "b").write_text(""), TASK, "a and 1 more was touched while it ran"),
        (lambda world: _replace(world.root / "file"), TASK, "file was touched while it ran"),
        (lambda world: _git(world, "commit", "-q", "--allow-empty", "-m", "x"), DIST, "git's history changed while it ran"),
        (lambda world: _git(world, "commit", "-q", "--allow-empty", "-m", "x"), TASK, ""),
    ],
)  # fmt: skip
def test_what_happens_while_a_task_runs(world, during, task, why):
    run = world.runner(during=lambda: during(world))
    outcome, cached, reasons = perform(world, run=run, task=task)
    assert (outcome, reasons) == ("passed", [why] if why else [])
    assert (cached is None) == bool(why)
    assert (perform(world, known(), task=task)[0] == "cached") if not why else not _results(world)


def test_a_tasks_outputs_are_no_change_of_the_project(world):
    run = world.runner(during=lambda: _dist(world), outputs=("dist/x",))
    assert perform(world, run=run, task=DIST)[2] == []
    assert len(_results(world)) == 2, "with and without the outputs among the project's files"
    assert perform(world, known(), task=DIST)[0] == "cached"
    (world.root / "dist/x").unlink()
    assert perform(world, known(), task=DIST)[0] == "cached"
    assert (world.root / "dist/x").read_text() == "made"
    (world.root / "dist/x").unlink()
    (world.root / "dist/x/y").mkdir(parents=True)
    assert perform(world, FakeStacks(stack_of()), task=DIST)[0] == "passed", "a directory in the way: a run says so"


def test_what_the_run_raises_is_raised(world):
    def run(task, reach):
        raise OSError("no container")

    with pytest.raises(OSError, match="no container"):
        perform(world, run=run)
    assert not _results(world)


# ---- caches ----------------------------------------------------------------------------------------------------------


class FakeShare:
    """A team cache, as far as `open_cache` asks."""

    results, pushes = True, True


@pytest.fixture
def team(world, monkeypatch):
    """What the team has: keys -> the task that is run for it elsewhere; and what was pushed."""
    team = SimpleNamespace(has=False, asked=[], pushed=[])

    def pull(key, name, owner, stacks, context):
        team.asked.append((key, name))
        if team.has:  # the other machine's result, as it arrives here
            with open(world.top / "log", "w") as log:
                log.write("said elsewhere\n")
            request = team.request
            run = RecordedRun(
                requests=(request,), log=str(world.top / "log"), manifests={},
                result=TaskResult(outcome="passed", status=0, started=1.0, seconds=9.0),
            )  # fmt: skip
            LocalCache(context, stacks).store(run)
        return team.has

    monkeypatch.setattr(shared_results, "pull_result", pull)
    monkeypatch.setattr(
        shared_results,
        "push_result",
        lambda documents, stacks, context: team.pushed.extend(map(keys.digest, documents)),
    )
    world.share(FakeShare())
    return team


def test_what_the_team_has_is_neither_run_nor_built(world, team):
    perform(world)
    (first,) = team.pushed
    assert (team.asked, world.runs) == ([(first, "result of unit test")], 1)
    team.request = world_request(world)
    _forget(world)
    team.has = True
    stacks = FakeStacks(None, foreseen=stack_of(stored=False))
    outcome, cached, _ = perform(world, stacks)
    assert (outcome, stacks.built, world.runs, cached.stored.run.seconds) == ("cached", 0, 1, 9.0)
    assert team.pushed == [first], "what came from the team is not sent back"
    assert perform(world, stacks)[0] == "cached"
    assert len(team.asked) == 2, "once it is here, nobody is asked"


def world_request(world):
    from envtool.run.prepared_task import prepare_task

    return prepare_task(world.call(), stack_of()).request


def _forget(world):
    for key in _results(world):
        results.remove_result(world.store, key)


def test_what_is_not_for_the_team(world, team):
    assert perform(world, FakeStacks(stack_of(pinned=False)))[0] == "passed"
    mounts = (SimpleNamespace(source="/usr", target="/usr"),)
    assert perform(world, FakeStacks(stack_of(mounts=mounts)))[0] == "passed"
    assert (team.asked, team.pushed) == ([], [])


def test_a_service_on_this_machines_system_keeps_the_result_here(world, team):
    """On another machine the key of such a service may be the same, and the files that it reads are others."""
    mounts = (SimpleNamespace(source="/usr", target="/usr"),)
    for beside in (stack_of(mounts=mounts), stack_of(pinned=False)):
        cache = result_cache.open_cache(world.context, (stack_of(), beside))
        assert isinstance(cache, LocalCache)
    assert isinstance(result_cache.open_cache(world.context, (stack_of(), stack_of())), TeamResultCache)


def test_the_layers_of_services_are_known_once_a_result_is(world):
    """So that the next run finds the result without the layers, as it does for those of the task."""
    from envtool.store import layers

    (world.top / "log").write_text("said\n")
    run = RecordedRun(
        requests=(world_request(world),), log=str(world.top / "log"), manifests={},
        result=TaskResult(outcome="passed", status=0, started=1.0, seconds=2.0),
    )  # fmt: skip
    result_cache.open_cache(world.context, (stack_of(), stack_of(("sha256:" + "ab" * 32, "k3")))).store(run)
    assert layers.find_known_output(world.store, "k3") == "sha256:" + "ab" * 32


def test_a_result_that_depends_on_gits_directories_is_not_pushed(world, team):
    def run(task, reach):
        result = world.runner()(task, reach)
        reach.opened = ("/project/.git/HEAD",)
        return result

    outcome, cached, _ = perform(world, run=run)
    assert (outcome, team.pushed) == ("passed", [])
    assert cached.stored.run.git
    assert perform(world, known())[0] == "cached"
    (world.root / ".git/description").write_text("another")
    assert perform(world)[0] == "passed", "the task read git's directory, and that has changed"


def test_each_cache_is_one(world):
    stack = stack_of()
    request = world_request(world)
    with open(world.top / "log", "w") as log:
        log.write("said\n")
    run = RecordedRun(
        requests=(request,), log=str(world.top / "log"), manifests={},
        result=TaskResult(outcome="passed", status=0, started=1.0, seconds=2.0, message="m"),
    )  # fmt: skip
    off = OffCache("because")
    assert off.find(request) is None
    with pytest.raises(NotCacheable, match="because"):
        off.store(run)
    local = result_cache.open_cache(world.context, [stack])
    assert isinstance(local, LocalCache)
    assert local.find(request) is None
    stored = local.store(run)
    assert stored.key == request.key
    assert local.find(request) == stored
    assert (stored.run.message, stored.run.env, stored.run.task) == ("m", "unit", "test")
    assert local.find(replace(request, view="other")) is None
    odd = replace(request, workdir="\udc80")
    local.store(run._replace(requests=(odd,)))
    assert local.find(odd), "a name that is not UTF-8 has a key, too"
    with pytest.raises(NotCacheable, match="No such file"):
        local.store(run._replace(log=str(world.top / "gone")))
    world.share(FakeShare())
    assert isinstance(result_cache.open_cache(world.context, [stack]), TeamResultCache)


def test_a_log_that_is_too_large_is_a_reason(world, monkeypatch):
    monkeypatch.setattr(record_results, "MAX_LOG_SIZE", 3)
    assert perform(world) == ("passed", None, ["its log and outputs are too large"])


STEPS = st.lists(
    st.sampled_from(["run", "known", "edit", "back", "again", "other stack", "fails", "touched", "damage"]), max_size=8
)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(STEPS)
def test_a_task_runs_if_nothing_that_passed_was_the_same(tmp_path_factory, steps):
    """Against a model: the set of (files, stack) for which it passed undisturbed."""
    world = World(tmp_path_factory.mktemp("world"))
    passed: set[tuple[str, str]] = set()
    text = "one\n"
    for step in steps:
        if step in ("edit", "back"):
            text = "two\n" if step == "edit" else "one\n"
            (world.root / "file").write_text(text)
            continue
        if step == "damage":
            _damage(world, "log", "sa1d\n")
            passed.clear()
            continue
        diff_id = "d9" if step == "other stack" else "d1"
        stack = stack_of((diff_id, "k"))
        stacks = FakeStacks(stack, known=stack if step == "known" else None)
        wrong = {"fails": "failed"}.get(step, "passed")
        during = (world.root / "file").touch if step == "touched" else lambda: None
        outcome, cached, _ = perform(world, stacks, again=step == "again", run=world.runner(wrong, during=during))
        expected = "cached" if (text, diff_id) in passed and step != "again" else wrong
        assert outcome == expected, steps
        if outcome == "passed" and step != "touched":
            passed.add((text, diff_id))
            assert cached is not None
    world.cancel.close()


def test_the_scheduler_is_what_it_is_called_with():
    """The protocol is the scheduler's own: mypy holds it where `app` calls, and this holds that nothing else is asked."""
    from envtool.build.scheduler import Scheduler

    asked = {name for name in dir(cached_task.Stacks) if not name.startswith("_")}
    assert asked == {"find_known_stack", "stack"}
    assert all(callable(getattr(Scheduler, name)) for name in asked)
    assert Context.__dataclass_params__.frozen


def test_an_audit_decides_before_the_run_is_recorded(world):
    """Else a record in another thread could note again what the audit has just forgotten."""
    order = []

    class WatchedAudit:
        def compare(self, task, result, reads):
            order.append("audit")
            return replace(result, outcome="failed")

    call = world.call()._replace(record_later=lambda record: order.append("record"))
    result, cached = cached_task.run_task_cached(
        call, FakeStacks(stack_of()), again=True, audit=WatchedAudit(), run=world.runner()
    )
    assert (result.outcome, cached, order) == ("failed", None, ["audit", "record"])
    order.clear()
    result, _ = cached_task.run_task_cached(
        call, FakeStacks(stack_of()), again=True, audit=WatchedAudit(), run=world.runner("failed")
    )
    assert (result.outcome, order) == ("failed", ["audit"])
