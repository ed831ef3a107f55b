"""A step of a task's container, before its commands: puts the artefacts of needed tasks into the project.

Runs inside, as the user of the commands, so what it writes is theirs, and is lost with the container. It imports
nothing: there is nothing left to import from.
"""

from __future__ import annotations

import errno
import os
import stat

from envtool.container.output_patterns import find_matches

_CHUNK = 1 << 18


def place_artefacts(
    project: str, patterns: list[str], directories: list[str], times: list[tuple[str, int]] | None = None
) -> None:
    """Removes what matches the patterns of needed tasks' outputs from the project, which may be left from another run,
    then copies what is in `directories` to the same paths in it. `times` are the mtimes (nanoseconds) that files get
    by their paths, for the sake of the task's caches; the others keep theirs. Raises OSError."""
    for pattern in patterns:
        os.chdir(project)
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if parts and ".." not in parts:
            for path in sorted(find_matches(parts)[0]):
                if ".git" not in path.casefold().split("/"):
                    _remove(path)
    for directory in directories:
        _copy_directory(directory, project)
    for path, time in times or ():
        os.utime(f"{project}/{path}", ns=(time, time), follow_symlinks=False)


def _remove(path: str) -> bool:
    """Removes a file, or a directory with all in it but git's directories, which are never an output. Returns whether
    it is gone."""
    if path.rpartition("/")[2].casefold() == ".git":
        return False
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return True
        gone = [_remove(f"{path}/{name}") for name in os.listdir(path)]
        if not all(gone):
            return False
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:  # a mount point stays, empty or not
            raise
        return False
    return True


def _copy_directory(source: str, target: str) -> None:
    for name in sorted(os.listdir(source)):
        from_path, to_path = f"{source}/{name}", f"{target}/{name}"
        info = os.lstat(from_path)
        if stat.S_ISDIR(info.st_mode):
            try:
                is_directory = stat.S_ISDIR(os.lstat(to_path).st_mode)
            except FileNotFoundError:
                is_directory = False
            if not is_directory:
                _remove(to_path)
                os.mkdir(to_path, 0o755)
            _copy_directory(from_path, to_path)
        elif stat.S_ISLNK(info.st_mode):
            _remove(to_path)
            os.symlink(os.readlink(from_path), to_path)
        else:
            _remove(to_path)
            _copy_file(from_path, to_path, info)


def _copy_file(source: str, target: str, info: os.stat_result) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while data := os.read(reader, _CHUNK):
                remaining = memoryview(data)
                while remaining:
                    remaining = remaining[os.write(writer, remaining) :]
            os.fchmod(writer, stat.S_IMODE(info.st_mode))
            os.utime(writer, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)
