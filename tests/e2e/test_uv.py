"""uv beside pip, for real: one lock gives the same tree by both, and both choose what satisfies one question."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("envtool_python")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this machine's system has no python3"),
]

REPOSITORY = Path(__file__).parents[2]
# Scripts of entry points, scripts and data of wheels, an extension module, a source distribution.
PACKAGES = ["iniconfig", "ninja", "coverage", "docopt==0.6.2", "markupsafe"]
PYPROJECT = """\
[project]
name = "ours"
version = "1"
description = "ours"
dependencies = []
scripts = {ours = "ours:main"}

[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
"""


@pytest.fixture
def envtool(tmp_path):
    """Runs envtool in a project of its own, with a store of its own."""
    project = tmp_path / "project"
    project.mkdir()

    def run(*arguments: str, store: str = "store", **variables: str) -> str:
        path = f"{REPOSITORY}:{REPOSITORY}/plugins/envtool_python/src"
        environ = {**os.environ, "ENVTOOL_STORE": str(tmp_path / store), "PYTHONPATH": path, **variables}
        command = [sys.executable, "-m", "envtool", *arguments]
        done = subprocess.run(
            command, cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.project = project
    yield run
    from envtool.container import userns

    for store in tmp_path.glob("store*"):
        userns.remove_as_root(str(store))


def layers(store: Path) -> dict[str, str]:
    """Kind -> diff ID of the layers in a store."""
    documents = [json.loads(file.read_text()) for file in store.rglob("layer.json")]
    return {item["document"]["kind"]: item["diff_id"] for item in documents}


def pins(project: Path) -> list[dict]:
    """The pins of each `pip` and `python-project` layer of the lock."""
    entries = json.loads((project / "envtool.lock").read_text())["entries"]
    return [entry["pins"] for entry in entries if entry.get("kind") in ("pip", "python-project")]


def test_from_one_lock_uv_and_pip_install_the_same_tree(envtool, tmp_path):
    spec = f"version: 1\nenvs:\n  unit:\n    language: python\n    packages: {json.dumps(PACKAGES)}\n    tasks: {{test: ours}}\n"
    (envtool.project / "envtool.yaml").write_text(spec)
    (envtool.project / "pyproject.toml").write_text(PYPROJECT)
    (envtool.project / "ours.py").write_text("def main(): print('it is ours')\n")
    envtool("lock", store="store-uv")
    assert ["uv" in item for item in pins(envtool.project)] == [True, True]
    assert "it is ours" in envtool("test", "-v", store="store-uv")
    lock = json.loads((envtool.project / "envtool.lock").read_text())
    for entry in lock["entries"]:  # the same choice, as if pip had made it
        uv = entry.get("pins", {}).pop("uv", "") if isinstance(entry.get("pins"), dict) else ""
        if uv:
            entry["pins"]["files"] = [file for file in entry["pins"]["files"] if file["file"] != uv]
    (envtool.project / "envtool.lock").write_text(json.dumps(lock))
    assert "it is ours" in envtool("test", "-v", store="store-pip")
    by_uv, by_pip = layers(tmp_path / "store-uv"), layers(tmp_path / "store-pip")
    assert by_uv["layer:pip"] == by_pip["layer:pip"]
    assert by_uv["layer:python-project"] == by_pip["layer:python-project"]


# ---- one question, two answers -------------------------------------------------------------------------------------

NAMES = ("envtool-case-a", "envtool-case-b")


def wheel(directory: Path, name: str, version: str, *requires: str) -> None:
    """A wheel without modules on an index's page."""
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    (directory / name).mkdir(parents=True, exist_ok=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {line}" for line in requires),
    ]
    with zipfile.ZipFile(directory / name / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{about}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def write_page(directory: Path) -> None:
    """An index's page of one project (PEP 503), with hashes."""
    import hashlib

    files = sorted(directory.glob("*.whl"))
    links = (
        f'<a href="{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
        for file in files
    )
    (directory / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")


@pytest.fixture
def index(tmp_path):
    """The URL of a second index on loopback, for which b has a pre-release that a's metadata allows."""
    top = tmp_path / "index"
    wheel(top, NAMES[0], "1", f"{NAMES[1]}>=1.0a1")
    for version in ("1.0", "2.0a1"):
        wheel(top, NAMES[1], version)
    for directory in top.iterdir():
        write_page(directory)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(top))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_where_uv_and_pip_choose_differently_both_choices_satisfy_the_question(envtool, index):
    from packaging.requirements import Requirement

    versions = {}
    for installer in ("uv", "pip"):
        layer = f"{{pip: {{packages: [{NAMES[0]}], installer: {installer}}}}}"
        spec = f"version: 1\nlayers: {{deps: {layer}}}\nenvs: {{unit: {{layers: [deps], tasks: {{test: 'true'}}}}}}\n"
        (envtool.project / "envtool.yaml").write_text(spec)
        (envtool.project / "envtool.lock").unlink(missing_ok=True)  # what is locked would be kept
        envtool("lock", store=f"store-{installer}", PIP_EXTRA_INDEX_URL=index, PIP_TRUSTED_HOST="127.0.0.1")
        (chosen,) = pins(envtool.project)
        assert ("uv" in chosen) == (installer == "uv")
        versions[installer] = {file["name"]: file["version"] for file in chosen["files"] if file["use"] == "install"}
    assert versions["uv"] != versions["pip"], "they choose the same now: find another question"
    for chosen in versions.values():
        for requirement in (Requirement(NAMES[0]), Requirement(f"{NAMES[1]}>=1.0a1")):
            assert requirement.specifier.contains(chosen[requirement.name], prereleases=True)
