"""The directories in which runs leave logs and evidence: `.envtool/runs/…`, and `.envtool/last` in the project.

Each run has a directory of its own (`.envtool/runs/<time>-<pid>`), so parallel runs do not mix; `last` is a symlink to
the newest that ended. The directory ignores itself in git and is hidden from containers. It may have come with the
checkout: every directory is entered by descriptor, and only if it belongs to the caller or the project's owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from envtool.fs.directory import OpenDirectory, check_component

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader
    from typing import IO

MAX_RUNS = 10  # runs
_held: dict[str, OpenDirectory] = {}  # open runs by path: their files stay reachable if a parent directory is moved
OWN, RUNS = ".envtool", "runs"


def open_run(root: str) -> tuple[str, str]:
    """Makes the directory of a new run. Returns its path, and a note: if the run cannot be in the project, it is a
    temporary directory and the note says why; else the note is empty."""
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    try:
        with OpenDirectory.open(root) as project, _enter_own(project, OWN, make=True) as top:
            _ignore(top)
            top.sweep()
            with _enter_own(top, RUNS, make=True) as runs:
                name, run = _make_run(runs, name)
            path = os.path.join(root, OWN, RUNS, name)
            _held[path] = run
            return path, ""
    except OSError as error:  # the checkout is read-only, or belongs to another user, or `.envtool` is not a directory
        import tempfile

        path = os.path.realpath(tempfile.mkdtemp(prefix="envtool-run-"))
        return (
            path,
            f"the logs of this run are in {path}: {OWN} cannot be used ({(error.strerror or str(error)).lower()})",
        )


def close_run(root: str, path: str) -> None:
    """Points `last` at the run and removes all but the newest runs."""
    if path not in _held:
        return
    _held.pop(path).close()
    try:
        with OpenDirectory.open(root) as project, _enter_own(project, OWN) as top, _enter_own(top, RUNS) as runs:
            try:  # noqa: SIM105 - the fast path does not import contextlib
                top.link("last", f"{RUNS}/{os.path.basename(path)}")
            except OSError:  # there is a directory of this name
                pass
            for old in [name for name in runs.names() if _is_run(name)][:-MAX_RUNS]:
                _remove_idle(runs, old)
    except OSError:
        pass  # a missing link is no reason for a run to fail


def _remove_idle(runs: OpenDirectory, name: str) -> None:
    """Removes a run that no process holds, under its lock: see `_make_run`. An entry of such a name that is not a
    directory is not held. Raises OSError."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=runs.fd)
    except OSError:
        runs.remove(name)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            runs.remove(name)
    else:
        runs.remove(name)
    finally:
        os.close(descriptor)


def log_path(run: str, env: str, task: str) -> str:
    """Returns the path of the file for a task's output, with a valid file name for any env and task."""
    import re

    env_name, bracket, point = env.partition("[")
    env_name = env_name.replace("/", "=")  # only names of an included file have `/`, and no name has `=`
    file_name = re.sub(r"[^\w.,=\[\]-]+", "_", f"{env_name}{bracket}{point}.{task}")
    return os.path.join(run, f"{file_name}.log")


def create_file(path: str) -> IO[bytes]:
    """Creates a file of a run, for writing and reading. Raises OSError."""
    with _directory(path) as directory:
        return directory.create(os.path.basename(path))


def open_file(path: str) -> BufferedReader:
    """Opens a file of a run for reading. Raises OSError."""
    with _directory(path) as directory:
        return directory.read(os.path.basename(path))


def rename_file(path: str, name: str) -> str:
    """Gives a file of a run another name in its directory; returns its path then. Raises OSError."""
    with _directory(path) as directory:
        os.rename(os.path.basename(path), check_component(name), src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
    return os.path.join(os.path.dirname(path), name)


def make_directory(path: str) -> OpenDirectory:
    """Makes a directory in that of a run, by its path, and returns it. Raises OSError."""
    with _directory(path) as directory:
        return directory.make_directory(os.path.basename(path))


def _directory(path: str) -> OpenDirectory:
    """Opens the directory of a run's file, below the project or temporary. No link is followed below the project."""
    run = os.path.dirname(path)
    if run in _held:
        return _held[run].open_below("")
    relative = f"{OWN}/{RUNS}/{os.path.basename(run)}"
    root = run.removesuffix(f"/{relative}") if run.endswith(f"/{relative}") else os.path.dirname(run)
    with OpenDirectory.open(root or "/") as project:
        return project.open_below(run[len(root) + 1 :])


def _enter_own(parent: OpenDirectory, name: str, *, make: bool = False) -> OpenDirectory:
    """Opens a directory of envtool's own. Raises OSError if it belongs to another user, who may have put anything
    there."""
    directory = parent.open_below(name, make=make)
    uid = os.fstat(directory.fd).st_uid
    if uid != os.geteuid() and not (parent.owner and uid == parent.owner[0]):
        directory.close()
        raise OSError(errno.EPERM, f"{name} belongs to another user")
    return directory


def _make_run(runs: OpenDirectory, name: str) -> tuple[str, OpenDirectory]:
    """Makes the directory of a run, and locks it: other processes do not remove it then. Returns its name and itself.
    Raises OSError."""
    try:
        run = runs.make_directory(name)
    except FileExistsError:  # a process with the same pid in another container, or another user guessed the name
        name = f"{name}-{os.urandom(4).hex()}"
        run = runs.make_directory(name)
    try:
        fcntl.flock(run.fd, fcntl.LOCK_SH)
        if _is_at(runs, name, run):
            return name, run
    except BaseException:
        run.close()
        raise
    run.close()  # of many runs of one second it sorted as an old one, and was removed before it was locked
    return _make_run(runs, name)


def _is_at(runs: OpenDirectory, name: str, run: OpenDirectory) -> bool:
    try:
        info = os.stat(name, dir_fd=runs.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(info, os.fstat(run.fd))


def _ignore(top: OpenDirectory) -> None:
    try:
        os.stat(".gitignore", dir_fd=top.fd, follow_symlinks=False)
    except FileNotFoundError:
        try:
            with top.atomic_write(".gitignore", replace=False, sync=False) as file:
                file.write(b"*\n")
        except FileExistsError:
            pass


def _is_run(name: str) -> bool:
    """Returns whether a name is one that `open_run` gives: 20261126T131235-4711, perhaps with -1a2b3c4d after it."""
    moment, _, remainder = name.partition("-")
    pid, _, suffix = remainder.partition("-")
    date, _, clock = moment.partition("T")
    digits = date + clock + pid
    return (
        len(date) == 8
        and len(clock) == 6
        and digits.isascii()
        and digits.isdigit()
        and bool(pid)
        and (not suffix or (len(suffix) == 8 and not suffix.strip("0123456789abcdef")))
    )
