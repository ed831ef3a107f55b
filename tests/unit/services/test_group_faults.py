"""Random graphs of services with random faults, at random moments: whatever happens, order holds and nothing is left."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.errors import EnvtoolError, SandboxError
from tests.leftovers import nothing_left, threads
from tests.unit.services.fakes import Place, service

FAULTS = ("ends", "fails", "is refused", "raises", "never ready", "dies later", "ignores TERM", "cancels")


@st.composite
def graphs(draw):
    """Rows of (name, needs, replicas, once, fault)."""
    rows = []
    for number in range(draw(st.integers(1, 6))):
        names = [row[0] for row in rows]
        needs = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        once = draw(st.booleans())
        replicas = 1 if once else draw(st.integers(1, 3))
        fault = draw(st.one_of(st.just(""), st.just(""), st.sampled_from(FAULTS)))
        rows.append((f"s{number}", tuple(needs), replicas, once, fault))
    return rows


def behave(place, name, once, fault, died):
    def do(container):
        match fault:
            case "is refused":
                raise SandboxError("refused", code="unshare")
            case "raises":
                raise ZeroDivisionError
            case "fails":
                container.exit.status = 3
                return
            case "cancels":
                place.world.cancel.set(2)
            case "ignores TERM":
                container.handled.add(15)
            case "dies later":
                container.listen(80)
                died.wait(0.05)
                container.exit.status = 9
                return
        if once:
            if fault == "never ready":
                container.wait()
            return
        if fault == "ends":
            return
        if fault != "never ready":
            container.listen(80)
        container.wait()

    place.runner.on(f"run-{name}", do)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(rows=graphs(), stays=st.booleans())
def test_whatever_fails(rows, stays):
    died = threading.Event()
    with tempfile.TemporaryDirectory() as top, nothing_left(threads):
        place = Place(Path(top))
        try:
            services = []
            for name, needs, replicas, once, fault in rows:
                behave(place, name, once, fault, died)
                services.append(
                    service(
                        name,
                        needs=needs,
                        replicas=replicas,
                        once=once,
                        grace=0.05,
                        within=0.15 if fault == "never ready" else 30.0,
                        ready=[] if once else [{"how": "tcp", "port": 80}],
                    )
                )
            run(place, services, rows, died, stays=stays)
            place.check_empty()
        finally:
            place.world.cancel.close()


def run(place, services, rows, died, *, stays):
    needs = {row[0]: row[1] for row in rows}
    faults = {row[4] for row in rows} - {"", "ignores TERM"}
    with place.group() as group:
        error = None
        try:
            group.start(place.locals(services))
        except EnvtoolError as raised:
            error = raised
        assert faults or error is None
        if error is None:
            assert not faults - {"dies later", "cancels", "ends"}
            if stays:
                died.set()
            else:
                group.stop()
        check_starts(place, needs)
    check_stops(place, needs)
    started = [name for name, outcome in place.events() if outcome == "started"]
    finished = [name for name, outcome in place.events() if outcome != "started"]
    assert sorted(started) == sorted(finished)


def check_starts(place, needs):
    """Nothing started before all that it needs was ready, or had ended well."""
    up: set[str] = set()
    for what, name in place.runner.pods[0].history:
        owner = name.rpartition("-")[0]
        if what == "member":
            assert {*needs[owner]} <= up, f"{name} started before what it needs"
        elif what in ("ready", "remove"):
            up.add(owner)


def check_stops(place, needs):
    """Nothing was asked to stop while something that needs it ran."""
    running: set[str] = set()
    for name, stage in place.changes:
        owner = name.rpartition("-")[0]
        if stage == "ready":
            running.add(owner)
        elif stage in ("ended", "failed"):
            running.discard(owner)
        elif stage == "stopping" and not any(stage == "failed" for _, stage in place.changes):
            users = {user for user in running if owner in needs[user]}
            assert not users, f"{name} was stopped before {users}"
