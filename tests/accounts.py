"""The accounts of ordinary users that tests of root need. All runs on a machine share them: each process of a run holds a
lock on the home of an account that it uses, and the last run removes the account.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

RANGE = (1_879_048_192, 65_536)  # first and count of the ids of an account with a range: no distribution gives these
_COMMENT = "tests of envtool"  # in the entry of an account that was made here, and so may be removed
_used: dict[str, int] = {}  # name -> a descriptor of the home, locked as long as this process lives


def find_ordinary(mode: str) -> str:
    """Returns the name of a user of this machine whose containers have ids of a mode (range, single); "" if there is
    none."""
    for user in pwd.getpwall():
        if 1000 <= user.pw_uid < 60000 and has_mode(user, mode) and _owns_home(user):
            return user.pw_name
    return ""


def has_mode(user: pwd.struct_passwd, mode: str) -> bool:
    """Whether a user has a range of ids in both files (range), or none in either (single)."""
    counts = [_count_ids(user, file) for file in ("subuid", "subgid")]
    return min(counts) >= RANGE[1] if mode == "range" else not any(counts)


def _count_ids(user: pwd.struct_passwd, file: str) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for line in Path("/etc", file).read_text().splitlines():
            name, _, numbers = line.partition(":")
            count = numbers.partition(":")[2]
            if name in (user.pw_name, str(user.pw_uid)) and count.isdigit():
                total += int(count)
    return total


def _owns_home(user: pwd.struct_passwd) -> bool:
    """Whether the user's home is a directory of the user: that of an account which was removed has another owner."""
    try:
        status = os.stat(user.pw_dir, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user.pw_uid


def use_account(name: str, mode: str) -> None:
    """Makes an account, or takes the one of another run, and keeps it as long as this process lives. Needs root."""
    if name in _used:
        return
    with _accounts_locked():
        user = _provide(name, mode)
        _used[name] = os.open(user.pw_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(_used[name], fcntl.LOCK_SH)


def leave_account(name: str) -> None:
    """Gives an account up, and removes it if it was made here and no other process uses it."""
    with _accounts_locked():
        if name in _used:
            os.close(_used.pop(name))
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(name).pw_gecos == _COMMENT:
                _remove(name)


@contextlib.contextmanager
def _accounts_locked() -> Iterator[None]:
    """Keeps other runs from adding and removing accounts meanwhile."""
    descriptor = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _provide(name: str, mode: str) -> pwd.struct_passwd:
    """Returns the account, which another run may have made already, or have been killed while it made it."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam(name)
        if has_mode(user, mode) and _owns_home(user):
            return user
        if user.pw_gecos != _COMMENT or not _remove(name):
            pytest.fail(f"the account {name} lacks its home or its ids: remove it, by `userdel --remove {name}`")
    home = Path("/home", name)
    if home.is_dir() and not home.is_symlink():  # of an account that was removed, perhaps with another number
        shutil.rmtree(home)
    # a system user has no range
    words = ["useradd", "--system", "--create-home", "--home-dir", str(home), "--user-group", "--comment", _COMMENT]
    _administer(*words, name)
    if mode == "range":
        first, count = RANGE
        for kind in ("uids", "gids"):
            _administer("usermod", f"--add-sub{kind}", f"{first}-{first + count - 1}", name)
    user = pwd.getpwnam(name)
    assert has_mode(user, mode), user
    assert _owns_home(user), user
    return user


def _administer(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def _remove(name: str) -> bool:
    """Removes an account with its home and its ranges, unless a process uses it. Returns whether it is removed."""
    with contextlib.ExitStack() as exits:
        with contextlib.suppress(OSError):
            home = os.open(pwd.getpwnam(name).pw_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            exits.callback(os.close, home)
            try:
                fcntl.flock(home, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)
    return name not in {user.pw_name for user in pwd.getpwall()}
