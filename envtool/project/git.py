"""Starts git on an empty git directory of envtool's own, never on one that another user wrote.

A repository's configuration can make git start programs (fsmonitor, filters, lazy fetches of promisor remotes, and more
in future versions), and no list of switches is ever complete. So GIT_DIR is envtool's own `empty_git/`, and of the
repository git gets only what is data: its index, its work tree, its objects (they hold a sparse index, and rules that
are not checked out) and its info/exclude. envtool finds these itself, as git would, and passes the two files by
descriptors. Two settings decide what an index or a rule means, and envtool reads them: core.ignoreCase and
extensions.objectFormat. git reads the caller's own configuration, as long as it lies outside the checkout.

See docs/decisions/0098. Imports next to nothing: a warm command starts git too.
"""

from __future__ import annotations

import fcntl
import os
import time

from envtool.fs.beneath import open_beneath
from envtool.project.repository import (
    Repository,
    RepositoryError,
    SymlinkError,
    find_nested_repository,
    find_repository,
    has_external_git,
    is_git_visible,
    read_small_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "GitStoppedError",
    "Repository",
    "RepositoryError",
    "SymlinkError",
    "check_names",
    "find_nested_repository",
    "find_repository",
    "has_external_git",
    "is_git_visible",
    "read_small_file",
    "start_all",
    "start_git",
]

IGNORED = ("ls-files", "-o", "-i", "--exclude-standard", "--directory", "-z", "--", ".")
LISTED = ("ls-files", "-c", "-o", "--exclude-standard", "-z", "--", ".")
STAGED = ("ls-files", "-t", "-s", *LISTED[1:])
TIMEOUT_SECONDS = 120  # seconds for one command
MAX_MEMORY = 8 << 30  # bytes of address space: a small index of version 4 can expand to endless names
MAX_OUTPUT = 1 << 30  # bytes of output
MAX_INDEX_SIZE = 1 << 30  # bytes of an index

_KIND, _REGULAR = 0o170000, 0o100000
_EMPTY_GIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "empty_git")
_INDEX, _EXCLUDE, _WHERE = 3, 4, 5  # descriptor numbers in the git process
_SHARED = "sharedindex."  # prefix of the files that a split index refers to: git expects them in its directory


class GitStoppedError(RepositoryError):
    """The caller stopped git."""


def _settings(repository: Repository) -> bytes:
    try:
        return repository.read("config", shared=True).lower()
    except (OSError, SymlinkError):
        return b""


def _setting(text: bytes, section: str, key: str) -> str:
    """Returns one setting of a configuration file in lower case; empty if the file does not have it. Included files are
    not read, and values that are quoted in pieces are not understood: this is for yes, no and single words."""
    value, in_section = "", False
    if key.encode() not in text:  # nearly always
        return value
    for row in text.decode("utf-8", "replace").splitlines():
        line = row.strip()
        if line.startswith("["):
            name, _, line = line[1:].partition("]")
            in_section, line = name.strip() == section, line.strip()
        name, equals, raw_value = line.partition("=")
        if in_section and name.strip() == key:
            value = raw_value.split("#")[0].split(";")[0].strip().strip('"') if equals else "true"
    return value


# ---- running git -----------------------------------------------------------------------------------------------------


class Git:
    """A running git. It writes into memory: a pipe would make it wait for envtool, which works on something else."""

    __slots__ = ("_began", "_child", "_private", "_streams", "repository")

    def __init__(self, repository: Repository, child: int, streams: list[int], private: str) -> None:
        self.repository, self._child, self._streams, self._private = repository, child, streams, private
        self._began = time.monotonic()

    def end(self, cancel: int = -1) -> bytes:
        """Returns git's output. Raises RepositoryError if git fails, GitStoppedError as soon as the descriptor `cancel`
        is readable."""
        status, output, errors = self.ended(cancel)
        if status or b"error: " in errors:  # git ends with status 0 if objects of a sparse index are missing
            messages = errors.decode(errors="replace").strip().splitlines()
            why = (
                messages[-1]
                if messages
                else f"it ended by signal {status & 127}"
                if status & 127
                else "it does not say why"
            )
            raise RepositoryError(f"git cannot read {self.repository.directory}: {why}")
        return output

    def ended(self, cancel: int = -1, limit: float | None = None) -> tuple[int, bytes, bytes]:
        """Returns git's status as in wait(2), its output and its errors. Raises RepositoryError if it takes longer than
        `limit` (seconds; TIMEOUT_SECONDS if None), GitStoppedError."""
        try:
            status = self._wait(cancel, TIMEOUT_SECONDS if limit is None else limit)
            return status, _read_all(self._streams[0]), _read_all(self._streams[1])
        finally:
            self.drop()

    def drop(self) -> None:
        """Kills git if it is still running, and frees everything."""
        if self._child:
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)
            self._child = 0
        _clean_up(self._streams, self._private)

    def _wait(self, cancel: int, limit: float) -> int:
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if not ended:
            import select

            poll = select.poll()
            child = os.pidfd_open(self._child)
            try:
                for descriptor in (child, cancel):
                    if descriptor >= 0:
                        poll.register(descriptor, select.POLLIN)
                remaining = max(0.0, self._began + limit - time.monotonic())
                ready = {descriptor for descriptor, _ in poll.poll(1000 * remaining)}
            finally:
                os.close(child)
            if child not in ready:
                if ready:
                    raise GitStoppedError("stopped while git was asked")
                raise RepositoryError(
                    f"git was asked about {self.repository.top} for {limit:.0f} s and did not end: is a file of the"
                    " repository, or a .gitignore, something that cannot be read to its end?"
                )
            status = os.waitpid(self._child, 0)[1]
        self._child = 0
        return status


