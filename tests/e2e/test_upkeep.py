"""gc beside builds and starts, killed, and on full disks; the store checked, looked into and compared, for real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from envtool.container import userns
from tests.places import _me, fresh_place

pytestmark = pytest.mark.e2e

SPEC = """\
layers:
  a: {run: "mkdir -p /opt/a/private && seq 2000 > /opt/a/x && ln /opt/a/x /opt/a/y && chmod 700 /opt/a/private"}
  b: {run: "rm -r /opt/a/private && mkdir /opt/b && echo b > /opt/b/file && chown 7:8 /opt/b/file || true"}
envs:
  unit: {layers: [a], tasks: {test: "test -s /opt/a/x"}}
  both: {layers: [a, b], tasks: {test: "cat /opt/b/file"}}
"""


def standing(place) -> set[str]:
    """Names of the layers that stand, but for the base."""
    return {layer["built"]["name"] for layer in place.layers()} - {"host"}


def last(done) -> dict:
    return json.loads(done.out.splitlines()[-1])


def test_what_is_removed_is_made_again(fresh):
    fresh.spec(SPEC)
    assert fresh.envtool("test").status == 0
    assert fresh.envtool("exec", "both", "--", "true").status == 0
    would = last(fresh.envtool("gc", "--older-than", "0s", "--dry-run", "--json"))
    assert {env["env"]: (env["layers"], env["after"]) for env in would["envs"]} == {"unit": (2, 0), "both": (3, 0)}
    assert standing(fresh) == {"a", "b"}
    kept = last(fresh.envtool("gc", "--json"))
    assert kept["gone"] == []
    done = last(fresh.envtool("gc", "--older-than", "0s", "--json"))
    assert {item["name"] for item in done["gone"]} == {item["name"] for item in would["gone"]}
    assert sum(item["sort"] == "layer" for item in done["gone"]) == 3
    assert done["freed"] == would["freed"] > 0
    assert fresh.layers() == []
    assert not fresh.left()
    # the warm way finds nothing, and says nothing of it
    again = fresh.envtool("exec", "both", "--", "cat", "/opt/b/file")
    assert (again.status, again.out) == (0, "b\n"), again.said
    assert fresh.envtool("test", "--again").status == 0
    assert standing(fresh) == {"a", "b"}


def test_what_runs_is_kept(fresh):
    fresh.spec(SPEC)
    for way in ("the long way, which builds it", "the warm way"):
        if way == "the warm way":
            fresh.envtool("exec", "unit", "--", "true")
        running = fresh.start("exec", "unit", "--", "sh", "-c", f"echo on; sleep {fresh.nap} & wait")
        assert running.stdout.readline() == b"on\n"
        done = last(fresh.envtool("gc", "--older-than", "0s", "--json"))
        assert len(done["busy"]) == 2, way
        assert standing(fresh) == {"a"}, way
        os.killpg(running.pid, signal.SIGTERM)
        running.communicate()
        fresh.until(lambda: not fresh.processes(), "it has ended")
        assert last(fresh.envtool("gc", "--older-than", "0s", "--json"))["busy"] == [], way
        assert fresh.layers() == [], way


LAUNCH = """
import fcntl, os, sys
from envtool.run import fast_exec

def busy():
    locks = [os.open(place, os.O_RDWR) for place in plan["locks"]]
    try:
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        for lock in locks:
            os.close(lock)
    return False

plan = fast_exec.read_plan(*sys.argv[1:])
reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
for status in (0, 3, 0):
    assert fast_exec.launch(plan, ("sh", "-c", f"exit {status}"), terminal=False, cancel=reader) == status
    assert busy(), "held from the first launch to after the last"
