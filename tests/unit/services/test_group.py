"""Groups of services without a kernel: order, one-shots, ends, restarts, replicas, and what errors say."""

from __future__ import annotations

import contextlib
import errno
import select
import threading
import time
from dataclasses import replace

import pytest

from envtool.container.started import ESTABLISHED, TcpSocket
from envtool.errors import EnvtoolError, Interrupted, SandboxError, ServiceError, StoreError
from envtool.events import Noted
from envtool.model import Command, Publish, Where
from envtool.services import group as groups
from envtool.services import replica as replicas
from envtool.services.group_values import RunningService, services_above
from envtool.services.up.standing_group import StandingGroup
from envtool.store import layers
from tests.leftovers import nothing_left, threads
from tests.unit.services.fakes import Place, service


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    with nothing_left(threads):
        yield made
        made.check_empty()
    made.world.cancel.close()


def ends(status=0, output="", seconds=0.0):
    def do(container):
        if output:
            container.print(output)
        if seconds:
            container.wait(seconds=seconds)
        if not container.stopping.is_set():
            container.exit.status = status

    return do


def listens(*ports, status=200):
    def do(container):
        for port in ports:
            container.listen(port, status)
        container.wait()

    return do


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def order(place, word):
    return [name for what, name in place.runner.pods[0].history if what == word]


# ---- starting ------------------------------------------------------------------------------------------------------


def test_needed_ones_are_ready_first(place):
    place.runner.on("run-", listens(80))
    tcp = [{"how": "tcp", "port": 80}]
    services = [
        service("db", ready=tcp),
        service("cache", ready=tcp),
        service("api", ready=tcp, needs=("db", "cache")),
        service("web", ready=tcp, needs=("api",)),
    ]
    with place.group() as group:
        group.start(place.locals(services))
        assert {state.stage for state in group.states()} == {"ready"}
        ready = order(place, "ready")
        assert sorted(ready[:2]) == ["cache-1", "db-1"]
        assert ready[2:] == ["api-1", "web-1"]
        added = order(place, "member")
        assert added.index("api-1") > added.index("db-1")
    stopped = [name for name, stage in place.changes if stage == "stopping"]
    assert stopped[:2] == ["web-1", "api-1"]
    assert sorted(stopped[2:]) == ["cache-1", "db-1"]
    assert place.events()[-1] == ("web", "done")


def test_free_ones_start_at_the_same_time(place):
    both = threading.Barrier(2, timeout=10)

    def meet(container):
        both.wait()
        container.listen(80)
        container.wait()

    place.runner.on("run-", meet)
    with place.group() as group:
        group.start(
            place.locals(
                [service("a", ready=[{"how": "tcp", "port": 80}]), service("b", ready=[{"how": "tcp", "port": 80}])]
            )
        )


def test_a_container_of_a_service(place):
    place.world.context.runner.on("run-db", lambda container: container.wait())
    with place.group() as group:
        group.start(place.locals([service("db", files={"/etc/db.conf": "a=1\n"}, provides={"URL": "x"})]))
        with group.member() as there:
            assert there.address == "10.64.0.3"
            assert there.hostname == "envtool"
            assert not there.namespaces.descriptors.keys() ^ {"user", "network"}
        (program,) = place.runner.programs
        assert program.root.lowers == ("/tree", "/tree")
        assert program.project.source == str(place.world.root)
        assert (program.hostname, program.address, program.user) == ("db-1", "10.64.0.2", "user")
        texts = {mount.target: mount.content for mount in program.mounts}
        assert texts == {"/etc/resolv.conf": b"nameserver 10.64.0.1\n", "/etc/db.conf": b"a=1\n"}
        assert program.env["ENVTOOL_SERVICE"] == "db"
    assert order(place, "remove") == ["envtool", "db-1"]


def test_one_shots_end_before_what_needs_them_starts(place):
    place.runner.on("run-seed", ends(0, "seeded\n"))
    services = [service("seed", once=True), service("api", needs=("seed",))]
    with place.group() as group:
        group.start(place.locals(services))
        assert [(state.replica, state.stage, state.status) for state in group.states()] == [
            ("seed-1", "ended", 0),
            ("api-1", "ready", None),
        ]
        assert group.replica_log("seed").tail() == "seeded"
    added, removed = order(place, "member"), order(place, "remove")
    assert (added, removed) == (["seed-1", "api-1"], ["seed-1", "api-1"])


