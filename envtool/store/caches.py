"""caches/<digest of the id>/<number>: directories that builds share from one run to the next.

Nothing of them is ever part of a key or a layer. Their files belong to container ids. A builder holds a lock of the one
it uses: shared, or alone, so whoever wants to remove one takes its lock alone first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from envtool.store import locks
from envtool.store.store import Store

DIRECTORY = "caches"


@contextmanager
def lock_cache(
    store: Store,
    name: str,
    sharing: str,
    *,
    waiting: locks.OnWait | None = None,
    cancelled: locks.Cancelled | None = None,
) -> Iterator[tuple[str, bool]]:
    """The directory of a cache, and whether it is new. `sharing` is "shared", "locked" (wait until nobody else has it)
    or "private" (another directory when somebody has it). Raises Interrupted."""
    key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    top = store.path(DIRECTORY, key)
    os.makedirs(top, exist_ok=True)
    for path in (store.path(DIRECTORY), top):
        os.chmod(path, 0o755)
    _write_label(os.path.join(top, "id"), name)
    number = 0
    if sharing == "private":
        while not _is_free(store, key, number):
            number += 1
    hold = locks.shared if sharing == "shared" else locks.exclusive
    with hold(store, f"cache-{key}-{number}", waiting=waiting, cancelled=cancelled):
        path = os.path.join(top, str(number))
        try:
            os.mkdir(path)
            fresh = True
        except FileExistsError:
            fresh = False
        yield path, fresh


def _write_label(path: str, name: str) -> None:
    """What people call it, for who looks."""
    if not os.path.exists(path):
        mine = f"{path}.{os.urandom(4).hex()}"
        with open(mine, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(name + "\n")
        os.replace(mine, path)


def _is_free(store: Store, key: str, number: int) -> bool:
    with locks.try_exclusive(store, f"cache-{key}-{number}") as mine:
        return mine
