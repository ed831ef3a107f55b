"""How git is started: on a git directory of ours, never on one that another user wrote.

A repository's configuration can make git start programs (fsmonitor, filters, lazy fetches of promisor remotes, and
whatever comes next), and no list of switches is ever complete. So git gets a GIT_DIR of ours, `void/`, in which there
is nothing, and of the repository in question only what is data: its index, its work tree, its objects (a sparse index
and rules that are not checked out stand in them) and its info/exclude. We find these ourselves, as git would, and pass
the two files by descriptors. Two settings decide what an index or a rule means, and are read by us: core.ignoreCase
and extensions.objectFormat. The caller's own configuration is git's to read, as long as it lies outside the checkout.

See docs/decisions/0098. Imports next to nothing: a warm command asks git too.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IGNORED = ("ls-files", "-o", "-i", "--exclude-standard", "--directory", "-z", "--", ".")
LISTED = ("ls-files", "-c", "-o", "--exclude-standard", "-z", "--", ".")
LIMIT = 120  # seconds that git may take for one question
MEMORY = 8 << 30  # bytes of address space: a small index of version 4 can mean names without end
OUTPUT = 1 << 30  # bytes of an answer
LARGEST = 1 << 30  # bytes of an index
SMALL = 1 << 20  # bytes of every other file that is read here

_VOID = os.path.join(os.path.dirname(os.path.abspath(__file__)), "void")
_INDEX, _EXCLUDE, _WHERE = 3, 4, 5  # descriptors, as git has them
_REGULAR, _DIRECTORY, _KIND = 0o100000, 0o040000, 0o170000
_SHARED = "sharedindex."  # files that a split index stands on: git looks for them in its own directory


class Failure(Exception):  # noqa: N818 - git's, or the repository's
    """git was not able to answer; the text says what is wrong, and where."""


class Stopped(Failure):
    """The caller asked to stop meanwhile."""


# ---- which repository ------------------------------------------------------------------------------------------------


class Repository:
    """A work tree, and where its git directory is. What stands in there has not been looked at."""

    __slots__ = ("caller", "common", "directory", "top")

    def __init__(self, top: str, directory: str, common: str, caller: Caller) -> None:
        self.top = top  # of the work tree; absolute
        self.directory = directory  # HEAD and index are here
        self.common = common  # objects and refs are: another one where this is one of several worktrees
        self.caller = caller


def around(root: str) -> Repository | None:
    """The repository that the directory `root` is in, as git finds it; None where there is none, or no git.

    One above the project counts if it is on the same file system and belongs to the owner of the project, to us or to
    root: in a directory such as /tmp anybody can make one. Raises Failure.
    """
    top = os.path.realpath(root)
    project = None
    while True:
        if os.path.lexists(_inside(top, ".git")) and (places := _git_directory(top)):
            if project and os.stat(places[0]).st_uid not in (project.st_uid, os.geteuid(), 0):
                return None
            caller = Caller(top, root)
            return Repository(top, *places, caller) if caller.program else None
        project = project or os.stat(top)
        above = os.path.dirname(top)
        if above == top or os.stat(above).st_dev != project.st_dev:
            return None
        top = above


def within(outer: Repository, top: str) -> Repository | None:
    """The repository that begins at the directory `top`, in the work tree of another one; None where what is called
    `.git` there is none. Raises Failure."""
    places = _git_directory(top)
    return Repository(top, *places, outer.caller) if places else None


def _git_directory(top: str) -> tuple[str, str] | None:
    """Where a work tree's own files are, and those that worktrees share; None where `.git` is no repository."""
    place = _inside(top, ".git")
    try:
        if os.stat(place).st_mode & _KIND != _DIRECTORY:
            said = small(place)  # of a worktree, or a submodule
            if not said.startswith(b"gitdir: "):
                raise Failure(f"{place} is a file that does not say `gitdir: ` and where the git directory is")
            place = os.path.join(top, os.fsdecode(said[8:].rstrip(b"\r\n")))
        common = place
        if os.path.lexists(f"{place}/commondir"):
            common = os.path.join(place, os.fsdecode(small(f"{place}/commondir").rstrip(b"\r\n")))
        there = os.path.lexists(f"{place}/HEAD") and all(os.path.isdir(f"{common}/{it}") for it in ("objects", "refs"))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero in a path
        return None
    except OSError as error:
        raise Failure(f"{place}: {error.strerror}") from error
    return (place, common) if there else None


def seen(repository: Repository | None, root: str) -> bool:
    """Whether a task of the project at `root` sees a git directory: its own, or a stand-in. Raises Failure."""
    return repository is not None and (_is_directory(f"{root}/.git") or elsewhere(repository, root))


