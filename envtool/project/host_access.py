"""The one gate to this machine: every file and variable that a spec, a lock or a file of the checkout names passes it.

Files of the project are opened by descriptor, beneath the project, and read only where they are regular: a link that
leaves the project is followed only to what the *caller* allows, and so is a path that lies outside. What is looked at
is what is read. No message shows what a file outside holds, nor a hash of it.

The caller's word comes from the command line (`--allow-file`, `--allow-secret`, `--allow-pass`), or from a file of
their own (app/permissions.py); never from the spec. docs/security.md tells it, decision 0100 says why.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from envtool.errors import UsageError
from envtool.fs.beneath import ESCAPES, open_beneath, open_top, real_path
from envtool.fs.globs import is_glob

MAX_FILE_SIZE = 16 << 30  # bytes of one file that is taken from the project: beyond, it is sparse, or a mistake
MAX_SECRET_SIZE = 1 << 20  # bytes of a secret
CHUNK_SIZE = 1 << 20
_CONFIGURATIONS = ("config", "config.worktree", "credentials")  # of git, where tokens are
_LAYOUT = ("oci-layout", "index.json")
SIGNING_KEY = "ENVTOOL_CACHE_KEY"
# What a variable's name alone says to be no secret: of the terminal, the language, and which build a CI system runs
HARMLESS = (
    "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES",
    "LANG", "LANGUAGE", "TZ", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
    "LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME",
    "CI", "SOURCE_DATE_EPOCH", "BUILD_NUMBER",
    "GITHUB_ACTIONS", "GITHUB_SHA", "GITHUB_REF", "GITHUB_REF_NAME", "GITHUB_RUN_ID", "GITHUB_RUN_NUMBER",
    "GITHUB_RUN_ATTEMPT", "GITLAB_CI", "CI_COMMIT_SHA", "CI_COMMIT_REF_NAME", "CI_COMMIT_TAG", "CI_PIPELINE_ID",
    "CI_JOB_ID",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPermissions:
    """What the caller lets a project have of this machine. `called` is the command line up to its
    verb and what comes after, for advice; `said`: some of it was said there, and holds for this call alone."""

    secrets: Mapping[str, str] = field(default_factory=dict)  # id -> "env:NAME", "file:/PATH"; "": where the spec says
    variables: tuple[str, ...] = ()  # names, with globs, that `pass:` may have though there is a network
    files: tuple[str, ...] = ()  # absolute real paths: files, and directories with all that is in them
    called: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    said: bool = False
    asked: dict[tuple[str, str], None] = field(default_factory=dict, compare=False)  # what was refused in this call

    def line(self, *words: str) -> str:
        """The command to type so that this is allowed, by pairs of an option and its value."""
        self.asked.update(dict.fromkeys(zip(words[::2], words[1::2], strict=True)))
        return self.command_with(*words)

    def all(self) -> str:
        """The command to type so that all is allowed that was refused in this call; empty where `line` said it."""
        return self.command_with(*(word for pair in self.asked for word in pair)) if len(self.asked) > 1 else ""

    def command_with(self, *words: str) -> str:
        """The command with these options; what was said before of the same secret is left out."""
        before, after = self.called
        for option, value in zip(words[::2], words[1::2], strict=True):
            if option == "--allow-secret":
                after = _without(after, value.partition("=")[0])
        return " ".join(("envtool", *([shlex.join(before)] if before else ["…"]), shlex.join((*words, *after))))


def _without(words: tuple[str, ...], secret: str) -> tuple[str, ...]:
    """A command line without what it says of one secret."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        said = next(rest, "") if word == "--allow-secret" else word.removeprefix("--allow-secret=")
        if word.split("=")[0] != "--allow-secret" or said.partition("=")[0] != secret:
            kept += (word, said) if word == "--allow-secret" else (word,)
    return tuple(kept)


