"""Opens every file and variable of this machine that a spec, a lock or a file of the checkout names: there is no other
way to one.

Files of the project are opened by descriptor, beneath the project, and read only if they are regular. A link that
leaves the project is followed only to what the *caller* allows; the same holds for a path outside. What is checked is
what is read: never a second lookup of the name. No message shows the content of a file outside, nor its hash.

The caller allows files by the command line (`--allow-file`, `--allow-secret`, `--allow-pass`) or by a file of their own
(app/permissions.py), never by the spec. See docs/security.md and decision 0100.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from envtool.errors import Problem, SpecError, UsageError
from envtool.fs.beneath import ESCAPES, open_beneath, open_top, real_path
from envtool.fs.globs import is_glob
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Env

MAX_FILE_SIZE = 16 << 30  # bytes of one file of the project: a larger one is sparse, or a mistake
MAX_SECRET_SIZE = 1 << 20  # bytes of a secret
CHUNK_SIZE = 1 << 20  # bytes
_CONFIGURATIONS = ("config", "config.worktree", "credentials")  # git's files that may hold tokens
_LAYOUT = ("oci-layout", "index.json")
SIGNING_KEY = "ENVTOOL_CACHE_KEY"
# Variables that are never secret: of the terminal, the language, and the build that a CI system runs
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
    """What the caller allows a project to use of this machine. `called` is the command line up to its verb and what
    comes after, for hints. `said` is True if some of it was allowed on this command line, and so holds for this call
    alone."""

    # id -> "env:NAME", "file:/PATH", "command:LINE" (only in config.yaml); "": the spec's source
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()  # names and globs that `pass:` may match even in an env with a network
    files: tuple[str, ...] = ()  # absolute real paths: files, and directories with everything in them
    called: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    said: bool = False
    asked: dict[tuple[str, str], None] = field(default_factory=dict, compare=False)  # what this call refused

    def line(self, *words: str) -> str:
        """Returns the command to type so that this is allowed; `words` are pairs of an option and its value."""
        self.asked.update(dict.fromkeys(zip(words[::2], words[1::2], strict=True)))
        return self.command_with(*words)

    def all(self) -> str:
        """Returns the command to type so that all is allowed that this call refused; empty if `line` returned it
        already."""
        return self.command_with(*(word for pair in self.asked for word in pair)) if len(self.asked) > 1 else ""

    def command_with(self, *words: str) -> str:
        """Returns the command with these options, without earlier options for the same secret."""
        words_before, words_after = self.called
        for option, value in zip(words[::2], words[1::2], strict=True):
            if option == "--allow-secret":
                words_after = _without(words_after, value.partition("=")[0])
        return " ".join(
            ("envtool", *([shlex.join(words_before)] if words_before else ["…"]), shlex.join((*words, *words_after)))
        )


def _without(words: tuple[str, ...], secret: str) -> tuple[str, ...]:
    """Returns a command line without its options for one secret."""
    remaining: list[str] = []
    iterator = iter(words)
    for word in iterator:
        argument = next(iterator, "") if word == "--allow-secret" else word.removeprefix("--allow-secret=")
        if word.split("=")[0] != "--allow-secret" or argument.partition("=")[0] != secret:
            remaining += (word, argument) if word == "--allow-secret" else (word,)
    return tuple(remaining)


class HostAccess:
    """Opens files that a project names. `own` are directories and files of this machine's own configuration, whose
    links may be followed."""

    def __init__(self, root: str, allowed: HostPermissions | None = None, own: tuple[str, ...] = ()) -> None:
        self.root = real_path(root)
        self.allowed = allowed or HostPermissions()
        self._own = {*own}

    def own(self, path: str) -> None:
        """Allows a path that this machine's own configuration names (a variable, apt's or pip's files), with all below
        it: the project cannot name it."""
        self._own.add(os.path.normpath(path))

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """Opens a regular file of the project, by its path in it. Raises UsageError (codes outside, not-a-file,
        too-large), and OSError if there is none or if it cannot be read."""
        if path.startswith("/") or "\0" in path:
            raise self._outside_error(path, path)
        try:
            descriptor = open_beneath(self.root, path, os.O_PATH)
        except OSError as error:
            if error.errno != ESCAPES:
                raise _with_path(error, path) from None
            real = os.path.realpath(os.path.join(self.root, path))
            if not self.allows(real):
                raise self._outside_error(path, real) from None
            return self.open_absolute(real, limit=limit)
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
            self.check_git(path, real.removeprefix(self.root.rstrip("/") + "/"))
        except BaseException:
            os.close(descriptor)
            raise
        return open_regular(descriptor, path, limit)

    def check_git(self, path: str, real: str = "") -> None:
        """Raises UsageError (code outside) for a configuration file of git's, unless the caller allows it: a CI system,
        or a clone by a URL with a token, leaves the token there. `real` is the target of the path in the project."""
        if is_in_git_directory(real or path, _CONFIGURATIONS) and not self.allows(
            os.path.join(self.root, real or path)
        ):
            target = os.path.join(self.root, real or path)
            raise UsageError(
                f"`{path}` is git's configuration, which may hold a token of yours, and you did not allow it",
                code="outside",
                hint=f"if it is to be read here: `{self.allowed.line('--allow-file', target)}`",
            )

    def open_absolute(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """Opens a regular file by its absolute path: in the project, or one that the caller or this machine's
        configuration allows. Raises as `open`."""
        if "\0" in path or ".." in path.split("/"):
            raise self._outside_error(path, path)
        plain = os.path.normpath(path)
        for top in self._own:
            if is_at_or_below(plain, top):
                return open_regular(_open_path(plain, path), path, limit)
        if is_at_or_below(plain, self.root) and plain != self.root:
            return self.open(plain[len(self.root.rstrip("/")) + 1 :], limit=limit)
        real = os.path.realpath(plain)
        if not self.allows(real):
            raise self._outside_error(path, plain)
        return open_regular(_open_path(real, path), path, limit)

    def outside_target(self, path: str) -> str:
        """Returns the real path of a path of the project that leads out of it; empty if it stays in the project, or
        does not exist."""
        try:
            os.close(open_beneath(self.root, path, os.O_PATH))
        except OSError as error:
            return os.path.realpath(os.path.join(self.root, path)) if error.errno == ESCAPES else ""
        return ""

    def check_outside(self, path: str, real: str) -> None:
        """Raises UsageError (code outside) if a path of the project leads to `real` and that is not allowed."""
        if not self.allows(real):
            raise self._outside_error(path, real)

    def allows(self, real: str) -> bool:
        """Returns whether the caller allows a file or directory of this machine."""
        return any(is_at_or_below(real, top) for top in self.allowed.files)

    def _outside_error(self, path: str, real: str) -> UsageError:
        where = "leads out of the project" if not path.startswith("/") else "lies outside of the project"
        return UsageError(
            f"`{path}` {where}, and you did not allow it",
            code="outside",
            hint=f"if it is yours to be read here: `{self.allowed.line('--allow-file', _path_to_allow(real))}`",
        )

    def variable(self, name: str) -> str | None:
        """Returns a variable that a file of the project names; None if it is not set. Raises UsageError (code
        pass-not-allowed)."""
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
        """Returns the content of a secret that the spec calls `name` and declares to be at `source` ("env:NAME",
        "file:PATH", or ""). A file of the project that is not git's needs no permission; every other source needs the
        caller's, and the caller's own source takes precedence. Returns None if the spec's source does not exist. Raises
        UsageError (codes secret-not-allowed; secret-missing for a source that the caller named; and those of
        `open`)."""
        permission = self.allowed.secrets.get(name)
        if permission is not None:
            return self._read_callers_secret(name, permission or source)
        kind, _, path = source.partition(":")
        in_project = not path.startswith(("/", "~")) and ".." not in path.split("/") and not is_in_git_directory(path)
        if kind == "file" and in_project:
            return self._read_secret(lambda: self.open(path, limit=MAX_SECRET_SIZE), path)
        if source:
            raise self._secret_error(name, source)
        return None

    def named_secret(self, name: str, source: str) -> bytes:
        """Returns the content of a secret of `secrets:` from the source that the caller allows; `source` if they name
        none. Raises UsageError (code secret-missing; those of `open`)."""
        return self._read_callers_secret(name, self.allowed.secrets[name] or source)

    def lacking(self, name: str, source: str) -> tuple[str, str]:
        """Returns message and hint for a required secret that does not exist."""
        reason = f"`{source}` is not there" if source else "the spec's `secrets:` does not name it"
        command = self.allowed.command_with("--allow-secret", f"{name}=file:PATH")
        return f"secret `{name}` is required, and {reason}", f"`{command}`, or {name}=env:VARIABLE"

    def _read_callers_secret(self, name: str, source: str) -> bytes:
        """Returns a secret from the caller's source. Raises UsageError if it does not exist: that is a typing error,
        and the build must not go on without the secret."""
        kind, _, location = source.partition(":")
        if kind == "env" and location in os.environ:
            return os.environb[os.fsencode(location)]
        if kind == "file":
            path = os.path.expanduser(location)
            content = self._read_secret(
                lambda: open_regular(self._open_callers_path(path), location, MAX_SECRET_SIZE), location
            )
            if content is not None:
                return content
        variable = f"your variable {location}, which" if location.isupper() else "a variable of yours that"
        descriptions = {
            "env": f"{variable} is not set",  # in other cases it may be the secret itself, in place of its variable
            "file": f"the file {location}, which is not there",
        }
        raise UsageError(
            f"secret `{name}` is {descriptions.get(kind, 'allowed, but neither you nor the spec say where it is')}",
            code="secret-missing",
            hint=f"`{self.allowed.command_with('--allow-secret', f'{name}=file:PATH')}`, or {name}=env:VARIABLE",
        )

    def _secret_error(self, name: str, source: str) -> UsageError:
        kind, _, location = source.partition(":")
        description = f"the variable {location}" if kind == "env" else f"the file {location}"
        return UsageError(
            f"secret `{name}` is {description} of yours, and you did not allow it",
            code="secret-not-allowed",
            hint=f"if the build may have it: `{self.allowed.line('--allow-secret', f'{name}={source}')}`",
        )

    def _open_callers_path(self, path: str) -> int:
        """Opens a path that the caller named: absolute, or relative to the project."""
        project = open_top(self.root)
        try:
            return os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=project)
        finally:
            os.close(project)

    @staticmethod
    def _read_secret(open_file: Callable[[], BinaryIO], path: str) -> bytes | None:
        try:
            with open_file() as file:
                return b"".join(read_chunks(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"secret file `{path}` cannot be read: {error.strerror}", code="secret-missing") from error


class EntryOpener:
    """Opens files, directories and links of a project themselves; links on the way to them are followed as long as they
    stay in it. It keeps the last directory open, since names come in order. Not for several threads; has to be
    closed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._parent = ("", -1)

    def open(self, path: str) -> int:
        """Returns an O_PATH descriptor. Raises OSError: EXDEV if the path leaves the project."""
        parent, _, name = path.rpartition("/")
        if self._parent[1] < 0 or parent != self._parent[0]:
            self.close()
            self._parent = (parent, open_beneath(self._root, parent, os.O_PATH | os.O_DIRECTORY))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parent[1])

    def close(self) -> None:
        """Closes the directory."""
        if self._parent[1] >= 0:
            os.close(self._parent[1])
            self._parent = ("", -1)

    def __enter__(self) -> EntryOpener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path_to_allow(path: str) -> str:
    """Returns the path to allow so that a file can be read: for a file of an image layout the whole layout, since all
    its files are read."""
    directory = os.path.dirname(path)
    is_layout = all(os.path.isfile(os.path.join(directory, name)) for name in _LAYOUT)
    return directory if os.path.basename(path) in _LAYOUT and is_layout else path


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Returns whether a variable matches one of these names and globs. The key that signs for the team cache never
    does."""
    return name != SIGNING_KEY and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select_variables(patterns: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the caller's variables that `pass:` matches. `check_passing` decides whether they may be passed."""
    patterns = tuple(patterns)
    return {name: value for name, value in environ.items() if matches(name, patterns)} if patterns else {}


