"""The steps inside the container of a layer that is built in the project's place (`in_place: true`): before its
commands and after them. No module can be imported there, so everything is imported here."""

from __future__ import annotations

import os
import shutil
import stat

from envtool.api import PROJECT
from envtool.api.foreign_tree import remove_tree, walk_tree

USER = 1000  # tasks run as this user, and may change the built files
EXCLUDED = (".git", ".envtool", "envtool.vendor")  # only the project has these; those that commands made are removed


def place_inputs(source: str, moment: int) -> list[str]:
    """Copies the inputs from `source` into the project's place, all with the time `moment` (seconds): they have the
    same time in a build and in tasks, and are older than everything that is made from them. Files that are right
    already are not touched. Returns the paths of the others, relative to the project."""
    changed: list[str] = []
    _directory(PROJECT)
    for directory, directories, names in walk_tree(source):
        prefix = f"{directory[len(source) + 1 :]}/" if directory != source else ""
        for name in directories:
            _directory(f"{PROJECT}/{prefix}{name}")
        for name in names:
            path = f"{prefix}{name}"
            if not _is_unchanged(f"{source}/{path}", f"{PROJECT}/{path}", moment):
                changed.append(path)
                remove_tree(f"{PROJECT}/{path}")
                shutil.copy2(f"{source}/{path}", f"{PROJECT}/{path}", follow_symlinks=False)
                os.utime(f"{PROJECT}/{path}", (moment, moment), follow_symlinks=False)
    return sorted(changed)


def before_commands(source: str, moment: int) -> None:
    """Places the inputs before the commands run."""
    place_inputs(source, moment)


def after_commands(source: str, moment: int) -> None:
    """Restores the inputs after the commands, and gives all files to the user of the tasks."""
    for name in EXCLUDED:
        remove_tree(f"{PROJECT}/{name}")
    for path in place_inputs(source, moment):
        print(f"envtool: the commands changed the input {path}: it has the project's content again")
    mount_points = _mounted()
    for directory, directories, files in walk_tree(PROJECT):
        directories[:] = [name for name in directories if f"{directory}/{name}" not in mount_points]
        for path in (directory, *(os.path.join(directory, name) for name in (*directories, *files))):
            if os.lstat(path).st_uid == 0 and not _chown_to_user(path):
                return


def _mounted() -> set[str]:
    """Returns the mount points. What other layers mount in the project (node_modules) does not belong to this layer."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return {line.split()[4] for line in file}


def _is_unchanged(input_path: str, target_path: str, moment: int) -> bool:
    try:
        input_status, target_status = os.lstat(input_path), os.lstat(target_path)
    except FileNotFoundError:
        return False
    if (input_status.st_mode, input_status.st_size, moment * 10**9) != (
        target_status.st_mode,
        target_status.st_size,
        target_status.st_mtime_ns,
    ):
        return False
    if stat.S_ISLNK(input_status.st_mode):
        return os.readlink(input_path) == os.readlink(target_path)
    with open(input_path, "rb") as input_file, open(target_path, "rb") as target_file:
        while True:
            chunk = input_file.read(1 << 20)
            if chunk != target_file.read(1 << 20):
                return False
            if not chunk:
                return True


def _directory(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        remove_tree(path)
        os.mkdir(path)
        os.chmod(path, 0o755)


def _chown_to_user(path: str) -> bool:
    """Returns False if the container has a single id, which owns every file anyway."""
    try:
        os.chown(path, USER, USER, follow_symlinks=False)
    except OSError:
        return False
    return True
