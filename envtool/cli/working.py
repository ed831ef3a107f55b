"""Work of the app that takes a while: in a thread of its own, shown while it runs, ended by a signal.

The main thread waits for an answer or a signal, whichever comes first: handlers only put a number into a queue
(SimpleQueue.put is reentrant).
"""

from __future__ import annotations

import os
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from envtool.cli import door, screen, signals
from envtool.errors import Interrupted
from envtool.report.lines import Lines
from envtool.report.stream import Stream, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envtool.cli.door import Latch
    from envtool.cli.options import Settings
    from envtool.events import Emit, Event
    from envtool.report.plain import Plain
    from envtool.report.terminal import Terminal

T = TypeVar("T")
Job: TypeAlias = "Callable[[Emit, Latch], T]"


class Listener:
    """A plugin that hears every event (api.envtool_event)."""

    def __init__(self, hear: Callable[[Event], None]) -> None:
        self._hear = hear

    def event(self, event: Event) -> None:
        """Hand it on."""
        self._hear(event)

    def tick(self, now: float) -> bool:
        """Plugins are told of events only."""
        del now
        return False


def listeners() -> list[Subscriber]:
    """The plugins that hear every event."""
    return [Listener(hear) for hear in door.app().listeners()]


def perform(settings: Settings, job: Job[T], *, events: bool = True) -> T:
    """Do a job that is no task; its answer. With `--json` its events go to standard output (`events` False: nowhere,
    since what goes there is a document), else they are shown.

    Raises EnvtoolError.
    """
    display = None if settings.json and settings.verbosity <= 0 else screen.display(settings)
    subscribers: list[Subscriber] = [display] if display else []
    subscribers += listeners()
    if settings.json and events:
        subscribers.append(Lines(sys.stdout))
    try:
        answer, _, abandoned = wait(job, subscribers, display)
    finally:
        if display:
            display.close()
    if abandoned:
        print("interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130)
    if answer is None:
        raise Interrupted
    return answer


def wait(
    job: Job[T], subscribers: Sequence[Subscriber], display: Terminal | Plain | None
) -> tuple[T | None, bool, bool]:
    """The answer, whether we were interrupted, and whether twice: the second signal does not wait for anything, since
    every container dies with this process. Raises what the job raised, but for Interrupted.
    """
    answers: SimpleQueue[int | BaseException | tuple[T]] = SimpleQueue()
    cancel = door.app().Cancel.make()

    def say(text: str) -> None:
        if display:
            display.say(text)
        else:
            print(text, file=sys.stderr)

    with Stream(subscribers, say) as stream, signals.caught(answers.put):

        def work() -> None:
            try:
                answers.put((job(stream.emit, cancel),))
            except BaseException as error:
                answers.put(error)

        threading.Thread(target=work, name="app", daemon=True).start()
        answer: Any = answers.get()
        while isinstance(answer, int):
            if cancel.is_set():
                return None, True, True
            cancel.set(answer)
            stream.call(lambda: say("interrupted: ending what runs, outputs are kept (again: end at once)"))
            answer = answers.get()
    # The latch is left open: after a second signal the app's threads may still look at it until the process ends.
    if isinstance(answer, Interrupted):
        return None, True, False
    if isinstance(answer, BaseException):
        raise answer
    (value,) = answer
    return value, cancel.is_set(), False