fast_exec.release(plan)
assert not busy(), "whoever read it lets go"
print("done")
"""


def test_one_plan_is_launched_as_often_as_is_liked(place):
    """Who opens closes: launch closes nothing that it was handed."""
    place.spec("envs: {unit: {base: host}}\n")
    place.envtool("exec", "unit", "--", "true")
    python = place.caller.command[0]
    words = (python, "-c", LAUNCH, str(place.store), str(place.project.resolve() / "envtool.yaml"), "unit")
    variables = place.variables()
    ran = place.finish(place.caller.spawn(*words, env=variables, cwd=place.project, stdout=-1, stderr=-1))
    assert (ran.status, ran.out) == (0, "done\n"), ran.said


def test_nothing_fails_while_gc_takes_what_it_can():
    """Builds, warm starts and tests beside a gc that never rests: each of them comes out right."""
    with fresh_place(_me()) as place:
        place.spec(SPEC)
        assert place.envtool("test").status == 0
        end = threading.Event()
        swept: list[int] = []

        def collecting():
            while not end.is_set():
                done = place.envtool("gc", "--older-than", "0s", "--json")
                assert done.status == 0, done.said
                swept.append(len(last(done)["gone"]))

        failed: list[str] = []

        def one(*words: str, out: str = ""):
            try:
                for _ in range(5):
                    done = place.envtool(*words)
                    if done.status or (out and done.out != out):
                        failed.append(done.said)
            except BaseException as error:
                failed.append(repr(error))

        threads = [
            threading.Thread(target=one, args=("exec", "both", "--", "cat", "/opt/b/file"), kwargs={"out": "b\n"}),
            threading.Thread(target=one, args=("exec", "unit", "--", "test", "-s", "/opt/a/x")),
            threading.Thread(target=one, args=("test", "--again")),
        ]
        gc = threading.Thread(target=collecting)
        gc.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end.set()
        gc.join()
        assert not failed, failed[0]
        assert sum(swept) > 5, "gc had nothing to take"
        assert not place.left()


@pytest.mark.dear
def test_kill_9_of_gc_leaves_nothing_half(depth):
    draw = depth.random
    with fresh_place(_me()) as place:
        lines = "".join(
            f"  r{n}: {{run: 'mkdir /opt/{n}; for i in $(seq 150); do echo {n} > /opt/{n}/$i; done'}}\n"
            for n in range(6)
        )
        names = ", ".join(f"r{n}" for n in range(6))
        place.spec(f"layers:\n{lines}envs:\n  unit:\n    layers: [{names}]\n    tasks: {{test: cat /opt/5/150}}\n")
        assert place.envtool("test").status == 0
        killed = 0
        for _ in depth.times(5, 200):
            process = place.start("gc", "--older-than", "0s")
            time.sleep(0.3 + draw.uniform(0, 0.25))
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for layer in place.store.glob("layers/*"):
                assert {"layer.json", "manifest", "tree"} <= {path.name for path in layer.iterdir()}
                assert len(list((layer / "tree").rglob("*"))) in (0, 1, 2, 151, 152) or (layer / "tree/etc").exists()
            if len(list(place.store.glob("layers/*"))) < 3:
                assert place.envtool("test", "--again").status == 0  # made anew, so that there is something to take
        assert killed, "it was never in the middle of anything"
        assert place.envtool("store", "verify").status == 0
        assert place.envtool("test", "--again").status == 0
        assert not place.left()


# ---- disks that run low ----------------------------------------------------------------------------------------------


def rounds(place, number: int, size: int = 1, **environ: str):
    """A run of a project with a layer of its own each time, `size` MB large."""
    place.environ.update(environ)
    place.spec(
        f"layers:\n  old: {{run: 'head -c {size}000000 /dev/zero | tr 0 {number} > /opt/{number}'}}\n"
        "envs: {unit: {layers: [old], tasks: {test: 'ls /opt'}}}\n"
    )
    return place.envtool("test")


def test_before_a_build_there_is_made_room():
    """Not on the warm way, never what the run needs itself, and said in one line."""
    with fresh_place(_me()) as place:
        for number in range(3):
            done = rounds(place, number)
            assert "to make room" not in done.err
        assert len(place.layers()) == 4
        done = rounds(place, 3, ENVTOOL_STORE_SIZE="1MB")
        assert done.status == 0, done.said
        assert done.err.count("to make room") == 1
        assert len(place.layers()) == 2  # the base, and what was made
        assert "to make room" not in place.envtool("exec", "unit", "--", "true").err
        place.environ.pop("ENVTOOL_STORE_SIZE")
        assert rounds(place, 4, ENVTOOL_KEEP_FREE="100%").err.count("to make room") == 1
        assert len(place.layers()) == 2
        bad = rounds(place, 5, ENVTOOL_KEEP_FREE="much")
        assert bad.status == 3
        assert "ENVTOOL_KEEP_FREE" in bad.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_build_that_fills_the_disk_is_tried_once_more():
    with fresh_place(_me()) as place:
        place.environ["ENVTOOL_KEEP_FREE"] = "0"
        place.store.mkdir()
        options = f"size=100m,uid={place.caller.uid},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place.store)], check=True)
        try:
            assert rounds(place, 1, size=40).status == 0
            done = rounds(place, 2, size=70)
            assert done.status == 0, done.said
            assert done.err.count("to make room") == 1
            assert len(place.layers()) == 2
            full = rounds(place, 3, size=200)
            assert full.status == 3
            assert "the disk of the store is full" in full.err
        finally:
            subprocess.run(["umount", str(place.store)], check=True)


# ---- looking ---------------------------------------------------------------------------------------------------------


def tree(place, name: str) -> Path:
    for layer in place.store.glob("layers/*/layer.json"):
        if json.loads(layer.read_text())["built"]["name"] == name:
            return layer.parent / "tree"
    raise AssertionError(name)


def spoil(place, name: str) -> None:
    """Flip a byte of /opt/a/x, as who owns it."""

    def flip(path: str) -> None:
        with open(path, "r+b") as file:
            file.write(b"X")

    if os.geteuid() == 0:
        flip(str(tree(place, name) / "opt/a/x"))
    else:
        userns.run_as_root(flip, "opt/a/x", at=str(tree(place, name)))


def test_the_store_is_checked_and_repaired(fresh):
    fresh.spec(SPEC)
    assert fresh.envtool("test").status == 0
    whole = fresh.envtool("store", "verify")
    assert whole.status == 0, whole.said
    assert "all whole" in whole.out
    spoil(fresh, "a")
    (fresh.store / "tmp/dead").mkdir()
    fresh.give(fresh.store / "tmp/dead")
    found = fresh.envtool("store", "verify")
    assert found.status == 1
    assert "/opt/a/x: content" in found.out
    assert fresh.envtool("store", "verify", "--repair").status == 0
    assert standing(fresh) == {"b"}
    assert fresh.envtool("store", "verify").status == 0
    assert not fresh.left()
    assert fresh.envtool("exec", "unit", "--", "head", "-n1", "/opt/a/x").out == "1\n"
    assert standing(fresh) == {"a", "b"}
    assert fresh.envtool("store", "path").out == f"{fresh.store}\n"
    assert json.loads(fresh.envtool("store", "size", "--json").out)["sorts"]["layer"]["count"] == 3


def test_a_stack_is_what_its_containers_see(place):
    """Files, types, modes, owners and sizes of random layers, by their manifests and by `find` in a container."""
    draw = random.Random(int(place.token, 16))
    names = ["a", "b", "a/c", "a/d", "b/c", "a/c/e", "b/c/e/f"]
    layers = []
    for number in range(4):
        lines = ["mkdir -p /srv/t", "cd /srv/t"]
        for _ in range(6):
            name = draw.choice(names)
            lines.append(
                draw.choice(
                    [
                        f"rm -rf {name}",
                        f"rm -rf {name}; mkdir -p {name} 2>/dev/null || true",
                        f"mkdir -p {name} 2>/dev/null || true",
                        f"(mkdir -p $(dirname {name}) && test ! -d {name} && echo {number} > {name}) 2>/dev/null || true",
                        f"chmod {draw.choice(['775', '755', '1777'])} {name} 2>/dev/null || true",
                        f"ln -sfn /t{number} {name} 2>/dev/null || true",
                    ]
                )
            )
        layers.append("; ".join(lines))
    rows = "".join(f"  l{number}: {{run: {json.dumps(script)}}}\n" for number, script in enumerate(layers))
    place.spec(f"layers:\n{rows}envs: {{unit: {{layers: [l0, l1, l2, l3], tasks: {{test: 'true'}}}}}}\n")
    seen = place.envtool("exec", "unit", "--", "sh", "-c", r"find /srv/t -mindepth 1 -printf '%p %y %m %U:%G %s\n'")
    assert seen.status == 0, f"{layers}\n{seen.said}"
    words = {"file": "f", "directory": "d", "symlink": "l"}
    report = json.loads(place.envtool("inspect", "unit", "--files", "--json").out)
    told = {
        each["path"]: f"{words[each['type']]} {each['mode']:o} {each['uid']}:{each['gid']} {each['size']}"
        for each in report["files"]
        if each["path"].startswith("/srv/t/")
    }
    shown = {}
    for line in seen.out.splitlines():
        path, kind, mode, owner, size = line.split(" ")
        owner = "0:0" if place.caller.mode == "single" else owner  # there is one id, and it is the task's own
        shown[path] = f"{kind} {mode} {owner} {size if kind == 'f' else 0}"
    assert told == shown, layers
    for path in [*shown][:3]:
        said = json.loads(place.envtool("inspect", "unit", path, "--json").out)
        assert said["there"]
        assert [each for each in said["said"] if each["seen"]]


def test_two_envs_are_compared():
    with fresh_place(_me()) as place:
        place.spec(SPEC)
        assert place.envtool("test").status == 0
        same = place.envtool("diff", "unit", "unit")
        assert (same.status, same.out) == (0, "unit and unit: the same\n")
        done = place.envtool("diff", "unit", "both", "--files")
        assert done.status == 1
        assert "  - /opt/a/private\n" in done.out
        assert "  + /opt/b/file\n" in done.out
        assert place.envtool("diff", "unit", "nope").status == 2
        said = place.envtool("inspect", "both", "/opt/b/file")
        assert "is from  layer b" in said.out
        gone = place.envtool("inspect", "both", "/opt/a/private")
        assert "not there" in gone.out
        assert "deleted by  layer b" in gone.out
