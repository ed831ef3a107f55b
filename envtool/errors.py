"""All exceptions that envtool raises on purpose.

    EnvtoolError                 code, message, hint, exit status
    ├── SpecError          2     the spec is wrong: a tuple of Problems, each with file:line:column
    ├── UsageError         2     the command line is wrong
    │   └── UnusablePluginError  an installed plugin cannot be used
    ├── MakeError          3     an environment could not be built
    │   ├── ResolveError         options could not be resolved to pins (no such package, no candidate)
    │   ├── FetchError           a file could not be fetched, or its hash is wrong
    │   ├── BuildError           a layer's commands failed
    │   ├── NotCachedError       something would have to be built, and the caller forbade it
    │   ├── StoreError           the store, or the disk, cannot be used (space, rights, corruption)
    │   ├── SandboxError         the kernel or the host refuses a container
    │   ├── ServiceError         a service could not be started, was not ready in time, or ended
    │   └── PluginError          a plugin failed, or returned a value that the API does not allow
    └── Interrupted      130     ^C or SIGTERM

A message is one lower-case sentence without a full stop; `hint` says what to do next. `code` is stable: tests and
scripts compare it, never the message. Only `envtool.cli` turns an error into an exit status.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from envtool.model import Where


OURS = "envtool itself"  # the owner of what no plugin offers
_CORE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_reported: set[str] = set()  # the messages of `report_fault`


def closest_name(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The one of `names` that is most like `name`, for "did you mean"; empty where none is like it. `cutoff` is 0 to 1,
    as in difflib.get_close_matches."""
    from difflib import get_close_matches

    return "".join(get_close_matches(name, [*names], 1, cutoff))


