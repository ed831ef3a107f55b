"""How git is started: on a git directory of ours, never on one that another user wrote.

A repository's configuration can make git start programs (fsmonitor, filters, lazy fetches of promisor remotes, and
whatever comes next), and no list of switches is ever complete. So git gets a GIT_DIR of ours, `empty_git/`, in which
there is nothing, and of the repository in question only what is data: its index, its work tree, its objects (a sparse
index and rules that are not checked out stand in them) and its info/exclude. We find these ourselves, as git would,
and pass the two files by descriptors. Two settings decide what an index or a rule means, and are read by us:
core.ignoreCase and extensions.objectFormat. The caller's own configuration is git's to read, as long as it lies
outside the checkout.

See docs/decisions/0098. Imports next to nothing: a warm command asks git too.
"""

from __future__ import annotations

import fcntl
import os
import time

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
    "start_git",
]

IGNORED = ("ls-files", "-o", "-i", "--exclude-standard", "--directory", "-z", "--", ".")
LISTED = ("ls-files", "-c", "-o", "--exclude-standard", "-z", "--", ".")
TIMEOUT_SECONDS = 120  # seconds that git may take for one question
MAX_MEMORY = 8 << 30  # bytes of address space: a small index of version 4 can mean names without end
MAX_OUTPUT = 1 << 30  # bytes of an answer
MAX_INDEX_SIZE = 1 << 30  # bytes of an index

_KIND, _REGULAR = 0o170000, 0o100000
_VOID = os.path.join(os.path.dirname(os.path.abspath(__file__)), "empty_git")
_INDEX, _EXCLUDE, _WHERE = 3, 4, 5  # descriptors, as git has them
_SHARED = "sharedindex."  # files that a split index stands on: git looks for them in its own directory


class GitStoppedError(RepositoryError):
    """The caller asked to stop meanwhile."""


def _settings(repository: Repository) -> bytes:
    try:
        return repository.read("config", shared=True).lower()
    except (OSError, SymlinkError):
        return b""


def _setting(text: bytes, section: str, key: str) -> str:
    """One setting of a configuration file in lower case; empty where it is not there. Nothing that it includes is
    read, and no value that is quoted in pieces: this is for yes, no and single words."""
    found, here = "", False
    if key.encode() not in text:  # nearly always
        return found
    for row in text.decode("utf-8", "replace").splitlines():
        line = row.strip()
        if line.startswith("["):
            name, _, line = line[1:].partition("]")
            here, line = name.strip() == section, line.strip()
        name, equals, value = line.partition("=")
        if here and name.strip() == key:
            found = value.split("#")[0].split(";")[0].strip().strip('"') if equals else "true"
    return found


# ---- a question ------------------------------------------------------------------------------------------------------


class Git:
    """One git at work, writing into memory: a pipe would make it wait for us, who work on something else."""

    __slots__ = ("_began", "_child", "_private", "_streams", "repository")

    def __init__(self, repository: Repository, child: int, streams: list[int], private: str) -> None:
        self.repository, self._child, self._streams, self._private = repository, child, streams, private
        self._began = time.monotonic()

    def end(self, cancel: int = -1) -> bytes:
        """The answer. Raises Failure where there is none, Stopped as soon as the descriptor `cancel` is readable."""
        status, output, errors = self.ended(cancel)
        if status or b"error: " in errors:  # names of a sparse index whose objects are not there would just be missing
            said = errors.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else f"it ended by signal {status & 127}" if status & 127 else "it does not say why"
            raise RepositoryError(f"git cannot read {self.repository.directory}: {why}")
        return output

    def ended(self, cancel: int = -1, limit: float | None = None) -> tuple[int, bytes, bytes]:
        """Its status as wait(2) has it, output and errors. Raises Failure when it takes longer than `limit` (seconds,
        LIMIT where none is given), Stopped."""
        try:
            status = self._wait(cancel, TIMEOUT_SECONDS if limit is None else limit)
            return status, _read_all(self._streams[0]), _read_all(self._streams[1])
        finally:
            self.drop()

    def drop(self) -> None:
        """Ask no further."""
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
                left = max(0.0, self._began + limit - time.monotonic())
                ready = {descriptor for descriptor, _ in poll.poll(1000 * left)}
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
    words: Sequence[str],
    *,
    where: int = -1,
    configured: bool = True,
    files: Mapping[str, bytes] | None = None,
) -> Git:
    """Start git in a directory of a work tree: in `where`, a descriptor, if there may be another at its path by now.
    `configured`: by the caller's configuration; `files` are to be in its git directory, which has no refs otherwise.
    Raises Failure, also where there is no repository any more."""
    if repository is None:
        raise RepositoryError(f"{directory}/.git is no git repository")
    streams: list[int] = []
    inputs: list[int] = []
    private = ""
    try:
        settings = _settings(repository)
        void = f"{_VOID}/{'sha256' if _setting(settings, 'extensions', 'objectformat') == 'sha256' else 'sha1'}"
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
        else:  # nothing was added so far
            environ["GIT_INDEX_FILE"] = f"{void}/index"
        if "--exclude-standard" in words and (exclude := _exclude(repository)) >= 0:
            inputs.append(exclude)
            actions.append((os.POSIX_SPAWN_DUP2, exclude, _EXCLUDE))
            # --exclude-standard would look for it in GIT_DIR, and it goes before what the caller excludes everywhere
            at = words.index("--")
            words = (*words[:at], "-X", f"/proc/self/fd/{_EXCLUDE}", *words[at:])
        child = os.posix_spawn(argv[0], [*argv, *words], environ, file_actions=actions)
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


