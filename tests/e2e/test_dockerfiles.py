"""Dockerfiles of the kind found in well-known projects: our tree is buildah's, file by file (docs/dockerfile.md)."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import dockertrees
from tests.e2e.dockertrees import CASES, Bench, Case

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="buildah unpacks owners as root only"),
    pytest.mark.skipif(not shutil.which("buildah"), reason="buildah is not installed"),
]
SAID = ("Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal", "Healthcheck", "OnBuild")


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    made = dockertrees.bench(tmp_path_factory.mktemp("buildah"))
    yield made
    made.end()


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVTOOL_STORE", str(tmp_path_factory.mktemp("store") / "store"))
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    """A web server with one file."""
    top = tmp_path_factory.mktemp("site")
    (top / "tool.sh").write_text("#!/bin/sh\necho tool\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(top))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _archives(context: Path) -> None:
    """What ADD unpacks, and what it does not."""
    inside = context / "inside"
    inside.mkdir()
    (inside / "file").write_text("file\n")
    (inside / "file").chmod(0o640)
    (inside / "link").symlink_to("file")
    os.link(inside / "file", inside / "twin")
    for name, mode in (("vendor.tar.gz", "w:gz"), ("plain.tar", "w")):
        with tarfile.open(context / name, mode) as archive:
            archive.add(inside, "inside", filter=_owned)
    shutil.rmtree(inside)
    (context / "notes.txt").write_text("notes\n")
    subprocess.run(["gzip", "-kn", context / "notes.txt"], check=True)


def _owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid, member.gid = 33, 44
    return member


def _wheels(context: Path) -> None:
    """A wheel, made by hand."""
    (context / "wheels").mkdir()
    with zipfile.ZipFile(context / "wheels" / "greet-1.0-py3-none-any.whl", "w") as wheel:
        about = "greet-1.0.dist-info"
        for name, text in (
            ("greet.py", "TEXT = 'hello'\n"),
            (f"{about}/METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n"),
            (f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            (f"{about}/RECORD", f"greet.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"),
        ):
            wheel.writestr(name, text)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_the_tree_is_buildahs(name, bench, site, tmp_path):
    case = Case.make(name, tmp_path, bench, **({"URL": site} if name == "09-add" else {}))
    {"02-python-slim": _wheels, "09-add": _archives}.get(name, lambda _: None)(case.context)
    ours, config = case.ours()
    theirs, other = case.theirs(bench)
    differ = {
        path: (ours.get(path), theirs.get(path)) for path in {*ours, *theirs} if ours.get(path) != theirs.get(path)
    }
    assert differ == {}
    assert len(ours) > 3
    for key in SAID:
        assert (config.get(key) or None) == (other.get(key) or None), key
    assert set(config["Env"]) == set(other["Env"])
    labels = {key: value for key, value in (other.get("Labels") or {}).items() if not key.startswith("io.buildah.")}
    assert {
        key: value for key, value in (config.get("Labels") or {}).items() if not key.startswith("io.buildah.")
    } == labels
