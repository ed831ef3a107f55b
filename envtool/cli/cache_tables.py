"""Text and JSON of `envtool cache`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import one_line, pad
from envtool.report.why import format_when

if TYPE_CHECKING:
    from envtool.app.team_cache import SigningKey
    from envtool.model import Json
    from envtool.teamcache.stats import CacheCounts, CacheStats
    from envtool.teamcache.status import CacheStatus

MAX_ROWS = 12  # refused items that are listed without -v


def format_cache(status: CacheStatus, style: Style, *, whole: bool = False) -> str:
    """One line per property of the team cache; with `whole` also one per item in the registry."""
    rows = [("registry", one_line(status.registry)), ("push", _format_push(status))]
    rows += [
        ("trust", " ".join(filter(None, (fingerprint, one_line(comment))))) for fingerprint, comment in status.trust
    ]
    rows += [] if status.trust else [("trust", "nobody: nothing is pulled until `trust:` lists a key")]
    rows += [("signing key", status.signer or "none here")]
    rows += _stats_rows(status.tally)
    rows += _content_rows(status, whole=whole)
    return style.glyphs("\n".join(f"{pad(style.paint('2', name), 13)}{text}" for name, text in rows))


def _format_push(status: CacheStatus) -> str:
    results = ", results too" if status.results else ""
    return f"{status.push}{results}; from here: {f'no, {status.pushing}' if status.pushing else 'yes'}"


def _stats_rows(stats: CacheStats) -> list[tuple[str, str]]:
    if not stats.time:
        return [("here", "nothing came from it, and nothing went there")]
    return [
        ("last run", f"{format_when(stats.time, time.time())}: {_format_counts(stats.last)}"),
        ("so far", _format_counts(stats.total)),
    ]


def _format_counts(counts: CacheCounts) -> str:
    hits = f"{pluralize(counts.hits, 'hit')}, {size(counts.pulled_bytes)}"
    pushed = f"{counts.pushed} pushed, {size(counts.pushed_bytes)}"
    refused = f"; {counts.refused} refused" if counts.refused else ""
    return f"{hits}; {pluralize(counts.misses, 'miss').replace('misss', 'misses')}{refused}; {pushed}"


def _content_rows(status: CacheStatus, *, whole: bool) -> list[tuple[str, str]]:
    if status.items is None:
        return [("there", f"not known: {one_line(status.problem)}")]
    accepted = [item for item in status.items if not item.refused]
    refused = [item for item in status.items if item.refused]
    layers = sum(item.sort == "layer" for item in accepted)
    counts = [
        pluralize(layers, "layer"),
        *([pluralize(len(accepted) - layers, "result")] if len(accepted) > layers else []),
    ]
    counts += [size(sum(item.size for item in accepted))]
    counts += [f"{len(refused)} refused"] if refused else []
    counts += [f"{pluralize(status.others, 'other tag')}"] if status.others else []
    rows = [("there", ", ".join(counts))]
    if whole:
        rows += [
            ("", f"{item.tag[:14]}…  {pad(size(item.size), 9)}{one_line(item.name)}".rstrip()) for item in accepted
        ]
    listed = refused if whole else refused[:MAX_ROWS]
    rows += [
        ("refused", f"{item.tag[:14]}…  {one_line(' '.join(filter(None, (item.name, item.refused))))}")
        for item in listed
    ]
    return rows


def cache_json(status: CacheStatus) -> Json:
    """The object of `cache` (docs/json.md)."""
    document: dict[str, Json] = asdict(status)
    document["trust"] = [{"fingerprint": fingerprint, "comment": comment} for fingerprint, comment in status.trust]
    document["there"] = document.pop("items")
    return document


def print_key(key: SigningKey, *, as_json: bool) -> None:
    """Print the public line to standard output, and what to do with it to standard error."""
    if as_json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, {"public": key.public, "fingerprint": key.fingerprint, "file": key.file})
        return
    print(key.public)
    if key.file:
        from envtool.cli import console

        advice = (
            f"the signing key is in {key.file}: give it to CI as a secret, in ENVTOOL_CACHE_KEY, and to nobody else;\n"
            "the line above belongs into `trust:` under `cache:` in the spec"
        )
        print(console.fit_to_terminal(advice, sys.stderr), file=sys.stderr)
