"""What is said of a command in a running container, by a pid 1 that says anything, and what pid 1 is asked for: never a
hang, a crash, a descriptor that is left, or a false success.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.container import execution, join, messages, userns
from envtool.container.execution import ExecRequest, Execution
from envtool.errors import SandboxError
from tests.depth import examples
from tests.leftovers import descriptors, nothing_left
from tests.load import allowed

STARTED, ENDED = messages.pack("started"), messages.pack("exited", 3, 0, 1500, 4096)
FALSE = [
    messages.pack("exited", -1, 0, 0, 0),
    messages.pack("exited", 256, 0, 0, 0),
    messages.pack("exited", 0, 2, 0, 0),
    messages.pack("exited", 0, 0, -1, 0),
    messages.pack("exited", 0, 0, 0, -1),
    messages.pack("exited", "0", 0, 0, 0),
    messages.pack("exited"),
    messages.pack("exited", 0, 0, 0, 0, 0),
    messages.pack("error", 1, 1, 1),
    messages.pack("namespaces"),
    messages.pack("unheard of"),
    messages.pack(1),
    messages.pack(),
    b"m",
    b"\xe3" + bytes(40),
    bytes(70000),
]
ERRORS = [messages.pack("error", "cwd", 2, "/x: no"), messages.pack("error", "exec", 11, "full"),
          messages.pack("error", "nonsense", 1 << 62, "text")]  # fmt: skip


class Played:
    """A supervisor whose container is a thread: it takes one request and says `said` through its channel."""

    def __init__(self, said: list[bytes], rights: list[list[int]], *, stay: bool = False) -> None:
        self.sock, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lock, self.up, self.ended, self.user = threading.Lock(), True, False, 1000
        self.ids = userns.IdMaps("single", [(0, 0, 1)], [(0, 0, 1)])
        self.result = SimpleNamespace(interrupted=False, timed_out=False)
        step = {"argv": ("true",), "env": {}, "cwd": "/"}
        self.program = {"held": True, "steps": (step,), "user": "user", "network": False}
        self.thread = threading.Thread(target=self.play, args=(said, rights, stay))
        self.thread.start()

    def play(self, said, rights, stay):
        _, descriptors, _, _ = socket.recv_fds(self.far, 65536, 10)
        channel = socket.socket(fileno=descriptors.pop(0))
        for each in descriptors:
            os.close(each)
        for number, message in enumerate(said):
            try:
                socket.send_fds(channel, [message], rights[number] if number < len(rights) else [])
            except OSError:
                break
        if stay:
            channel.recv(1)
        channel.close()

    def close(self):
        self.sock.close()
        self.thread.join(5)
        self.far.close()


def outcome(said, rights=(), ask=None, **options):
    """None where it was refused; checks that it came in time and left nothing."""
    with nothing_left(descriptors):
        began = time.monotonic()
        played = Played(list(said), list(rights))
        try:
            if ask is not None:
                return ask(played)
            with Execution(played, ("true",), **options) as running:
                return running.wait()
        except SandboxError:
            return None
        finally:
            played.close()
            assert time.monotonic() - began < allowed(5)


def test_a_command_of_which_the_truth_is_told():
    found = outcome([STARTED, ENDED])
    assert (found.status, found.timed_out, found.cpu_seconds, found.memory) == (3, False, 0.0015, 4096 * 1024)
    assert outcome([STARTED, messages.pack("exited", 0, 1, 0, 0)]).status == 124


def test_one_that_breaks_off_has_not_passed():
    assert outcome([]) is None
    found = outcome([STARTED])
    assert (found.status, found.with_container) == (137, True)


@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_errors(error):
    assert outcome([error]) is None
    assert outcome([STARTED, error, ENDED]) is None
    assert outcome([STARTED, error, error, ENDED]) is None


@pytest.mark.parametrize("false", FALSE, ids=range(len(FALSE)))
def test_a_false_message_anywhere(false):
    for said in (
        [false],
        [false, STARTED, ENDED],
        [STARTED, false],
        [STARTED, false, ENDED],
        [STARTED, STARTED, ENDED],
    ):
        assert outcome(said) is None
    assert outcome([STARTED, ENDED, false]).status == 3  # what comes after the last is not heard


def test_descriptors_that_nobody_asked_for():
    assert outcome([STARTED, ENDED], [[2]]) is None  # no terminal was wanted
    assert outcome([STARTED, ENDED], [[], [2, 2, 2]]).status == 3
    for rights in ([], [[2]], [[2, 2]]):  # none, none that is a terminal, or several
        assert outcome([STARTED, ENDED], rights, terminal=True) is None


def test_namespaces_that_are_something_else():
    def ask(played):
        return join.ask_namespaces(played, ("network",)).descriptors

    answer = messages.pack("namespaces")
    own = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("user", "net", "ipc", "uts")]
    try:
        for said, rights in (
            ([], []), ([answer], []), ([answer], [own[:3]]), ([answer], [[*own, 2]]), ([answer], [[2, 2, 2, 2]]),
            ([answer], [[*own[1:], own[0]]]), ([STARTED], [own]), ([messages.pack("error", "exec", 24, "full")], []),
            ([messages.pack("error", 1)], []), ([messages.pack("error", "exec", 24, "full")], [own]), (FALSE[-1:], [own]),
        ):  # fmt: skip
            assert outcome(said, rights, ask) is None, said
        with nothing_left(descriptors):
            played = Played([answer], [own])
            with join.ask_namespaces(played, ("network",)) as found:
                assert [*found.descriptors] == ["user", "network"]
            played.close()
    finally:
        for each in own:
            os.close(each)


def test_an_answer_to_a_question():
    """`Container.has_file` and its kin: one answer, of the right form, without descriptors."""

    def ask(played):
        return execution.ask(played, messages.pack("exists", "/x"))

    with nothing_left(descriptors):
        for said in ([], [FALSE[-1]], [FALSE[-2]], *([each] for each in ERRORS[:2])):
            assert outcome(said, [], ask) is None, said
        found = outcome([messages.pack("exists", 1)], [[2, 2]], ask)
        assert found == ("exists", 1)


MESSAGES = st.sampled_from([STARTED, ENDED, *ERRORS, *FALSE[:-1]]) | st.binary(max_size=64)


@settings(max_examples=examples(30, 3000), deadline=None)
@given(st.lists(MESSAGES, max_size=5), st.lists(st.lists(st.just(2), max_size=3), max_size=4))
@example([STARTED, ENDED, ENDED], [])
def test_anything_at_all(said, rights):
    found = outcome(said, rights)
    if found is not None and not found.with_container:
        kinds = [messages.unpack(message) for message in said[:2]]
        assert kinds[0] == ("started",)
        assert kinds[1][0] == "exited"


# ---- what pid 1 is asked for ----------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
NAMES = st.text(st.characters(exclude_characters="\0=", exclude_categories=("Cs",)), min_size=1, max_size=9)


def unpacked(message, content, descriptors=3):
    file = os.memfd_create("content")
    os.write(file, content)
    given_ = [file, *[0] * descriptors]
    try:
        return execution.unpack_request(messages.unpack(message), given_)
    finally:
        if file in given_ and len(given_) == descriptors + 1:
            os.close(file)


@settings(max_examples=examples(50, 3000), deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=5), st.dictionaries(NAMES, TEXTS, max_size=4), TEXTS, TEXTS,
    st.integers(-1, 1 << 50), st.integers(0, 1 << 50), st.integers(-1, (1 << 32) - 1),
)  # fmt: skip
def test_a_request_comes_as_it_was_made(argv, env, cwd, user, milliseconds, grace, window):
    request = ExecRequest(tuple(argv), env, cwd, user, milliseconds, grace, window)
    found = unpacked(*request.pack(), descriptors=3 if window < 0 else 0)
    assert all(getattr(found, name) == getattr(request, name) for name in ExecRequest.__slots__)


@settings(max_examples=examples(50, 3000), deadline=None)
@given(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.text(max_size=9), max_size=7), st.binary(max_size=60),
    st.integers(0, 5), st.booleans(),
)  # fmt: skip
@example([2, "/", "", -1, 0, -1], b"a\0b\0c", 3, True)
@example([1, "/", "", -1, 0, -1], b"", 3, True)
@example([3, "/", "", -1, 0, -1], b"a", 3, True)
@example([1 << 62, "/", "", -1, 0, -1], b"a", 3, True)
@example([1, "/", "", -2, 0, -1], b"a", 3, True)
@example([1, "/", "", -1, -1, -1], b"a", 3, True)
@example([1, "/", "", -1, 0, 1 << 40], b"a", 0, True)
@example([1, "/", "", -1, 0, -1], b"\xff", 2, True)
def test_requests_that_are_none(row, content, descriptors, named):
    message = messages.pack(*(["exec"] if named else []), *row)
    try:
        found = unpacked(message, content, descriptors)
    except ValueError:
        return
    assert found.argv
    assert descriptors == (3 if found.window < 0 else 0)
