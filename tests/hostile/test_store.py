"""A store on a disk that is full, read-only, or damaged: misses and sentences, never a wrong answer.

Each case damages one thing of a real store, in one way; some verb then ends in a sentence or rightly, `store verify
--repair` names and mends it, and all that follows comes out as it did before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from envtool.container import userns
from tests.places import Place

pytestmark = pytest.mark.e2e

SPEC = """\
layers:
  a: {run: "mkdir -p /opt/a && seq 20 > /opt/a/x"}
  f: {fetch: {url: 'URL/file', sha256: 'SHA', to: /opt/file}}
  b: {run: "cp /opt/a/x /opt/b", needs: [a]}
envs:
  unit: {layers: [a, b, f], tasks: {test: {run: 'cat /opt/b > out.txt', outputs: [out.txt]}, build: {run: 'cp /opt/b built', outputs: [built]}}}
  bare: {layers: [a], tasks: {test: cat /opt/a/x}}
"""
RIGHT = "".join(f"{number}\n" for number in range(1, 21))
VERBS = [
    ("test", "-e", "bare"), ("test",), ("exec", "bare", "--", "cat", "/opt/a/x"), ("plan",), ("why",), ("list",),
    ("lock",), ("fetch",), ("inspect", "unit", "--files"), ("diff", "unit", "bare", "--files"), ("gc",), ("gc", "--dry-run"),
    ("store", "size"), ("store", "verify"), ("verify", "a"), ("test", "--again"),
]  # fmt: skip
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


# ---- ways of damage --------------------------------------------------------------------------------------------------


def remove(path: Path, _: random.Random) -> None:
    userns.remove_as_root(
        str(path)
    ) if path.is_dir() and not path.is_symlink() else path.unlink()  # it may be the container's


def instead(make):
    """Something else in the place of a file or directory."""

    def damage(path: Path, draw: random.Random) -> None:
        remove(path, draw)
        make(path)

    return damage


def bytes_of(make):
    """Other bytes in a file, its inode and mode kept."""

    def damage(path: Path, draw: random.Random) -> None:
        with path.open("rb") as file:  # a lock may be a hole without end since an earlier case: its content is nobody's
            data = file.read(1 << 24)
        path.write_bytes(make(data, draw))

    return damage


def flipped(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data)) if data else 0
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :] if data else b"x"


def field(data: bytes, draw: random.Random) -> bytes:
    """One value of a document becomes something else; of what is no JSON, many bytes do."""
    try:
        document = json.loads(data)
    except ValueError:
        return bytes(draw.choice([byte, draw.randrange(256)]) for byte in data[:100]) + data[100:]
    places = []

    def walk(value):
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    if isinstance(document, dict | list):
        walk(document)
    if not places:
        return b"[]"
    value, key = draw.choice(places)
    odd = [None, True, -1, 10**30, 1.5, 1e308, "", "../../x", "/etc/passwd", "a\0b", "\ud800", [], {}, [[]], {"a": {}}]
    value[key] = draw.choice(odd)
    if draw.random() < 0.2 and isinstance(value, dict):
        del value[key]
    return json.dumps(document).encode()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


FILES = {
    "empty": bytes_of(lambda data, draw: b""),
    "cut": bytes_of(lambda data, draw: data[: draw.randrange(len(data) + 1)]),
    "flipped": bytes_of(flipped),
    "longer": bytes_of(lambda data, draw: data + draw.randbytes(9)),
    "zeros": bytes_of(lambda data, draw: bytes(len(data))),
    "noise": bytes_of(lambda data, draw: draw.randbytes(len(data))),
    "field": bytes_of(field),
    "deep": bytes_of(lambda data, draw: DEEP),
    "huge number": bytes_of(lambda data, draw: b'{"size": ' + b"9" * 10_000 + b"}"),
    "nan": bytes_of(lambda data, draw: b'{"time": NaN, "a": Infinity, "b": 1e999}'),
    "no utf-8": bytes_of(lambda data, draw: b'{"a": "\xff\xfe"}'),
    "another type": bytes_of(lambda data, draw: draw.choice([b"[]", b"1", b'"x"', b"null", b"true", b"{}"])),
    "mode": lambda path, draw: path.chmod(0),
    "sparse": instead(sparse),
}
THINGS = {
    "gone": remove,
    "directory": instead(lambda path: path.mkdir()),
    "full directory": instead(lambda path: (path.mkdir(), (path / "x").write_bytes(b"x"), (path / "y").mkdir())),
    "link to a file": instead(lambda path: path.symlink_to("/etc/passwd")),
    "link to itself": instead(lambda path: path.symlink_to(path.name)),
    "link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "fifo": instead(os.mkfifo),
    "socketless device": instead(lambda path: path.symlink_to("/dev/zero")),
}
DIRECTORIES = {
    "file": instead(lambda path: path.write_bytes(b"x")),
    "emptied": instead(lambda path: path.mkdir()),
    **{name: THINGS[name] for name in ("gone", "link to itself", "link to nothing", "fifo", "socketless device")},
}


def things(store: Path, draw: random.Random) -> Path:
    """One thing of a store: each room is as likely as any other, however much is in it."""
    rooms = [path for path in store.iterdir() if path.name != "caches"]
    room = draw.choice(sorted(rooms))
    inside = [room]
    for path in sorted(room.rglob("*")) if room.is_dir() else []:
        depth = path.relative_to(store).parts
        if room.name == "layers" and len(depth) > 3:
            continue  # what is in a tree is for `tree` below
        inside.append(path)
    return draw.choice(inside)


# ---- the battery -----------------------------------------------------------------------------------------------------


def diff_ids(place: Place) -> dict[str, str]:
    return {layer["built"]["name"]: layer["diff_id"] for layer in place.layers()}


def right(place: Place) -> None:
    """All is well, and as it was: results, outputs and the short way."""
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert (place.project / "out.txt").read_text() == RIGHT
    done = place.envtool("exec", "bare", "--", "cat", "/opt/a/x")
    assert (done.status, done.out) == (0, RIGHT), done.said


def give_back(place: Place, path: Path, before: os.stat_result) -> None:
    """What root damaged belongs to whom it belonged."""
    for each in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]:
        with contextlib.suppress(FileNotFoundError):
            os.chown(each, before.st_uid, before.st_gid, follow_symlinks=False)


def spec(place: Place, server) -> None:
    body = b"fetched\n" * 1000
    server.files["/file"] = body
    place.spec(SPEC.replace("URL", server.url).replace("SHA", hashlib.sha256(body).hexdigest()))


def started(place: Place, server) -> dict[str, str]:
    spec(place, server)
    done = place.envtool("test")
    assert done.status == 0, done.said
    right(place)
    return diff_ids(place)


def damaged(place: Place, draw: random.Random, wanted: dict[str, str]) -> None:
    """One thing in one way, and what comes of it. Raises AssertionError."""
    path = things(place.store, draw)
    before = path.lstat()
    # An earlier case may have left a pipe or a link where nobody looks at the content.
    files = FILES | THINGS if stat.S_ISREG(before.st_mode) else THINGS
    ways = DIRECTORIES if stat.S_ISDIR(before.st_mode) else files
    way, verb = draw.choice(sorted(ways)), draw.choice(VERBS)
    said = f"{path.relative_to(place.store)}: {way}"
    try:
        ways[way](path, draw)
        if os.path.lexists(path):
            give_back(place, path, before)
        done = place.envtool(*verb)
        said += f"\n{' '.join(verb)}: {done.status}, {done.seconds:.1f} s, {done.said[-1500:]}"
        assert done.status in (0, 1, 3)
        assert done.seconds < 30
        assert done.status != 3 or "error" in done.err or "is damaged" in done.err
        assert verb[0] != "exec" or done.status == 3 or done.out == RIGHT
        repaired = place.envtool("store", "verify", "--repair")
        said += f"\nrepair: {repaired.status}, {repaired.said}"
        if repaired.status == 3:  # the store cannot even be opened: what to do is said, and done
            assert "remove it" in repaired.err or "chmod" in repaired.err
            remove(path, draw)
            repaired = place.envtool("store", "verify", "--repair")
            said += f"\nonce more: {repaired.status}, {repaired.said}"
        assert repaired.status == 0
        right(place)
        assert diff_ids(place)["a"] == wanted["a"]
        assert not place.left()
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{said}\n{error}") from error


@pytest.mark.sampled(1)  # of the callers, one a commit
@pytest.mark.dear
def test_whatever_is_damaged_is_a_miss_or_is_named(fresh, server, depth):
    wanted = started(fresh, server)
    wrong = []
    for _ in depth.times(6, 70):
        try:
            damaged(fresh, depth.random, wanted)
        except (AssertionError, pytest.fail.Exception) as error:
            wrong.append(str(error))
            userns.remove_as_root(str(fresh.store))
            wanted = started(fresh, server)
    assert not wrong, f"{len(wrong)} cases:\n\n" + "\n\n".join(wrong)
    assert fresh.envtool("store", "verify").status == 0


# ---- a disk that is full, or may not be written to ---------------------------------------------------------------------

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
WORK = [
    ("test", "--again"), ("test",), ("exec", "bare", "--", "cat", "/opt/a/x"), ("lock",), ("fetch",), ("plan",), ("why",),
    ("gc",), ("store", "verify"), ("store", "size"), ("verify", "a"), ("vendor",), ("inspect", "unit"), ("build",),
]  # fmt: skip
SAYS = (
    "no space left",
    "no inodes left",
    "read-only",
    "disk of the store",
    "quota",
    "cannot be used",
    "could not be kept",
    "not built yet",
)


@contextlib.contextmanager
def mounted(place: Place, what: Path, options: str):
    """A small disk of the caller's."""
    owner = f"uid={place.caller.uid},gid={place.caller.gid},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},{owner}", "tmpfs", str(what)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(what)], check=True)


