"""Where a pinned file may come from, in order: vendored beside the spec, its URL, its mirrors, ENVTOOL_BLOBS.

Vendored files and ENVTOOL_BLOBS are laid out by content: `<ab>/<sha256>`. Whoever serves them need not be trusted: all
that arrives is checked.
"""

from __future__ import annotations

import os
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envtool.api import Fetch
from envtool.errors import FetchError, StoreError
from envtool.project.source_files import VENDOR

if TYPE_CHECKING:
    from envtool.net import RetryPolicy

VARIABLE = "ENVTOOL_BLOBS"
MISMATCH_CODES = ("fetch-hash", "fetch-size", "fetch-large")
GONE_CODE = "fetch-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSource:
    """One place to ask for a file; `what` is said before its URL, to tell where the URL comes from."""

    url: str
    what: str = ""


def vendor_folder(root: str) -> str:
    """Absolute path of the folder beside the spec that is used before any URL, empty when there is none."""
    path = os.path.join(root, VENDOR)
    return path if os.path.isdir(path) else ""


def read_blobs_variable(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """URLs that ENVTOOL_BLOBS names, without a slash at their ends. Raises StoreError for what is neither an URL nor an
    absolute path."""
    environ = os.environ if environ is None else environ
    found = []
    for word in environ.get(VARIABLE, "").split():
        if word.startswith("/"):
            found.append(Path(word).as_uri().rstrip("/"))
        elif urllib.parse.urlsplit(word).scheme in ("http", "https", "file"):
            found.append(word.rstrip("/"))
        else:
            text = f"{VARIABLE} names `{word}`, which is neither an absolute path nor an http, https or file URL"
            raise StoreError(text, code="blobs-variable")
    return tuple(found)


def list_sources(fetch: Fetch, *, vendor: str = "", blobs: tuple[str, ...] = ()) -> tuple[FetchSource, ...]:
    """All places for one file, in the order in which they are asked. `vendor` is a path, `blobs` are URLs."""
    found = []
    inside = f"{fetch.sha256[:2]}/{fetch.sha256}"
    if vendor and os.path.exists(os.path.join(vendor, inside)):
        found.append(FetchSource(url=Path(vendor, inside).as_uri(), what=f"{VENDOR}: "))
    found += [FetchSource(url=url) for url in (fetch.url, *fetch.mirrors) if url]
    found += [FetchSource(url=f"{url}/{inside}", what=f"{VARIABLE}: ") for url in blobs]
    return tuple(found)


def local_sources(fetch: Fetch, folders: Sequence[str]) -> tuple[FetchSource, ...]:
    """The folders (absolute paths) that seem to have a file."""
    places = [os.path.join(folder, fetch.sha256[:2], fetch.sha256) for folder in folders]
    return tuple(FetchSource(url=Path(place).as_uri()) for place in places if os.path.exists(place))


def local_folders(root: str) -> list[str]:
    """Absolute paths of what can be read without a network: the folder beside the spec, and ENVTOOL_BLOBS' own.
    Raises StoreError."""
    beside = vendor_folder(root)
    named = [urllib.parse.urlsplit(url) for url in read_blobs_variable()]
    return ([beside] if beside else []) + [urllib.parse.unquote(url.path) for url in named if url.scheme == "file"]


def fetch_failure(fetch: Fetch, failed: list[tuple[FetchSource, FetchError]]) -> FetchError:
    """What to say when no source had it: the only error as it is, else one that lists all that was tried.

    The code is fetch-hash (or -size) when one served something else, fetch-gone when none has it, else that of the
    first (fetch-unreachable: the network, fetch-status: not allowed).
    """
    if not failed:
        return FetchError(
            f"{fetch.name}: nothing says where sha256 {fetch.sha256} can be had",
            code=GONE_CODE,
            hint=f"{VARIABLE} can name a place that has it",
        )
    if len(failed) == 1 and not failed[0][0].what:
        return failed[0][1]
    codes = [error.code for _, error in failed]
    wrong = [code for code in codes if code in MISMATCH_CODES]
    others = [code for code in codes if code != GONE_CODE]
    lines = [f"  {source.what}{error.message}" for source, error in failed]
    return FetchError(
        f"{fetch.name} (sha256 {fetch.sha256}) could not be had:\n" + "\n".join(lines),
        code=wrong[0] if wrong else others[0] if others else GONE_CODE,
        hint=next((error.hint for _, error in failed if error.hint and error.code in (*wrong, *others)), "")
        or next((error.hint for _, error in failed if error.hint), ""),
        found=next((error.found for _, error in failed if error.found), ""),
    )


class UnreachableHosts:
    """Which hosts did not answer: while there are others to ask, they are tried once more and no oftener."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dead: set[str] = set()

    def retry_policy(self, url: str, patience: RetryPolicy, *, last: bool) -> RetryPolicy:
        """How long to try a URL."""
        with self._lock:
            dead = urllib.parse.urlsplit(url).netloc in self._dead
        return replace(patience, attempts=1) if dead and not last else patience

    def note_failure(self, url: str, error: FetchError) -> None:
        """Remember what a URL came to."""
        if error.code == "fetch-unreachable":
            with self._lock:
                self._dead.add(urllib.parse.urlsplit(url).netloc)
