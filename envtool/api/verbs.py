"""Verbs of plugins, as values: `envtool.api` imports this module on demand, since only a called verb needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A word after the verb. `completes`: the shell completes names of envs or of tasks."""

    name: str  # lower-case; help shows it in capitals
    help: str
    optional: bool = False
    many: bool = False  # True: this word may be repeated, so its value is a tuple; only the last argument may be
    completes: Literal["", "env", "task"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a verb. Without a `metavar` it is a flag."""

    name: str  # with its dashes: "--layer"
    help: str
    metavar: str = ""  # of its value: "NAME"
    choices: tuple[str, ...] = ()  # the values that it takes; (): any
    many: bool = False  # True: it may be repeated, so its value is a tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPins:
    """A base or layer of an env with the pins that a run would use. `pins` is None for a kind that resolves nothing,
    and for a base that is this machine itself, if nothing was run on it yet."""

    subject: Literal["base", "layer"]
    name: str
    kind: str
    options: Json
    pins: Json


class PinnedProject(Protocol):
    """The project of the command line, for verbs."""

    def pinned(self, env: str) -> tuple[LayerPins, ...]:
        """Returns the base of an env and its layers, bottom first, without resolving or building anything. Raises
        UsageError if there is no such env or if something was never resolved, SpecError, StoreError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbCall:
    """One call of a verb. `values` has all arguments and options by name, without dashes at the beginning: a str ("" if
    it was not given), a bool for a flag, a tuple of str for what may be repeated."""

    values: Mapping[str, str | bool | tuple[str, ...]]
    project: PinnedProject
    words: tuple[str, ...] = ()  # after `--`


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a verb prints on standard output, or into the file of `--output`: `text`, or with `--json` the `document`.
    `status` is the exit status: 0, or 1 for "no"."""

    text: str
    document: Json = None
    status: Literal[0, 1] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginVerb:
    """A verb: `envtool NAME`. The core parses the command line by `arguments` and `options`, and adds the options that
    every verb has, and `--output FILE`. `run` is called once; errors of envtool.api that it raises are displayed with
    the exit status of their class."""

    name: str
    help: str  # the first line is a sentence for lists
    run: Callable[[VerbCall], Answer]
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()  # whole command lines
    takes_words: bool = False  # whether words may stand after `--`
