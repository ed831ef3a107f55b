"""`python driver.py ARGS`: the command line in a process of its own, with the fake in place of the app."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
import fake_app  # type: ignore[import-not-found]

sys.modules["envtool.app"] = fake_app

from envtool.cli.main import main  # noqa: E402

if __name__ == "__main__":
    if os.environ.get("ENVTOOL_COMPLETE_ME"):
        os.environ["_ENVTOOL_COMPLETE"] = os.environ.pop("ENVTOOL_COMPLETE_ME")
    sys.exit(main())
