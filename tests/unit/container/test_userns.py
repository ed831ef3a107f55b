from __future__ import annotations

import io
import os
import signal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container import syscalls, userns


@given(owner=st.integers(0, 1 << 31), to=st.sampled_from([0, 1000]), base=st.just(1 << 20))
def test_a_moved_map_is_a_bijection_that_puts_the_owner_right(owner, to, base):
    extents = userns.idmapped_extents(owner, to, base, userns.ID_COUNT)

    def through(number):
        return [out + number - first for first, out, count in extents if first <= number < first + count]

    assert through(owner) == [base + to]
    for number in {0, 1, 999, 1001, 65535} - {owner, to}:
        assert through(number) == [base + number]
    inside = sorted((first, first + count) for first, _, count in extents)
    outside = sorted((out, out + count) for _, out, count in extents)
    for spans in (inside, outside):
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all(base <= out and out + count <= base + userns.ID_COUNT for _, out, count in extents)
    assert len(extents) <= 340  # what the kernel takes


@pytest.fixture
def machine(monkeypatch):
    """A machine of which only these files exist."""
    files = {"/etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1234:1234::/home/ann:/bin/sh\n"}
    files["/proc/self/uid_map"] = "0 0 4294967295\n"

    def fake(path, mode="r", **_):
        if path not in files:
            raise FileNotFoundError(path)
        return io.BytesIO(files[path].encode()) if "b" in mode else io.StringIO(files[path])

    monkeypatch.setattr("builtins.open", fake)
    monkeypatch.setattr(userns, "find_helper", lambda name: f"/usr/bin/{name}")
    return files


def become(monkeypatch, uid, gid=None):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: uid if gid is None else gid)


def test_a_user_without_a_range_has_one_id(machine, monkeypatch):
    become(monkeypatch, 1234)
    own = userns.caller_ids()
    assert own.mode == "single"
    assert own.extents(user=True) == ([(1000, 1234, 1)], [(1000, 1234, 1)])
    assert own.extents(user=False) == ([(0, 1234, 1)], [(0, 1234, 1)])


@pytest.mark.parametrize("who", ["ann", "1234"])
def test_a_range_puts_the_caller_at_1000(machine, monkeypatch, who):
    machine["/etc/subuid"] = f"bob:1:70000\n{who}:200000:65536\n"
    machine["/etc/subgid"] = f"{who}:300000:65536\n"
    become(monkeypatch, 1234, 55)
    own = userns.caller_ids()
    assert own.mode == "range"
    assert own.uids == [(0, 200000, 1000), (1000, 1234, 1), (1001, 201000, 64535)]
    assert own.gids == [(0, 300000, 1000), (1000, 55, 1), (1001, 301000, 64535)]
    assert own.host_id(1000) == 1234
    assert own.host_id(0) == 200000


@pytest.mark.parametrize("count", ["10", "x", ""])
def test_a_range_that_is_too_short_is_none(machine, monkeypatch, count):
    machine["/etc/subuid"] = machine["/etc/subgid"] = f"ann:200000:{count}\n"
    become(monkeypatch, 1234)
    assert userns.caller_ids().mode == "single"


def test_a_range_without_newuidmap_is_none(machine, monkeypatch):
    machine["/etc/subuid"] = machine["/etc/subgid"] = "ann:200000:65536\n"
    monkeypatch.setattr(userns, "find_helper", lambda _: "")
    become(monkeypatch, 1234)
    assert userns.caller_ids().mode == "single"


def test_root_takes_what_nobody_has(machine, monkeypatch):
    become(monkeypatch, 0)
    first = userns.caller_ids().uids[0][1]
    assert first >= 100000
    machine["/etc/subgid"] = f"ann:{first + 65535}:65536\n"
    second = userns.caller_ids().uids[0][1]
    assert second >= first + 65535 + 65536
    machine["/etc/passwd"] += f"x:x:{second + 7}:1::/:/bin/sh\n"
    assert userns.caller_ids().uids[0][1] > second + 7


def test_root_takes_its_own_entry(machine, monkeypatch):
    become(monkeypatch, 0)
    machine["/etc/subuid"] = machine["/etc/subgid"] = "root:500000:65536\n"
    assert userns.caller_ids().uids[0] == (0, 500000, 65535)


