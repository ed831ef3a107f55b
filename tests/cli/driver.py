"""`python driver.py ARGS`: the command line in a process of its own, with scripted functions in the place of the app's."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
import scripted  # type: ignore[import-not-found]

from envtool.cli.main import main

FAMILIES = {"exec": "envtool.app.env_stack", "export": "envtool.app.image_output", "test": "envtool.app.tasks"}

if __name__ == "__main__":
    if os.environ.get("ENVTOOL_COMPLETE_ME"):
        os.environ["_ENVTOOL_COMPLETE"] = os.environ.pop("ENVTOOL_COMPLETE_ME")
    scripted.install(setattr, ("envtool.app.read_spec", *(FAMILIES[word] for word in sys.argv if word in FAMILIES)))
    sys.exit(main())
