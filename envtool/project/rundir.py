"""Where what a run leaves can be read afterwards: `.envtool/last/` in the project.

Each run has a directory of its own (`.envtool/runs/<time>-<pid>`), so runs side by side do not mix; `last` is a
symlink to the newest that ended. The directory ignores itself in git and is hidden from containers. It came with the
checkout, perhaps: every step into it is by descriptor, and what is not a directory of ours is not entered.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from envtool.fs.directory import OpenDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader
    from typing import IO

MAX_RUNS = 10  # runs
_held: dict[str, OpenDirectory] = {}  # open runs by path: moving a directory on the way does not move them
OWN, RUNS = ".envtool", "runs"


def open_run(root: str) -> tuple[str, str]:
    """Make the directory of a new run: its path, and a note. Where that cannot be in the project it is a temporary one,
    and the note says why; else the note is empty."""
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    try:
        with OpenDirectory.open(root) as project, _enter_own(project, OWN, make=True) as top:
            _ignore(top)
            top.sweep()
            with _enter_own(top, RUNS, make=True) as runs:
                name, run = _make_run(runs, name)
            fcntl.flock(run.fd, fcntl.LOCK_SH)  # as long as it is open, others let it be
            path = os.path.join(root, OWN, RUNS, name)
            _held[path] = run
            return path, ""
    except OSError as error:  # a read-only checkout, another user's, a trap
        import tempfile

        path = os.path.realpath(tempfile.mkdtemp(prefix="envtool-run-"))
        return (
            path,
            f"the logs of this run are in {path}: {OWN} cannot be used ({(error.strerror or str(error)).lower()})",
        )


def close_run(root: str, path: str) -> None:
    """Point `last` at the run and forget all but the newest few."""
    if path not in _held:
        return
    _held.pop(path).close()
    try:
        with OpenDirectory.open(root) as project, _enter_own(project, OWN) as top, _enter_own(top, RUNS) as runs:
            try:  # noqa: SIM105 - contextlib is not for the warm path
                top.link("last", f"{RUNS}/{os.path.basename(path)}")
            except OSError:  # a directory of this name: it stays
                pass
            for old in [name for name in runs.names() if _is_run(name)][:-MAX_RUNS]:
                if not _is_active(runs, old):
                    runs.remove(old)
    except OSError:
        pass  # evidence is a help, never a reason to fail


def _is_active(runs: OpenDirectory, name: str) -> bool:
    """Whether somebody holds a run; whatever else has such a name is nobody's."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=runs.fd)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(descriptor)
    return False


def log_path(run: str, env: str, task: str) -> str:
    """The file for a task's output: names may hold anything, file names may not."""
    import re

    own, bracket, point = env.partition("[")
    own = own.replace("/", "=")  # of an included file: no other name has this
    safe = re.sub(r"[^\w.,=\[\]-]+", "_", f"{own}{bracket}{point}.{task}")
    return os.path.join(run, f"{safe}.log")


def create_file(path: str) -> IO[bytes]:
    """A new file of a run, to be written and read. Raises OSError."""
    with _directory(path) as directory:
        return directory.create(os.path.basename(path))


def open_file(path: str) -> BufferedReader:
    """A file of a run, to be read. Raises OSError."""
    with _directory(path) as directory:
        return directory.read(os.path.basename(path))


def _directory(path: str) -> OpenDirectory:
    """The directory of a run's file: below the project, or the temporary one, no link is followed."""
    run = os.path.dirname(path)
    if run in _held:
        return _held[run].open_below("")
    below = f"{OWN}/{RUNS}/{os.path.basename(run)}"
    root = run.removesuffix(f"/{below}") if run.endswith(f"/{below}") else os.path.dirname(run)
    with OpenDirectory.open(root or "/") as at:
        return at.open_below(run[len(root) + 1 :])


def _enter_own(at: OpenDirectory, name: str, *, make: bool = False) -> OpenDirectory:
    """A directory of ours. Raises OSError where it is another user's: he may have made anything of it."""
    found = at.open_below(name, make=make)
    uid = os.fstat(found.fd).st_uid
    if uid != os.geteuid() and not (at.owner and uid == at.owner[0]):
        found.close()
        raise OSError(errno.EPERM, f"{name} belongs to another user")
    return found


def _make_run(runs: OpenDirectory, name: str) -> tuple[str, OpenDirectory]:
    try:
        return name, runs.make_directory(name)
    except FileExistsError:  # of another process of this id, in another container; or the name was guessed
        name = f"{name}-{os.urandom(4).hex()}"
        return name, runs.make_directory(name)


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
    """Whether it is a name that `open_run` gives: 20261126T131235-4711, perhaps with -1a2b3c4d after it."""
    moment, _, rest = name.partition("-")
    number, _, more = rest.partition("-")
    date, _, clock = moment.partition("T")
    digits = date + clock + number
    return (
        len(date) == 8
        and len(clock) == 6
        and digits.isascii()
        and digits.isdigit()
        and bool(number)
        and (not more or (len(more) == 8 and not more.strip("0123456789abcdef")))
    )
