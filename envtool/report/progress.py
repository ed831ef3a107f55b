"""The state of running work, kept from events, for the live and the plain display."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from envtool.events import Attempted, Event, Finished, Output, Progress, Started
from envtool.lazy_dataclass import dataclass, field
from envtool.report.columns import Layout
from envtool.report.text import one_line, sanitize, visible_width

TAIL_LENGTH = 4096  # characters of output kept for each piece of work: enough for its last line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envtool.api.reporting import OutputReader
    from envtool.errors import PluginError
    from envtool.plugin_calls import Offer
    from envtool.report.test_counts import OutputCounter

    Readers = Sequence[Offer[OutputReader]]


@dataclass(slots=True, kw_only=True)
class RunningWork:
    """One running piece of work: a task, a build, a fetch."""

    started: Started
    done: int = 0
    total: int = 0
    count: int = 0
    of: int = 0
    phase: str = ""
    note: str = ""
    tail: str = ""
    counter: OutputCounter | None = None  # counts a task's tests; None until the task prints something
    announced: bool = False

    def apply_progress(self, event: Progress) -> None:
        """Takes over the numbers of the event; those of an earlier phase are dropped."""
        same_phase = event.phase in ("", self.phase)
        self.note, self.phase = event.note, event.phase or self.phase
        self.total = event.total or (self.total if same_phase else 0)
        self.done, self.count, self.of = event.done, event.count, event.of

    def last_line(self) -> str:
        """Returns the last line of the output that is not blank, as one safe line."""
        lines = sanitize(self.tail).split("\n")
        return next((one_line(line).strip() for line in reversed(lines) if line.strip()), "")


def _name_columns(event: Started) -> int:
    """Returns the columns of a name with its "[on]" part."""
    return visible_width(f"{event.name} [{event.on}]" if event.on else event.name)


@dataclass(slots=True)
class ProgressState:
    """The running pieces by id, in the order of their start, and the seconds of finished fetches, by name and `on`."""

    pieces: dict[str, RunningWork] = field(default_factory=dict)
    fetched: dict[tuple[str, str], float] = field(default_factory=dict)
    tasks: int = 0  # started so far
    widest: tuple[int, int, int] = (0, 0, 0)  # columns of the longest names so far: layers, envs, tasks
    readers: Readers = ()  # they count the tests of tasks
    complain: Callable[[str], None] = lambda _: None  # gets the message about a reader that failed
    _complaints: set[str] = field(default_factory=set)

    def layout(self, columns: int) -> Layout:
        """Returns the layout for the names so far, on a screen of `columns`."""
        return Layout.of(*self.widest, columns)

    def apply(self, event: Event) -> RunningWork | None:
        """Updates the state. Returns the piece to which the event belongs (also one that just ended), or None."""
        if isinstance(event, Started):
            self.tasks += event.subject == "task"
            names = (
                (0, visible_width(event.env), visible_width(event.name))
                if event.subject == "task"
                else (_name_columns(event), 0, 0)
            )
            self.widest = cast("tuple[int, int, int]", tuple(map(max, self.widest, names)))
            self.pieces[event.id] = RunningWork(started=event, total=event.total)
            return self.pieces[event.id]
        if isinstance(event, Finished):
            if event.subject == "fetch":
                self.fetched[event.name, event.on] = event.seconds
            return self.pieces.pop(event.id, None)
        piece = self.pieces.get(event.id)
        if piece and isinstance(event, Attempted):  # what the next attempt prints is counted alone
            piece.counter, piece.tail = None, ""
        if piece and isinstance(event, Progress):
            piece.apply_progress(event)
        elif piece and isinstance(event, Output):
            piece.tail = (piece.tail + event.text)[-TAIL_LENGTH:]
            if piece.started.subject == "task" and self.readers:
                self._count_tests(piece, event.text)
        return piece

    def _count_tests(self, piece: RunningWork, text: str) -> None:
        if piece.counter is None:
            # imported only when a task prints: an unchanged run does not pay for it
            from envtool.report.test_counts import OutputCounter

            piece.counter = OutputCounter(self.readers, self._complain_once)
        piece.counter.feed(text)

    def _complain_once(self, error: PluginError) -> None:
        if error.message not in self._complaints:
            self._complaints.add(error.message)
            self.complain(f"{error.message} (the run goes on)")

    def fetch_seconds(self, event: Finished) -> float | None:
        """Returns the seconds that the fetches of a finished piece took; None if it fetched nothing."""
        return None if event.subject in ("task", "fetch") else self.fetched.get((event.name, event.on))
