"""Stores on disks that are full, read-only, or not ours: one sentence at the end, with what to do."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess

import pytest

from tests.e2e.test_first_use import compare
from tests.hostile.test_store import mounted
from tests.places import calling, fresh_place

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")]

MAKING = {
    "a command": "layers: {x: {run: 'head -c 200000000 /dev/zero > /opt/x'}}",
    "one that takes its files away": "layers: {x: {run: 'head -c 200000000 /dev/zero > /opt/x || { rm /opt/x; exit 9; }'}}",
    "one that says much more": "layers: {x: {run: 'head -c 200000000 /dev/zero > /opt/x; seq 2000 >&2; exit 1'}}",
    "what is fetched": "layers: {x: {fetch: {url: 'URL', sha256: SHA, to: /opt/x}}}",
    "what is copied": "layers: {x: {copy: {from: large, to: /opt/x}}}",
}  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.one_caller
@pytest.mark.parametrize("case", MAKING)
def test_a_full_disk_is_the_last_word(fresh, server, case):
    data = random.Random(1).randbytes(60_000_000)
    server.files["/x"] = data
    if case == "what is copied":
        fresh.write("large", data)
    text = MAKING[case].replace("URL", f"{server.url}/x").replace("SHA", hashlib.sha256(data).hexdigest())
    fresh.spec(text + "\nenvs: {unit: {layers: [x], tasks: {test: 'true'}}}\n")
    fresh.store.mkdir()
    fresh.give(fresh.store)
    with mounted(fresh, fresh.store, "size=50m"):
        done = fresh.envtool("test")
        assert done.status == 3, done.said
        *_, sentence, advice, _, last = done.err.rstrip().split("\n")
        full = f"the disk of the store is full: {fresh.store} (52 MB, "
        assert full in sentence, done.err
        assert "nothing of the store can go: free some of that disk, or ENVTOOL_STORE=DIR is another place" in advice
        assert last == "   again, on another disk:  ENVTOOL_STORE=DIR envtool test"
        assert len(done.err.splitlines()) < 12, done.err
        assert "Errno" not in done.err
        compare("full-disk", fresh, done, (str(fresh.store), "STORE"), last=4)
        assert not fresh.left() or "tmpfs" in fresh.left()[0]


@pytest.mark.one_caller
def test_a_disk_that_two_envs_fill_together(fresh, server):
    layers, envs = [], []
    for name in "ab":
        server.files[f"/{name}"] = data = random.Random(name).randbytes(16_000_000)
        sha256 = hashlib.sha256(data).hexdigest()
        layers.append(f"  {name}: {{fetch: {{url: '{server.url}/{name}', sha256: {sha256}, to: /opt/x}}}}")
        envs.append(f"  {name}: {{layers: [{name}], tasks: {{test: 'true'}}}}")
    fresh.spec("\n".join(["layers:", *layers, "envs:", *envs, ""]))
    fresh.store.mkdir()
    fresh.give(fresh.store)
    with mounted(fresh, fresh.store, "size=50m"):
        done = fresh.envtool("test", "-j2")
        assert done.status == 3, done.said
        assert "gc --dry-run" not in done.err, "it would show nothing"
        assert "nothing of the store can go: free some of that disk" in done.err, done.err
        assert done.err.rstrip().endswith("\n   again, on another disk:  ENVTOOL_STORE=DIR envtool test -j2")


@pytest.mark.one_caller
@pytest.mark.parametrize("ends", ["", " || exit 0", " 2>/dev/null"])
def test_a_disk_that_prepared_state_fills(fresh, ends):
    fresh.spec(
        "services:\n  db:\n    command: touch /tmp/up; exec sleep 600\n    ready: {file: /tmp/up}\n"
        f"    prepare: {{before: 'head -c 200000000 /dev/zero >/srv/db/x{ends}', data: [/srv/db]}}\n"
        "envs: {unit: {services: [db], tasks: {test: 'true'}}}\n"
    )
    fresh.store.mkdir()
    fresh.give(fresh.store)
    with mounted(fresh, fresh.store, "size=50m"):
        done = fresh.envtool("test")
        assert done.status == 3, done.said
        assert f"the disk of the store is full: {fresh.store} (52 MB, " in done.err, done.err
        assert "ENVTOOL_STORE=DIR is another place" in done.err
        assert ("service `db`: its `prepare` failed: the disk" in done.err) is (ends == ""), done.err
        assert not fresh.left() or "tmpfs" in fresh.left()[0]


@pytest.mark.one_caller
def test_a_read_only_store(place):
    place.task("true")
    assert place.envtool("test").status == 0
    subprocess.run(["mount", "--bind", str(place.store), str(place.store)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place.store)], check=True)
        for words in (["test", "--again"], ["gc"]):
            done = place.envtool(*words)
            if done.status == 0:  # it was told, or started, without writing
                continue
            assert done.status == 3, done.said
            assert f"the store {place.store} is read-only" in done.err, (words, done.err)
            assert "ENVTOOL_STORE=DIR is another place" in done.err
            if words == ["gc"]:
                compare("read-only", place, done, (str(place.store), "STORE"))
    finally:
        subprocess.run(["umount", "-l", str(place.store)], check=True)
    assert place.envtool("test", "--again").status == 0


def test_a_store_that_may_not_be_written_to():
    with fresh_place(calling("single")) as place:
        place.task("true")
        assert place.envtool("test").status == 0
        for room in ("locks", "tmp"):
            for path in (place.store / "locks").iterdir():
                path.unlink()
            (place.store / room).chmod(0o500)
            place.write("envtool.yaml", (place.project / "envtool.yaml").read_text() + f"# {room}\n")
            done = place.envtool("exec", "unit", "--", "true")
            done = place.envtool("test", "--again") if done.status == 0 else done
            (place.store / room).chmod(0o755)
            if done.status == 0:
                continue
            assert done.status == 3, done.said
            assert f"the store {place.store} cannot be used: {place.store}/{room}" in done.err, done.err
            assert "ls -ld" in done.err
        assert place.envtool("test", "--again").status == 0
