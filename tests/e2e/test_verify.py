"""`envtool verify` in real containers: what is the same stays unnamed, what is not is named, nothing is left."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import tarfile
from pathlib import Path

import pytest

from envtool.container import userns
from tests.depth import LONG, SEED

pytestmark = pytest.mark.e2e

BAD = """\
layers:
  many: {run: "mkdir /opt/many && cd /opt/many && touch $(seq 200)"}
  stamp: {run: "date > /opt/stamp"}
  random: {run: "head -c 8 /dev/urandom > /opt/random"}
  below: {run: "ls -U /opt/many > /opt/below"}
  inside: {run: ["mkdir -p /opt/own && cd /opt/own && touch $(seq 200)", "python3 -c 'import os; print(os.listdir(\\"/opt/own\\"))' > /opt/inside"]}
  machine: {run: "echo $$ > /opt/pid; nproc > /opt/processors"}
envs:
  unit: {layers: [many, stamp, random, below, inside, machine], tasks: {test: "true"}}
"""
NAMED = {
    "stamp": ["/opt/stamp"],
    "random": ["/opt/random"],
    "below": ["/opt/below"],
    "inside": ["/opt/inside"],
    "machine": ["/opt/pid", *(["/opt/processors"] if (os.cpu_count() or 1) > 1 else [])],
}


def result(done) -> dict[str, dict]:
    return {each["name"]: each for each in done.events[-1]["results"]}


@pytest.mark.dear
def test_bad_layers_are_found_and_the_very_file_is_named(place):
    place.spec(BAD)
    done = place.envtool("verify", "--json")
    assert done.status == 1, done.said
    found = result(done)
    differing = {name: [item["path"] for item in each["differences"]] for name, each in found.items()}
    assert {name: paths for name, paths in differing.items() if paths} == NAMED
    assert found["many"]["outcome"] == "same"
    assert len(set(found["many"]["diff_ids"])) == 1
    assert found["many"]["diff_ids"][0] == found["many"]["stored"]
    assert found["below"]["differences"][0]["kinds"] == ["content"]
    assert {event["name"] for event in done.finished("verify")} == set(found)
    place.check_nothing_left()
    again = place.envtool("verify", "below", "many")
    assert again.status == 1
    assert "layer below: 1 path differs between two builds\n  /opt/below  content\n      line 1:\n" in again.out
    assert "1 differ, 1 the same" in again.err


def test_the_store_is_not_changed(place):
    place.spec(
        "layers: {random: {run: 'date +%N > /opt/random'}}\nenvs: {unit: {layers: [random], tasks: {test: cat /opt/random}}}\n"
    )
    before = place.envtool("exec", "unit", "--", "cat", "/opt/random").out
    documents = place.layers()
    assert place.envtool("verify").status == 1
    assert place.envtool("exec", "unit", "--", "cat", "/opt/random").out == before
    assert place.layers() == documents


def test_a_layer_that_does_not_come_out_as_it_is_in_the_store(place):
    # the same twice, but not what another machine (here: another moment) made of it
    place.spec("layers: {x: {run: 'cp /etc/os-release /opt/x'}}\nenvs: {unit: {layers: [x], tasks: {test: 'true'}}}\n")
    assert place.envtool("verify", "x").status == 0
    (layer,) = [
        path
        for path in place.store.glob("layers/*/layer.json")
        if "layer:run" in path.read_text() and "os-release" in path.read_text()
    ]
    target = layer.parent / "tree/opt/x"
    try:
        target.write_text("something else\n")
    except PermissionError:  # it belongs to one of the container's ids
        userns.run_as_root(spoil, "opt/x", at=str(layer.parent / "tree"))
    document = json.loads(layer.read_text()) | {"diff_id": "sha256:" + "0" * 64}
    del document["sum"]  # as an older envtool wrote it
    layer.write_text(json.dumps(document))
    done = place.envtool("verify", "x")
    assert done.status == 1
    assert "layer x: 1 path differs between the store and a build" in done.out
    userns.remove_as_root(str(layer.parent))


def spoil(path: str) -> None:
    with open(path, "w") as file:
        file.write("something else\n")


def test_a_layer_that_does_not_come_out_as_the_lock_says(place, server):
    data = small_tar()
    server.files["/x.tar.gz"] = data
    pinned = f"url: {server.url}/x.tar.gz, sha256: {hashlib.sha256(data).hexdigest()}"
    place.spec(f"""\
