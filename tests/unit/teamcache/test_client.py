"""One command's use of the cache: what is asked, believed, counted, pushed and said."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from envtool.container import userns
from envtool.errors import FetchError, Interrupted, StoreError
from envtool.model import TeamCache, Where
from envtool.net import RetryPolicy
from envtool.net.oci import reference
from envtool.net.oci.registry import RegistryClient
from envtool.project.host_access import matches
from envtool.store import canonical, layers
from envtool.teamcache import push_queue, signatures, stats
from envtool.teamcache.circuit_breaker import CircuitBreaker, RegistryUnavailable
from envtool.teamcache.client import TeamCacheClient
from envtool.teamcache.client_context import ClientContext
from envtool.teamcache.connect import is_disabled, make_client, may_push
from tests.load import allowed

from .conftest import PRIVATE, PUBLIC

KEY = "a" * 64
HERE = Where(file="envtool.yaml", line=2, column=1)
UNREACHABLE = FetchError("reg.example: no answer for 5 s (2 attempts)", code="fetch-unreachable")


@pytest.fixture
def share(memory, store, trusted):
    """Make one; `events` are what it said."""

    def share(signer=None, trust=(trusted,), cancelled=lambda: False) -> TeamCacheClient:
        events: list = []
        outside = ClientContext(
            store=store,
            registry=memory,
            giving=memory,
            repository=reference.parse_reference("reg.example/team/cache", tag=""),
            ids="range",
            arch="x86_64",
            emit=events.append,
            cancelled=cancelled,
            signer=signer,
        )
        team = TeamCache(registry="reg.example/team/cache", where=HERE, trust=trust)
        one = TeamCacheClient(team, outside)
        one.events = events
        return one

    return share


def details(one) -> list[str]:
    return [event.detail for event in one.events if type(event).__name__ == "Finished"]


def write(name: str, text: str) -> None:
    with open(name, "w") as file:
        file.write(text)


# Trees are made and packed as container root: what does so starts containers, too.
def layer(store, key=KEY, text="content") -> layers.Layer:
    """A layer that stands in the store."""
    with layers.open_draft(store, key, remove=userns.remove_as_root) as draft:
        userns.give_to_root(draft.upper)
        userns.run_as_root(write, "file", text, at=draft.upper)
        os.rmdir(draft.work)
        with open(draft.manifest, "wb") as sheet:
            captured = userns.run_as_root(canonical.capture, ".", 0, (), sheet.fileno(), at=draft.upper)
        return draft.commit(captured, {})


def test_what_is_there_is_asked_for_once(memory, put, share):
    statement = put()
    one = share()
    assert [one.ask(KEY, "layer deps") for _ in range(3)] == [statement] * 3
    assert [what for what, _ in memory.asked].count("find") == 1


def test_a_run_is_counted_and_remembered(store, put, share, tmp_path):
    statement = put(b"0123456789")
    for _ in range(2):
        one = share()
        assert one.ask("b" * 64, "layer other") is None
        found = one.ask(KEY, "layer deps")
        assert one.take(found, str(tmp_path / "out"), "layer deps", lambda _: None)
        one.count_hit(found)
        one.close()
    assert details(one) == ["1 pulled, 10 B; 1 not there"]
    known = stats.load_stats(store, "reg.example/team/cache")
    assert (known.last.hits, known.last.misses, known.last.pulled_bytes) == (1, 1, 10)
    assert (known.total.hits, known.total.misses, known.total.pulled_bytes) == (2, 2, 20)
    assert known.time > time.time() - 60
    assert statement.blob_size == 10


def test_nobody_is_asked_where_nobody_is_trusted(memory, put, share):
    put()
    one = share(trust=())
    assert one.ask(KEY, "layer deps") is None
    assert one.ask("b" * 64, "layer deps") is None
    assert not [what for what, _ in memory.asked if what == "find"]
    assert details(one) == ["nothing is used: `trust:` lists no key"]


def test_a_refusal_is_said_once_and_remembered_for_why(put, share, stranger):
    put(by=stranger)
    one = share()
    assert one.ask(KEY, "layer deps") is None
    assert one.ask(KEY, "layer deps") is None
    assert len(details(one)) == 1
    assert details(one)[0].startswith("layer deps refused: it is signed by SHA256:")
    assert one.refusal(KEY) in details(one)[0]
    assert one.refusal("b" * 64) == ""


def test_a_registry_that_does_not_answer_is_left_alone(memory, share):
    memory.fails["find"] = UNREACHABLE
    one = share()
    for number in range(20):
        assert one.ask(f"{number:064}", "layer deps") is None
    assert len(memory.asked) == 2
    assert details(one) == [f"left alone for this run: {UNREACHABLE.message}"]


def test_one_failure_is_forgiven(memory, put, share):
    put()
    one = share()
    memory.fails["find"] = UNREACHABLE
    assert one.ask("b" * 64, "layer deps") is None
    del memory.fails["find"]
    for number in range(5):
        one.ask(f"{number:064}", "layer deps")
    memory.fails["find"] = UNREACHABLE
    assert one.ask("c" * 64, "layer deps") is None
    del memory.fails["find"]
    assert one.ask(KEY, "layer deps") is not None
    assert not details(one)


def test_credentials_that_are_refused_are_not_tried_again(memory, share):
    memory.fails["find"] = FetchError("reg.example refuses it (HTTP 403)", code="registry-denied")
    one = share()
    for number in range(5):
        one.ask(f"{number:064}", "layer deps")
    assert len(memory.asked) == 1


def test_a_long_failure_is_one_too_many(monkeypatch):
    said: list[str] = []
    breaker = CircuitBreaker(said.append)
    clock = iter([0.0, 60.0])
    monkeypatch.setattr("envtool.teamcache.circuit_breaker.time.monotonic", lambda: next(clock))

    def fails():
        raise UNREACHABLE

    with pytest.raises(RegistryUnavailable):
        breaker.call("look", fails)
    assert breaker.is_open
    assert len(said) == 1


def test_interrupted_is_no_failure():
    breaker = CircuitBreaker(pytest.fail)

    def interrupted():
        raise Interrupted

    for _ in range(5):
        with pytest.raises(Interrupted):
            breaker.call("look", interrupted)
    assert not breaker.is_open


# ---- pushing ---------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_what_was_built_is_pushed_and_can_be_pulled(memory, store, share, signer):
    built = layer(store)
    one = share(signer)
    assert one.pushes
    one.offer(built)
    one.offer(built)
    one.close()
    found = share().ask(KEY, "layer deps")
    assert (found.diff_id, found.size, found.entries) == (built.diff_id, built.size, built.entries)
    assert [what for what, _ in memory.asked].count("put") == 1
    assert "1 pushed" in details(one)[-1]
    assert not os.listdir(store.path("tmp"))


@pytest.mark.e2e
def test_it_is_uploaded_once_by_all(memory, store, share, signer):
    built = layer(store)
    for _ in range(3):
        one = share(signer)
        one.offer(built)
        one.close()
    assert [what for what, _ in memory.asked].count("put") == 1
    assert not details(one)


@pytest.mark.e2e
def test_what_is_there_and_not_trusted_is_replaced(memory, store, put, share, signer, stranger):
    put(by=stranger)
    built = layer(store)
    one = share(signer)
    one.offer(built)
    one.close()
    assert share().ask(KEY, "layer deps").diff_id == built.diff_id


@pytest.mark.e2e
def test_a_layer_that_is_damaged_here_is_not_pushed(memory, store, share, signer):
    built = layer(store)
    userns.run_as_root(write, "file", "other", at=built.tree)
    one = share(signer)
    one.offer(built)
    one.close()
    assert not memory.tags


@pytest.mark.e2e
def test_without_a_key_nothing_is_pushed(share, stranger, store, memory):
    assert not share().pushes
    one = share(stranger)
    assert not one.pushes
    assert details(one) == [
        f"nothing is pushed: `trust:` does not list the signing key, {signatures.fingerprint(stranger.public)}"
    ]
    one.offer(layer(store))
    one.close()
    assert not memory.tags


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        FetchError("HTTP 507", code="registry-refused"),
        FetchError("HTTP 403", code="registry-denied"),
        StoreError("no credentials helper", code="x"),
    ],
)
@pytest.mark.e2e
@pytest.mark.parametrize("where", ["find", "push", "put"])
def test_a_registry_that_takes_nothing_is_told_of_once(memory, store, share, signer, error, where):
    memory.fails[where] = error
    one = share(signer)
    for number in range(5):
        one.offer(layer(store, f"{number:064}", f"{number}"))
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < allowed(5)
    said = [text for text in details(one) if "in this run" in text]
    assert said == [f"nothing more is pushed in this run: {error.message}"]
    assert not memory.tags


@pytest.fixture
def stuck(memory, monkeypatch):
    """Uploads that do not end before the test does."""
    over = threading.Event()

    def push(*_, **__):
        over.wait(120)
        raise UNREACHABLE

    monkeypatch.setattr(memory, "push_blob", push)
    yield
    over.set()


@pytest.mark.e2e
def test_a_push_that_stands_still_is_given_up(stuck, store, share, signer, monkeypatch):
    monkeypatch.setattr(push_queue, "STALL_SECONDS", 0.3)
    one = share(signer)
    one.offer(layer(store))
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < 30, "half of what an upload without a byte may take"
    assert "1 not pushed: it went on for too long" in details(one)


@pytest.mark.e2e
def test_an_interrupt_ends_the_wait(stuck, store, share, signer):
    one = share(signer, cancelled=lambda: True)
    one.offer(layer(store))
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < 30, "half of what an upload without a byte may take"


# ---- joining ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("push", "ci", "wanted"), [("ci", True, True), ("ci", False, False), ("always", False, True), ("never", True, False)])  # fmt: skip
def test_who_pushes(push, ci, wanted):
    assert may_push(TeamCache(registry="reg.example/x", where=HERE, push=push), in_ci=ci) is wanted


def test_a_machine_may_want_none(monkeypatch, store):
    assert not is_disabled({})
    assert is_disabled({"ENVTOOL_CACHE": "off"})
    team = TeamCache(registry="reg.example/x", where=HERE)
    about = {"project": "/p", "arch": "x86_64", "emit": lambda _: None, "cancelled": lambda: False, "in_ci": False}
    assert make_client(team, store, **about) is not None
    monkeypatch.setenv("ENVTOOL_CACHE", "off")
    assert make_client(team, store, **about) is None


def test_a_key_in_the_project_is_not_used(monkeypatch, store, tmp_path):
    (tmp_path / "key").write_text(PRIVATE)
    monkeypatch.setenv("ENVTOOL_CACHE_KEY", str(tmp_path / "key"))
    events: list = []
    team = TeamCache(registry="reg.example/x", where=HERE, push="always", trust=(PUBLIC,))
    about = {"arch": "x86_64", "emit": events.append, "cancelled": lambda: False, "in_ci": False}
    assert make_client(team, store, project=str(tmp_path / "other"), **about).pushes
    assert not make_client(team, store, project=str(tmp_path), **about).pushes
    assert "names a file of the project" in events[0].detail


def test_no_task_sees_the_key():
    assert not matches("ENVTOOL_CACHE_KEY", ("*", "ENVTOOL_*", "ENVTOOL_CACHE_KEY"))
    assert matches("ENVTOOL_CACHE", ("ENVTOOL_*",))


def test_a_disk_that_is_full_is_no_end(memory, put, share, tmp_path, monkeypatch):
    put()
    one = share()
    found = one.ask(KEY, "layer deps")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "pull_blob", full)
    assert not one.take(found, str(tmp_path / "out"), "layer deps", lambda _: None)
    assert details(one) == ["layer deps could not be kept: No space left on device"]


def test_a_registry_that_never_answers_is_waited_for_briefly(share, memory, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", host)
        patience = RetryPolicy(attempts=2, pause=0.01, longest=0.1, connect=0.5, read=0.3)
        client, where = RegistryClient(patience=patience), reference.parse_reference(f"{host}/x", tag="")
        monkeypatch.setattr(memory, "find", lambda at: client.find(where.with_tag(at.tag)))
        monkeypatch.setattr("envtool.teamcache.circuit_breaker.SLOW_SECONDS", 0.5)
        one, began = share(), time.monotonic()
        for number in range(5):
            assert one.ask(f"{number:064}", "layer deps") is None
        assert time.monotonic() - began < allowed(4)
        assert len(details(one)) == 1
        assert "no answer" in details(one)[0]


def test_a_bad_key_is_told_and_nothing_more(monkeypatch, store):
    events: list = []
    monkeypatch.setenv("ENVTOOL_CACHE_KEY", "-----BEGIN nonsense")
    team = TeamCache(registry="reg.example/x", where=HERE, push="always")
    one = make_client(
        team, store, project="/p", arch="x86_64", emit=events.append, cancelled=lambda: False, in_ci=False
    )
    assert not one.pushes
    assert "nothing is pushed: ENVTOOL_CACHE_KEY" in events[0].detail
