"""The short ways of `envtool exec ENV -- CMD…` and of `test`, `build` and `run TASK`: taken when the answer is already
on disk. The command line is read as cli.main would read it, or not at all (decision 0130)."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


VERBS = ("exec", "test", "build", "run")
_TASKS = {"test": "test", "build": "build"}  # the verbs that are the name of their task


class Line:
    """A command line, as far as the short ways understand it; what is not here was not said."""

    verb = ""
    words: tuple[str, ...] = ()  # positional, after the verb
    tail: tuple[str, ...] = ()  # after `--`
    directory = "."
    envs: tuple[str, ...] = ()
    quiet = False
    color = "auto"
    json = False
    junit = ""


def line(arguments: list[str]) -> Line | None:
    """What a command line says, by the rules of click (options stand anywhere before `--`, but those of a verb after
    it; short ones may be joined; the last value wins); None where there is anything that the short ways do not know."""
    said = Line()
    if "--" in arguments:
        at = arguments.index("--")
        arguments, said.tail = arguments[:at], tuple(arguments[at + 1 :])
    rest = iter(arguments)
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found = _said(said, name, value if equals else None, rest)
        elif word.startswith("-"):
            found = _joined(said, word[1:], rest)
        elif said.verb:
            said.words += (word,)
            found = word != ""
        else:
            said.verb = word
            found = word in VERBS
        if not found:
            return None
    return said if said.verb else None


def _joined(said: Line, letters: str, rest: Iterator[str]) -> bool:
    """One word of short options: `-q`, `-C DIR`, `-CDIR`, `-qeENV`."""
    for at, letter in enumerate(letters, 1):
        if letter != "q":
            return _said(said, f"-{letter}", letters[at:] or None, rest)
        said.quiet = True
    return letters != ""


def _said(said: Line, name: str, value: str | None, rest: Iterator[str]) -> bool:
    """One option, whose value is here or the next word; whether it is one that is known."""
    if name in ("--quiet", "--json") and value is None:
        setattr(said, name[2:], True)
        return True
    if name not in ("-C", "--color", "-e", "--env", "-j", "--jobs", "--junit"):
        return False
    value = next(rest, "") if value is None else value
    if not value or value.startswith(("-", "=")):
        return False
    if name == "-C":
        said.directory = value
    elif name == "--color":
        said.color = value
        return value in ("auto", "always", "never")
    elif said.verb in ("", "exec"):
        return False
    elif name == "--junit":
        said.junit = os.path.abspath(value)
        return not os.path.isdir(value) and not said.junit.startswith(("/dev/", "/proc/"))
    elif name in ("-j", "--jobs"):  # nothing is run: any number that the long way would take
        return value.isascii() and value.isdigit() and len(value) < 4 and int(value) > 0
    else:
        said.envs += (value,)
    return True


def try_exec(arguments: list[str]) -> int | None:
    """The command's exit status, or None: take the long way. Never raises or prints anything before the command has
    started.
    """
    said = line(arguments)
    if said is None or said.verb != "exec" or said.json or not said.words or "_ENVTOOL_COMPLETE" in os.environ:
        return None
    argv = (*said.words[1:], *said.tail)
    if not argv:
        return None
    spec = find_nearest_spec(said.directory)
    store = _store_directory()
    if not spec or not store:
        return None
    from envtool.run import fast_exec

    plan = fast_exec.read_plan(store, spec, said.words[0])
    if plan is None:
        return None
    try:
        return _launch(plan, argv)
    finally:
        fast_exec.release(plan)


def try_task(arguments: list[str]) -> int | None:
    """0 where every task passed before and nothing has changed since, with the lines that the long way prints; None:
    take the long way. Nothing is printed before that is certain.
    """
    said = line(arguments)
    if said is None or said.tail or "_ENVTOOL_COMPLETE" in os.environ:
        return None
    tasks = (*filter(None, (_TASKS.get(said.verb),)), *said.words)
    if said.verb == "exec" or len(tasks) != 1:
        return None
    spec = find_nearest_spec(said.directory)
    store = _store_directory()
    if not spec or not store:
        return None
    import time

    from envtool.run import fast_test

    began = time.monotonic()
    plan = fast_test.read_plan(store, spec, tasks[0], said.envs)
    if plan is None:
        return None
    with _SignalCatcher() as stopping:
        stands = fast_test.is_unchanged(plan, (said.junit,) if said.junit else (), stopping.reader)
    if stopping.was_signalled:
        sys.stderr.write("interrupted\n")
        return 130
    try:
        if not stands or not fast_test.leave_evidence(plan):
            return None
        if said.junit:
            _write_junit(said.junit, plan)
    except OSError:  # the long way has the words for it
        return None
    spent = time.monotonic() - began
    return _print_json(plan, spent) if said.json else _print_lines(said, plan, spent)


def _write_junit(path: str, plan: dict[str, Any]) -> None:
    """Raises OSError."""
    from envtool.fs import beneath
    from envtool.report.junit import Junit

    report = Junit(path, beneath.current_project() or plan["root"])
    for row in plan["rows"]:
        report.add_unchanged(
            row["env"], row["task"], since=row["since"], seconds=row["seconds"], host=row["host"], log=row["log"]
        )
    report.write()


def _print_json(plan: dict[str, Any], spent: float) -> int | None:
    """The exit status, or None where the long way has more to say."""
    if plan["note"]:
        return None
    import time

    from envtool.report import unchanged

    lines = unchanged.json_lines(plan["rows"], now=time.time(), spent=spent)
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        return 141  # as main.main does
    except OSError:  # the long way has the words for it
        return None
    return 0


def _print_lines(said: Line, plan: dict[str, Any], spent: float) -> int | None:
    """The exit status, or None where the long way has the words."""
    import time

    from envtool.report import unchanged

    color, unicode = unchanged.detect_capabilities(sys.stderr, os.environ)
    color = color if said.color == "auto" else said.color == "always"
    now = time.time()
    columns = unchanged.columns(sys.stderr, os.environ)
    lines = [] if said.quiet else unchanged.lines(plan["rows"], now=now, color=color, columns=columns)
    if lines is None or spent >= 59:  # the long way has the words for minutes
        return None
    if plan["note"] and not said.quiet:
        if columns and len(plan["note"]) + 6 > columns:
            return None
        lines.append(f"note: {plan['note']}")
    lines.append(unchanged.format_total(len(plan["rows"]), spent, color=color, unicode=unicode))
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
    return 0


class _SignalCatcher:
    """Meanwhile ^C, SIGTERM and a closed terminal are heard, and make `reader` readable; the second one ends us."""

    def __enter__(self) -> _SignalCatcher:
        import _signal  # type: ignore[import-not-found]  # what `signal` wraps in enums, ten times as slow to import

        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.was_signalled = False
        self._set = _signal.signal
        self._before = {number: _signal.getsignal(number) for number in (1, 2, 15)}
        for number, handler in self._before.items():
            if handler is not _signal.SIG_IGN:
                _signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, _frame: object) -> None:
        # how many bytes wait is the signal (realise.setting.Cancel): only the first one counts
        self._set(number, 0)  # SIG_DFL
        self.was_signalled = True
        os.write(self._writer, b"x" * number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            self._set(number, handler)
        os.close(self.reader)
        os.close(self._writer)


def _launch(plan: dict[str, object], argv: tuple[str, ...]) -> int | None:
    from envtool.run import fast_exec

    with _SignalCatcher() as stopping:
        try:
            return fast_exec.launch(plan, argv, terminal=os.isatty(0) and os.isatty(1), cancel=stopping.reader)
        except Exception as error:  # a refusal of the kernel, or of git: the long way has the words for it
            if type(error).__name__ in ("SandboxError", "RepositoryError"):
                return None
            raise


def find_nearest_spec(directory: str) -> str:
    """The spec that app.find_spec finds, with the links of its directory followed; empty when there is none."""
    from envtool.project import discovery

    found = discovery.find_spec(os.path.abspath(directory)).path
    return f"{os.path.realpath(os.path.dirname(found))}/{discovery.SPEC}".replace("//", "/") if found else ""


def _store_directory() -> str:
    """store.directory(), without its errors: those are for the long way to say."""
    own = os.environ.get("ENVTOOL_STORE", "")
    if own:
        return os.path.normpath(own) if os.path.isabs(own) else ""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return ""
        cache = f"{home}/.cache"
    return f"{cache}/envtool"