def passable_variables(patterns: tuple[str, ...], allowed: HostPermissions, *, network: bool) -> tuple[str, ...]:
    """Returns names and globs of the caller's variables that `pass:` may match: harmless ones, those that the caller
    allows, and without a network those that it names in full. A variable that `patterns` match and these do not may not
    be passed."""
    literal = () if network else tuple(pattern for pattern in patterns if not is_glob(pattern))
    return (*HARMLESS, *allowed.variables, *literal)


def check_passing(
    subject: str, patterns: tuple[str, ...], allowed: HostPermissions, environ: Iterable[str], *, network: bool
) -> tuple[str, str]:
    """Returns message and hint if `pass:` matches variables that may not be passed; else two empty strings."""
    passable = passable_variables(patterns, allowed, network=network)
    names = sorted(name for name in environ if matches(name, patterns) and not matches(name, passable))
    if not names:
        return "", ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    why = "it has a network" if network else "by a pattern"
    options = [word for name in names[:5] for word in ("--allow-pass", name)]
    hint = f"if its commands may have {'it' if len(names) == 1 else 'them'}: `{allowed.line(*options)}`"
    if len(names) > 5:
        hint = f"let `pass:` name what is needed, and allow it: `{allowed.command_with('--allow-pass', 'NAME')}`"
    return f"{subject}: `pass:` asks for your {shown}, which you did not allow ({why})", hint


