"""What came of a team cache: in this run, and on this machine so far (store/answer_cache)."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from envtool.store import answer_cache
from envtool.store.store import Store


@dataclass(slots=True, kw_only=True)
class Counts:
    """Layers and results that came from there (`hits`) or were not there (`misses`), and so on; sizes in bytes."""

    hits: int = 0
    misses: int = 0
    refused: int = 0  # there, but not to be used
    pulled_bytes: int = 0
    pushed: int = 0
    pushed_bytes: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the store remembers: `time` (seconds since the epoch) is when the last run ended, 0 where there was none."""

    total: Counts = field(default_factory=Counts)
    last: Counts = field(default_factory=Counts)
    time: float = 0.0


class Counter:
    """Counts in a run, from any thread."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._lock = threading.Lock()

    def add(self, **more: int) -> None:
        """Add to fields by name."""
        with self._lock:
            for name, number in more.items():
                setattr(self.counts, name, getattr(self.counts, name) + number)


def recall(store: Store, registry: str) -> Tally:
    """What is known of a registry here."""
    answer: Any = answer_cache.get(store, _question(registry))
    try:
        return Tally(total=Counts(**answer["total"]), last=Counts(**answer["last"]), time=float(answer["time"]))
    except (KeyError, TypeError, ValueError):
        return Tally()


def note(store: Store, registry: str, counts: Counts) -> None:
    """Add a run to what is known. Raises OSError, Interrupted."""
    question = _question(registry)
    with answer_cache.asking(store, question):
        before = recall(store, registry).total
        total = {one.name: getattr(before, one.name) + getattr(counts, one.name) for one in fields(Counts)}
        answer_cache.put(
            store, question, {"total": {**total}, "last": {**asdict(counts)}, "time": round(time.time(), 3)}
        )


def _question(registry: str) -> dict[str, Any]:
    return {"team cache": registry}
