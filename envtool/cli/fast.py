"""The short ways of `envtool exec ENV -- CMD…` and `envtool test`: taken when the answer is already on disk."""

from __future__ import annotations

import os
import sys


def try_exec(arguments: list[str]) -> int | None:
    """The command's exit status, or None: take the long way. `arguments` contain "exec". Never raises or prints
    anything before the command has started.
    """
    directory, rest = ".", arguments
    if len(rest) > 2 and rest[0] == "-C":
        directory, rest = rest[1], rest[2:]
    # exec ENV -- CMD…, or a first word that can be no option of ours
    if len(rest) < 3 or rest[0] != "exec" or rest[1].startswith("-"):
        return None
    argv = rest[3:] if rest[2] == "--" else rest[2:]
    if not argv or argv[0].startswith("-"):
        return None
    spec = nearest(directory)
    store = _store()
    if not spec or not store:
        return None
    from envtool.run import warm

    plan = warm.read(store, spec, rest[1])
    if plan is None:
        return None
    try:
        return _launch(plan, tuple(argv))
    finally:
        warm.release(plan)


def try_test(arguments: list[str]) -> int | None:
    """0 where every test passed before and nothing has changed since, with the lines that the long way prints; None:
    take the long way. `arguments` contain "test". Nothing is printed before that is certain.
    """
    asked = _asked(arguments)
    if asked is None:
        return None
    directory, envs, quiet = asked
    spec = nearest(directory)
    store = _store()
    if not spec or not store:
        return None
    import time

    from envtool.run import told

    began = time.monotonic()
    plan = told.read(store, spec, "test", envs)
    if plan is None:
        return None
    with _Stopping() as stopping:
        stands = told.stands(plan, stopping.reader)
    if stopping.heard:
        sys.stderr.write("interrupted\n")
        return 130
    try:
        if not stands or not told.leave(plan):
            return None
    except OSError:  # the long way has the words for it
        return None
    from envtool.report import unchanged

    color, unicode = unchanged.shown(sys.stderr, os.environ)
    now = time.time()
    columns = unchanged.columns(sys.stderr, os.environ)
    lines = [] if quiet else unchanged.lines(plan["rows"], now=now, color=color, columns=columns)
    if lines is None:
        return None
    spent = time.monotonic() - began
    if spent >= 59:
        return None  # the long way has the words for minutes
    if plan["note"] and not quiet:
        if columns and len(plan["note"]) + 6 > columns:
            return None
        lines.append(f"note: {plan['note']}")
    lines.append(unchanged.closing(len(plan["rows"]), spent, color=color, unicode=unicode))
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
    return 0


def _asked(arguments: list[str]) -> tuple[str, tuple[str, ...], bool] | None:
    """Directory, envs and whether quiet, of the plainest command lines; None for others."""
    directory, envs, quiet, verbs = ".", [], False, 0
    words = iter(arguments)
    for word in words:
        if word == "test" and not verbs:
            verbs = 1
        elif word in ("-q", "--quiet"):
            quiet = True
        elif word == "-C" or (verbs and word in ("-e", "--env")):
            value = next(words, "")
            if not value or value.startswith("-"):
                return None
            if word == "-C":
                directory = value
            else:
                envs.append(value)
        else:
            return None
    return (directory, tuple(envs), quiet) if verbs else None


class _Stopping:
    """Meanwhile ^C, SIGTERM and a closed terminal are heard, and make `reader` readable; the second one ends us."""

    def __enter__(self) -> _Stopping:
        import _signal  # type: ignore[import-not-found]  # what `signal` wraps in enums, ten times as slow to import

        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.heard = False
        self._set = _signal.signal
        self._before = {number: _signal.getsignal(number) for number in (1, 2, 15)}
        for number, handler in self._before.items():
            if handler is not _signal.SIG_IGN:
                _signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, _frame: object) -> None:
        # how many bytes wait is the signal (realise.setting.Cancel): only the first one counts
        self._set(number, 0)  # SIG_DFL
        self.heard = True
        os.write(self._writer, b"x" * number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            self._set(number, handler)
        os.close(self.reader)
        os.close(self._writer)


def _launch(plan: dict[str, object], argv: tuple[str, ...]) -> int | None:
    from envtool.run import warm

    with _Stopping() as stopping:
        try:
            return warm.launch(plan, argv, terminal=os.isatty(0) and os.isatty(1), cancel=stopping.reader)
        except Exception as error:  # a refusal of the kernel, or of git: the long way has the words for it
            if type(error).__name__ in ("SandboxError", "Failure"):
                return None
            raise


def nearest(directory: str) -> str:
    """The spec that app.find_spec finds, with the links of its directory followed; empty when there is none."""
    from envtool import above

    found = above.spec(os.path.abspath(directory)).path
    return f"{os.path.realpath(os.path.dirname(found))}/{above.SPEC}".replace("//", "/") if found else ""


def _store() -> str:
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
