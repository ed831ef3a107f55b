"""Runs work in a thread, shows its events, and handles ^C: for all verbs that build layers.

The app works in a thread of its own. The main thread waits for the answer or a signal, whichever comes first, so a
signal handler only puts a number into a queue (SimpleQueue.put is reentrant).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn, TypeVar

from envtool.cli import console, signals
from envtool.errors import Interrupted, SpecError, UsageError
from envtool.events import Finished, Progress
from envtool.fs import caller_paths
from envtool.report.formatting import pluralize
from envtool.report.json_lines import Lines, result_json, write_line
from envtool.report.stream import EventStream, ReportedResult, Subscriber
from envtool.report.summary import format_summary, to_type
from envtool.run.shutdown import GRACE_SECONDS, GracePeriod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Unpack

    from envtool.app.command_request import CommandRequest
    from envtool.app.read_spec import RunOffers
    from envtool.build.context import Cancel
    from envtool.cli.common_options import Settings
    from envtool.cli.option_values import RunOptions
    from envtool.cli.report_writer import ReportWriter
    from envtool.events import Emit, Event
    from envtool.report.plain import Plain
    from envtool.report.progress import Readers
    from envtool.report.terminal import Terminal
    from envtool.run.result import Result

    Reports = tuple[tuple[str, str], ...]  # names of formats, and paths of files

Answer = TypeVar("Answer")


def compute_exit_status(results: Sequence[ReportedResult], *, interrupted: bool = False) -> int:
    """The exit status of a run. A failed task (1) and a spec that is wrong for an env (2) are facts about the project:
    they outweigh an env that could not be built (3)."""
    outcomes = {result.outcome for result in results}
    if interrupted or ("interrupted" in outcomes and not outcomes & {"failed", "timeout"}):
        return 130
    if outcomes & {"failed", "timeout"}:
        return 1
    if any(isinstance(result.error, SpecError) for result in results):
        return 2
    return 3 if "error" in outcomes else 0


def list_reports(junit: str | None, reports: tuple[tuple[str, str], ...]) -> Reports:
    """The reports that a run writes: those of `--report`, and that of `--junit`."""
    return (("junit", junit), *reports) if junit else reports


def build_request(
    settings: Settings, args: tuple[str, ...], files: Reports, **options: Unpack[RunOptions]
) -> CommandRequest:
    """The request of `test`, `build` or `run`. `files` are those that the run writes."""
    return settings.request(args=args, reports=tuple(os.path.abspath(path) for _, path in files), **options)


def open_display(settings: Settings, readers: Readers = ()) -> Terminal | Plain | None:
    """The display of a verb that builds layers; None with `--json`, unless `-v` asks for both. `readers` count the
    tests of tasks."""
    return None if settings.json and settings.verbosity <= 0 else console.make_display(settings, readers)


def list_subscribers(
    settings: Settings,
    *first: Subscriber | None,
    listeners: Sequence[Callable[[Event], None]] | None = None,
    events: bool = True,
) -> list[Subscriber]:
    """All that receive the events of a run: the `first` ones, the `listeners` (None: those of all plugins), and with
    `events` the lines of `--json`."""
    if listeners is None:
        from envtool.app import read_spec

        listeners = read_spec.listeners()
    subscribers = [subscriber for subscriber in first if subscriber]
    subscribers += [Listener(hear) for hear in listeners]
    return [*subscribers, Lines(sys.stdout)] if settings.json and events else subscribers


def run_with_display(settings: Settings, work: Callable[[Emit, Cancel], Answer], *, events: bool = True) -> Answer:
    """Call `work`, which builds layers, with a function that takes its events and a Cancel; show the events, and return
    the answer. `events` False: `--json` does not write the events, since standard output is for a document. Raises
    EnvtoolError, Interrupted."""
    display = open_display(settings)
    subscribers = list_subscribers(settings, display, events=events)
    try:
        answer, interrupted, abandoned = run_interruptibly(work, subscribers, display)
    finally:
        _close(display)
    if abandoned:
        _print_last(
            "\n".join(
                [f"{console.over()}interrupted", *to_type("again:", settings.typed(), console.terminal_width()), ""]
            )
        )
        exit_now(130)
    if answer is None or interrupted:
        raise Interrupted
    return answer


def run_and_report(
    settings: Settings, task: str, request: CommandRequest, reports: Reports = (), provenance: str | None = None
) -> int:
    """Run `task` (empty: the pipeline), show it, write the reports; returns the exit status. `provenance`: a file for
    in-toto statements about the results that passed. Raises EnvtoolError."""
    with _early_holder(settings):
        return _run_and_report(settings, task, request, reports, provenance)


@contextmanager
def _early_holder(settings: Settings) -> Iterator[None]:
    """A context in which the network of services starts while the spec is read, if the text of the spec looks like one
    with services; it may have started before (cli/fastpath.py). A wrong guess costs some processor time."""
    from envtool.cli import fastpath
    from envtool.container import pod_spawn

    try:
        early_run = sys.modules.get("envtool.container.early_run")
        if not (early_run and early_run.has_begun()):  # else its pod has taken the holder that had started
            fastpath.start_network(os.path.join(settings.top(), os.path.basename(settings.file) or "envtool.yaml"))
        yield
    finally:
        pod_spawn.end_early()
        if early_run is not None:
            early_run.end()
        if early_container := sys.modules.get("envtool.container.early_container"):
            early_container.end_task()


def _run_and_report(
    settings: Settings, task: str, request: CommandRequest, reports: Reports, provenance: str | None
) -> int:
    from envtool.app import output_files, read_spec, tasks

    output_files.check([path for _, path in reports] + ([provenance] if provenance else []), settings.top())
    offers = read_spec.run_offers()
    writer = _make_report_writer(reports, offers, settings)
    display = open_display(settings, offers.readers)
    built = BuiltCounter()
    subscribers = list_subscribers(
        settings, display, writer.recorder if writer else None, built, listeners=offers.listeners
    )
    started = time.monotonic()
    results: tuple[Result, ...] = ()
    written = True
    abandoned = False
    try:
        answer, interrupted, abandoned = run_interruptibly(
            lambda emit, cancel: (
                tasks.run(request, task, emit, cancel, offers.registry)
                if task
                else tasks.run_pipeline(request, emit, cancel, offers.registry)
            ),
            subscribers,
            display,
        )
        results = answer or ()
    finally:
        _close(display)
        if writer:
            written = writer.write(results)
    if provenance:
        written &= _write_provenance(provenance, settings, results)
    if not results and not interrupted:
        raise UsageError(f"no env has a task `{task}`", code="usage.task", hint="`envtool list` shows envs and tasks")
    ran = [result.seconds for result in results if result.outcome != "cached"]
    seconds = max([time.monotonic() - started, *ran])  # a task may have begun early (early_container.py)
    status = compute_exit_status(results, interrupted=interrupted)
    status = status if status or written else 3
    if settings.json:
        write_line(sys.stdout, result_json(results, seconds, status))
    if display:
        text = format_summary(
            results,
            seconds,
            interrupted=interrupted,
            again=settings.again(),
            typed=settings.typed(),
            kept=built.kept(),
            shown=display.shown,
            style=console.detect_style(sys.stderr, settings.color),
            columns=console.rule_width(),
            screen=console.terminal_width(),
        )
        _print_last(f"{console.over() if abandoned else ''}{text}\n")
    if abandoned or interrupted:
        exit_now(status)
    return status


def _print_last(text: str) -> None:
    """Writes a text to stderr, unless the terminal was closed: nobody reads it then, and the exit status stays."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _close(display: Terminal | Plain | None) -> None:
    """Closes what shows the run, whose terminal may be closed."""
    with suppress(OSError):
        if display:
            display.close()


