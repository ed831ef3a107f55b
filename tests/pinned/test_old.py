"""What commit 506e090 wrote is read, and nothing is made again: a store a caller, a lock, a vendor folder, a team cache.

Answers and short cuts (`memo/`, `plans/`, `view` records) may be made anew; layers, results, fetched files and locks may not.
make_old.py wrote it all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from tests import registries
from tests.pinned.shared import OLD, X86_64, Map, unpack
from tests.places import Place, calling, fresh_place

pytestmark = [pytest.mark.e2e, X86_64]

# Only root can give files to others, and does it for each sort of caller.
MODES = ("root", "range", "single") if os.geteuid() == 0 else ("me",)
RAN = 1_796_000_000  # the old tree ran before this
KEYS = {path["key"] for path in json.loads((OLD / "project" / "envtool.lock").read_text())["entries"] if "key" in path}


@pytest.fixture(params=MODES)
def old(request) -> Iterator[Place]:
    """The old project in another place, and beside it the old store, as a caller of today has it."""
    who = calling(request.param)
    if who.mode != "single" and os.geteuid() != 0:
        pytest.skip("root alone can give a store's files to the ids of containers")
    with fresh_place(who) as place:
        project(place)
        place.store = place.top / "other"
        assert (done := place.envtool("plan")).status == 0, done.said
        ids, stamp = Map.of(place), (place.store / "store.json").read_text()
        place.store = place.top / "store"
        unpack(OLD / f"store-{who.mode}.tar.xz", place.store, ids)
        theirs = json.loads((place.store / "store.json").read_text())
        ours = json.loads(stamp)
        assert theirs.keys() == ours.keys()
        assert theirs["format"] == ours["format"]
        if (theirs["idmap"], theirs["uid"]) != (ours["idmap"], ours["uid"]):
            place.give(place.write("store.json", stamp, at=place.store))
        else:
            assert theirs == ours
        yield place


def project(place: Place) -> None:
    for path in (OLD / "project").iterdir():
        place.write(path.name, path.read_bytes())
    place.environ["ENVTOOL_CACHE"] = "off"


def made(done, *, outcome: str = "cached") -> list[tuple[str, str, str]]:
    """What took part and is not `outcome`: nothing may have been made."""
    found = [(each["subject"], each["name"], each["outcome"]) for each in done.events if each["event"] == "finished"]
    return [each for each in found if each[2] != outcome and each[0] != "cache"]


def test_nothing_is_made_again(old):
    """Results are told as unchanged, all is cached, the lock fits, and what the old tree said of each layer, result and
    file is so."""
    lock = (old.project / "envtool.lock").read_bytes()
    layers = sorted(os.listdir(old.store / "layers"))
    done = old.envtool("store", "verify", "--json")
    assert done.status == 0, done.said
    checked = done.events[-1]
    assert (checked["damages"], checked["counts"]["layer"], checked["counts"]["result"]) == ([], 11, 4)
    done = old.envtool("test", "--expect-cached", "--locked", "--offline", "--json")
    assert done.status == 0, done.said
    assert made(done) == []
    assert sorted(each["env"] for each in done.finished("task")) == ["image", "unit"]
    assert all(1_700_000_000 < each["since"] < RAN for each in done.finished("task"))
    done = old.envtool("test")
    assert (done.status, done.said.count("unchanged since")) == (0, 2), done.said
    done = old.envtool("plan", "--json")
    assert done.status == 0, done.said
    steps = [step for env in json.loads(done.out)["envs"] for step in env["steps"]]
    assert {step["state"] for step in steps} == {"cached"}
    assert KEYS < {step["key"] for step in steps} == set(layers)
    done = old.envtool("inspect", "unit", "/opt/word", "--json")
    assert done.status == 0, done.said
    assert [each["name"] for each in json.loads(done.out)["said"]] == ["word", "second"]
    done = old.envtool("lock")
    assert done.status == 0, done.said
    assert (old.project / "envtool.lock").read_bytes() == lock
    done = old.envtool("build", "--expect-cached", "--json")
    assert done.status == 0, done.said
    assert made(done) == []
    assert (old.project / "out" / "made").read_text() == "made it\n"
    assert sorted(os.listdir(old.store / "layers")) == layers


def test_layers_are_used_without_answers_and_short_cuts(old):
    layers = sorted(os.listdir(old.store / "layers"))
    for name in ("memo", "plans"):
        shutil.rmtree(old.store / name)
    done = old.envtool("test", "--again", "--expect-cached", "--locked", "--offline", "--json")
    assert done.status == 0, done.said
    assert [each for each in made(done) if each[0] != "task"] == []
    assert sorted(each["outcome"] for each in done.finished("task")) == ["passed", "passed"]
    for env, text in (
        ("unit", "one two\nthree\ndata\nfrom far away\n"),
        ("image", "data\nmade in a Dockerfile\nfrom far away\n"),
    ):
        said = [each["text"] for each in done.events if each["event"] == "output" and each["id"] == f"task:{env}:test"]
        assert "".join(said) == text
    assert sorted(os.listdir(old.store / "layers")) == layers


# ---- without the store -----------------------------------------------------------------------------------------------


def test_a_vendor_folder_is_enough(caller):
    with fresh_place(caller) as place:
        project(place)
        unpack(OLD / "vendor.tar.xz", place.project / "envtool.vendor", Map(0, caller.uid, caller.gid))
        done = place.envtool("test", "--locked", "--json")
        assert done.status == 0, done.said
        assert {each["outcome"] for each in done.finished("layer")} == {"built"}
        assert set(place.came_out()) > KEYS, "what is built has the keys that the lock says"
        kept = {path: path.read_bytes() for path in (place.project / "envtool.vendor").rglob("*") if path.is_file()}
        done = place.envtool("vendor", "--json")
        assert done.status == 0, done.said
        told = done.events[-1]
        assert (told["event"], told["written"], told["removed"]) == ("vendored", 0, 0)
        assert kept == {
            path: path.read_bytes() for path in (place.project / "envtool.vendor").rglob("*") if path.is_file()
        }


def test_the_team_cache_gives_layers_and_results(caller, tmp_path):
    unpack(OLD / "registry.tar.xz", tmp_path / "data", Map(0, os.geteuid(), os.getegid()))
    with fresh_place(caller) as place, registries.running(tmp_path) as registry:
        project(place)
        conf = f'[[registry]]\nprefix="registry.invalid"\nlocation="{registry.host}"\ninsecure=true\n'
        place.write("registries.conf", conf, at=place.top)
        del place.environ["ENVTOOL_CACHE"]
        place.environ["CONTAINERS_REGISTRIES_CONF"] = str(place.top / "registries.conf")
        done = place.envtool("test", "--json")
        assert done.status == 0, done.said
        assert made(done) == []
        assert [each["outcome"] for each in done.finished("task")] == ["cached", "cached"]
        assert "refused" not in done.said
        done = place.envtool("test", "--again", "--expect-cached", "--json")
        assert done.status == 0, done.said
        assert {each["outcome"] for each in done.finished("layer")} == {"pulled"}
        assert len(place.came_out()) == 11
        assert set(place.came_out()) > KEYS