def refused_or_right(place: Place, verb: tuple[str, ...], said: str) -> None:
    done = place.envtool(*verb)
    said = f"{said}, {' '.join(verb)}: {done.status}, {done.said[-2000:]}"
    assert done.status in (0, 1, 3), said
    if done.status == 3 or "error" in done.err:
        assert any(words in done.said.lower() for words in SAYS), said
    if verb[0] == "exec" and done.status == 0:
        assert done.out == RIGHT, said
    rows = [row for row in place.left() if str(place.store / "tmp") in row and "tmpfs" not in row]
    assert not rows, f"{said}\n{rows}"


@root
@pytest.mark.sampled(1)
@pytest.mark.dear
def test_a_full_disk_is_said_in_a_sentence(fresh, server, depth):
    """In bytes or in names, at whatever write it happens; with some room again all comes right."""
    draw = depth.random
    fresh.environ["ENVTOOL_KEEP_FREE"] = "0"
    for number in depth.times(6, 70):
        inodes = draw.random() < 0.5
        size = f"size=64m,nr_inodes={draw.randrange(20, 4000)}" if inodes else f"size={draw.randrange(40, 6000)}k"
        fresh.store.mkdir(exist_ok=True)
        fresh.give(fresh.store)
        with mounted(fresh, fresh.store, size):
            spec(fresh, server)
            for verb in [("test",), draw.choice(WORK)]:
                refused_or_right(fresh, verb, f"case {number}: {size}")
            subprocess.run(["mount", "-o", "remount,size=256m,nr_inodes=60000", str(fresh.store)], check=True)
            right(fresh)