def exit_now(code: int) -> NoReturn:
    """End this process at once: Python would wait for threads of the app that still wait for something. Containers die
    with the process; what was finished is stored, and a process of its own removes what was not."""
    sys.stdout.flush()
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.flush()
    from envtool.run.sweep import sweep_after_exit

    sweep_after_exit()
    os._exit(code)


def _make_report_writer(reports: Reports, offers: RunOffers, settings: Settings) -> ReportWriter | None:
    """What writes the reports; None if there are none. Raises UsageError for a format that does not exist."""
    if not reports:
        return None
    from envtool.cli.report_writer import make_report_writer

    return make_report_writer(reports, offers, settings.top())


class BuiltCounter:
    """Counts what a run has built and fetched, which stays in the store even if the run is interrupted."""

    def __init__(self) -> None:
        self._built, self._fetched = {"base": 0, "layer": 0}, False

    def kept(self) -> list[str]:
        """What stays, in words, as in "2 layers"."""
        counts = [pluralize(number, word) for word, number in self._built.items() if number]
        return [*(["what was fetched"] if self._fetched else []), *counts]

    def event(self, event: Event) -> None:
        """Count the result of a build or a fetch."""
        if isinstance(event, Finished) and event.subject in self._built:
            self._built[event.subject] += event.outcome in ("built", "pulled")
        self._fetched |= isinstance(event, Progress) and event.phase in ("index", "fetching") and event.done > 0

    def tick(self, now: float) -> bool:
        """Redraws nothing."""
        del now
        return False