class HostAccess:
    """Opens what a project names. `own` are directories and files of this machine's own configuration, whose links are
    its own too."""

    def __init__(self, root: str, allowed: HostPermissions | None = None, own: tuple[str, ...] = ()) -> None:
        self.root = real_path(root)
        self.allowed = allowed or HostPermissions()
        self._own = {*own}

    def own(self, path: str) -> None:
        """What this machine's own configuration names (a variable, apt's or pip's files), the project cannot: it may be
        read, with all below it."""
        self._own.add(os.path.normpath(path))

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """A regular file of the project, by its path in it. Raises UsageError (codes outside, not-a-file, too-large),
        and OSError where there is none, or it cannot be read."""
        if path.startswith("/") or "\0" in path:
            raise self._outside(path, path)
        try:
            descriptor = open_beneath(self.root, path, os.O_PATH)
        except OSError as error:
            if error.errno != ESCAPES:
                raise _with_path(error, path) from None
            real = os.path.realpath(os.path.join(self.root, path))
            if not self.allows(real):
                raise self._outside(path, real) from None
            return self.open_absolute(real, limit=limit)
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
            self.check_git(path, real.removeprefix(self.root.rstrip("/") + "/"))
        except BaseException:
            os.close(descriptor)
            raise
        return open_regular(descriptor, path, limit)

    def check_git(self, path: str, real: str = "") -> None:
        """Raise UsageError (code outside) for a configuration of git's, unless the caller allows it: CI systems, and
        who clones by a URL with a token, have one there. `real` is where a path of the project leads."""
        if is_in_git_directory(real or path, _CONFIGURATIONS) and not self.allows(
            os.path.join(self.root, real or path)
        ):
            place = os.path.join(self.root, real or path)
            raise UsageError(
                f"`{path}` is git's configuration, which may hold a token of yours, and you did not allow it",
                code="outside",
                hint=f"if it is to be read here: `{self.allowed.line('--allow-file', place)}`",
            )

    def open_absolute(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """A regular file by its absolute path: in the project, or where the caller or this machine's configuration
        allows it. Raises as `open`."""
        if "\0" in path or ".." in path.split("/"):
            raise self._outside(path, path)
        plain = os.path.normpath(path)
        for top in self._own:
            if is_at_or_below(plain, top):
                return open_regular(_descriptor(plain, path), path, limit)
        if is_at_or_below(plain, self.root) and plain != self.root:
            return self.open(plain[len(self.root.rstrip("/")) + 1 :], limit=limit)
        real = os.path.realpath(plain)
        if not self.allows(real):
            raise self._outside(path, plain)
        return open_regular(_descriptor(real, path), path, limit)

    def outside_target(self, path: str) -> str:
        """Where a path of the project really leads that leaves it; empty for one that stays, or leads to nothing."""
        try:
            os.close(open_beneath(self.root, path, os.O_PATH))
        except OSError as error:
            return os.path.realpath(os.path.join(self.root, path)) if error.errno == ESCAPES else ""
        return ""

    def check_outside(self, path: str, real: str) -> None:
        """Raise UsageError (code outside) where a path of the project leads to `real`, unless allowed."""
        if not self.allows(real):
            raise self._outside(path, real)

    def allows(self, real: str) -> bool:
        """Whether the caller allows a file or directory of this machine."""
        return any(is_at_or_below(real, top) for top in self.allowed.files)

    def _outside(self, path: str, real: str) -> UsageError:
        where = "leads out of the project" if not path.startswith("/") else "lies outside of the project"
        return UsageError(
            f"`{path}` {where}, and you did not allow it",
            code="outside",
            hint=f"if it is yours to be read here: `{self.allowed.line('--allow-file', _path_to_allow(real))}`",
        )

    def variable(self, name: str) -> str | None:
        """A variable that a file of the project names. Raises UsageError (code pass-not-allowed)."""
        if name not in os.environ:
            return None
        if not matches(name, (*HARMLESS, *self.allowed.variables)):
            raise UsageError(
                f"the project wants your variable {name}, and you did not allow it",
                code="pass-not-allowed",
                hint=f"if it may have it: `{self.allowed.line('--allow-pass', name)}`",
            )
        return os.environ[name]

    def secret(self, name: str, source: str) -> bytes | None:
        """The content of a secret that the spec calls `name` and says to be at `source` ("env:NAME", "file:PATH", or
        ""). A file of the project that is not git's needs nobody's word; all else the caller's, which comes first. None
        where the spec says of nothing that is there. Raises UsageError (codes secret-not-allowed, secret-missing: of
        what the caller named, and those of `open`)."""
        said = self.allowed.secrets.get(name)
        if said is not None:
            return self._named(name, said or source)
        kind, _, place = source.partition(":")
        here = not place.startswith(("/", "~")) and ".." not in place.split("/") and not is_in_git_directory(place)
        if kind == "file" and here:
            return self._content(lambda: self.open(place, limit=MAX_SECRET_SIZE), place)
        if source:
            raise self._secret_not_allowed(name, source)
        return None

    def lacking(self, name: str, source: str) -> tuple[str, str]:
        """What is said of a secret that is required and not there, and what to do."""
        said = f"`{source}` is not there" if source else "the spec's `secrets:` does not name it"
        line = self.allowed.command_with("--allow-secret", f"{name}=file:PATH")
        return f"secret `{name}` is required, and {said}", f"`{line}`, or {name}=env:VARIABLE"

    def _named(self, name: str, source: str) -> bytes:
        """A secret by the caller's word. That it is not there is a typing error, never a build without it."""
        kind, _, place = source.partition(":")
        if kind == "env" and place in os.environ:
            return os.environb[os.fsencode(place)]
        if kind == "file":
            path = os.path.expanduser(place)
            found = self._content(lambda: open_regular(self._said(path), place, MAX_SECRET_SIZE), place)
            if found is not None:
                return found
        where = {"env": f"your variable {place}, which is not set", "file": f"the file {place}, which is not there"}
        raise UsageError(
            f"secret `{name}` is {where.get(kind, 'allowed, but neither you nor the spec say where it is')}",
            code="secret-missing",
            hint=f"`{self.allowed.command_with('--allow-secret', f'{name}=file:PATH')}`, or {name}=env:VARIABLE",
        )

    def _secret_not_allowed(self, name: str, source: str) -> UsageError:
        kind, _, place = source.partition(":")
        what = f"the variable {place}" if kind == "env" else f"the file {place}"
        return UsageError(
            f"secret `{name}` is {what} of yours, and you did not allow it",
            code="secret-not-allowed",
            hint=f"if the build may have it: `{self.allowed.line('--allow-secret', f'{name}={source}')}`",
        )

    def _said(self, path: str) -> int:
        """What the caller names: absolute, or from the project."""
        project = open_top(self.root)
        try:
            return os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=project)
        finally:
            os.close(project)

    @staticmethod
    def _content(opened: Callable[[], BinaryIO], place: str) -> bytes | None:
        try:
            with opened() as file:
                return b"".join(read_chunks(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(
                f"secret file `{place}` cannot be read: {error.strerror}", code="secret-missing"
            ) from error


class EntryOpener:
    """Files, directories and links of a project themselves: links on the way to them are followed as long as they stay
    in it. The last directory is kept open, since names come in order. For one thread; to be closed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._parent = ("", -1)

    def open(self, path: str) -> int:
        """An O_PATH descriptor. Raises OSError: EXDEV where the way leaves the project."""
        parent, _, name = path.rpartition("/")
        if self._parent[1] < 0 or parent != self._parent[0]:
            self.close()
            self._parent = (parent, open_beneath(self._root, parent, os.O_PATH | os.O_DIRECTORY))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parent[1])

    def close(self) -> None:
        """Let go of the directory."""
        if self._parent[1] >= 0:
            os.close(self._parent[1])
            self._parent = ("", -1)

    def __enter__(self) -> EntryOpener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path_to_allow(path: str) -> str:
    """What to allow so that a file can be read: an image's layout is asked for file by file, and allowed as one."""
    directory = os.path.dirname(path)
    layout = all(os.path.isfile(os.path.join(directory, name)) for name in _LAYOUT)
    return directory if os.path.basename(path) in _LAYOUT and layout else path


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a variable is meant by one of these names and globs. The key that signs for the team cache never is."""
    return name != SIGNING_KEY and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def passable_variables(patterns: tuple[str, ...], allowed: HostPermissions, *, network: bool) -> tuple[str, ...]:
    """Names and globs of the variables that `pass:` may have of the caller's: harmless ones, those that the caller
    allows, and without a network those that it names in full. One that `patterns` mean and none of these does may not
    be passed."""
    literal = () if network else tuple(each for each in patterns if not is_glob(each))
    return (*HARMLESS, *allowed.variables, *literal)


def check_passing(
    subject: str, patterns: tuple[str, ...], allowed: HostPermissions, environ: Iterable[str], *, network: bool
) -> tuple[str, str]:
    """What is wrong with what `pass:` asks for, and the line to type; empty where nothing is."""
    free = passable_variables(patterns, allowed, network=network)
    names = sorted(name for name in environ if matches(name, patterns) and not matches(name, free))
    if not names:
        return "", ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    why = "it has a network" if network else "by a pattern"
    words = [word for name in names[:5] for word in ("--allow-pass", name)]
    hint = f"if its commands may have {'it' if len(names) == 1 else 'them'}: `{allowed.line(*words)}`"
    if len(names) > 5:
        hint = f"let `pass:` name what is needed, and allow it: `{allowed.command_with('--allow-pass', 'NAME')}`"
    return f"{subject}: `pass:` asks for your {shown}, which you did not allow ({why})", hint


def is_in_git_directory(path: str, names: Iterable[str] = ()) -> bool:
    """Whether a path leads into a directory `.git`, in any case; with `names`, to a file of such a name in one."""
    parts = path.casefold().split("/")
    return ".git" in parts[:-1] and (not names or parts[-1] in names)


def is_at_or_below(path: str, top: str) -> bool:
    """Whether a normalised absolute path is `top`, or in it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content of an open regular file, no more than it had when it was opened: one that grows while it is read ends
    all the same."""
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (piece := file.read(min(CHUNK_SIZE, left))):
        left -= len(piece)
        yield piece


def _descriptor(path: str, said: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise _with_path(error, said) from None


def open_regular(descriptor: int, path: str, limit: int = MAX_FILE_SIZE) -> BinaryIO:
    """What an O_PATH descriptor stands for, opened to be read: only a regular file is. Nothing else is ever opened: a
    fifo would wait, and a device may do anything. Takes the descriptor."""
    try:
        info = os.fstat(descriptor)
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(
                f"`{path}` is {_KINDS.get(stat.S_IFMT(info.st_mode), 'no file')}, and not read",
                code="not-a-file",
                hint="regular files are",
            )
        if info.st_size > limit:
            raise UsageError(
                f"`{path}` has {info.st_size:,} bytes: more than {limit:,} are not read", code="too-large",
                hint="is it sparse, or the wrong file?",
            )  # fmt: skip
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            # by the descriptor: the name may mean something else by now
            return open(os.open(f"/proc/self/fd/{descriptor}", flags), "rb")
        except OSError as error:
            raise _with_path(error, path) from None
    finally:
        os.close(descriptor)


def _with_path(error: OSError, path: str) -> OSError | UsageError:
    if error.errno == errno.ELOOP:
        return UsageError(f"`{path}` is a link that leads round in a circle", code="not-a-file")
    return OSError(error.errno, error.strerror, path)


_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}
