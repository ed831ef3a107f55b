"""What a process leaves in the store's tmp/ that does not wait for its own work to end: removed behind it."""

from __future__ import annotations

import os
import time

from envtool.container import syscalls, userns
from envtool.errors import EnvtoolError
from envtool.store import store, temp_dirs

POLL_SECONDS = 0.01  # seconds between two looks at whether our parent is gone
MAX_WAIT = 10.0
ROUNDS, PAUSE = 5, 0.2  # seconds


def sweep_after_exit() -> None:
    """Have a process of its own do it, once this one is gone and holds nothing any more. Never raises: what is left
    nevertheless goes when the store is used next."""
    try:
        place = store.find_store(userns.describe_ids())
        if place is None or not os.listdir(place.path("tmp")):
            return
        parent = os.getpid()
        if userns.fork() == 0:
            _sweep(place, parent)
    except (EnvtoolError, OSError):
        return


def _sweep(place: store.Store, parent: int) -> None:
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for target in range(3):
            os.dup2(null, target)
        syscalls.close_all_but({0, 1, 2})  # the locks of our parent are on its descriptors
        end = time.monotonic() + MAX_WAIT
        while os.getppid() == parent and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for _ in range(ROUNDS):  # whoever looked at something just then (`store size`) held its lock
            temp_dirs.sweep(place, remove=userns.remove_as_root)
            if not os.listdir(place.path("tmp")):
                break
            time.sleep(PAUSE)
    finally:
        os._exit(0)