bases: {{files: {{tarball: {{{pinned}}}}}}}
layers: {{more: {{fetch: {{{pinned}, to: /more.tar.gz}}}}}}
envs: {{unit: {{base: files, layers: [more], tasks: {{test: "true"}}}}}}
""")
    done = place.envtool("lock", "-q")
    assert done.status == 0, done.said
    right = place.envtool("verify", "--json")
    assert right.status == 0, right.said
    assert all(each["expected"] == each["stored"] != "" for each in result(right).values())
    lock = place.project / "envtool.lock"
    (said,) = {each["expected"] for name, each in result(right).items() if name == "more"}
    lock.write_text(lock.read_text().replace(said, "sha256:" + "0" * 64))
    wrong = place.envtool("verify")
    assert wrong.status == 1, wrong.said
    assert f"layer more: came out as {said}, the lock says sha256:{'0' * 64}\n" in wrong.out
    assert "1 differ, 1 the same" in wrong.err


def small_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in ("b", "a", "d/c"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 2, 10**9
            tar.addfile(member, io.BytesIO(b"x\n"))
    return out.getvalue()


@pytest.mark.dear
def test_kinds_of_our_own_come_out_the_same(place, server):
    data = small_tar()
    server.files["/x.tar.gz"] = data
    sha256 = hashlib.sha256(data).hexdigest()
    place.write("root.tar.gz", data)
    for name in ("tools/b.sh", "tools/a.sh", "tools/sub/c.txt"):
        place.write(name, "#!/bin/sh\n", mode=0o755)
    place.spec(f"""\
bases:
  files: {{tarball: {{path: root.tar.gz, sha256: {sha256}}}}}
layers:
  made: {{run: "mkdir -m 2750 /opt/made && umask 027 && cp -r /project/tools /opt/made && ln -s a /opt/made/l && ln /opt/made/tools/a.sh /opt/made/h", inputs: [tools]}}
  copied: {{copy: {{from: tools, to: /opt/copied}}}}
  fetched: {{fetch: {{url: "{server.url}/x.tar.gz", sha256: {sha256}, to: /opt/fetched, unpack: true}}}}
envs:
  unit: {{layers: [made, copied, fetched], tasks: {{test: "true"}}}}
  files: {{base: files, layers: [copied], tasks: {{test: "true"}}}}
""")
    done = place.envtool("verify", "--json")
    assert done.status == 0, done.said
    assert {name: each["outcome"] for name, each in result(done).items()} == {
        "host": "same",
        "files": "same",
        "made": "same",
        "copied in unit": "same",
        "copied in files": "same",
        "fetched": "same",
    }


@pytest.mark.one_caller
def test_a_release_tree_keeps_what_is_newer_than_what(place):
    """As autotools' are: `configure` is not made again as long as it is newer than what it is made of."""
    for number, name in enumerate(("configure.ac", "Makefile.in", "zz-generated", "aa-generated")):
        path = place.write(name, name)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    place.spec("""\
envs:
  unit:
    tasks:
      build:
        run: |
          test zz-generated -nt configure.ac && test zz-generated -nt Makefile.in && test aa-generated -nt zz-generated
          mkdir -p dist && cp zz-generated dist/
        outputs: [dist/*]
""")
    done = place.envtool("verify", "--build")
    assert done.status == 0, done.said


def test_outputs_of_a_build_are_compared_member_by_member(place):
    place.write("a.py", "1")
    place.write(
        "pack.py",
        "import sys, time, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1], 'w') as z:\n"
        "    z.writestr(zipfile.ZipInfo('same.py'), 'same')\n"
        "    if sys.argv[2:]: z.writestr(zipfile.ZipInfo('stamp.py'), str(time.time_ns()))\n",
    )
    place.spec("""\
envs:
  good: {tasks: {build: {run: "mkdir -p dist/sub && umask 0 && python3 pack.py dist/sub/x.whl && echo $PWD > dist/where", outputs: [dist]}}}
  bad: {tasks: {build: {run: "mkdir dist && python3 pack.py dist/x.whl more", outputs: ["dist/*"]}}}
  times: {tasks: {build: {run: "stat -c %Y a.py > out.txt", outputs: [out.txt]}}}
  fails: {tasks: {build: {run: "echo said; exit 3", outputs: [x]}}}
""")
    os.utime(place.project / "a.py", (10**9, 10**9))
    good = place.envtool("verify", "--build", "good")
    assert good.status == 0, good.said
    assert not (place.project / "dist").exists()
    bad = place.envtool("verify", "--build", "bad", "times")
    assert bad.status == 1, bad.said
    assert "/dist/x.whl  content\n      member stamp.py: content\n" in bad.out
    assert "/out.txt  content\n      line 1:\n      - 1000000000\n" in bad.out
    fails = place.envtool("verify", "--build", "fails")
    assert fails.status == 3
    assert "exit 3" in fails.out
    assert "said" in fails.out
    assert place.envtool("verify", "--build", "nothing").status == 2
    place.check_nothing_left()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_whatever_ends_it_nothing_is_left(place, number, status):
    # it sleeps only where the clerk of the order is process 2 (forward), or 97 ids are gone: when it is made again
    place.spec(
        f"layers: {{x: {{run: 'test $$ = 2 || sleep {place.nap}'}}}}\nenvs: {{unit: {{layers: [x], tasks: {{test: 'true'}}}}}}\n"
    )
    process = place.start("verify", "unit")
    place.until(place.asleep, "it builds")
    process.send_signal(number)
    process.communicate()
    assert process.returncode == status
    place.until(lambda: not place.processes(), f"nothing runs any more: {place.processes()}")
    place.task("true")
    assert place.envtool("test").status == 0  # sweeps
    assert not place.left()


