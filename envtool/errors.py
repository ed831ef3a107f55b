"""Everything envtool raises on purpose.

    EnvtoolError                 code, message, hint, exit status
    ├── SpecError          2     the spec is wrong: a tuple of Problems, each with file:line:column
    ├── UsageError         2     the command line is wrong
    ├── MakeError          3     an environment could not be made
    │   ├── ResolveError         what floats could not be settled (no such package, no candidate)
    │   ├── FetchError           a file could not be fetched, or was not what its hash says
    │   ├── BuildError           a layer's commands failed; carries their output
    │   ├── NotCachedError       something would have to be built, and it was asked that nothing is
    │   ├── StoreError           the store cannot be used (space, rights, corruption)
    │   └── SandboxError         the kernel or the host refuses a container
    └── Interrupted      130     ^C or SIGTERM

A message is one lower-case sentence without a full stop; `hint` says what to do next. `code` is stable:
tests and scripts compare it, never the prose. Only `envtool.cli` turns an error into an exit status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envtool.model import Where


class EnvtoolError(Exception):
    """Base of all: `str(error)` is the message; `hint` may be empty."""

    exit_status: ClassVar[int] = 3

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
    """All that is wrong with a spec, at once, in the order of the file."""

    exit_status = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = len(problems)
        super().__init__(f"{count} error{'s' if count != 1 else ''} in the spec", code="spec")
        self.problems = problems


class UsageError(EnvtoolError):
    """The command line asks for something that does not exist or does not go together."""

    exit_status = 2


class MakeError(EnvtoolError):
    """An environment could not be made: nothing is known about the tests in it."""

    exit_status = 3


class ResolveError(MakeError):
    """Something floating could not be settled to exact files."""


class FetchError(MakeError):
    """A file could not be fetched, or is not what its hash says."""


class BuildError(MakeError):
    """A layer's commands failed. `output` is what they printed (bytes decoded with replacement)."""

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


class Interrupted(EnvtoolError):  # noqa: N818 - it is no error
    """The user or the system asked envtool to stop."""

    exit_status = 130

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, code="interrupted")