def start_git(
    repository: Repository | None,
    directory: str,
    arguments: Sequence[str],
    *,
    where: int = -1,
    configured: bool = True,
    files: Mapping[str, bytes] | None = None,
) -> Git:
    """Starts git in a directory of a work tree: in the descriptor `where` if it is given, since the path may name
    another directory by now. `configured`: with the caller's configuration. `files` are put into git's directory, which
    has no refs otherwise. Raises RepositoryError, also if there is no repository any more."""
    if repository is None:
        raise RepositoryError(f"{directory}/.git is no git repository")
    streams: list[int] = []
    inputs: list[int] = []
    private = ""
    try:
        settings = _settings(repository)
        void = f"{_EMPTY_GIT}/{'sha256' if _setting(settings, 'extensions', 'objectformat') == 'sha256' else 'sha1'}"
        shared = [name for name in os.listdir(repository.directory) if name.startswith(_SHARED)]
        if shared or files:
            void = private = _make_git_directory(void, repository.directory, shared, files or {})
        environ = _environment(repository, void, configured=configured)
        streams += os.memfd_create("git"), os.memfd_create("git")
        actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams, 1)]
        if where >= 0:
            inputs.append(fcntl.fcntl(where, fcntl.F_DUPFD_CLOEXEC, 16))
            actions.append((os.POSIX_SPAWN_DUP2, inputs[0], _WHERE))
            directory = f"/proc/self/fd/{_WHERE}"
        argv = [repository.caller.program, "-C", directory, "-c", "core.fsmonitor=false"]
        if _setting(settings, "core", "ignorecase") in ("true", "yes", "on", "1"):
            argv += "-c", "core.ignoreCase=true"
        if (index := _index(repository)) >= 0:
            inputs.append(index)
            actions.append((os.POSIX_SPAWN_DUP2, index, _INDEX))
        else:  # no file was ever added
            environ["GIT_INDEX_FILE"] = f"{void}/index"
        if "--exclude-standard" in arguments and (exclude := _exclude(repository)) >= 0:
            inputs.append(exclude)
            actions.append((os.POSIX_SPAWN_DUP2, exclude, _EXCLUDE))
            # --exclude-standard would look for it in GIT_DIR; it takes precedence over the caller's global excludes
            position = arguments.index("--")
            arguments = (*arguments[:position], "-X", f"/proc/self/fd/{_EXCLUDE}", *arguments[position:])
        child = os.posix_spawn(argv[0], [*argv, *arguments], environ, file_actions=actions)
    except BaseException as error:
        _clean_up(streams, private)
        if isinstance(error, OSError):
            raise RepositoryError(f"git cannot be asked about {repository.top}: {error.strerror}") from error
        raise
    finally:
        for descriptor in inputs:
            os.close(descriptor)
    _limit_resources(child)
    return Git(repository, child, streams, private)


def nested_repositories(
    outer: Repository | None, root: str, prefixes: Iterable[str]
) -> list[tuple[str, Repository | None]]:
    """Returns the repository of the project, and those that are at the other prefixes in it; leaves out where there is
    none any more. Raises RepositoryError."""
    found = [
        (prefix, find_nested_repository(outer, f"{root}/{prefix[:-1]}") if prefix and outer else outer)
        for prefix in prefixes
    ]
    return [(prefix, repository) for prefix, repository in found if repository or not prefix]


def start_all(
    top: str | int, root: str, repositories: Iterable[tuple[str, Repository | None]], arguments: Sequence[str]
) -> dict[str, Git]:
    """Starts git in the project `root` (by its path or descriptor `top`) and in repositories in it, each of which is
    reached through no link. Returns it by the prefix of each. Raises RepositoryError; OSError if the project is another
    directory by now."""
    running: dict[str, Git] = {}
    try:
        for prefix, repository in repositories:
            directory = f"{root}/{prefix}".rstrip("/") or "/"
            if not prefix and isinstance(top, int):
                running[prefix] = start_git(repository, directory, arguments, where=top)
                continue
            try:
                where = open_beneath(top, prefix, os.O_PATH | os.O_DIRECTORY, follow=False)
            except OSError as error:
                if not prefix:
                    raise
                raise RepositoryError(f"{directory}: {error.strerror}") from error
            try:
                running[prefix] = start_git(repository, directory, arguments, where=where)
            finally:
                os.close(where)
    except BaseException:
        for process in running.values():
            process.drop()
        raise
    return running


