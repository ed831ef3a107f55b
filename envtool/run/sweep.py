"""Removes the directories that this process leaves in the store's tmp/ when it exits before its work has ended."""

from __future__ import annotations

import os
import time

from envtool.container import syscalls, userns
from envtool.errors import EnvtoolError
from envtool.store import store, temp_dirs

POLL_SECONDS = 0.01  # seconds between two checks whether the parent has exited
MAX_WAIT = 10.0  # seconds
ROUNDS, PAUSE = 5, 0.2  # PAUSE in seconds


def sweep_after_exit() -> None:
    """Forks a process that removes them once this process has exited and holds no lock any more. Never raises: what
    remains is removed when the store is used the next time."""
    try:
        found_store = store.find_store(userns.describe_ids())
        if found_store is None or not os.listdir(found_store.path("tmp")):
            return
        parent = os.getpid()
        if userns.fork() == 0:
            _sweep(found_store, parent)
    except (EnvtoolError, OSError):
        return


def _sweep(own_store: store.Store, parent: int) -> None:
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        syscalls.close_all_but({0, 1, 2})  # the parent's locks live as long as a copy of their descriptors
        deadline = time.monotonic() + MAX_WAIT
        while os.getppid() == parent and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for _ in range(ROUNDS):  # another process (`store size`) may hold the lock of a directory for a moment
            temp_dirs.sweep(own_store, remove=userns.remove_as_root)
            if not os.listdir(own_store.path("tmp")):
                break
            time.sleep(PAUSE)
    finally:
        os._exit(0)
