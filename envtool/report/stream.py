"""The queue between the workers, who emit from many threads, and the subscribers, who are called from one.

A subscriber needs no lock. One that raises is reported once and goes on being called, and so do the others:
a broken report must not end a run.
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
    from envtool.events import Event, Outcome

BACKLOG = 64  # pieces of output between the workers and the subscribers
TICK = 0.1  # seconds between two ticks while a subscriber is busy


class ReportedResult(Protocol):
    """How one task of one env ended, as the end of a report needs it (app.Result is one)."""

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
        """Path of the whole output; empty when there is none."""

    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def message(self) -> str: ...
    @property
    def commands(self) -> tuple[str, ...]:
        """Of a task that ran and did not pass: its commands, as one would type them."""

    @property
    def where(self) -> str:
        """Of the same: "envtool.yaml:14", where the task stands."""

    @property
    def host(self) -> str:
        """Of a run that is remembered: on which machine it ran."""

    @property
    def error(self) -> EnvtoolError | None:
        """Why its env was not made; None where it was."""


class Subscriber(Protocol):
    """Whoever wants the events of a run."""

    def event(self, event: Event) -> None:
        """Called for every event, in the order of emission."""

    def tick(self, now: float) -> bool:
        """Called after events, and every TICK seconds as long as one subscriber returns True ("I move").
        `now` is seconds since the epoch.
        """


class EventStream:
    """Give `emit` to the workers; leave the `with` block before you use what the subscribers gathered."""

    def __init__(self, subscribers: Sequence[Subscriber], complain: Callable[[str], None]) -> None:
        self._subscribers = tuple(subscribers)
        self._complain = complain
        self._broken: set[int] = set()
        self._queue: queue.SimpleQueue[Event | Callable[[], object] | None] = queue.SimpleQueue()
        self._closed = False
        self._room = threading.Condition()
        self._pending_output = 0  # pieces of output that no subscriber has seen yet
        self._thread = threading.Thread(target=self._pump, name="report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._room:
            self._closed = True
            self._room.notify_all()  # whoever still waits may go: its events are nobody's concern any more
        self._queue.put(None)
        self._thread.join()

    def emit(self, event: Event) -> None:
        """Hand over an event, from any thread but the subscribers' own. Output waits while BACKLOG pieces of it are
        under way: a task that prints faster than the terminal takes it is slowed down, as it would be without us.
        """
        if isinstance(event, Output):
            with self._room:
                self._room.wait_for(lambda: self._closed or self._pending_output < BACKLOG)
                self._pending_output += 1
        self._queue.put(event)

    def settle(self) -> None:
        """Wait until the subscribers have seen all that was emitted so far."""
        seen = threading.Event()
        self.call(seen.set)
        seen.wait()

    def call(self, function: Callable[[], object]) -> None:
        """Have a function called by the subscribers' thread, after all that was emitted so far. Never blocks; may
        be used from a signal handler.
        """
        self._queue.put(function)

    def _pump(self) -> None:
        moving, ticked = False, 0.0
        while True:
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
                    with self._room:
                        self._pending_output -= 1
                        self._room.notify()
            now = time.time()
            if callable(item) or now - ticked >= TICK or not moving:
                ticked = now
                moves = [self._call_safely(index, each.tick, now) for index, each in enumerate(self._subscribers)]
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
                said = f"the {name} report failed: {type(error).__name__}: {error}"
                said = error.message if isinstance(error, PluginError) else said
                self._complain(f"{said} (the run goes on)")
            return False


def _do_nothing() -> None:
    """What is called when a tick is all there is to do."""
