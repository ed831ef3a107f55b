"""Finds programs of this machine by PATH, but never in a checkout.

PATH may lead into the project (`.venv/bin`, `node_modules/.bin`, `.`), and the files there came with the checkout: none
of them is started outside of a container. `exclude_checkout` is called when a project is opened.
"""

from __future__ import annotations

import os

from envtool.project import repository

_checkouts: set[str] = set()


def exclude_checkout(root: str) -> None:
    """From now on no program is found in the checkout of the project at `root`."""
    _checkouts.add(repository.checkout_root(root))


def search_path(given: str | None = None) -> str:
    """Returns PATH (the caller's, unless `given` is one) without relative directories and those of a checkout."""
    return ":".join(
        repository.safe_path_directories(os.environ.get("PATH", os.defpath) if given is None else given, _checkouts)
    )


def find_program(name: str, given: str | None = None) -> str:
    """Returns the absolute path of a program in such a PATH; empty if there is none."""
    candidates = (f"{directory}/{name}" for directory in search_path(given).split(":") if directory)
    return next(
        (candidate for candidate in candidates if os.path.isfile(candidate) and os.access(candidate, os.X_OK)), ""
    )