def test_diffoscope_is_asked_where_it_is(place):
    directory = place.directory("bin")
    place.write(
        "diffoscope",
        '#!/bin/sh\n{ cat "$3/opt/random"; echo and; cat "$4/opt/random"; } > "$2"\n',
        mode=0o755,
        at=directory,
    )
    place.environ["PATH"] = f"{directory}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    place.spec(
        "layers: {random: {run: 'umask 077; date +%N > /opt/random'}}\nenvs: {unit: {layers: [random], tasks: {test: 'true'}}}\n"
    )
    done = place.envtool("verify", "random", "--json")
    assert done.status == 1, done.said
    report = Path(result(done)["random"]["report"])
    assert "and" in report.read_text()
    assert report.is_relative_to(place.project / ".envtool")
    place.check_nothing_left()


# ---- what takes long: everything that ships, from the archives -------------------------------------------------------

# More than a hundred packages with those that they need: a quarter of them are tried in CI.
HUNDRED = (
    ["dbus", "git", "libgtk-3-0", "ssl-cert"] if LONG else [random.Random(SEED).choice(["dbus", "git"]), "ssl-cert"]
)
WHOLE = f"""\
bases:
  bookworm: {{debian: bookworm}}
  trixie: {{debian: trixie}}
layers:
  python: {{apt: [gcc, libc6-dev, python3-dev, python3-venv], needs: []}}
  packages: {{apt: {json.dumps(HUNDRED)}, needs: []}}
  deps: {{pip: {{requirements: [requirements.txt]}}, needs: [python]}}
  editable: {{python-project: {{install: editable}}, needs: [deps]}}
  wheel: {{python-project: {{install: wheel}}, needs: [deps]}}
  source: {{sdist: {{name: markupsafe, version: 3.0.2, to: /src, sha256: ee55d3edf80167e48ea11a923c7386f4669df67d7994554387f84e7d8b0a2bf0}}}}
envs:
"""
# Env -> its value in the spec. CI verifies one env of Python, or those of Debian alone.
ENVS = {
    "one": "{base: bookworm, layers: [source, python, deps, editable], tasks: {test: 'true'}}",
    "three": "{base: bookworm, layers: [python, deps, wheel], tasks: {test: 'true', build: {run: "
    "\"/opt/venv/bin/python -c 'import markupsafe._speedups'; cp -r /opt/venv/lib dist\", outputs: [dist]}}}",
    "two": "{base: bookworm, layers: [packages], tasks: {test: 'true'}}",
    "four": "{base: trixie, layers: [], tasks: {test: 'true'}}",
}
DRAWN = [*ENVS] if LONG else random.Random(f"{SEED} envs").choice([["one"], ["three"], ["two", "four"]])
PYPROJECT = """\
[project]
name = "thing"
version = "1"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.dear
def test_everything_that_ships_comes_out_the_same(common):
    """A Debian base, a hundred packages, a C extension from source, a project in two ways."""
    common.write("src/thing/__init__.py", "THINGS = {'a', 'b', 'c'}\n")
    common.write("pyproject.toml", PYPROJECT)
    common.write("requirements.txt", "--no-binary markupsafe\nmarkupsafe==3.0.2\njinja2\n")
    common.spec(WHOLE + "".join(f"  {name}: {env}\n" for name, env in ENVS.items() if name in DRAWN))
    done = common.envtool("verify", "--json")
    last = done.events[-1]
    for each in last.get("results", ()):
        print(f"{each['seconds']:7.1f}s {each['name']} {each['stored']}")
    assert done.status == 0, done.out[-8000:] + done.err
    assert {each["outcome"] for each in last["results"]} == {"same"}
    kinds = {"debian", "apt"}
    kinds |= {"pip", "python-project"} if {"one", "three"} & {*DRAWN} else set()
    kinds |= {"sdist"} if "one" in DRAWN else set()
    assert {each["kind"] for each in last["results"]} == kinds
    built = [event for event in done.finished("layer") if event["name"] == "packages"]
    assert len(built) == ("two" in DRAWN)
    assert not LONG or int(built[0]["detail"].split()[0]) >= 100, built
    assert not [note for each in last["results"] for note in each["notes"]], "the clock was not moved"
