"""The command `envtool`. Tries the fast path for `exec`, `test`, `run` and `build` first, then the full command
line."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` takes 2 ms for its enumerations
import gc
import os
import sys

TYPE_CHECKING = False  # as typing's, whose import takes a millisecond
if TYPE_CHECKING:
    from typing import NoReturn

if __name__ == "__main__" and not sys.flags.safe_path:  # with `python -m`, modules in the current directory come first
    del sys.path[0]


def main() -> int:
    """Runs the console script and returns its exit status."""
    arguments = sys.argv[1:]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it: its number must not be that of a file of ours
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as this process lives
    gc.disable()  # the objects of a fast path are in use until it ends: a collection takes a millisecond
    if "exec" in arguments:
        from envtool.cli import fastpath

        try:
            status = fastpath.try_exec(arguments)
        except OSError as error:  # the command may have begun, so it must not be run again by the full command line
            from envtool.cli.main import report_unexpected

            status = report_unexpected(error, arguments)
        if status is not None:
            os._exit(status)  # nothing is buffered or open, and an orderly end of the interpreter takes a millisecond
    elif "test" in arguments or "run" in arguments or "build" in arguments:
        from envtool.cli import fastpath

        status = fastpath.try_task(arguments)
        if status is not None:
            os._exit(status)
        _end_at_interrupt()
        fastpath.expect_services(arguments)
        fastpath.start_services(arguments)
    elif "list" in arguments:
        from envtool.cli import fastpath

        status = fastpath.try_list(arguments)
        if status is not None:
            os._exit(status)
    from envtool.cli.main import main as run

    # objects of imports and a spec stay in use: collections at the default of 700 take a tenth of `envtool list`, and
    # one at 50,000 takes 10 to 20 ms of `why` and `test`
    gc.set_threshold(200_000, 20, 20)
    gc.enable()
    status = run(arguments)
    if early_scan := sys.modules.get("envtool.kinds.early_scan"):
        early_scan.end()
    if _has_threads():
        _end_process(status)
    gc.freeze()  # the interpreter looks for cycles once more as it ends: that takes 20 ms, and the process ends anyway
    return status


def _end_at_interrupt() -> None:
    """Lets ^C end this process until envtool's own handler is there: an exception within the import system could leave
    the lock of a module taken, for which a thread of the services would wait for ever."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _has_threads() -> bool:
    """Whether this process has any thread but this one, by the kernel's count: Python counts a thread only once it has
    had the interpreter lock, and no more from some steps before its end on."""
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:  # no /proc, or no descriptor left
        return True


def _end_process(status: int) -> NoReturn:
    """Ends this process, in which daemon threads still run (a service's, a log's), as `multiprocessing` ends its own:
    waits for the other threads, calls what `atexit` has, and does not take the interpreter apart. CPython 3.11 can
    crash there, after the result was printed, when a daemon thread has just started."""
    if threading := sys.modules.get("threading"):
        threading._shutdown()  # noqa: SLF001 - as multiprocessing.process does
    if atexit := sys.modules.get("atexit"):
        atexit._run_exitfuncs()  # noqa: SLF001 - likewise
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed, by us or by who reads; what had to be said of it has been said
            continue
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
