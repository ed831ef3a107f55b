"""The entry point: a warm `envtool exec ENV -- CMD` is answered before the command line's library is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; returns its exit status (docs/cli.md)."""
    if sys.argv[1:2] == ["exec"]:
        from envtool.cli import fast

        status = fast.attempt(sys.argv[1:])
        if status is not None:
            return status
    from envtool.cli import main as cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