def test_the_failure_of_a_one_shot_is_everybodys_at_once(place):
    place.runner.on("run-seed", ends(4, "one\ntwo\n"))
    services = [service("slow"), service("seed", once=True, line=7), service("api", needs=("seed",))]
    with place.group() as group, pytest.raises(ServiceError) as raised:
        group.start(place.locals(services))
    assert raised.value.message == "service `seed` failed: exit 4 (envtool.yaml:7:3)"
    assert (raised.value.code, raised.value.output) == ("service-failed", "one\ntwo")
    assert "api-1" not in order(place, "member")


def test_a_one_shot_that_does_not_end(place):
    place.runner.on("run-seed", lambda container: (container.print("hm\n"), container.wait())[0])
    for seconds in (0.05, 1, 10):  # in which it prints its line, on a machine as busy as this one
        with place.group() as group, pytest.raises(ServiceError) as raised:
            group.start(place.locals([service("seed", once=True, within=seconds)]))
        assert raised.value.message == f"service `seed` has not ended after {seconds:g} s (envtool.yaml:1:3)"
        if raised.value.output:
            break
    assert raised.value.output == "hm"


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (0, "ended before it was ready: exit 0, after", "its command must stay in the foreground"),
        (3, "ended before it was ready: exit 3, after", ""),
        (139, "ended before it was ready: exit 139 (signal SEGV), after", ""),
        (127, "ended before it was ready: exit 127, after", "its command is `run-db`"),
    ],
)
def test_one_that_ends_before_it_is_ready(place, status, message, hint):
    place.runner.on("run-db", ends(status, "what it said\n"))
    with place.group() as group, pytest.raises(ServiceError) as raised:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 1}])]))
    assert message in raised.value.message
    assert raised.value.hint.startswith(hint)
    assert (raised.value.code, raised.value.output) == ("service-ended", "what it said")


def test_one_that_is_not_ready_in_time(place):
    place.runner.on("run-db", listens(5000))
    where = Where(file="envtool.yaml", line=9, column=5)
    for seconds in (0.05, 1, 10):  # in which it listens, on a machine as busy as this one
        ready = [{"how": "tcp", "port": 80, "where": where}]
        with place.group() as group, pytest.raises(ServiceError) as raised:
            group.start(place.locals([service("db", within=seconds, ready=ready)]))
        if "it listens on" in raised.value.message:
            break
    assert raised.value.message == (
        f"service `db` is not ready after {seconds:g} s: nothing listens on port 80; it listens on 0.0.0.0:5000"
        " (envtool.yaml:9:5)"
    )
    assert raised.value.code == "service-not-ready"
    assert place.events()[-1] == ("db", "failed")


def test_a_container_that_cannot_be_made(place):
    place.runner.on("run-db", error=SandboxError("no namespaces", code="unshare"))
    with place.group() as group, pytest.raises(SandboxError, match="no namespaces"):
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}])]))


def test_a_fault_of_ours_is_an_error_and_no_hang(place):
    place.runner.on("run-db", error=ZeroDivisionError("division by zero"))
    with place.group() as group, pytest.raises(Exception, match="internal error: ZeroDivisionError"):
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}])]))


def test_scratch_on_disk(place):
    one = service("db")
    with place.group() as group:
        (local,) = place.locals([one])
        group.start(
            [local._replace(request=type(local.request).from_fields({**local.request.to_fields(), "scratch": "disk"}))]
        )
        assert place.runner.programs[0].root.scratch.startswith(place.world.store.path("tmp"))


# ---- while they run --------------------------------------------------------------------------------------------------


