"""envtool.lock, as it is used: written, kept to, refused where it no longer fits, and the same everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.places import calling, common_place

pytestmark = [pytest.mark.e2e, pytest.mark.network]

HOST = """
layers:
  deps: {{pip: [{wanted}]}}
envs:
  unit:
    layers: [deps]
    tasks: {{test: "python -c 'import iniconfig; print(iniconfig.__file__)'"}}
"""


def locked(place) -> dict:
    return json.loads((place.project / "envtool.lock").read_text())


def test_what_is_locked_stays_and_what_no_longer_fits_is_an_error_in_ci(place):
    place.spec(HOST.format(wanted="iniconfig"))
    done = place.envtool("lock", "--json")
    assert done.status == 0, done.said
    assert done.events[-1]["written"] is True
    text = (place.project / "envtool.lock").read_text()
    assert "://" not in text, "a lock names no mirror or index"
    assert (place.project / "envtool.lock").stat().st_uid == place.caller.uid
    again = place.envtool("lock")
    assert again.out.endswith("envtool.lock: 1 base or layer locked, unchanged\n"), again.said
    assert place.envtool("lock", "--check").status == 0
    place.environ["CI"] = "true"
    assert place.envtool("test").status == 0
    place.spec(HOST.format(wanted="iniconfig, attrs"))
    stale = place.envtool("test")
    assert stale.status == 2
    assert "envtool.yaml:4:3: error: envtool.lock no longer fits layer `deps`: " in stale.err
    assert "new attrs" in stale.err, stale.err
    assert "`envtool lock`" in stale.err
    checked = place.envtool("lock", "--check", "--json")
    (document,) = [json.loads(line) for line in checked.out.splitlines()]
    assert (checked.status, document["mend"]) == (1, "envtool lock"), checked.said
    assert [(fault["state"], fault["name"]) for fault in document["faults"]] == [("stale", "deps")]
    assert place.envtool("test", "--no-locked").status == 0
    place.environ["CI"] = "false"
    assert place.envtool("test", "--locked").status == 2
    assert place.envtool("test").status == 0
    assert (place.project / "envtool.lock").read_text() == text, "only `lock` writes the lock"
    done = place.envtool("lock")
    (moved,) = done.out.splitlines()[1:-2]
    assert moved.split()[:4] == ["layer", "deps", "attrs", "-"], done.out
    assert place.envtool("test", "--locked").status == 0


def test_a_lock_that_is_asked_for_must_be_there_and_readable(place):
    place.spec(HOST.format(wanted="iniconfig"))
    done = place.envtool("test", "--locked")
    assert (done.status, "no envtool.lock beside envtool.yaml" in done.err) == (2, True), done.said
    place.write("envtool.lock", '{\n "version": 1,\n<<<<<<< ours\n')
    done = place.envtool("test")
    assert (done.status, "envtool.lock:3:1: error: not JSON" in done.err) == (2, True), done.said
    done = place.envtool("lock", "--upgrade", "depz")
    assert done.status == 2


def test_offline_asks_nobody_and_says_what_is_missing(fresh):
    fresh.spec(HOST.format(wanted="iniconfig"))
    done = fresh.envtool("test", "--offline")
    assert (done.status, "layer `deps` is not resolved yet" in done.err) == (3, True), done.said
    assert fresh.envtool("lock", "-q").status == 0
    assert fresh.envtool("test", "--offline").status == 0
    shutil.rmtree(fresh.store / "blobs" / "sha256")
    (fresh.store / "blobs" / "sha256").mkdir()
    fresh.give(fresh.store / "blobs" / "sha256")
    fresh.write("envtool.yaml", (fresh.project / "envtool.yaml").read_text().replace("deps", "wanted"))
    assert fresh.envtool("test", "--offline").status == 0, "a new name is no new question"
    fresh.shell(f"rm -rf {fresh.store}/layers/*" if fresh.caller.mode == "single" else "true")
    if fresh.caller.mode == "single":
        assert "unchanged" in fresh.envtool("test", "--offline").err, "nothing has to be there to say so"
        done = fresh.envtool("test", "--offline", "--again")
        assert done.status == 3, done.said
        assert "not in the store, and --offline fetches nothing" in done.err
        assert "envtool fetch" in done.err


DEBIAN = """
bases:
  bookworm: {debian: bookworm}
