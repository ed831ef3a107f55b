"""The queue between workers, which emit events from many threads, and subscribers, which are called from one thread.

A subscriber needs no lock. If it raises, that is reported once, and all subscribers are still called: a broken report
must not end a run.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

from envtool.errors import PluginError
from envtool.events import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envtool.errors import EnvtoolError
    from envtool.events import Event, Outcome, TaskAttempt
    from envtool.model import ReadFiles

BACKLOG = 64  # Output events that may wait between the workers and the subscribers
TICK = 0.1  # seconds between two ticks while a subscriber is busy
REST = 0.005  # seconds for which events gather, in a run of many: to be woken for each costs its emitter 0.2 ms
MANY = 16  # events within a TICK


class ReportedResult(Protocol):
    """How one task of one env ended, as reports need it (app.Result is one)."""

    @property
    def env(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def status(self) -> int | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def started(self) -> float: ...
    @property
    def log(self) -> str:
        """Path of the log with the whole output; empty if there is none."""

    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def memory(self) -> int:
        """What it used, and the limit that ended it: these four as in events.Finished."""

    @property
    def cpu_seconds(self) -> float: ...
    @property
    def written(self) -> int: ...
    @property
    def limit(self) -> str: ...
    @property
    def reads(self) -> ReadFiles | None:
        """What it read of the project; None if it did not pass, or if that is not stored."""

    @property
    def message(self) -> str: ...
    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of a task that ran and did not pass, as one would type them."""

    @property
    def where(self) -> str:
        """Where the spec defines that task: "envtool.yaml:14"."""

    @property
    def host(self) -> str:
        """The machine on which an unchanged task passed."""

    @property
    def attempts(self) -> tuple[TaskAttempt, ...]:
        """All attempts of a task that ran more than once."""

    @property
    def error(self) -> EnvtoolError | None:
        """The error that kept the env from being built; None if it was built."""


class Subscriber(Protocol):
    """A receiver of the events of a run."""

    def event(self, event: Event) -> None:
        """Called for every event, in the order of emission."""

    def tick(self, now: float) -> bool:
        """Called after events, and every TICK seconds while a subscriber returns True (something moves). `now` is in
        seconds since the epoch.
        """


class EventStream:
    """A context manager: workers call `emit`; the subscribers have all events when the `with` block has ended."""

    def __init__(self, subscribers: Sequence[Subscriber], complain: Callable[[str], None]) -> None:
        self._subscribers = tuple(subscribers)
        self._complain = complain
        self._broken: set[int] = set()
        self._queue: queue.SimpleQueue[Event | Callable[[], object] | None] = queue.SimpleQueue()
        self._closed = False
        self._condition = threading.Condition()
        self._pending_output = 0  # pieces of output that no subscriber has seen yet
        self._thread = threading.Thread(target=self._pump, name="report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()  # workers that still wait go on: their events are not needed any more
        self._queue.put(None)
        self._thread.join()

    def emit(self, event: Event) -> None:
        """Queues an event, from any thread except the subscribers' own. Output blocks while BACKLOG pieces wait: a
        task that prints faster than the terminal is slowed down, as it would be without envtool.
        """
        if isinstance(event, Output):
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._pending_output < BACKLOG)
                self._pending_output += 1
        self._queue.put(event)

    def wait_until_handled(self) -> None:
        """Waits until the subscribers have handled all events emitted so far."""
        handled = threading.Event()
        self.call(handled.set)
        handled.wait()

    def call(self, function: Callable[[], object]) -> None:
        """Has the subscribers' thread call a function, after all events emitted so far. Never blocks; may be used in a
        signal handler.
        """
        self._queue.put(function)

    def _pump(self) -> None:
        moving, ticked = False, 0.0
        counted, began = 0, 0.0  # events since the beginning of a time of one TICK
        while True:
            if counted >= MANY and self._queue.empty():
                time.sleep(REST)
            item: Event | Callable[[], object] | None
            try:
                item = self._queue.get(timeout=TICK if moving else None)
            except queue.Empty:
                item = _do_nothing
            if item is None:
                return
            if not callable(item):
                for index, subscriber in enumerate(self._subscribers):
                    self._call_safely(index, subscriber.event, item)
                if isinstance(item, Output):
                    with self._condition:
                        self._pending_output -= 1
                        self._condition.notify()
            now = time.time()
            if not 0 <= now - began < TICK:
                counted, began = 0, now
            counted += not (callable(item) or isinstance(item, Output))
            if callable(item) or now - ticked >= TICK or not moving:
                ticked = now
                moves = [
                    self._call_safely(index, subscriber.tick, now) for index, subscriber in enumerate(self._subscribers)
                ]
                moving = any(moves)
            if callable(item):
                item()

    def _call_safely(self, index: int, call: Callable[..., object], value: object) -> object:
        try:
            return call(value)
        except Exception as error:
            if index not in self._broken:
                self._broken.add(index)
                name = type(self._subscribers[index]).__name__.lower()
                message = f"the {name} report failed: {type(error).__name__}: {error}"
                message = error.message if isinstance(error, PluginError) else message
                self._complain(f"{message} (the run goes on)")
            return False


def _do_nothing() -> None:
    """The call that is made when only a tick is due."""
