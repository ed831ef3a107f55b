"""The steps of a layer that is built in the project's place (`in_place: true`): what runs in its container before its
commands and after them. Nothing can be imported there, so all that is needed is imported here."""

from __future__ import annotations

import os
import shutil
import stat

from envtool.api import PROJECT

USER = 1000  # whose tasks run: what was built is theirs to change
EXCLUDED = (".git", ".envtool", "envtool.vendor")  # of the project alone, whatever the commands made there


def place_inputs(source: str, moment: int) -> list[str]:
    """Put the inputs, which lie in `source`, in the project's place, all with the time `moment` (seconds): the same in
    a build and in tasks, and older than anything that is made of them. What is there as it should be stays untouched.
    Returns what was not so, relative to the project."""
    changed: list[str] = []
    _directory(PROJECT)
    if os.path.isdir(source):
        _place_inputs(source, PROJECT, "", moment, changed)
    return changed


def before_commands(source: str, moment: int) -> None:
    """Before the commands."""
    place_inputs(source, moment)


def after_commands(source: str, moment: int) -> None:
    """After the commands: the inputs are again what they are in the project, and all belongs to whom tasks run as."""
    for name in EXCLUDED:
        _remove(f"{PROJECT}/{name}")
    for path in place_inputs(source, moment):
        print(f"envtool: {path}, an input, was changed by the commands: it is the project's own again")
    apart = _mounted()
    for directory, directories, files in os.walk(PROJECT):
        directories[:] = [name for name in directories if f"{directory}/{name}" not in apart]
        for path in (directory, *(os.path.join(directory, name) for name in (*directories, *files))):
            if os.lstat(path).st_uid == 0 and not _chown_to_user(path):
                return


def _mounted() -> set[str]:
    """What other layers show in the project (node_modules): it is theirs."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return {line.split()[4] for line in file}


def _place_inputs(source: str, target: str, below: str, moment: int, changed: list[str]) -> None:
    for name in sorted(os.listdir(source)):
        here, there, path = f"{source}/{name}", f"{target}/{name}", f"{below}{name}"
        mode = os.lstat(here).st_mode
        if stat.S_ISDIR(mode):
            _directory(there)
            _place_inputs(here, there, f"{path}/", moment, changed)
        elif not _is_unchanged(here, there, moment):
            changed.append(path)
            _remove(there)
            shutil.copy2(here, there, follow_symlinks=False)
            os.utime(there, (moment, moment), follow_symlinks=False)


def _is_unchanged(one: str, other: str, moment: int) -> bool:
    try:
        mine, found = os.lstat(one), os.lstat(other)
    except FileNotFoundError:
        return False
    if (mine.st_mode, mine.st_size, moment * 10**9) != (found.st_mode, found.st_size, found.st_mtime_ns):
        return False
    if stat.S_ISLNK(mine.st_mode):
        return os.readlink(one) == os.readlink(other)
    with open(one, "rb") as left, open(other, "rb") as right:
        while True:
            piece = left.read(1 << 20)
            if piece != right.read(1 << 20):
                return False
            if not piece:
                return True


def _directory(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        _remove(path)
        os.mkdir(path)
        os.chmod(path, 0o755)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _chown_to_user(path: str) -> bool:
    """False where there is one id alone, which has everything anyway."""
    try:
        os.chown(path, USER, USER, follow_symlinks=False)
    except OSError:
        return False
    return True