def test_one_that_dies_while_it_is_needed(place):
    gone = threading.Event()

    def do(container):
        container.listen(80)
        container.print("line\n" * 30 + "last\n")
        gone.wait(10)
        container.exit.status = 137

    place.runner.on("run-db", do)
    with place.group() as group:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}])]))
        assert group.failure is None
        gone.set()
        import select

        assert select.select([group.cancel], [], [], 10)[0]
        with pytest.raises(ServiceError) as raised:
            group.check()
    assert raised.value.message == ("service `db` ended while it was needed: exit 137 (signal KILL) (envtool.yaml:1:3)")
    assert raised.value.output.splitlines() == [*["line"] * 19, "last"]
    assert order(place, "not ready")[:1] == ["db-1"]


def test_an_interrupt_while_they_start(place):
    def do(container):
        place.world.cancel.set(2)
        container.wait()

    place.runner.on("run-db", do)
    with place.group() as group, pytest.raises(Interrupted):
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}]), service("api", needs=("db",))]))
    assert group.interrupted
    assert "api-1" not in order(place, "member")
    assert place.events()[-1] == ("db", "interrupted")


@pytest.mark.parametrize(
    ("policy", "statuses", "restarts"),
    [("on-failure", [1, 2], 2), ("always", [0, 1, 0], 3), ("never", [], 0)],
)
def test_restarts(place, monkeypatch, policy, statuses, restarts):
    monkeypatch.setattr(replicas, "_FIRST_BACKOFF", 0.001)
    left = [*statuses]

    def do(container):
        container.listen(80)
        if left:
            container.exit.status = left.pop(0)
        else:
            container.wait()

    place.runner.on("run-db", do)
    with place.group(restart=policy) as group:
        group.start(place.locals([service("db")]))
        end = time.monotonic() + 10
        while (group.states()[0].restarts < restarts or group.states()[0].stage != "ready") and time.monotonic() < end:
            time.sleep(0.002)
        (state,) = group.states()
        assert (state.restarts, state.stage, group.failure) == (restarts, "ready", None)
        assert len({*order(place, "member")}) == 1


@pytest.mark.parametrize(("policy", "status"), [("never", 0), ("never", 1), ("on-failure", 0)])
def test_no_restart(place, policy, status):
    place.runner.on("run-db", ends(status, seconds=0.05))
    with place.group() as group:
        with contextlib.suppress(ServiceError):  # on a busy machine it ends before `start` has looked
            group.start(place.locals([service("db", restart=policy)]))
        end = time.monotonic() + 10
        while group.failure is None and time.monotonic() < end:
            time.sleep(0.002)
        assert group.failure.code == "service-ended"
        assert len(place.runner.programs) == 1


def test_restarts_have_a_limit(place, monkeypatch):
    monkeypatch.setattr(replicas, "_FIRST_BACKOFF", 0.0)
    place.runner.on("run-db", ends(1, "no\n"))
    with place.group(restart="always") as group, pytest.raises(ServiceError) as raised:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}])]))
    count = replicas.MAX_FIRST_RESTARTS + 1
    assert raised.value.message == f"service `db` ended {count} times in a row: exit 1 at the last (envtool.yaml:1:3)"
    assert raised.value.code == "service-restarts"
    assert len(place.runner.programs) == count


def test_restarts_of_one_that_was_ready_have_another_limit(place, monkeypatch):
    monkeypatch.setattr(replicas, "_FIRST_BACKOFF", 0.0)
    place.runner.on("run-db", ends(1, seconds=0.05))
    with place.group(restart="always") as group:
        group.start(place.locals([service("db")]))
        group.await_failure(failed=True)
        end = time.monotonic() + 20
        while group.failure is None and time.monotonic() < end:
            time.sleep(0.01)
    assert group.failure.code == "service-restarts"
    assert len(place.runner.programs) == replicas.MAX_RESTARTS + 1


# ---- replicas --------------------------------------------------------------------------------------------------------


def names(group, service_name=""):
    return [state.replica for state in group.states() if service_name in ("", state.service)]


