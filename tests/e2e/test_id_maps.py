"""A user is given a range of ids, as doctor advises, and loses it again: the store serves both, and can be removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envtool.container import userns
from tests.places import calling, fresh_place

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can show a user another /etc/subuid"),
    pytest.mark.skipif(
        not userns.find_helper("newuidmap") or not shutil.which("setpriv"), reason="no newuidmap or no setpriv"
    ),
]

SPEC = """\
layers: {made: {run: "mkdir -p /opt/made/x && touch /opt/made/x/y && (chown 7:8 /opt/made/x /opt/made/x/y || true)"}}
envs: {unit: {layers: [made], tasks: {test: "stat -c %u /opt/made/x"}}}
"""
OWNERS = {"single": "1000\n", "range": "7\n"}
FIRST = 1610612736 + (7 << 20)  # of a range that nobody here has


def with_range(place, which: str, *words: str):
    """envtool as a user who has, in a mount namespace of its own, a range of ids of this number, or none ("")."""
    lines = f"{place.caller.name}:{which}:65536\n" if which else ""
    for name in ("subuid", "subgid"):
        (place.top / name).write_text(lines)
    mounts = " && ".join(f"mount --bind {place.top}/{name} /etc/{name}" for name in ("subuid", "subgid"))
    become = f"setpriv --reuid {place.caller.uid} --regid {place.caller.gid} --clear-groups"
    began = ["unshare", "-m", "sh", "-c", f'{mounts} && exec {become} "$@"', "sh", *place.caller.command, *words]
    process = subprocess.Popen(
        began, cwd=place.project, env=place.variables(), stdin=subprocess.DEVNULL, stdout=-1, stderr=-1,
        start_new_session=True,
    )  # fmt: skip
    place.running.append(process)
    return place.finish(process)


@pytest.fixture
def place():
    with fresh_place(calling("single")) as made:
        made.spec(SPEC)
        yield made
        subprocess.run(["rm", "-rf", str(made.store)], check=True)  # what no range has any more


def test_a_range_comes_and_goes(place):
    said = {}
    for which in ("", str(FIRST)):
        done = with_range(place, which, "test", "--json", "--again")
        assert done.status == 0, done.said
        assert done.log() == OWNERS["range" if which else "single"]
        said[which] = with_range(place, which, "exec", "unit", "--", "stat", "-c", "%u", "/opt/made/x").out
    assert [*said.values()] == ["1000\n", "7\n"], "the warm way is of the ids that there are, too"
    for which in ("", str(FIRST)):
        assert with_range(place, which, "test", "--again", "--expect-cached").status == 0, "each is there still"
        warm = with_range(place, which, "exec", "unit", "--", "stat", "-c", "%u", "/opt/made/x")
        assert warm.out == said[which], warm.said
    blobs = [path for path in place.store.rglob("blobs") if path.is_dir()]
    assert blobs == [place.store / "blobs"], "what was fetched is shared"
    for verb in (["store", "size"], ["store", "verify"], ["gc"]):
        done = with_range(place, str(FIRST), *verb)
        assert done.status == 0, done.said
    sizes = json.loads(with_range(place, str(FIRST), "store", "size", "--json").out)
    assert len(sizes["others"]["idmaps"]) == 1
    assert sizes["others"]["size"] > 0
    doctor = with_range(place, str(FIRST), "doctor")
    assert "was built when containers had other ids (single 0-" in doctor.out, doctor.said


def test_what_another_range_made_is_left_to_root_and_all_else_goes(place):
    for which in ("", str(FIRST + 65536)):
        assert with_range(place, which, "test").status == 0
    for verb in (["store", "size"], ["store", "verify"], ["doctor"], ["gc", "--older-than", "0s"]):
        done = with_range(place, str(FIRST), *verb)
        assert done.status == 0, done.said
        assert "newuidmap:" not in done.said, "nothing of a program of the system's is said to people"
        if verb[-1] != "verify":
            assert "sudo rm -r" in done.out, done.said
            assert ", 0 B was made" not in done.out, "what cannot be measured is not said to be nothing"
            assert f"range 0-{FIRST + 65536}-" not in done.out or "only root can delete it" in done.out
    assert json.loads(with_range(place, str(FIRST), "store", "size", "--json").out)["stuck"], (
        "and the same for programs"
    )
    assert len([*place.store.glob("layers/*")]) == 0, "a single id's is ours whatever the range"
    asked = with_range(place, "", "store", "remove")
    assert asked.status == 2
    assert "--yes" in asked.said
    done = with_range(place, str(FIRST), "store", "remove", "--yes")
    assert done.status == 3, done.said
    left = done.out.split("sudo rm -r ")[1].split("`")[0]
    assert Path(left).is_dir()
    subprocess.run(["rm", "-r", left], check=True)
    done = with_range(place, "", "store", "remove", "--yes")
    assert done.status == 0, done.said
    assert not place.store.exists()
    assert "there is no store" in with_range(place, "", "store", "remove", "--yes").out


def test_where_the_top_is_roots_to_delete_all_else_of_the_store_stays(place):
    """The store was made with a range that is lost: the command that is told takes its trees, and nothing that is used."""
    for which in (str(FIRST + 65536), ""):
        assert with_range(place, which, "test").status == 0
    said = with_range(place, "", "doctor").out
    words = said.split("sudo rm -r ")[1].split("\n")[0].split()
    assert str(place.store / "layers") in words
    assert str(place.store) not in words
    subprocess.run(["rm", "-r", *words], check=True)
    assert with_range(place, "", "test", "--again", "--expect-cached").status == 0
    assert "only root" not in with_range(place, "", "doctor").out
    assert "only root" not in with_range(place, "", "store", "size").out
    assert with_range(place, "", "store", "remove", "--yes").status == 0
    assert not place.store.exists()


@pytest.mark.parametrize("which", ["", str(FIRST)])
def test_it_is_removed_whoever_the_files_belong_to(place, which):
    for each in {"", which}:
        assert with_range(place, each, "test").status == 0
    (place.top / "thesis").mkdir()
    os.rename(place.store, place.top / "there")
    os.symlink("there", place.store)  # ENVTOOL_STORE may be a link
    done = with_range(place, which, "store", "remove", "--yes")
    assert done.status == 0, done.said
    assert not [*place.top.glob("there/*")], done.said


def test_root_does_not_touch_the_store_of_a_user(place):
    assert with_range(place, "", "test").status == 0
    before = sorted(path for path in place.store.rglob("*") if "tmp" not in path.parts)
    root = calling("root")
    for verb in (["test"], ["store", "remove", "--yes"], ["gc"], ["store", "size"]):
        process = subprocess.run(
            [*root.command, *verb], cwd=place.project, env=place.variables() | {"PYTHONPATH": root.path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 3, process.stderr
        assert "belongs to user id" in process.stderr
    assert sorted(path for path in place.store.rglob("*") if "tmp" not in path.parts) == before
    assert with_range(place, "", "test", "--again", "--expect-cached").status == 0
