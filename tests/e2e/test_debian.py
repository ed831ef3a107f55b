"""Debian for real: bootstrapped from its archive, with packages on it, and the same whoever builds it.

Run as root it runs itself again as two users, one with a range of ids and one with a single id.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network]

SPEC = """\
version: 1
bases:
  debian: {{debian: {suite}}}
layers:
  tools: {{apt: [hello, python3-minimal, ssl-cert]}}
envs:
  unit:
    base: debian
    layers: [tools]
    tasks: {{test: "hello && dpkg --audit && python3 -c 'print(6 * 7)'"}}
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def envtool(tmp_path):
    """Runs envtool in a project of its own, with a store of its own."""
    project = tmp_path / "project"
    project.mkdir()

    def run(spec: str, *arguments: str, store: str = "store", **variables: str):
        (project / "envtool.yaml").write_text(spec)
        environ = dict(os.environ, ENVTOOL_STORE=str(tmp_path / store), PYTHONPATH=str(REPOSITORY), **variables)
        command = [sys.executable, "-m", "envtool", *arguments]
        return subprocess.run(
            command, cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
        )

    yield run
    from envtool.container import ids

    for store in tmp_path.glob("store*"):
        ids.remove(str(store))


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "bullseye"])
def test_a_suite_with_packages(envtool, suite):
    spec = SPEC.format(suite=suite)
    first = envtool(spec, "test", "-v")
    assert first.returncode == 0, first.stdout + first.stderr
    said = first.stdout + first.stderr
    assert "Hello, world!" in said
    assert "42" in said
    release = envtool(spec, "exec", "unit", "--", "cat", "/etc/os-release")
    assert f"VERSION_CODENAME={suite}" in release.stdout
    left = envtool(spec, "exec", "unit", "--", "sh", "-c", "ls -A /usr/sbin/policy-rc.d /var/lib/apt/lists/* /etc/*-")
    assert not left.stdout.strip()
    assert envtool(spec, "exec", "unit", "--", "cat", "/etc/machine-id").stdout == ""


def diff_ids(store: Path) -> dict[str, str]:
    found = {}
    for path in store.glob("layers/*/layer.json"):
        layer = json.loads(path.read_text())
        found[path.parent.name] = layer["diff_id"]
    return found


def test_built_twice_it_is_the_same(envtool, tmp_path):
    spec = SPEC.format(suite="bookworm")
    for store in ("store-one", "store-two"):
        ended = envtool(spec, "test", store=store)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    one, two = diff_ids(tmp_path / "store-one"), diff_ids(tmp_path / "store-two")
    assert len(one) == 2
    assert one == two


def test_a_package_that_does_not_exist(envtool):
    ended = envtool(SPEC.format(suite="bookworm").replace("hello,", "helo-world,"), "test")
    assert ended.returncode == 3
    assert "no package `helo-world` in bookworm" in ended.stdout + ended.stderr


def test_a_suite_that_does_not_exist(envtool):
    ended = envtool(SPEC.format(suite="wormbook"), "test")
    assert ended.returncode == 3
    assert "wormbook" in ended.stdout + ended.stderr


@pytest.mark.parametrize("user", ["dev", "solo"])
def test_as_a_user(user, tmp_path):
    if os.geteuid():
        pytest.skip("only root can become another user")
    try:
        pwd.getpwnam(user)
    except KeyError:
        pytest.skip(f"there is no user {user}")
    place = tmp_path / user
    place.mkdir(mode=0o755)
    for path in (place, *place.parents):
        if path.owner() == "root" and path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711)
    os.chown(place, pwd.getpwnam(user).pw_uid, -1)
    command = (
        f"cd {REPOSITORY} && {sys.executable} -m pytest -q -p no:cacheprovider --basetemp={place}/t"
        f" tests/e2e/test_debian.py -k 'with_packages and bookworm'"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        ["su", user, "-s", "/bin/sh", "-c", command],
        env=environ,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