def test_scale(place):
    place.runner.on("run-api", listens(80))
    with place.group() as group:
        group.start(place.locals([service("api", replicas=2, ready=[{"how": "tcp", "port": 80}])]))
        assert names(group) == ["api-1", "api-2"]
        group.scale("api", 4)
        assert names(group) == ["api-1", "api-2", "api-3", "api-4"]
        assert place.runner.pods[0].table.ready("api") == ["10.64.0.2", "10.64.0.3", "10.64.0.4", "10.64.0.5"]
        group.scale("api", 1)
        assert names(group) == ["api-1"]
        assert len(place.runner.started) == 1
        history = place.runner.pods[0].history
        assert history.index(("not ready", "api-4")) < history.index(("remove", "api-4"))
        group.scale("api", 0)
        assert names(group) == []
        with pytest.raises(ServiceError, match="there is no service `apl` here"):
            group.scale("apl", 1)


def test_a_replica_that_goes_is_drained(place):
    place.runner.on("run-api", listens(80))
    with place.group() as group:
        group.start(place.locals([service("api", replicas=2, ready=[{"how": "tcp", "port": 80}])]))
        busy = place.started("api-2")
        busy.connections.append(TcpSocket("10.64.0.3", 80, ESTABLISHED, 1))
        began = time.monotonic()
        threading.Timer(0.1, busy.connections.clear).start()
        group.scale("api", 1)
        assert time.monotonic() - began > 0.09
        assert busy.signals == [15]


def test_a_new_replica_that_fails_leaves_the_others(place):
    place.runner.on("run-api", listens(80))
    place.runner.on(lambda program: program.hostname == "api-2", ends(1, "no\n"))
    with place.group(fails=False) as group:
        group.start(place.locals([service("api", ready=[{"how": "tcp", "port": 80}])]))
        with pytest.raises(ServiceError, match="ended before it was ready"):
            group.scale("api", 2)
        assert names(group) == ["api-1"]
        assert place.runner.pods[0].table.ready("api") == ["10.64.0.2"]


def test_replace(place):
    place.runner.on("run-", listens(80))
    old = service("api", replicas=2, ready=[{"how": "tcp", "port": 80}])
    (new,) = place.locals(
        [service("api", command=Command(argv=("run-new",)), replicas=3, ready=[{"how": "tcp", "port": 80}])]
    )
    (bad,) = place.locals([service("api", command=Command(argv=("run-bad",)), ready=[{"how": "tcp", "port": 80}])])
    place.runner.on("run-bad", ends(2))
    with place.group(fails=False) as group:
        group.start(place.locals([old]))
        with pytest.raises(ServiceError):
            group.replace("api", bad)
        assert names(group) == ["api-1", "api-2"]
        pod = place.runner.pods[0]
        least = []
        count = pod.set_ready

        def watched(name, *, ready):
            count(name, ready=ready)
            least.append(len(pod.table.ready("api")))

        pod.set_ready = watched
        group.replace("api", new)
        assert min(least) >= 2, "an old one ended before a new one was ready"
        assert len(names(group)) == 3
        assert {container.program.steps[0].argv for container in place.runner.started} == {("run-new",)}


def test_restart_keeps_the_name(place):
    place.runner.on("run-api", listens(80))
    with place.group() as group:
        group.start(place.locals([service("api", replicas=2, ready=[{"how": "tcp", "port": 80}])]))
        before = [state.address for state in group.states()]
        group.restart("api")
        assert names(group) == ["api-1", "api-2"]
        assert not {*before} & {state.address for state in group.states()}
        assert group.failure is None


def test_the_time_to_be_ready_begins_with_the_container(place, monkeypatch):
    """The network of the run may take longer than that to start, on a busy machine."""
    added, deadlines = [], []

    def await_ready(request, target, gone, deadline):
        deadlines.append(deadline)
        return True

    monkeypatch.setattr(replicas, "await_ready", await_ready)
    place.runner.on("run-", listens(80))
    with place.group() as group:
        add_member = place.runner.pods[0].add_member

        def slowly(*arguments):
            time.sleep(0.05)
            added.append(time.monotonic())
            return add_member(*arguments)

        place.runner.pods[0].add_member = slowly
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 80}], within=60.0)]))
    assert deadlines[0] >= added[0] + 60


# ---- ports of this machine ------------------------------------------------------------------------------------------