def test_root_of_a_small_namespace_takes_what_is_there_and_never_its_own_root(machine, monkeypatch):
    become(monkeypatch, 0)
    machine["/proc/self/uid_map"] = "0 1000 1\n1 100000 65536\n"
    (_, base, count) = userns.caller_ids().uids[0]
    assert base >= 1000
    assert base + count <= 65537


def test_larger_ids_are_on_top_and_no_part_of_the_description(machine, monkeypatch):
    """A store made before there were any is the same store."""
    become(monkeypatch, 1234)
    machine["/etc/subuid"] = machine["/etc/subgid"] = "ann:200000:65536\n"
    known = userns.describe_ids()
    assert userns.caller_ids().host_id(65536) == -1
    machine["/etc/subuid"] = "ann:200000:1000000\n"
    own = userns.caller_ids()
    assert own.host_id(65535) == 200000 + 65534
    assert own.host_id(65536) == 200000 + 65535
    assert own.host_id(1000000) == 200000 + 999999
    assert own.host_id(1000001) == -1
    assert userns.describe_ids() == known


def test_root_has_ids_of_directory_services(machine, monkeypatch):
    become(monkeypatch, 0)
    own = userns.caller_ids()
    assert own.uids == own.gids
    assert own.host_id(65536) == 0x80000000 + 65536
    assert own.host_id((1 << 31) - 3) == (1 << 32) - 3
    assert own.host_id((1 << 32) - 2) == -1
    first, base, count = own.uids[0]
    assert userns.describe_ids() == f"root {first}-{base}-{count} {first}-{base}-{count}"
    machine["/proc/self/uid_map"] = "0 0 2147483648\n"
    assert userns.caller_ids().uids == [(first, base, count)]


def test_the_description_is_the_same_for_the_same_machine(machine, monkeypatch):
    become(monkeypatch, 1234)
    assert userns.describe_ids() == userns.describe_ids() == "single 0-1234-1 0-1234-1"


def test_another_map_is_read_back_as_it_was_said(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(userns, "caller_ids", lambda: userns.IdMaps("single", [(0, 1000, 1)], [(0, 1000, 1)]))
    said = "range 0-100000-1000;1000-1000-1;1001-101000-64535 0-100000-1000;1000-1000-1;1001-101000-64535"
    found = userns.ids_from_description(said)
    assert found is not None
    assert (found.mode, found.uids[1], found.gids[2]) == ("range", (1000, 1000, 1), (1001, 101000, 64535))
    own = userns.ids_from_description(userns.describe_ids())
    assert own is not None
    assert own.uids == [(0, 1000, 1)]


@pytest.mark.parametrize(
    "said",
    [
        "", "unknown", "range", "range 0-1-1", "range 0-1-1 0-1-1 0-1-1", "range 0-0-65536 0-0-65536", "range 0-5-0 0-5-1",
        "range 0-x-1 0-1-1", "range 0--5-1 0-1-1", "range 0-1 0-1", "root 0-100000-65536 0-100000-65536", "else 0-1-1 0-1-1",
    ],
)  # fmt: skip
def test_what_no_map_is_said_as_is_none(monkeypatch, said):
    """A damaged store says it: above all, the host's root is in none."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(userns, "caller_ids", lambda: userns.IdMaps("single", [(0, 1000, 1)], [(0, 1000, 1)]))
    assert userns.ids_from_description(said) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone has id-mapped mounts")
def test_a_namespace_for_mounts_outlives_its_process_and_leaves_none(monkeypatch):
    """Also for a caller that ignores the end of its children, whose children are reaped by the kernel."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        descriptor = userns.user_namespace([(5, 700, 1)], [(6, 800, 2)])
    finally:
        signal.signal(signal.SIGCHLD, before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG | syscalls.WALL)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.syscall("setns", descriptor, syscalls.CLONE_NEWUSER)
            with open("/proc/self/uid_map", "rb") as uids, open("/proc/self/gid_map", "rb") as gids:
                os.write(write, uids.read() + gids.read())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 1000).split() == [b"5", b"700", b"1", b"6", b"800", b"2"]
    os.close(read)
    os.close(descriptor)

    monkeypatch.setattr(syscalls, "CLONE_NEWUSER", syscalls.CLONE_NEWUSER | 0x200)  # CLONE_FS: EINVAL
    with pytest.raises(OSError, match="clone"):
        userns.user_namespace([(5, 700, 1)], [(6, 800, 2)])
