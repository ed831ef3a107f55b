"""Counts hits, misses and bytes of a team cache, of this run and in total on this machine (store/answer_cache)."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, fields
from typing import Any

from envtool.lazy_dataclass import dataclass, field
from envtool.store import answer_cache
from envtool.store.store import Store


@dataclass(slots=True, kw_only=True)
class CacheCounts:
    """Numbers of layers and results that were pulled (`hits`), were not there (`misses`), and so on; sizes in bytes."""

    hits: int = 0
    misses: int = 0
    refused: int = 0  # those there that may not be used
    pulled_bytes: int = 0
    pushed: int = 0
    pushed_bytes: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """The counts in the store. `time` is the end of the last run, in seconds since the epoch; 0 where there was
    none."""

    total: CacheCounts = field(default_factory=CacheCounts)
    last: CacheCounts = field(default_factory=CacheCounts)
    time: float = 0.0


class StatsCounter:
    """Counts in one run. Thread-safe."""

    def __init__(self) -> None:
        self.counts = CacheCounts()
        self._lock = threading.Lock()

    def add(self, **amounts: int) -> None:
        """Adds amounts to fields, by name."""
        with self._lock:
            for name, number in amounts.items():
                setattr(self.counts, name, getattr(self.counts, name) + number)


def load_stats(store: Store, registry: str) -> CacheStats:
    """Returns the counts of a registry on this machine."""
    answer: Any = answer_cache.get(store, _question(registry))
    try:
        return CacheStats(
            total=CacheCounts(**answer["total"]), last=CacheCounts(**answer["last"]), time=float(answer["time"])
        )
    except (KeyError, TypeError, ValueError):
        return CacheStats()


def add_run(store: Store, registry: str, counts: CacheCounts) -> None:
    """Adds the counts of a run to those of its registry. Raises OSError, Interrupted."""
    question = _question(registry)
    with answer_cache.lock_question(store, question):
        before = load_stats(store, registry).total
        total = {item.name: getattr(before, item.name) + getattr(counts, item.name) for item in fields(CacheCounts)}
        answer_cache.put(
            store, question, {"total": {**total}, "last": {**asdict(counts)}, "time": round(time.time(), 3)}
        )


def _question(registry: str) -> dict[str, Any]:
    return {"team cache": registry}
