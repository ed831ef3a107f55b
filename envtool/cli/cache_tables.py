"""The team cache as text and JSON: what `envtool cache` prints."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from envtool.fs.sizes import said as size
from envtool.report.formatting import Style, counted
from envtool.report.text import one_line, pad
from envtool.report.why import when

if TYPE_CHECKING:
    from envtool.model import Json

SHOWN = 12  # things that are there and refused, without -v


def shown(value: Any, style: Style, *, whole: bool = False) -> str:
    """A line for each thing that matters; with `whole` also what is there, one by one."""
    rows = [("registry", one_line(value.registry)), ("push", _push(value))]
    rows += [("trust", " ".join(filter(None, (who, one_line(comment))))) for who, comment in value.trust]
    rows += [] if value.trust else [("trust", "nobody: nothing is pulled until `trust:` lists a key")]
    rows += [("signing key", value.signer or "none here")]
    rows += _tally(value.tally)
    rows += _there(value, whole=whole)
    return style.glyphs("\n".join(f"{pad(style.paint('2', name), 13)}{text}" for name, text in rows))


def _push(value: Any) -> str:
    results = ", results too" if value.results else ""
    return f"{value.push}{results}; from here: {f'no, {value.pushing}' if value.pushing else 'yes'}"


def _tally(value: Any) -> list[tuple[str, str]]:
    if not value.time:
        return [("here", "nothing came from it, and nothing went there")]
    return [
        ("last run", f"{when(value.time, time.time())}: {_counts(value.last)}"),
        ("so far", _counts(value.total)),
    ]


def _counts(counts: Any) -> str:
    hits = f"{counted(counts.hits, 'hit')}, {size(counts.pulled_bytes)}"
    pushed = f"{counts.pushed} pushed, {size(counts.pushed_bytes)}"
    refused = f"; {counts.refused} refused" if counts.refused else ""
    return f"{hits}; {counted(counts.misses, 'miss').replace('misss', 'misses')}{refused}; {pushed}"


def _there(value: Any, *, whole: bool) -> list[tuple[str, str]]:
    if value.items is None:
        return [("there", f"not known: {one_line(value.problem)}")]
    good = [item for item in value.items if not item.refused]
    bad = [item for item in value.items if item.refused]
    layers = sum(item.sort == "layer" for item in good)
    words = [counted(layers, "layer"), *([counted(len(good) - layers, "result")] if len(good) > layers else [])]
    words += [size(sum(item.size for item in good))]
    words += [f"{len(bad)} refused"] if bad else []
    words += [f"{counted(value.others, 'other tag')}"] if value.others else []
    rows = [("there", ", ".join(words))]
    if whole:
        rows += [("", f"{item.tag[:14]}…  {pad(size(item.size), 9)}{one_line(item.name)}".rstrip()) for item in good]
    some = bad if whole else bad[:SHOWN]
    rows += [
        ("refused", f"{item.tag[:14]}…  {one_line(' '.join(filter(None, (item.name, item.refused))))}") for item in some
    ]
    return rows


def shown_json(value: Any) -> Json:
    """The same as a value (docs/json.md)."""
    document: dict[str, Any] = asdict(value)
    document["trust"] = [{"fingerprint": who, "comment": comment} for who, comment in value.trust]
    document["there"] = document.pop("items")
    return document


def tell_key(made: Any, *, as_json: bool) -> None:
    """The public line on standard output, and what to do with it on standard error."""
    if as_json:
        from envtool.report.json_lines import write

        write(sys.stdout, {"public": made.public, "fingerprint": made.fingerprint, "file": made.file})
        return
    print(made.public)
    if made.file:
        from envtool.cli import console

        said = (
            f"the signing key is in {made.file}: give it to CI as a secret, in ENVTOOL_CACHE_KEY, and to nobody else;\n"
            "the line above belongs into `trust:` under `cache:` in the spec"
        )
        print(console.fit(said, sys.stderr), file=sys.stderr)