layers:
  tools: {apt: [gcc, libc6-dev, python3, python3-dev, make]}
  deps: {pip: [markupsafe==3.0.2, build, hatchling], needs: [tools]}
  note: {run: "echo made > /opt/note"}
envs:
  unit:
    base: bookworm
    layers: [tools, deps, note]
    tasks:
      test: "python -c 'import markupsafe' && cat /opt/note"
      build:
        run: ["cc -o hello hello.c", "python -m build --no-isolation --wheel --outdir dist ."]
        outputs: [hello, dist/*]
"""
FILES = {
    "hello.c": '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
    "pyproject.toml": '[project]\nname = "thing"\nversion = "1"\n'
    '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
    "src/thing/__init__.py": "",
}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="two users are needed, and only root can be both")
def test_a_locked_project_is_the_same_for_two_users_in_two_places():
    """Every layer's diff ID, the wheel and the binary; an upgrade of one thing moves that alone."""
    found, came_out = {}, {}
    root, user = calling("root"), calling("range")
    with common_place(root) as first, common_place(user) as second:
        for name, text in FILES.items():
            first.write(name, text)
        first.spec(DEBIAN)
        done = first.envtool("lock", "-q")
        assert done.status == 0, done.said
        lock = locked(first)
        assert {entry.get("base", entry.get("layer")) for entry in lock["entries"]} == {"bookworm", "tools", "deps"}
        assert all(entry["diff_id"] for entry in lock["entries"])
        for name in [*FILES, "envtool.yaml", "envtool.lock"]:
            second.write(f"deep/er/{name}", (first.project / name).read_bytes())
        for place, project in ((first, first.project), (second, second.project / "deep/er")):
            place.environ["CI"] = "true"
            done = place.envtool("test", cwd=project)
            assert done.status == 0, done.said
            done = place.envtool("build", cwd=project)
            assert done.status == 0, done.said
            (wheel,) = (project / "dist").iterdir()
            found[place.caller.mode] = (wheel.read_bytes(), (project / "hello").read_bytes())
            came_out[place.caller.mode] = place.came_out()
        assert found["root"] == found["range"]
        assert {entry["diff_id"] for entry in lock["entries"]} <= {*came_out["range"].values()}
        both = came_out["root"].keys() & came_out["range"].keys()
        assert len(both) >= 4
        assert {key: came_out["root"][key] for key in both} == {key: came_out["range"][key] for key in both}
        assert subprocess.run([first.project / "hello"], capture_output=True, check=True).stdout == b"hello\n"
        done = first.envtool("lock", "--upgrade", "markupsafe")
        assert done.out == "envtool.lock: 3 bases and layers locked, unchanged\n", (
            done.said
        )  # it is named exactly in the spec
        first.spec(DEBIAN.replace("markupsafe==3.0.2", '"markupsafe>=3.0.2"'))
        first.envtool("lock", "-q")
        assert locked(first)["entries"][2] == lock["entries"][2], "what still fits stays"
        done = first.envtool("lock", "--upgrade", "markupsafe", "--json")
        moved = [(change["entry"], change["name"].lower()) for change in done.events[-1]["changes"]]
        assert set(moved) <= {("layer deps", "markupsafe")}


def test_a_file_that_is_gone_is_said_with_what_moves_it(fresh):
    """An index drops a locked file: the store has it still, ENVTOOL_BLOBS may have it, and else the error says what now."""
    wheels = fresh.directory("wheels")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), "pip", "iniconfig==2.0.0"],
        check=True,
    )
    subprocess.run(["chmod", "-R", "a+rX", str(wheels)], check=True)
    fresh.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "CI": "1"}
    fresh.spec(HOST.format(wanted="iniconfig"))
    done = fresh.envtool("lock", "-q")
    assert done.status == 0, done.said
    assert str(wheels) not in (fresh.project / "envtool.lock").read_text()
    (old,) = wheels.glob("iniconfig-*")
    kept = fresh.directory("kept")
    old.rename(kept / old.name)
    assert fresh.envtool("test").status == 0, "the store has what was fetched"
    fresh.store = fresh.top / "another"
    done = fresh.envtool("test")
    assert done.status == 3, done.said
    assert f"{old.name}: no index of this machine has it" in done.err
    assert "`envtool lock --upgrade deps`" in done.err
    (kept / old.name).rename(old)
    assert fresh.envtool("test").status == 0
