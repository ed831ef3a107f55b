"""The team cache as text and JSON: what `envtool cache` prints."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import one_line, pad
from envtool.report.why import format_when

if TYPE_CHECKING:
    from envtool.model import Json

MAX_ROWS = 12  # things that are there and refused, without -v


def format_cache(value: Any, style: Style, *, whole: bool = False) -> str:
    """A line for each thing that matters; with `whole` also what is there, one by one."""
    rows = [("registry", one_line(value.registry)), ("push", _format_push(value))]
    rows += [("trust", " ".join(filter(None, (who, one_line(comment))))) for who, comment in value.trust]
    rows += [] if value.trust else [("trust", "nobody: nothing is pulled until `trust:` lists a key")]
    rows += [("signing key", value.signer or "none here")]
    rows += _stats_rows(value.tally)
    rows += _content_rows(value, whole=whole)
    return style.glyphs("\n".join(f"{pad(style.paint('2', name), 13)}{text}" for name, text in rows))


def _format_push(value: Any) -> str:
    results = ", results too" if value.results else ""
    return f"{value.push}{results}; from here: {f'no, {value.pushing}' if value.pushing else 'yes'}"


def _stats_rows(value: Any) -> list[tuple[str, str]]:
    if not value.time:
        return [("here", "nothing came from it, and nothing went there")]
    return [
        ("last run", f"{format_when(value.time, time.time())}: {_format_counts(value.last)}"),
        ("so far", _format_counts(value.total)),
    ]


def _format_counts(counts: Any) -> str:
    hits = f"{pluralize(counts.hits, 'hit')}, {size(counts.pulled_bytes)}"
    pushed = f"{counts.pushed} pushed, {size(counts.pushed_bytes)}"
    refused = f"; {counts.refused} refused" if counts.refused else ""
    return f"{hits}; {pluralize(counts.misses, 'miss').replace('misss', 'misses')}{refused}; {pushed}"


def _content_rows(value: Any, *, whole: bool) -> list[tuple[str, str]]:
    if value.items is None:
        return [("there", f"not known: {one_line(value.problem)}")]
    good = [item for item in value.items if not item.refused]
    bad = [item for item in value.items if item.refused]
    layers = sum(item.sort == "layer" for item in good)
    words = [pluralize(layers, "layer"), *([pluralize(len(good) - layers, "result")] if len(good) > layers else [])]
    words += [size(sum(item.size for item in good))]
    words += [f"{len(bad)} refused"] if bad else []
    words += [f"{pluralize(value.others, 'other tag')}"] if value.others else []
    rows = [("there", ", ".join(words))]
    if whole:
        rows += [("", f"{item.tag[:14]}…  {pad(size(item.size), 9)}{one_line(item.name)}".rstrip()) for item in good]
    some = bad if whole else bad[:MAX_ROWS]
    rows += [
        ("refused", f"{item.tag[:14]}…  {one_line(' '.join(filter(None, (item.name, item.refused))))}") for item in some
    ]
    return rows


def cache_json(value: Any) -> Json:
    """The same as a value (docs/json.md)."""
    document: dict[str, Any] = asdict(value)
    document["trust"] = [{"fingerprint": who, "comment": comment} for who, comment in value.trust]
    document["there"] = document.pop("items")
    return document


def print_key(made: Any, *, as_json: bool) -> None:
    """The public line on standard output, and what to do with it on standard error."""
    if as_json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, {"public": made.public, "fingerprint": made.fingerprint, "file": made.file})
        return
    print(made.public)
    if made.file:
        from envtool.cli import console

        said = (
            f"the signing key is in {made.file}: give it to CI as a secret, in ENVTOOL_CACHE_KEY, and to nobody else;\n"
            "the line above belongs into `trust:` under `cache:` in the spec"
        )
        print(console.fit_to_terminal(said, sys.stderr), file=sys.stderr)