class Listener:
    """A subscriber that passes every event to a plugin (api.envtool_event)."""

    def __init__(self, hear: Callable[[Event], None]) -> None:
        self._hear = hear

    def event(self, event: Event) -> None:
        """Pass the event on."""
        self._hear(event)

    def tick(self, now: float) -> bool:
        """Does nothing: plugins receive only events."""
        del now
        return False


def _write_provenance(path: str, settings: Settings, results: Sequence[Result]) -> bool:
    from envtool.run import provenance

    text = provenance.bundle(results)
    try:
        with caller_paths.atomic_write(path, settings.top(), make=True) as file:
            file.write(text.encode())
    except OSError as error:
        print(f"error: the provenance file cannot be written: {error}", file=sys.stderr)
        return False
    return True


def run_interruptibly(
    work: Callable[[Emit, Cancel], Answer], subscribers: Sequence[Subscriber], display: Terminal | Plain | None
) -> tuple[Answer | None, bool, bool]:
    """Call `work` in a thread. Returns its answer (None if there is none), whether a signal came, and whether the
    answer was not waited for: after the first signal the main thread waits as long as GracePeriod says, after the
    second not at all. Every container dies with this process.
    """
    from envtool.build.context import Cancel

    answers: SimpleQueue[int | BaseException | tuple[Answer]] = SimpleQueue()
    cancel, grace = (
        Cancel.make(),
        GracePeriod(GRACE_SECONDS + 0.3),
    )  # longer than the app's own grace period, so that the app can report what it knows

    def say(text: str, *, over: bool = False) -> None:
        with suppress(OSError):  # the terminal was closed: that ends neither the run nor its reports
            if display:
                display.say(text, over=over)
            else:
                print(text, file=sys.stderr)

    with EventStream(subscribers, say) as stream, signals.catch_signals(answers.put):

        def emit(event: Event) -> None:
            grace.on_event(event)
            stream.emit(event)

        def work_and_answer() -> None:
            try:
                answers.put((work(emit, cancel),))
            except BaseException as error:
                answers.put(error)

        threading.Thread(target=work_and_answer, name="app", daemon=True).start()
        # Never waits without an end: a signal that comes just before a thread sleeps on a lock does not wake it.
        while (answer := _next_answer(answers)) is None:
            pass
        while isinstance(answer, int):
            if cancel.is_set():
                return None, True, True
            cancel.set(answer)
            grace.is_over()
            stream.call(lambda: say("interrupted: stopping (Ctrl-C again: at once)", over=True))
            while (next_answer := _next_answer(answers)) is None:
                if grace.is_over():
                    return None, True, True
            answer = next_answer
    # The Cancel stays open: after a second signal the app's threads may still read it until the process ends.
    if isinstance(answer, Interrupted):
        return None, True, False
    if isinstance(answer, BaseException):
        raise answer
    return answer[0], cancel.is_set(), False


def _next_answer(answers: SimpleQueue[Answer]) -> Answer | None:
    """The next answer, or None if none comes within 50 ms."""
    try:
        return answers.get(timeout=0.05)
    except Empty:
        return None
