"""The fast paths of `envtool exec ENV -- CMD…`, of `test`, `build` and `run TASK`, and of `list`: they answer from one
small file.

Either a command line is read exactly as cli.main would read it, or it takes the long path (decision 0130).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


VERBS = ("exec", "test", "build", "run", "list")
_TASKS = {"test": "test", "build": "build"}  # the verbs that are the name of their task
_TASK_VERBS = ("test", "build", "run")
_FLAGS = {"q": "quiet", "v": "verbose", "x": "fail_fast"}


class Line:
    """A command line, as far as the fast paths understand it; a value that was not given has its default."""

    verb = ""
    words: tuple[str, ...] = ()  # positional, after the verb
    tail: tuple[str, ...] = ()  # after `--`
    directory = "."
    envs: tuple[str, ...] = ()
    quiet = False
    verbose = False
    fail_fast = False
    again = False
    offline = False  # means nothing where nothing is built: the plan is that of a run which knew all results
    color = "auto"
    json = False
    junit = ""
    base = ""  # of `exec` without a project
    layers: tuple[str, ...] = ()
    network = False


def line(arguments: list[str]) -> Line | None:
    """Parse a command line by the rules of click: global options stand anywhere before `--`, those of a verb after it;
    short options may be joined; the last value wins. None if it has anything that the fast paths do not know."""
    parsed = Line()
    if "--" in arguments:
        index = arguments.index("--")
        arguments, parsed.tail = arguments[:index], tuple(arguments[index + 1 :])
    remaining = iter(arguments)
    for word in remaining:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            understood = _parse_option(parsed, name, value if equals else None, remaining)
        elif word.startswith("-"):
            understood = _parse_short_options(parsed, word[1:], remaining)
        elif parsed.verb:
            parsed.words += (word,)
            understood = word != ""
        else:
            parsed.verb = word
            understood = word in VERBS
        if not understood:
            return None
    if parsed.verbose and (parsed.quiet or parsed.json or parsed.verb in ("exec", "list")):
        return None
    return parsed if parsed.verb else None


def _parse_short_options(parsed: Line, letters: str, remaining: Iterator[str]) -> bool:
    """Parse one word of short options: `-q`, `-C DIR`, `-CDIR`, `-xqeENV`. False if one is unknown."""
    for end, letter in enumerate(letters, 1):
        if letter not in _FLAGS:
            return _parse_option(parsed, f"-{letter}", letters[end:] or None, remaining)
        if not _set_flag(parsed, _FLAGS[letter]):
            return False
    return letters != ""


def _set_flag(parsed: Line, name: str) -> bool:
    """Set an option that has no value. False if the verb is not known to have it."""
    setattr(parsed, name, True)
    if name == "network":
        return parsed.verb == "exec"
    return name not in ("fail_fast", "offline", "again") or parsed.verb in ("test", "build", "run")


def _parse_option(parsed: Line, name: str, value: str | None, remaining: Iterator[str]) -> bool:
    """Parse one option, whose value is given or the next word. False if the option or its value is unknown."""
    if name in ("--quiet", "--verbose", "--json", "--fail-fast", "--offline", "--again", "--network") and value is None:
        return _set_flag(parsed, name[2:].replace("-", "_"))
    if name not in ("-C", "--color", "-e", "--env", "-j", "--jobs", "--junit", "--base", "--with"):
        return False
    value = next(remaining, "") if value is None else value
    if not value or value.startswith(("-", "=")):
        return False
    if name == "-C":
        parsed.directory = value
    elif name == "--color":
        parsed.color = value
        return value in ("auto", "always", "never")
    elif name in ("--base", "--with"):
        if parsed.verb != "exec":
            return False
        if name == "--base":
            parsed.base = value
        else:
            parsed.layers += (value,)
    elif parsed.verb in ("", "exec", "list"):
        return False
    elif name == "--junit":
        parsed.junit = os.path.abspath(value)
        return not os.path.isdir(value) and not parsed.junit.startswith(("/dev/", "/proc/"))
    elif name in ("-j", "--jobs"):  # nothing runs: any number that the long path accepts will do
        return value.isascii() and value.isdigit() and len(value) < 4 and int(value) > 0
    else:
        parsed.envs += (value,)
    return True


def try_exec(arguments: list[str]) -> int | None:
    """Run the command of `exec` if its plan is stored. Returns the command's exit status, or None for the long path.
    Raises and prints nothing before the command has started."""
    parsed = line(arguments)
    if parsed is None or parsed.verb != "exec" or parsed.json or "_ENVTOOL_COMPLETE" in os.environ:
        return None
    store = store_directory()
    spec, env, argv = _find_target(parsed, store)
    if not spec or not store or not argv:
        return None
    from envtool.run import fast_exec

    plan = fast_exec.read_plan(store, spec, env)
    if plan is None:
        return None
    try:
        status = _launch(plan, argv)
    finally:
        fast_exec.release(plan)
    if status == 127:
        from envtool.app.command_request import CommandRequest
        from envtool.cli import missing_command

        directory, file = os.path.split(spec) if parsed.base else (parsed.directory, "")
        request = CommandRequest(directory=directory, file=file)
        missing_command.print_hint(request, env, argv[0])
    return status


def _find_target(parsed: Line, store: str) -> tuple[str, str, tuple[str, ...]]:
    """Returns the spec, the env and the command of `exec`; the spec is empty where the long path has to look."""
    if not parsed.base:
        if not parsed.words or parsed.layers or parsed.network:
            return "", "", ()
        return find_nearest_spec(parsed.directory), parsed.words[0], (*parsed.words[1:], *parsed.tail)
    if parsed.words or parsed.directory != ".":
        return "", "", ()
    from envtool.project import one_off_directory

    directory = one_off_directory.directory_of(store, parsed.base, parsed.layers, network=parsed.network)
    return f"{os.path.realpath(directory)}/{one_off_directory.SPEC}", one_off_directory.ENV, parsed.tail


def try_list(arguments: list[str]) -> int | None:
    """Prints what `list` printed the last time and returns 0. Returns None for the long path if anything changed that
    decided it."""
    parsed = line(arguments)
    if parsed is None or parsed.verb != "list" or parsed.words or parsed.tail or parsed.quiet:
        return None
    spec, store = find_nearest_spec(parsed.directory), store_directory()
    if not spec or not store or "_ENVTOOL_COMPLETE" in os.environ:
        return None
    from envtool.run import fast_list

    text = fast_list.read(store, spec, output_look(parsed.color, parsed.directory, json=parsed.json))
    if text is None:
        return None
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return 141  # as main.main does
    except OSError:  # the long path reports it
        return None
    return 0


def output_look(color: str, directory: str, *, json: bool) -> tuple[str, ...]:
    """What decides how a text looks on standard output: colours, Unicode, columns; for JSON, which has the paths of the
    project, the directory that the command line names."""
    from envtool.report import unchanged

    detected, unicode = unchanged.detect_capabilities(sys.stdout, os.environ)
    shown = detected if color == "auto" else color == "always"
    return (
        ("json", os.path.abspath(directory))
        if json
        else (str(shown), str(unicode), str(unchanged.columns(sys.stdout, os.environ)))
    )


def try_task(arguments: list[str]) -> int | None:
    """Returns 0 if every task passed before and nothing has changed since, and prints the lines of the long path;
    returns None for the long path, and has then printed nothing."""
    parsed = line(arguments)
    if parsed is None or parsed.tail or parsed.again or "_ENVTOOL_COMPLETE" in os.environ:
        return None
    tasks = (*filter(None, (_TASKS.get(parsed.verb),)), *parsed.words)
    if parsed.verb in ("exec", "list") or len(tasks) != 1:
        return None
    spec = find_nearest_spec(parsed.directory)
    store = store_directory()
    if not spec or not store:
        return None
    import time

    from envtool.run import fast_test

    started = time.monotonic()
    plan = fast_test.read_plan(store, spec, tasks[0], parsed.envs)
    if plan is None:
        return None
    with _SignalCatcher() as catcher:
        unchanged = fast_test.is_unchanged(plan, (parsed.junit,) if parsed.junit else (), catcher.reader)
    if catcher.was_signalled:
        sys.stderr.write("interrupted\n")
        return 130
    try:
        if not unchanged or not fast_test.leave_evidence(plan):
            return None
        if parsed.junit:
            from envtool.cli import fast_junit

            if not fast_junit.write(parsed.junit, plan):
                return None
    except OSError:  # the long path reports it
        return None
    seconds = time.monotonic() - started
    return _print_json(plan, seconds) if parsed.json else _print_lines(parsed, plan, seconds)


def expect_services(arguments: list[str]) -> None:
    """Starts what takes as long as the imports of the long path, for a run that takes it: the network of services, if
    its spec looks like one with services, and the scan of this machine, if it looks like one with that as a base. Knows
    less of command lines than `line`: a run that this misses starts both later (cli/session.py, kinds/host.py), and
    what nothing uses ends with this process."""
    words = iter(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    verb, directory = "", "."
    for word in words:
        if word in ("-h", "--help", "-V", "--version") or word.startswith(("-f", "--file")):
            return
        if word == "-C":
            directory = next(words, "")
        elif word.startswith("-C"):
            directory = word[2:]
        elif not verb and word in ("--color", "--allow-secret", "--allow-pass", "--allow-file", "-p"):
            next(words, "")
        elif not verb and not word.startswith("-"):
            verb = word
    if verb in ("test", "run", "build") and "_ENVTOOL_COMPLETE" not in os.environ:
        spec = find_nearest_spec(directory)
        if spec:
            start_network(spec)
            _start_scan(spec)


def start_services(arguments: list[str]) -> None:
    """Starts the services and the task of a run that takes the long path, from what its last run noted. The run takes
    over what it finds equal to what it decides itself. A report in the project is hidden from a task, and not noted:
    with one, no task begins alone."""
    parsed = line(arguments)
    if parsed is None or parsed.tail or "_ENVTOOL_COMPLETE" in os.environ:
        return
    tasks = (*filter(None, (_TASKS.get(parsed.verb),)), *parsed.words)
    spec, store = find_nearest_spec(parsed.directory), store_directory()
    if parsed.verb in _TASK_VERBS and len(tasks) == 1 and spec and store:
        from envtool.run import early_start

        early_start.start(store, spec, tasks[0], parsed.envs, alone=not parsed.junit)


def start_network(spec: str) -> None:
    """Starts the network of services if the text of the spec has `services:`, unless it has been started."""
    if b"services:" in _read_text(spec):
        from envtool.container import pod_spawn

        pod_spawn.start_early()


def _start_scan(spec: str) -> None:
    """Starts the scan of this machine if the text of the spec has a base of kind `host`."""
    text = _read_text(spec)
    if b"host" not in text:
        return
    from envtool.kinds import early_scan

    if early_scan.is_expected(text):
        early_scan.begin()


def _read_text(spec: str) -> bytes:
    """Returns the text of a spec, or its first megabyte; an empty one where the run reports why it cannot be read."""
    try:
        file = os.open(spec, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(file, 1 << 20)
    except OSError:  # it is a directory
        return b""
    finally:
        os.close(file)


def _print_json(plan: dict[str, Any], seconds: float) -> int | None:
    """Print the JSON events and the result. Returns the exit status, or None for the long path if there is a note."""
    if plan["note"]:
        return None
    import time

    from envtool.report import unchanged

    lines = unchanged.json_lines(plan["rows"], now=time.time(), spent=seconds)
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        return 141  # as main.main does
    except OSError:  # the long path reports it
        return None
    return 0


def _print_lines(parsed: Line, plan: dict[str, Any], seconds: float) -> int | None:
    """Print the lines of the long path. Returns the exit status, or None if only the long path knows the lines."""
    import time

    from envtool.report import unchanged

    color, unicode = unchanged.detect_capabilities(sys.stderr, os.environ)
    color = color if parsed.color == "auto" else parsed.color == "always"
    now = time.time()
    columns = unchanged.columns(sys.stderr, os.environ)
    lines: list[str] | None = []
    if not parsed.quiet:
        lines = unchanged.lines(plan["rows"], now=now, color=color, columns=columns, verbose=parsed.verbose)
    if lines is None or seconds >= 59:  # the long path formats minutes
        return None
    if plan["note"] and not parsed.quiet:
        if columns and len(plan["note"]) + 6 > columns:
            return None
        lines.append(f"note: {plan['note']}")
    lines.append(unchanged.format_total(len(plan["rows"]), seconds, color=color, unicode=unicode))
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
    return 0


class _SignalCatcher:
    """Catches SIGINT, SIGTERM and SIGHUP: the first signal makes `reader` readable, the second ends this process."""

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
        # the number of bytes in the pipe is the signal (build.context.Cancel): only the first signal counts
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

    with _SignalCatcher() as catcher:
        try:
            return fast_exec.launch(plan, argv, terminal=os.isatty(0) and os.isatty(1), cancel=catcher.reader)
        except Exception as error:  # refused by the kernel or by git: the long path explains it
            if type(error).__name__ in ("SandboxError", "RepositoryError"):
                return None
            raise


def find_nearest_spec(directory: str) -> str:
    """The path of the spec that app.command_request.find_spec finds, with the symbolic links of its directory resolved;
    empty if there is none."""
    from envtool.project import discovery

    path = discovery.find_spec(os.path.abspath(directory)).path
    return f"{os.path.realpath(os.path.dirname(path))}/{discovery.SPEC}".replace("//", "/") if path else ""


def store_directory() -> str:
    """The directory of the store, "" where the long path has to report an error."""
    from envtool.run import fast_exec

    return fast_exec.store_directory()