def near_name_hint(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The hint for a name that means nothing: the nearest of the `known` names, else `otherwise`, else the first;
    empty without any."""
    names = [*dict.fromkeys(known)]
    close = closest_name(name, names)
    if close:
        return f"did you mean `{close}`?"
    return otherwise or (f"there are {', '.join(names[:12])}" if names else "")


class EnvtoolError(Exception):
    """The base class. `str(error)` is the message; `hint` may be empty. `output` is the output of a program that failed
    (bytes decoded with replacement), or ""."""

    exit_status: ClassVar[int] = 3
    output: str = ""

    def __init__(self, message: str, *, code: str = "error", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error in a spec. `text` is the source line, printed under the message with `width` characters marked from
    `where` on (0: nothing is marked)."""

    where: Where
    message: str
    code: str
    hint: str = ""
    text: str = ""
    width: int = 1


class SpecError(EnvtoolError):
    """All errors of a spec together, in the order of the file; `hint` is for all of them."""

    exit_status = 2

    def __init__(self, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        count, files = len(problems), {problem.where.file for problem in problems}
        where = files.pop() if len(files) == 1 else "the spec"
        super().__init__(f"{count} error{'s' if count != 1 else ''} in {where}", code="spec", hint=hint)
        self.problems = problems


class UsageError(EnvtoolError):
    """The command line names something that does not exist, or combines what cannot be combined."""

    exit_status = 2


class UnusablePluginError(UsageError):
    """An installed plugin cannot be imported, or offers what cannot be used. `owners` are the plugins, in words, that
    are left out because of it: two if they offer the same; none if the fault is envtool's own."""

    def __init__(self, message: str, *, hint: str = "", owners: tuple[str, ...] = ()) -> None:
        super().__init__(message, code="plugin", hint=hint)
        self.owners = owners

    @classmethod
    def of(cls, owner: str, failure: str) -> UnusablePluginError:
        """Returns the error about one plugin, whose `owner` is its name and version in words."""
        if owner == OURS:
            return cls(f"{owner} {failure}")
        return cls(f"{owner} {failure}", hint="update it, or uninstall it", owners=(owner,))

    @classmethod
    def of_two(cls, what: str, first: str, second: str, note: str = "") -> UnusablePluginError:
        """Returns the error about two plugins, the `first` of them perhaps envtool itself, that offer the same."""
        return cls(
            f"two plugins offer {what}: {first}{note} and {second}",
            hint="uninstall it" if first == OURS else "uninstall one of them, or leave one out by `-p no:NAME`",
            owners=tuple(owner for owner in (first, second) if owner != OURS),
        )


class MakeError(EnvtoolError):
    """An environment could not be built: its tests did not run."""

    exit_status = 3


class ResolveError(MakeError):
    """Options could not be resolved to pins. `output` is the whole output of the program that resolves them. The
    message has the part that matters; the whole output goes to a log, and the screen shows the log's name."""

    def __init__(self, message: str, *, code: str = "error", hint: str = "", output: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.output = output


class FetchError(MakeError):
    """A file could not be fetched, or has the wrong hash (code fetch-hash): then `found` is the hash of what came, in
    hex."""

    def __init__(self, message: str, *, code: str = "fetch", hint: str = "", found: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.found = found


class BuildError(MakeError):
    """A layer's commands failed. `output` is their output."""

    def __init__(self, message: str, *, code: str = "build", hint: str = "", output: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.output = output


class NotCachedError(MakeError):
    """Something is not cached, and `--expect-cached` forbids to build it. `misses` are plan.why.Explanations."""

    def __init__(self, message: str, *, misses: tuple[object, ...], code: str = "not-cached", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.misses = misses


class StoreError(MakeError):
    """The store cannot be used."""


class SandboxError(MakeError):
    """The kernel or the host's policy refuses a container; the hint says how to permit it."""


class ServiceError(MakeError):
    """A service could not be started, was not ready in time, or ended. `output` has the last lines that it printed."""

    def __init__(self, message: str, *, code: str, hint: str = "", output: str = "", service: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.output = output
        self.service = service  # its name


class PluginError(MakeError):
    """A plugin (`owner`, in words) failed in `method`; `reason` says how. If ENVTOOL_DEBUG is set, `output` has the
    traceback."""

    def __init__(self, owner: str, method: str, reason: str, cause: BaseException, place: str = "") -> None:
        """`place` is where in the plugin: "/path/envtool_motd.py:12"."""
        super().__init__("", code="plugin", hint="report it to its author; ENVTOOL_DEBUG=1 shows the traceback")
        self.owner, self.method, self.reason = owner, method, reason
        self.place = place
        if os.environ.get("ENVTOOL_DEBUG"):
            import traceback

            self.output = "".join(traceback.format_exception(cause))
            self.hint = "report it to its author"
        self._located = False
        self._set_message("")

    def locate(self, subject: str, where: Where) -> None:
        """Adds the subject of the call ("layer `x`") and its position in the spec to the message. Only the first call
        counts: it knows best."""
        if not self._located:
            self._located = True
            self._set_message(f" of {subject} ({where})")

    def _set_message(self, location: str) -> None:
        place = f" ({self.place})" if self.place else ""
        self.message = f"{self.owner} failed in {self.method}{location}: {self.reason}{place}"
        self.args = (self.message,)


class Interrupted(EnvtoolError):  # noqa: N818 - an interruption is no error
    """The user or the system asked envtool to stop."""

    exit_status = 130

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, code="interrupted")


def internal(error: Exception, *, shown: bool = False) -> EnvtoolError:
    """Returns the error for an unexpected exception. `shown`: the traceback is on the screen already."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "ENVTOOL_DEBUG=1 shows where; please report it with what `envtool version` prints"
    return EnvtoolError(f"internal error: {message} (this is a bug)", code="internal", hint="" if shown else hint)


# ---- plugins that fail -----------------------------------------------------------------------------------------------


def in_words(error: BaseException) -> str:
    """Returns the type and the message of an exception, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def is_of_core(file: str) -> bool:
    """Returns whether a source file is envtool's own."""
    return file.startswith(_CORE)


def place_of(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """Returns where in a plugin an error was raised, as "/path/envtool_motd.py:12"; if it was not raised in a plugin,
    where `function` begins; "" if that is not known."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_CORE, "<")) and os.path.basename(os.path.dirname(file)) != "importlib":
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 0}"
    inner: Any = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = getattr(inner, "__code__", None)
    return place or (f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "")


def report_fault(fault: EnvtoolError) -> None:
    """Prints a warning about a plugin without which this command goes on, once for each fault. A completion prints
    nothing."""
    if fault.message not in _reported and "_ENVTOOL_COMPLETE" not in os.environ:
        text = f"warning: {fault.message}; it is not used{f' ({fault.hint})' if fault.hint else ''}"
        print("".join(c if c.isprintable() else "?" for c in text), file=sys.stderr, flush=True)
    _reported.add(fault.message)


def has_faults() -> bool:
    """Returns whether this command goes on without a plugin: then nothing is stored for the fast paths, which print no
    warning."""
    return bool(_reported)


def forget_faults() -> None:
    """Begins a command line: what one before it reported in this process is reported again."""
    _reported.clear()


# ---- what the operating system refuses -------------------------------------------------------------------------------

_ELSEWHERE = "set ENVTOOL_STORE and TMPDIR to directories that"
_REFUSALS: dict[int, tuple[str, str]] = {  # errno -> code, and what to do
    errno.ENOSPC: (
        "store-space",
        f"free some space (`envtool gc` removes what nothing needs), or {_ELSEWHERE} have some",
    ),
    errno.EDQUOT: ("store-space", f"free some space within the quota (`envtool gc`), or {_ELSEWHERE} have some"),
    errno.EROFS: ("store-read-only", f"{_ELSEWHERE} are writable"),
    errno.EIO: ("disk-failed", "the disk itself fails: `dmesg` says more, `envtool store verify` what is damaged"),
    errno.EMFILE: ("open-files", "raise the limit of open files (`ulimit -n`), or run fewer envs at once (`--jobs`)"),
    errno.ENFILE: ("open-files", "this machine has too many files open: end what holds them"),
    errno.ENOMEM: ("memory", "there is not enough memory: run fewer envs at once (`--jobs`)"),
    errno.EAGAIN: ("processes", "raise the limit of processes (`ulimit -u`), or run fewer envs at once (`--jobs`)"),
    errno.EACCES: ("rights", "check its owner and its mode"),
    errno.EPERM: ("rights", "check its owner and its mode"),
}
_UNEXPECTED_ERRNOS = frozenset(  # a file of the store is missing, or of another type
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.EFBIG, errno.EEXIST)
) | {errno.ENOTEMPTY, errno.ESTALE, errno.ENODEV, errno.EBADMSG, errno.ENAMETOOLONG, errno.EBUSY, errno.EXDEV}


def to_store_error(error: OSError) -> StoreError | None:
    """Returns the error for a refusal of the operating system, with the file's name and a hint. None if the error is no
    refusal (a library's error that only inherits from OSError)."""
    from envtool.fs.beneath import DirectoryReplacedError

    number = error.errno or 0
    if isinstance(error, DirectoryReplacedError):
        return StoreError(f"{error.strerror}: {error.filename}", code="project-replaced", hint="run it again")
    if number not in _REFUSALS and number not in _UNEXPECTED_ERRNOS:
        return None
    if error.strerror and error.strerror.startswith("No usable temporary directory"):  # raised by tempfile
        return StoreError(
            "no temporary directory can be written to", code="store-space", hint=f"{_ELSEWHERE} have space"
        )
    code, hint = _REFUSALS.get(
        number, ("store-damaged", "if it is in the store, `envtool store verify --repair` removes what is damaged")
    )
    reason = os.strerror(number)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if number == errno.ENOSPC and name and _has_no_inodes(name):
        reason = "no inodes left (the disk has free space, but cannot hold more files)"
    elif error.strerror and number not in _REFUSALS:
        reason = error.strerror
    reason = reason[:1].lower() + reason[1:]
    return StoreError(f"{name}: {reason}" if name else reason, code=code, hint=hint)


def _has_no_inodes(path: str) -> bool:
    """Returns whether the file system of a path has no inode left; the path may not exist yet."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        status = os.statvfs(path or ".")
    except OSError:
        return False
    return status.f_files > 0 and status.f_favail == 0