@root
@pytest.mark.sampled(1)
@pytest.mark.dear
def test_a_store_that_is_read_only_is_said_in_a_sentence(fresh, server, depth):
    draw = depth.random
    started(fresh, server)
    for number in depth.times(6, 70):
        if draw.random() < 0.3:
            for name in draw.sample(["plans", "memo", "results", "views"], 2):
                shutil.rmtree(fresh.store / name, ignore_errors=True)  # gone since the case before
        subprocess.run(["mount", "--bind", str(fresh.store), str(fresh.store)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(fresh.store)], check=True)
            refused_or_right(fresh, draw.choice(WORK), f"case {number}")
        finally:
            subprocess.run(["umount", "-l", str(fresh.store)], check=True)
    right(fresh)
    assert fresh.envtool("store", "verify").status == 0


# ---- kill -9 -----------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(1)
@pytest.mark.dear
def test_whatever_was_killed_the_next_run_is_right(fresh, server, depth):
    """At a random moment of any verb that writes."""
    draw = depth.random
    wanted = started(fresh, server)
    verbs = [verb for verb in WORK if verb[0] not in ("plan", "why", "inspect")]
    for number in depth.times(6, 70):
        verb = draw.choice(verbs)
        if draw.random() < 0.3:
            fresh.envtool("gc", "--older-than", "0s")
        process = fresh.start(*verb)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.05, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        fresh.until(lambda: not fresh.processes(), f"nothing runs after {verb}", 10)
        try:
            right(fresh)
            assert diff_ids(fresh)["a"] == wanted["a"]
            assert not fresh.left()
        except AssertionError as error:
            pytest.fail(f"case {number}, {' '.join(verb)}: {error}")
    assert fresh.envtool("store", "verify").status == 0


# ---- whose it is -------------------------------------------------------------------------------------------------------


@root
def test_a_place_where_others_write_is_refused(fresh):
    fresh.task("true")
    for mode, owner, code in [
        (0o777, fresh.caller.uid, 3),
        (0o1777, fresh.caller.uid, 0),
        (0o755, 12345, 3),
        (0o755, 0, 0),
    ]:
        above = fresh.directory(f"above-{mode:o}-{owner}")
        fresh.store = above / "store"
        fresh.store.mkdir(mode=0o700)
        fresh.give(fresh.store)
        os.chmod(above, mode)
        os.chown(above, owner, -1)
        done = fresh.envtool("test")
        assert done.status == code, done.said
        assert not code or "store" in done.err.splitlines()[0]
    os.chmod(fresh.store, 0o770)
    done = fresh.envtool("test")
    assert done.status == 3
    assert f"others may write to {fresh.store}" in done.err