def read_ignored(running: Mapping[str, Git], cancel: int = -1) -> set[str]:
    """Returns what git ignores in the repositories in which it lists that (IGNORED), relative to the project: whole
    directories as one entry. Raises RepositoryError, and GitStoppedError if the descriptor `cancel` is readable."""
    ignored: set[str] = set()
    try:
        for prefix, process in running.items():
            listing = process.end(cancel)
            check_names(listing, process.repository)
            ignored.update(prefix + os.fsdecode(name.rstrip(b"/")) for name in split_names(b"", listing))
    finally:
        for process in running.values():
            process.drop()
    return ignored


def split_names(prefix: bytes, listing: bytes) -> list[bytes]:
    """Returns names that each end with a zero byte, with `prefix` before each."""
    names = listing.split(b"\0")[:-1]
    return [prefix + name for name in names] if prefix else names


def check_names(listing: bytes, repository: Repository) -> None:
    """Checks names that each end with a zero byte, before they are joined to a path. Raises RepositoryError if one
    leads out of the work tree or into a git directory: an index can hold such names, though git writes none."""
    text = b"\0" + listing.lower()
    if text.startswith((b"\0/", b"\0\0")) or any(part in text for part in _forbidden_sequences()):
        for name in listing.split(b"\0")[:-1]:
            parts = name.lower().removesuffix(b"/").split(b"/")
            if {b"", b".", b"..", b".git"}.intersection(parts):
                printable = os.fsdecode(name).encode("utf-8", "replace").decode()
                raise RepositoryError(
                    f"{repository.directory}/index names `{printable}`, which git would never check out"
                )


def _forbidden_sequences() -> Iterable[bytes]:
    yield from (b"\0/", b"//", b"\0\0")
    for part in (b".", b"..", b".git"):
        for before in (b"\0", b"/"):
            for after in (b"\0", b"/"):
                yield before + part + after


def _environment(repository: Repository, void: str, *, configured: bool) -> dict[str, str]:
    return {
        **repository.caller.environ,
        **({} if configured else {"HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}),
        "GIT_DIR": void,
        "GIT_WORK_TREE": repository.top,
        "GIT_INDEX_FILE": f"/proc/self/fd/{_INDEX}",
        "GIT_OBJECT_DIRECTORY": os.path.abspath(f"{repository.common}/objects"),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _index(repository: Repository) -> int:
    """Returns a descriptor of the index, -1 if there is none."""
    path = f"{repository.directory}/index"
    try:
        descriptor = _move_descriptor(repository.open("index", MAX_INDEX_SIZE))
    except FileNotFoundError:
        return -1
    header = os.pread(descriptor, 8, 0)
    if header[:4] == b"DIRC" and header[4:] in (b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"):
        return descriptor
    os.close(descriptor)
    raise RepositoryError(f"{path} is no index of git's, version 2 to 4")


def read_index(repository: Repository) -> bytes:
    """Returns the whole index, empty if there is none. Raises RepositoryError."""
    descriptor = _index(repository)
    if descriptor < 0:
        return b""
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_INDEX_SIZE)
    finally:
        os.close(descriptor)


def _exclude(repository: Repository) -> int:
    try:
        return _move_descriptor(repository.open("info/exclude", shared=True))
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _move_descriptor(descriptor: int) -> int:
    """Returns the same file under a number that git's own descriptors do not use."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16)
    finally:
        os.close(descriptor)


def _make_git_directory(
    template: str, repository_directory: str, names: Sequence[str], files: Mapping[str, bytes]
) -> str:
    """Makes a git directory for one command, with links to the files that a split index refers to; _clean_up removes
    it."""
    temp_root = os.environ.get("TMPDIR", "")
    directory = f"{temp_root if os.path.isabs(temp_root) else '/tmp'}/envtool-git-{os.urandom(8).hex()}"
    os.mkdir(directory, 0o700)
    try:
        for name, content in {"HEAD": read_small_file(f"{template}/HEAD"), **files}.items():
            with open(f"{directory}/{name}", "xb") as file:
                file.write(content)
        for name in ("config", "refs"):
            os.symlink(f"{template}/{name}", f"{directory}/{name}")
        for name in names:
            shared = os.path.abspath(f"{repository_directory}/{name}")
            if os.lstat(shared).st_mode & _KIND == _REGULAR:  # if one is left out, git reports it as missing
                os.symlink(shared, f"{directory}/{name}")
    except BaseException:
        _clean_up([], directory)
        raise
    return directory


def _clean_up(streams: list[int], private: str) -> None:
    for stream in streams:
        os.close(stream)
    streams.clear()
    if private and os.path.isdir(private):
        for name in os.listdir(private):
            os.unlink(f"{private}/{name}")
        os.rmdir(private)


def _limit_resources(child: int) -> None:
    """Limits git's memory and output: a small index can expand to endless names."""
    import resource

    for limit, maximum in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_OUTPUT)):
        try:
            current = resource.prlimit(child, limit)
            if any(value == resource.RLIM_INFINITY or value > maximum for value in current):
                resource.prlimit(child, limit, (maximum, maximum))
        except OSError:  # git has ended already
            return


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