def elsewhere(repository: Repository, root: str) -> bool:
    """Whether the git directory of the project at `root` is another place's, and the project's by git's own rules: a
    worktree is one of that repository's worktrees and says so itself, a submodule's configuration names it, and of a
    repository above the project `around` has looked at the owner. Raises Failure."""
    if _is_directory(f"{root}/.git"):
        return False
    top = repository.top
    directory, common = os.path.realpath(repository.directory), os.path.realpath(repository.common)
    if os.path.realpath(f"{common}/objects") != f"{common}/objects":
        return False
    try:
        if os.stat(common).st_uid not in (os.stat(root).st_uid, os.geteuid(), 0):
            return False
    except OSError:
        return False
    if _is_directory(f"{top}/.git"):
        return directory == common == _inside(top, ".git")
    if directory != common:
        if os.path.dirname(directory) != f"{common}/worktrees":
            return False
        named = _path(directory, os.fsdecode(_read(f"{directory}/gitdir")))
    else:
        named = _path(directory, f"{_worktree(_read(f'{common}/config'))}/.git")
    return named == _inside(top, ".git")


def _path(directory: str, said: str) -> str:
    """Where a path leads that a file of a git directory says; its last component may be a link's name."""
    place = os.path.join(directory, said.strip("\r\n"))
    return os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))


def _read(path: str) -> bytes:
    try:
        return small(path, follow=False)
    except OSError:
        return b""


def _worktree(config: bytes) -> str:
    """core.worktree, as `git submodule` writes it."""
    here, found = False, ""
    for row in os.fsdecode(config).split("\n"):
        line = row.strip()
        if line.startswith("["):
            here = line.lower() == "[core]"
        name, equals, value = line.partition("=")
        if here and equals and name.strip().lower() == "worktree":
            found = value.strip().strip('"')
    return found


def _is_directory(path: str) -> bool:
    try:
        return os.lstat(path).st_mode & _KIND == _DIRECTORY
    except OSError:
        return False


def _inside(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory != "/" else f"/{name}"


# ---- what is read here, not by git -----------------------------------------------------------------------------------


def small(path: str, most: int = SMALL, *, follow: bool = True) -> bytes:
    """A file of a git directory, of at most so many bytes. Raises Failure for all that is none, OSError."""
    descriptor = _regular(path, most, follow=follow)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _regular(path: str, most: int, *, follow: bool = True) -> int:
    """A descriptor of a file of at most so many bytes. Nothing else is ever opened: a fifo would make us wait, and with
    some devices opening is doing. Raises Failure, OSError."""
    found = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        state = os.fstat(found)
        if state.st_mode & _KIND != _REGULAR:
            raise Failure(f"{path} is not a regular file, as git's own are")
        if state.st_size > most:
            raise Failure(f"{path} is larger than {most >> 20} MiB")
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


def _settings(repository: Repository) -> bytes:
    try:
        return small(f"{repository.common}/config").lower()
    except OSError:
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


# ---- which git, and what it sees of ours -----------------------------------------------------------------------------


class Caller:
    """What is the caller's choice: which git, and its configuration. Nothing of it is taken from the checkout, which
    is the repository from its `top` on, or only the project where a whole home directory is a repository."""

    __slots__ = ("environ", "program")

    def __init__(self, top: str, root: str) -> None:
        home = os.environ.get("HOME", "")
        checkout = os.path.realpath(root) if top == "/" or os.path.realpath(home) == top else top
        below = f"{checkout}/".replace("//", "/")

        def ours(path: str) -> bool:
            return os.path.isabs(path) and (real := _real(path)) != "" and not f"{real}/".startswith(below)

        path = [each for each in os.environ.get("PATH", os.defpath).split(":") if ours(each)]
        found = (f"{each}/git" for each in path if os.access(f"{each}/git", os.X_OK) and os.path.isfile(f"{each}/git"))
        self.program = next(found, "")  # absolute; empty where there is none
        # git starts nothing, but git may be a script of the caller's
        self.environ = {"PATH": ":".join(path), "HOME": home if ours(home) else os.devnull, "LC_ALL": "C"}
        if ours(config := os.environ.get("XDG_CONFIG_HOME", "")):
            self.environ["XDG_CONFIG_HOME"] = config


def _real(path: str) -> str:
    """Where a path leads, empty where that is nowhere: what os.path.realpath says, in three system calls."""
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


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
            raise Failure(f"git cannot read {self.repository.directory}: {why}")
        return output

    def ended(self, cancel: int = -1) -> tuple[int, bytes, bytes]:
        """Its status as wait(2) has it, output and errors. Raises Failure when it takes too long, Stopped."""
        try:
            status = self._wait(cancel)
            return status, _whole(self._streams[0]), _whole(self._streams[1])
        finally:
            self.drop()

    def drop(self) -> None:
        """Ask no further."""
        if self._child:
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)
            self._child = 0
        _forget(self._streams, self._private)

    def _wait(self, cancel: int) -> int:
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if not ended:
            import select

            poll = select.poll()
            child = os.pidfd_open(self._child)
            try:
                for descriptor in (child, cancel):
                    if descriptor >= 0:
                        poll.register(descriptor, select.POLLIN)
                left = max(0.0, self._began + LIMIT - time.monotonic())
                ready = {descriptor for descriptor, _ in poll.poll(1000 * left)}
            finally:
                os.close(child)
            if child not in ready:
                if ready:
                    raise Stopped("stopped while git was asked")
                raise Failure(
                    f"git was asked about {self.repository.top} for {LIMIT} s and did not end: is a file of the"
                    " repository, or a .gitignore, something that cannot be read to its end?"
                )
            status = os.waitpid(self._child, 0)[1]
        self._child = 0
        return status