def test_a_refusal_to_publish_ends_the_start(place):
    """Whatever the kernel says: a start that waits for ever would be no answer."""
    place.runner.on("run-", listens(80))
    one = service("web", publish=(Publish(port=80, where=Where(file="envtool.yaml", line=4, column=9)),))
    with place.group(publishes=True) as group:

        def refuse(*_, **__):
            raise OSError(errno.EMFILE, "Too many open files")

        place.runner.pods[0].publish = refuse
        with pytest.raises(EnvtoolError, match="too many open files"):
            group.start(place.locals([one]))


def test_a_full_disk_is_no_bug(place, monkeypatch):
    """The directory for its writes cannot be made: the message is that of the disk, not of an internal error."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layers, "temp_directory", refuse)
    one = service("web")
    one = replace(one, env=replace(one.env, scratch="disk"))
    with place.group() as group, pytest.raises(StoreError, match="no space left on device"):
        group.start(place.locals([one]))


def test_a_port_that_was_taken_is_published_once_it_is_free(place):
    """A replacement that failed for its port is done again, whole."""
    place.runner.on("run-", listens(80))
    where = Where(file="envtool.yaml", line=4, column=9)
    plain = service("web")
    published = service("web", publish=(Publish(port=80, host_port=8080, where=where),))
    with place.group(StandingGroup, publishes=True, fails=False) as group:
        group.start(place.locals([plain]))
        place.runner.pods[0].taken.add(8080)
        (local,) = place.locals([published])
        with pytest.raises(ServiceError, match="port 8080 of this machine is in use"):
            group.replace("web", local)
        place.runner.pods[0].taken.clear()
        group.replace("web", local)
        assert group.published() == {"web": ((80, 8080),)}


def test_many_ways_to_one_service(place):
    """Each service needs both of the row below it: 2^40 ways lead down, and each service is looked at once."""
    services = [service("s0")]
    for row in range(40):
        below = tuple(each.name for each in services[-2:])
        services += [service(f"a{row}", needs=below), service(f"b{row}", needs=below)]
    running = {local.request.name: RunningService(local) for local in place.locals(services)}
    assert len(services_above("s0", running)) == 80
    assert services_above("b39", running) == []
    assert [each.name for each in services_above("a38", running)] == ["a39", "b39"]


def test_one_that_is_ended_between_two_starts_stays_failed(place):
    place.runner.on("run-", lambda container: setattr(container.exit, "status", 3))
    error = ServiceError("the checkout changed", code="writable-protected")
    with place.group(StandingGroup, restart="on-failure", fails=False) as group:

        def start():
            with contextlib.suppress(ServiceError):
                group.start(place.locals([service("web")]))

        starting = threading.Thread(target=start)
        starting.start()
        until(lambda: ("web-1", "restarting") in place.changes)
        group.fail("web", error)
        starting.join(10)
        (state,) = group.states()
        assert (state.stage, state.error) == ("failed", error)


def test_ports_are_published_where_the_verb_does_so(place):
    where = Where(file="envtool.yaml", line=5, column=7)
    one = service("web", publish=(Publish(port=80, where=where), Publish(port=81, host_port=8081, where=where)))
    with place.group() as group:
        group.start(place.locals([one]))
        assert group.published() == {}
    with place.group(publishes=True) as group:
        group.start(place.locals([one]))
        assert group.published() == {"web": ((80, 40001), (81, 8081))}


FILE = [{"how": "file", "text": "/there"}]


@pytest.mark.parametrize("once", [False, True])
def test_a_service_that_fails_and_names_one_that_it_does_not_need(place, once):
    place.runner.on("run-api", status=1, output="cannot resolve db\n")
    services = [service("cache"), service("api", needs=("cache",), unneeded=("db",), once=once, ready=FILE)]
    with place.group() as group, pytest.raises(ServiceError) as raised:
        group.start(place.locals(services))
    assert raised.value.hint == (
        "its command or variables name `db`, and it may have started before that was ready, or without it: "
        "`needs: [cache, db]`"
    )


def test_a_pod_that_is_lost_ends_the_run(place):
    """At once: whoever waits for the services is woken."""
    with place.group() as group:
        group.start(place.locals([service("api")]))
        assert not select.select([group.cancel], [], [], 0)[0]
        place.runner.pods[-1].lose()
        assert select.select([group.cancel], [], [], 10)[0]
        with pytest.raises(SandboxError) as raised:
            group.check()
    assert raised.value.code == "network-lost"


def test_a_pod_that_ends_with_its_group_is_not_lost(place):
    with place.group() as group:
        group.start(place.locals([service("api")]))
    assert group.failure is None


def test_ports_at_the_loopback_of_a_task(place):
    place.runner.on("run-", listens(80))
    a = service("a", ports=(80, 81), replicas=2, localhost=True)
    with place.group() as group:
        group.start(place.locals([a, service("b", ports=(80,))]))
        with group.member():
            assert [each for each in place.runner.pods[-1].history if each[0] == "localhost"] == [
                ("localhost", "envtool", "a", "80"),
                ("localhost", "envtool", "a", "81"),
            ]


@pytest.mark.parametrize(
    ("other", "taken", "reason"),
    [(True, (), "service `a` is there"), (False, (80,), "Address already in use")],
)
def test_a_port_of_loopback_that_is_taken(place, other, taken, reason):
    """By the port that another image exposes, or by a rule of the network's policy."""
    place.runner.on("run-", listens(80))
    services = [service("a", ports=(80,), localhost=other), service("b", ports=(80,), localhost=True)]
    with place.group() as group:
        group.start(place.locals(services))
        place.runner.pods[-1].taken.update(taken)
        with pytest.raises(ServiceError) as raised, group.member():
            pass
        place.runner.pods[-1].table.check("envtool", "")  # its name is free
    assert raised.value.message.startswith(f"service `b` cannot be at 127.0.0.1:80 of the task: {reason}")
    assert raised.value.hint == "remove its `localhost`, and use it as `b:80`"
    assert raised.value.code == "service-localhost"