def check_names(listing: bytes, repository: Repository) -> None:
    """Look at names that each end with a zero, before they are joined to anything. Raises Failure where one leads out
    of the work tree or into a git directory: an index can hold such names, though no git puts them there."""
    text = b"\0" + listing.lower()
    if text.startswith((b"\0/", b"\0\0")) or any(part in text for part in _forbidden_sequences()):
        for name in listing.split(b"\0")[:-1]:
            parts = name.lower().removesuffix(b"/").split(b"/")
            if {b"", b".", b"..", b".git"}.intersection(parts):
                shown = os.fsdecode(name).encode("utf-8", "replace").decode()
                raise RepositoryError(f"{repository.directory}/index names `{shown}`, which git would never check out")


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
    """A descriptor of the index, -1 where there is none."""
    place = f"{repository.directory}/index"
    try:
        found = _move_descriptor(repository.open("index", MAX_INDEX_SIZE))
    except FileNotFoundError:
        return -1
    begin = os.pread(found, 8, 0)
    if begin[:4] == b"DIRC" and begin[4:] in (b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"):
        return found
    os.close(found)
    raise RepositoryError(f"{place} is no index of git's, version 2 to 4")


def read_index(repository: Repository) -> bytes:
    """The whole index, empty where there is none. Raises Failure."""
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
    """The same with a number that is none of git's."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16)
    finally:
        os.close(descriptor)


def _make_git_directory(void: str, directory: str, names: Sequence[str], files: Mapping[str, bytes]) -> str:
    """A git directory for one question, with links to what a split index stands on; _forget removes it."""
    room = os.environ.get("TMPDIR", "")
    place = f"{room if os.path.isabs(room) else '/tmp'}/envtool-git-{os.urandom(8).hex()}"
    os.mkdir(place, 0o700)
    try:
        for name, content in {"HEAD": read_small_file(f"{void}/HEAD"), **files}.items():
            with open(f"{place}/{name}", "xb") as file:
                file.write(content)
        for name in ("config", "refs"):
            os.symlink(f"{void}/{name}", f"{place}/{name}")
        for name in names:
            shared = os.path.abspath(f"{directory}/{name}")
            if os.lstat(shared).st_mode & _KIND == _REGULAR:  # where git then misses one, it says so
                os.symlink(shared, f"{place}/{name}")
    except BaseException:
        _clean_up([], place)
        raise
    return place


def _clean_up(streams: list[int], private: str) -> None:
    for stream in streams:
        os.close(stream)
    streams.clear()
    if private and os.path.isdir(private):
        for name in os.listdir(private):
            os.unlink(f"{private}/{name}")
        os.rmdir(private)


def _limit_resources(child: int) -> None:
    """Limit what a git can take: a small index can mean names without end."""
    import resource

    for limit, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_OUTPUT)):
        try:
            before = resource.prlimit(child, limit)
            if any(each == resource.RLIM_INFINITY or each > most for each in before):
                resource.prlimit(child, limit, (most, most))
        except OSError:  # it has ended already
            return


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