def ask(
    repository: Repository | None, directory: str, words: Sequence[str], *, where: int = -1, configured: bool = True
) -> Git:
    """Start git in a directory of a work tree: in `where`, a descriptor, if there may be another at its path by now.
    `configured`: by the caller's configuration. Raises Failure, also where there is no repository any more."""
    if repository is None:
        raise Failure(f"{directory}/.git is no git repository")
    streams: list[int] = []
    inputs: list[int] = []
    private = ""
    try:
        settings = _settings(repository)
        void = f"{_VOID}/{'sha256' if _setting(settings, 'extensions', 'objectformat') == 'sha256' else 'sha1'}"
        shared = [name for name in os.listdir(repository.directory) if name.startswith(_SHARED)]
        if shared:
            void = private = _with_shared(void, repository.directory, shared)
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
        _forget(streams, private)
        if isinstance(error, OSError):
            raise Failure(f"git cannot be asked about {repository.top}: {error.strerror}") from error
        raise
    finally:
        for descriptor in inputs:
            os.close(descriptor)
    _bound(child)
    return Git(repository, child, streams, private)


def check(listing: bytes, repository: Repository) -> None:
    """Look at names that each end with a zero, before they are joined to anything. Raises Failure where one leads out
    of the work tree or into a git directory: an index can hold such names, though no git puts them there."""
    text = b"\0" + listing.lower()
    if text.startswith((b"\0/", b"\0\0")) or any(part in text for part in _strange()):
        for name in listing.split(b"\0")[:-1]:
            parts = name.lower().removesuffix(b"/").split(b"/")
            if {b"", b".", b"..", b".git"}.intersection(parts):
                shown = os.fsdecode(name).encode("utf-8", "replace").decode()
                raise Failure(f"{repository.directory}/index names `{shown}`, which git would never check out")


def _strange() -> Iterable[bytes]:
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
        found = _high(_regular(place, LARGEST, follow=False))
    except FileNotFoundError:
        return -1
    begin = os.pread(found, 8, 0)
    if begin[:4] == b"DIRC" and begin[4:] in (b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"):
        return found
    os.close(found)
    raise Failure(f"{place} is no index of git's, version 2 to 4")


def small_index(repository: Repository) -> bytes:
    """The whole index, empty where there is none. Raises Failure."""
    descriptor = _index(repository)
    if descriptor < 0:
        return b""
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST)
    finally:
        os.close(descriptor)


def _exclude(repository: Repository) -> int:
    try:
        return _high(_regular(f"{repository.common}/info/exclude", SMALL, follow=False))
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _high(descriptor: int) -> int:
    """The same with a number that is none of git's."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16)
    finally:
        os.close(descriptor)


def _with_shared(void: str, directory: str, names: Sequence[str]) -> str:
    """A git directory for one question, with links to what a split index stands on; _forget removes it."""
    room = os.environ.get("TMPDIR", "")
    place = f"{room if os.path.isabs(room) else '/tmp'}/envtool-git-{os.urandom(8).hex()}"
    os.mkdir(place, 0o700)
    try:
        with open(f"{place}/HEAD", "xb") as file:
            file.write(small(f"{void}/HEAD"))
        for name in ("config", "refs"):
            os.symlink(f"{void}/{name}", f"{place}/{name}")
        for name in names:
            shared = os.path.abspath(f"{directory}/{name}")
            if os.lstat(shared).st_mode & _KIND == _REGULAR:  # where git then misses one, it says so
                os.symlink(shared, f"{place}/{name}")
    except BaseException:
        _forget([], place)
        raise
    return place


def _forget(streams: list[int], private: str) -> None:
    for stream in streams:
        os.close(stream)
    streams.clear()
    if private and os.path.isdir(private):
        for name in os.listdir(private):
            os.unlink(f"{private}/{name}")
        os.rmdir(private)


def _bound(child: int) -> None:
    """Limit what a git can take: a small index can mean names without end."""
    import resource

    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, OUTPUT)):
        try:
            before = resource.prlimit(child, limit)
            if any(each == resource.RLIM_INFINITY or each > most for each in before):
                resource.prlimit(child, limit, (most, most))
        except OSError:  # it has ended already
            return


def _whole(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
