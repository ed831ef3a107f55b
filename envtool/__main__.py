"""`envtool`: a warm `exec` is answered from one small file, everything else by the command line proper."""

import gc
import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:  # `python -m`: it would import modules of the current directory
    del sys.path[0]


def main() -> int:
    """The console script."""
    arguments = sys.argv[1:]
    gc.disable()  # what a short way makes is in use to its end: looking through it takes a millisecond
    if "exec" in arguments:
        from envtool.cli import fastpath

        try:
            status = fastpath.try_exec(arguments)
        except OSError as error:  # after its command may have begun: never once more, the long way
            from envtool.cli.main import report_unexpected

            status = report_unexpected(error, arguments)
        if status is not None:
            # nothing of ours is buffered or open: what an interpreter does to end in order is a millisecond of nothing
            os._exit(status)
    elif "test" in arguments or "run" in arguments or "build" in arguments:
        from envtool.cli import fastpath

        status = fastpath.try_task(arguments)
        if status is not None:
            os._exit(status)
    from envtool.cli.main import main as run

    # what imports and a spec leave behind stays in use: looking through it every 700 objects is a tenth of `list`
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