def is_in_git_directory(path: str, names: Iterable[str] = ()) -> bool:
    """Returns whether a path leads into a directory `.git`, in upper or lower case; with `names`, to a file of such a
    name in one."""
    parts = path.casefold().split("/")
    return ".git" in parts[:-1] and (not names or parts[-1] in names)


def is_at_or_below(path: str, top: str) -> bool:
    """Returns whether a normalised absolute path is `top`, or in it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yields the content of an open regular file, up to the size at the start: the loop ends even if the file keeps
    growing."""
    remaining = os.fstat(file.fileno()).st_size
    while remaining > 0 and (piece := file.read(min(CHUNK_SIZE, remaining))):
        remaining -= len(piece)
        yield piece


def _open_path(path: str, named_path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise _with_path(error, named_path) from None


def open_regular(descriptor: int, path: str, limit: int = MAX_FILE_SIZE) -> BinaryIO:
    """Opens the file of an O_PATH descriptor for reading, if it is regular, and closes the descriptor. Nothing else is
    ever opened: a fifo would block, and a device may do anything."""
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
            # by the descriptor: the name may belong to another file by now
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


def check_passed(envs: Iterable[Env], allowed: HostPermissions, environ: Iterable[str]) -> None:
    """Raises SpecError (code pass-not-allowed) for envs whose `pass:` matches variables that the caller did not
    allow."""
    problems = passed_problems(envs, allowed, environ)
    if problems:
        raise SpecError(problems)


def passed_problems(envs: Iterable[Env], allowed: HostPermissions, environ: Iterable[str]) -> tuple[Problem, ...]:
    """Returns the problems that `check_passed` raises."""
    problems = []
    passing = [env for env in envs if env.passed]
    names = tuple(environ) if passing else ()
    for env in passing:
        message, hint = check_passing(f"env `{env.name}`", env.passed, allowed, names, network=env.has_outside)
        if message:
            problems.append(Problem(where=env.where, message=message, code="pass-not-allowed", hint=hint))
    return tuple(problems)


def check_workdir(env: Env, access: HostAccess) -> None:
    """Raises SpecError (code workdir) if `workdir:` leads out of the project: whatever the caller allows, the container
    does not have that directory."""
    target = access.outside_target(env.workdir)
    if target:
        message = (
            f"env `{env.name}`: `workdir: {env.workdir}` leads out of the project, to {target}, which tasks do not see"
        )
        hint = "a layer can have it: `copy: {from: …, to: /opt/…}`, and the command go there"
        raise SpecError((Problem(where=env.where, message=message, code="workdir", hint=hint),))
