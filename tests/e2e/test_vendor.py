"""fetch and vendor: what they bring is enough when everything outside is gone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
UNREACHABLE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def project(place, server):
    """Two layers of files from the server; the second stands on one that cannot be built."""
    rows = []
    for name, body in (("one", b"first\n"), ("two", b"second\n")):
        server.files[f"/{name}"] = body
        sha256 = hashlib.sha256(body).hexdigest()
        rows.append(f"{{fetch: {{url: '{server.url}/{name}', sha256: {sha256}, to: /opt/{name}}}}}")
    place.spec(
        "envs:\n  unit:\n"
        f"    layers: [{rows[0]}, {rows[1]}]\n"
        "    tasks: {test: cat /opt/one /opt/two}\n"
        "  broken:\n"
        f"    layers: [{{run: exit 1}}, {rows[1]}]\n"
    )


def test_fetch_brings_all_and_builds_nothing_that_no_one_asks_on(fresh, server):
    project(fresh, server)
    done = fresh.envtool("fetch")
    assert done.status == 0, done.said
    assert "2 files, 13 B; 2 fetched, 13 B" in done.err
    assert fresh.layers() == []
    assert sorted(server.asked) == ["/one", "/two"]
    assert "all of them were here" in fresh.envtool("fetch").err
    server.files.clear()
    done = fresh.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log() == "first\nsecond\n"
    assert len(server.asked) == 2
    fresh.check_nothing_left()


def test_a_vendored_project_needs_nothing_from_outside(fresh, server):
    project(fresh, server)
    done = fresh.envtool("vendor", "--json")
    assert done.status == 0, done.said
    last = done.events[-1]
    assert (last["event"], last["written"], last["path"]) == ("vendored", 2, str(fresh.project / "envtool.vendor"))
    fresh.shell("cd envtool.vendor && sha256sum --check --strict --status SHA256SUMS")
    server.files.clear()
    server.asked.clear()
    fresh.environ |= UNREACHABLE | {"ENVTOOL_STORE": str(fresh.top / "another")}
    done = fresh.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log() == "first\nsecond\n"
    # elsewhere, named by the variable
    fresh.shell("mv envtool.vendor ../blobs")
    fresh.environ |= {"ENVTOOL_STORE": str(fresh.top / "third"), "ENVTOOL_BLOBS": str(fresh.top / "blobs")}
    done = fresh.envtool("fetch", "--json")
    assert (done.status, done.events[-1]["fetched"]) == (0, 2), done.said
    # and without it, exactly what was tried
    fresh.environ = {"ENVTOOL_STORE": str(fresh.top / "fourth"), "ENVTOOL_BLOBS": str(fresh.top)}
    done = fresh.envtool("fetch", "--json")
    assert done.status == 3
    assert (done.events[-1]["code"], done.events[-1]["message"].count("\n")) == ("fetch-gone", 2)
    fresh.check_nothing_left()


def test_an_archive_made_twice_is_one(place, server):
    project(place, server)
    for name in ("a.tar.zst", "b.tar.zst"):
        done = place.envtool("vendor", str(place.top / name))
        assert done.status == 0, done.said
    assert (place.top / "a.tar.zst").read_bytes() == (place.top / "b.tar.zst").read_bytes()
    assert place.envtool("vendor", "--prune", "x.tar").status == 2


@pytest.mark.network
@pytest.mark.dear
def test_a_vendored_python_project_needs_nothing_from_outside(tmp_path):
    """Locked, vendored, then made in an empty store with nothing outside to be had."""
    copy = tmp_path / "quickstart"
    shutil.copytree(REPOSITORY / "examples/quickstart", copy, ignore=shutil.ignore_patterns(".envtool", "dist"))
    path = os.pathsep.join([str(REPOSITORY), *(str(source) for source in REPOSITORY.glob("plugins/*/src"))])

    def envtool(store, *words, **more):
        environment = {**os.environ, "ENVTOOL_STORE": str(tmp_path / store), "PYTHONPATH": path, **more}
        return subprocess.run(
            [sys.executable, "-m", "envtool", *words],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    try:
        done = envtool("first", "lock")
        assert done.returncode == 0, done.stderr
        done = envtool("first", "vendor")
        assert done.returncode == 0, done.stderr
        shutil.copytree(copy / "envtool.vendor", tmp_path / "kept")
        # what is locked needs nothing to stand: the files come alone
        done = envtool("fetching", "fetch", "--json")
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "fetching/layers").iterdir()) == []
        assert len(list((tmp_path / "fetching/blobs/sha256").glob("*/*"))) == len(
            list((tmp_path / "kept").glob("??/*"))
        )
        nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_FIND_LINKS": ""}
        done = envtool("second", "test", "--offline", **UNREACHABLE, **nowhere)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "7 passed" in done.stdout + done.stderr
        assert len(list((tmp_path / "second/blobs/sha256").glob("*/*"))) > 5
    finally:
        from envtool.container import userns

        for name in ("first", "second", "fetching"):
            userns.remove_as_root(str(tmp_path / name))