def test_a_port_that_is_taken(place):
    import os
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        where = Where(file="envtool.yaml", line=5, column=7)
        one = service("web", publish=(Publish(port=80, host_port=port, where=where),))
        with place.group(publishes=True) as group, pytest.raises(ServiceError) as raised:
            place.runner.pods[-1].taken.add(port)
            group.start(place.locals([one]))
    with open("/proc/self/comm") as file:
        ours = file.read().strip()
    assert raised.value.message == (
        f"service `web` cannot be published: port {port} of this machine is in use by {ours} (process {os.getpid()})"
        " (envtool.yaml:5:7)"
    )
    assert raised.value.code == "service-port"


# ---- stopping --------------------------------------------------------------------------------------------------------


def test_the_stop_signal_and_its_grace(place):
    def stubborn(container):
        container.handled.add(15)
        container.wait()

    place.runner.on("run-a", stubborn)
    place.runner.on("run-b", lambda container: container.wait())
    with place.group() as group:
        group.start(place.locals([service("a", grace=0.05), service("b", stop_signal="INT")]))
        a, b = place.started("a-1"), place.started("b-1")
        ended = {state.replica: state for state in group.stop()}
    assert (a.signals, b.signals) == ([15, 9], [2])
    assert ended["a-1"].killed
    assert not ended["b-1"].killed
    assert (ended["b-1"].stage, ended["b-1"].status) == ("ended", 130)
    (note,) = [event.text for event in place.world.events if isinstance(event, Noted)]
    assert note == (
        "service `a` did not end 0.05 s after TERM, and was killed (envtool.yaml:1:3): `stop: {signal: …, grace: …}`"
        " says by which signal it ends"
    )


def test_stop_one_and_the_others_stay(place):
    with place.group() as group:
        group.start(place.locals([service("a"), service("b")]))
        assert [state.replica for state in group.stop("a")] == ["a-1"]
        assert [state.stage for state in group.states()] == ["ended", "ready"]
        assert group.stop("a") == ()
        assert group.failure is None


