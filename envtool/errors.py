"""Everything envtool raises on purpose.

    EnvtoolError                 code, message, hint, exit status
    ├── SpecError          2     the spec is wrong: a tuple of Problems, each with file:line:column
    ├── UsageError         2     the command line is wrong
    ├── MakeError          3     an environment could not be made
    │   ├── ResolveError         what floats could not be settled (no such package, no candidate)
    │   ├── FetchError           a file could not be fetched, or was not what its hash says
    │   ├── BuildError           a layer's commands failed
    │   ├── NotCachedError       something would have to be built, and it was asked that nothing is
    │   ├── StoreError           the store, or the disk, cannot be used (space, rights, corruption)
    │   ├── SandboxError         the kernel or the host refuses a container
    │   └── PluginError          a plugin failed, or answered what is no answer
    └── Interrupted      130     ^C or SIGTERM

A message is one lower-case sentence without a full stop; `hint` says what to do next. `code` is stable:
tests and scripts compare it, never the prose. Only `envtool.cli` turns an error into an exit status.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from envtool.fs.beneath import DirectoryReplacedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.model import Where


def closest_name(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The one of `names` that is most like `name`, for "did you mean"; empty where none is like it. `cutoff` is 0 to 1,
    as in difflib.get_close_matches."""
    from difflib import get_close_matches

    return "".join(get_close_matches(name, [*names], 1, cutoff))


