"""What came of a team cache: in this run, and on this machine so far (store/answer_cache)."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from envtool.store import answer_cache
from envtool.store.store import Store


@dataclass(slots=True, kw_only=True)
class CacheCounts:
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
class CacheStats:
    """What the store remembers: `time` (seconds since the epoch) is when the last run ended, 0 where there was none."""

    total: CacheCounts = field(default_factory=CacheCounts)
    last: CacheCounts = field(default_factory=CacheCounts)
    time: float = 0.0


class StatsCounter:
    """Counts in a run, from any thread."""

    def __init__(self) -> None:
        self.counts = CacheCounts()
        self._lock = threading.Lock()

    def add(self, **more: int) -> None:
        """Add to fields by name."""
        with self._lock:
            for name, number in more.items():
                setattr(self.counts, name, getattr(self.counts, name) + number)


def load_stats(store: Store, registry: str) -> CacheStats:
    """What is known of a registry here."""
    answer: Any = answer_cache.get(store, _question(registry))
    try:
        return CacheStats(
            total=CacheCounts(**answer["total"]), last=CacheCounts(**answer["last"]), time=float(answer["time"])
        )
    except (KeyError, TypeError, ValueError):
        return CacheStats()


def add_run(store: Store, registry: str, counts: CacheCounts) -> None:
    """Add a run to what is known. Raises OSError, Interrupted."""
    question = _question(registry)
    with answer_cache.lock_question(store, question):
        before = load_stats(store, registry).total
        total = {one.name: getattr(before, one.name) + getattr(counts, one.name) for one in fields(CacheCounts)}
        answer_cache.put(
            store, question, {"total": {**total}, "last": {**asdict(counts)}, "time": round(time.time(), 3)}
        )


def _question(registry: str) -> dict[str, Any]:
    return {"team cache": registry}