@pytest.fixture
def stubborn(place, monkeypatch):
    """A service `a` that does not end by itself, and an interrupt that gives it 50 ms."""

    def ignore_signals(container):
        container.handled.add(15)
        container.wait()

    monkeypatch.setattr(groups, "INTERRUPT_GRACE", 0.05)
    place.runner.on("run-a", ignore_signals)


@pytest.mark.usefixtures("stubborn")
def test_an_interrupt_shortens_the_grace(place):
    with place.group() as group:
        group.start(place.locals([service("a", grace=60.0)]))
        place.world.cancel.set(2)
        began = time.monotonic()
        while not group.interrupted:
            time.sleep(0.001)
    assert time.monotonic() - began < 30, "half of its own grace"


@pytest.mark.usefixtures("stubborn")
def test_an_interrupt_shortens_a_grace_that_has_begun(place):
    with place.group() as group:
        group.start(place.locals([service("a", grace=60.0)]))
        began = time.monotonic()
        threading.Timer(0.2, place.world.cancel.set, (1,)).start()
        group.stop()
        assert 0.2 < time.monotonic() - began < 30


def test_a_group_that_a_failure_does_not_end(place):
    place.runner.on("run-", listens(80))
    place.runner.on("run-bad", ends(3, "no\n"))
    tcp = [{"how": "tcp", "port": 80}]
    services = [service("bad", ready=tcp), service("above", ready=tcp, needs=("bad",)), service("good", ready=tcp)]
    with place.group(fails=False) as group:
        with pytest.raises(ServiceError, match="service `bad` ended before it was ready"):
            group.start(place.locals(services))
        assert group.failure is None
        assert [(state.replica, state.stage) for state in group.states()] == [("bad-1", "failed"), ("good-1", "ready")]
        group.check()
        group.scale("good", 2)
        assert names(group, "good") == ["good-1", "good-2"]
        place.runner.on("run-bad", listens(80))
        group.start(place.locals(services)[:2])
        assert {state.stage for state in group.states()} == {"ready"}


# ---- fresh -----------------------------------------------------------------------------------------------------------


def test_fresh(place):
    """Killed, not stopped: what it would write at its end is thrown away."""
    place.runner.on("run-db", listens(5000))
    with place.group() as group:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 5000}], replicas=2)]))
        before = [place.started(f"db-{number}") for number in (1, 2)]
        group.fresh("db")
        after = [place.started(f"db-{number}") for number in (1, 2)]
        assert not {*map(id, before)} & {*map(id, after)}
        assert [(state.replica, state.stage) for state in group.states()] == [("db-1", "ready"), ("db-2", "ready")]
        group.check()
        with pytest.raises(ServiceError, match="there is no service `kv` here"):
            group.fresh("kv")


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(("/usr/a",), ("/usr/b",), ("/usr/a", "/usr/b")), (None, ("/usr/b",), None), (("/usr/a",), None, None)],
)
def test_what_was_opened_before_it_was_made_fresh(place, first, second, both):
    """It has decided what the task saw until then."""
    place.runner.on("run-db", listens(5000))
    with place.group() as group:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 5000}])]))
        place.started("db-1").exit.opened = first
        group.fresh("db")
        place.started("db-1").exit.opened = second
        group.stop()
        assert group.opened() == both


def test_fresh_that_nobody_waits_for_any_more(place):
    """The service has 60 s to be ready, and a task that has ended does not wait for that."""
    place.runner.on("run-db", listens(5000))
    over = threading.Event()
    with place.group() as group:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 5000}])]))
        place.runner.on("run-db", lambda container: container.wait())
        began = time.monotonic()
        threading.Timer(0.1, over.set).start()
        group.fresh("db", over)
        assert 0.1 <= time.monotonic() - began < 30


def test_fresh_ends_as_the_group_does(place):
    """A new one that dies before it is ready fails the run, as any service."""
    place.runner.on("run-db", listens(5000))
    with place.group() as group:
        group.start(place.locals([service("db", ready=[{"how": "tcp", "port": 5000}])]))
        place.runner.on("run-db", ends(3, "why\n"))
        with pytest.raises(ServiceError, match="exit 3"):
            group.fresh("db")
        with pytest.raises(ServiceError, match="exit 3"):
            group.check()