class EnvtoolError(Exception):
    """Base of all: `str(error)` is the message; `hint` may be empty, and `output` is what a program printed that failed
    (bytes decoded with replacement; empty: none did)."""

    exit_status: ClassVar[int] = 3
    output: str = ""

    def __init__(self, message: str, *, code: str = "error", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a spec. `text` is the source line, shown under the message with `width`
    characters marked from `where` on (0: none, the line as a whole)."""

    where: Where
    message: str
    code: str
    hint: str = ""
    text: str = ""
    width: int = 1


class SpecError(EnvtoolError):
    """All that is wrong with a spec, at once, in the order of the file; `hint` is what mends all of it."""

    exit_status = 2

    def __init__(self, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        count, files = len(problems), {problem.where.file for problem in problems}
        where = files.pop() if len(files) == 1 else "the spec"
        super().__init__(f"{count} error{'s' if count != 1 else ''} in {where}", code="spec", hint=hint)
        self.problems = problems


class UsageError(EnvtoolError):
    """The command line asks for something that does not exist or does not go together."""

    exit_status = 2


class MakeError(EnvtoolError):
    """An environment could not be made: nothing is known about the tests in it."""

    exit_status = 3


class ResolveError(MakeError):
    """Something floating could not be settled to exact files. `output` is all that the program printed that was asked:
    the message says what matters of it, so a log has it and the screen shows the log's name."""

    def __init__(self, message: str, *, code: str = "error", hint: str = "", output: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.output = output


class FetchError(MakeError):
    """A file could not be fetched, or is not what its hash says. `found` is the hash of what came (hex), where another
    was wanted (code fetch-hash)."""

    def __init__(self, message: str, *, code: str = "fetch", hint: str = "", found: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.found = found


class BuildError(MakeError):
    """A layer's commands failed. `output` is what they printed."""

    def __init__(self, message: str, *, code: str = "build", hint: str = "", output: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.output = output


class NotCachedError(MakeError):
    """Something is not cached though `--expect-cached` says that all is. `misses` are plan.why.Explanations."""

    def __init__(self, message: str, *, misses: tuple[object, ...], code: str = "not-cached", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.misses = misses


class StoreError(MakeError):
    """The store cannot be used."""


class SandboxError(MakeError):
    """The kernel or the host's policy refuses a container; the hint says how to mend it."""


class PluginError(MakeError):
    """A plugin failed (`owner`: which, in words) when it was asked for `asked`; `reason` says how. `output` shows where
    in its code, to those who ask for that (ENVTOOL_DEBUG)."""

    def __init__(self, owner: str, asked: str, reason: str, cause: BaseException) -> None:
        super().__init__("", code="plugin", hint="report it to its author; ENVTOOL_DEBUG=1 shows where")
        self.owner, self.asked, self.reason = owner, asked, reason
        if os.environ.get("ENVTOOL_DEBUG"):
            import traceback

            self.output = "".join(traceback.format_exception(cause))
            self.hint = "report it to its author"
        self._placed = False
        self._say("")

    def place(self, what: str, where: Where) -> None:
        """Say of what it was asked ("layer `x`"), and where that stands. The first who knows is right."""
        if not self._placed:
            self._placed = True
            self._say(f" of {what} ({where.file}:{where.line})")

    def _say(self, of: str) -> None:
        self.message = f"{self.owner} failed in {self.asked}{of}: {self.reason}"
        self.args = (self.message,)


class Interrupted(EnvtoolError):  # noqa: N818 - it is no error
    """The user or the system asked envtool to stop."""

    exit_status = 130

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, code="interrupted")


def internal(error: Exception, *, shown: bool = False) -> EnvtoolError:
    """What to say of an error that nobody foresaw. `shown`: where it happened is on the screen already."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "ENVTOOL_DEBUG=1 shows where; please report it with what `envtool version` prints"
    return EnvtoolError(f"internal error: {message} (this is a bug)", code="internal", hint="" if shown else hint)


# ---- what the operating system refuses -------------------------------------------------------------------------------

_ELSEWHERE = "let ENVTOOL_STORE and TMPDIR name places that"
_REFUSALS: dict[int, tuple[str, str]] = {  # errno -> code, and what to do
    errno.ENOSPC: ("store-space", f"make room (`envtool gc` takes what nothing needs), or {_ELSEWHERE} have some"),
    errno.EDQUOT: ("store-space", f"make room within the quota (`envtool gc`), or {_ELSEWHERE} have some"),
    errno.EROFS: ("store-read-only", f"{_ELSEWHERE} may be written to"),
    errno.EIO: ("disk-failed", "the disk itself fails: `dmesg` says more, `envtool store verify` what is damaged"),
    errno.EMFILE: ("open-files", "raise the limit of open files (`ulimit -n`), or run fewer envs at once (`--jobs`)"),
    errno.ENFILE: ("open-files", "this machine has too many files open: end what holds them"),
    errno.ENOMEM: ("memory", "there is not enough memory: run fewer envs at once (`--jobs`)"),
    errno.EAGAIN: ("processes", "raise the limit of processes (`ulimit -u`), or run fewer envs at once (`--jobs`)"),
    errno.EACCES: ("rights", "see whose it is, and what its mode is"),
    errno.EPERM: ("rights", "see whose it is, and what its mode is"),
}
_UNEXPECTED_ERRNOS = frozenset(  # something is not where it was left, or is something else
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.EFBIG, errno.EEXIST)
) | {errno.ENOTEMPTY, errno.ESTALE, errno.ENODEV, errno.EBADMSG, errno.ENAMETOOLONG, errno.EBUSY, errno.EXDEV}


def to_store_error(error: OSError) -> StoreError | None:
    """What to say when the operating system refuses a file: what, which one, and what to do. None for an error that is
    nobody's refusal (one of a library that only inherits from OSError)."""
    number = error.errno or 0
    if isinstance(error, DirectoryReplacedError):
        return StoreError(f"{error.strerror}: {error.filename}", code="project-replaced", hint="run it again")
    if number not in _REFUSALS and number not in _UNEXPECTED_ERRNOS:
        return None
    if error.strerror and error.strerror.startswith("No usable temporary directory"):  # tempfile tried all it knows
        return StoreError(
            "no temporary directory can be written to", code="store-space", hint=f"{_ELSEWHERE} have room"
        )
    code, hint = _REFUSALS.get(
        number, ("store-damaged", "if it is in the store, `envtool store verify --repair` takes away what is damaged")
    )
    what = os.strerror(number)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if number == errno.ENOSPC and name and _has_no_inodes(name):
        what = "no inodes left (the disk has room for bytes, and for no more files)"
    elif error.strerror and number not in _REFUSALS:
        what = error.strerror
    what = what[:1].lower() + what[1:]
    return StoreError(f"{name}: {what}" if name else what, code=code, hint=hint)


def _has_no_inodes(path: str) -> bool:
    """Whether the file system of a path that is not there yet has no inode left."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        found = os.statvfs(path or ".")
    except OSError:
        return False
    return found.f_files > 0 and found.f_favail == 0
