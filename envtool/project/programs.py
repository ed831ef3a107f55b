"""Programs of this machine that are started by their names: found by PATH, and never in a checkout.

PATH may well lead into the project (`.venv/bin`, `node_modules/.bin`, `.`), and what lies there came with it: nothing
of it is started outside of a container. Which checkouts this process works on is said once, when a project is opened.
"""

from __future__ import annotations

import os

from envtool.project import repository

_checkouts: set[str] = set()


def exclude_checkout(root: str) -> None:
    """From now on nothing is started that came with the project at `root`."""
    _checkouts.add(repository.checkout_root(root))


def search_path(given: str | None = None) -> str:
    """PATH (the caller's, unless one is given) without relative directories, and those of a checkout."""
    return ":".join(
        repository.safe_path_directories(os.environ.get("PATH", os.defpath) if given is None else given, _checkouts)
    )


def find_program(name: str, given: str | None = None) -> str:
    """The absolute path of a program in such a PATH; empty where it has none."""
    places = (f"{directory}/{name}" for directory in search_path(given).split(":") if directory)
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), "")
