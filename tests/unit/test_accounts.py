"""Runs of tests that share a machine share the accounts that they make (tests/accounts.py)."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import accounts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("useradd") or not shutil.which("usermod"), reason="only root makes accounts"
)
# Uses an account, says with what numbers, and leaves it when its input ends.
RUN = """
import pwd, sys
from tests import accounts
name, mode = sys.argv[1:]
accounts.use_account(name, mode)
user = pwd.getpwnam(name)
print(user.pw_uid, accounts.has_mode(user, mode), flush=True)
sys.stdin.read()
accounts.leave_account(name)
"""


@pytest.fixture
def name():
    chosen = f"envtool-{secrets.token_hex(4)}"
    yield chosen
    accounts.leave_account(chosen)
    assert not exists(chosen)
    for file in ("passwd", "group", "subuid", "subgid"):
        assert chosen not in Path("/etc", file).read_text()
    assert not Path("/home", chosen).exists()


def exists(name):
    return name in {user.pw_name for user in pwd.getpwall()}


@pytest.mark.parametrize("mode", ["range", "single"])
def test_runs_that_begin_at_once_share_an_account(name, mode):
    runs = [
        subprocess.Popen([sys.executable, "-c", RUN, name, mode], stdin=-1, stdout=-1, text=True, cwd=ROOT)
        for _ in range(4)
    ]
    uid = {run.stdout.readline() for run in runs}
    assert uid == {f"{pwd.getpwnam(name).pw_uid} True\n"}
    for run in runs:
        assert exists(name)
        run.communicate("")
        assert run.returncode == 0
    assert not exists(name)


def test_what_a_killed_run_left_is_mended(name):
    subprocess.run(["useradd", "--system", "--create-home", "--comment", accounts._COMMENT, name], check=True)
    os.chown(Path("/home", name), 12345, 12345)  # and its ranges are missing
    accounts.use_account(name, "range")
    user = pwd.getpwnam(name)
    assert accounts.has_mode(user, "range")
    assert os.stat(user.pw_dir).st_uid == user.pw_uid


def test_a_home_that_is_left_of_another_account(name):
    home = Path("/home", name)
    home.mkdir()
    (home / "file").touch()
    os.chown(home, 12345, 12345)
    accounts.use_account(name, "single")
    assert os.stat(home).st_uid == pwd.getpwnam(name).pw_uid
    assert not (home / "file").exists()


def test_an_account_of_somebody_else_is_not_touched(name):
    subprocess.run(["useradd", "--system", "--create-home", name], check=True)
    try:
        with pytest.raises(pytest.fail.Exception, match=f"the account {name} lacks its home or its ids"):
            accounts.use_account(name, "range")
        accounts.leave_account(name)
        assert exists(name)
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)
