"""Lists the places that a pinned file may come from, in order: vendored beside the spec, its URL, its mirrors,
ENVTOOL_BLOBS.

Vendored files and ENVTOOL_BLOBS are laid out by content: `<ab>/<sha256>`. No server needs to be trusted: each file is
checked when it arrives.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.errors import FetchError, StoreError
from envtool.lazy_dataclass import dataclass
from envtool.project.source_files import VENDOR

if TYPE_CHECKING:
    from envtool.api import Fetch
    from envtool.net import RetryPolicy

VARIABLE = "ENVTOOL_BLOBS"
MISMATCH_CODES = ("fetch-hash", "fetch-size", "fetch-large")
GONE_CODE = "fetch-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSource:
    """A URL of a file. `what` stands before the URL in messages, and names where the URL comes from."""

    url: str
    what: str = ""


def vendor_folder(root: str) -> str:
    """Returns the absolute path of the folder beside the spec that is used before any URL; empty when there is none."""
    path = os.path.join(root, VENDOR)
    return path if os.path.isdir(path) else ""


def read_blobs_variable(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Returns the URLs in ENVTOOL_BLOBS, without a slash at their ends. Raises StoreError for a word that is neither a
    URL nor an absolute path."""
    environ = os.environ if environ is None else environ
    urls: list[str] = []
    words = environ.get(VARIABLE, "").split()
    if not words:
        return ()
    from urllib.parse import urlsplit

    for word in words:
        if word.startswith("/"):
            urls.append(file_url(word).rstrip("/"))
        elif urlsplit(word).scheme in ("http", "https", "file"):
            urls.append(word.rstrip("/"))
        else:
            message = f"{VARIABLE} names `{word}`, which is neither an absolute path nor an http, https or file URL"
            raise StoreError(message, code="blobs-variable")
    return tuple(urls)


def list_sources(fetch: Fetch, *, vendor: str = "", blobs: tuple[str, ...] = ()) -> tuple[FetchSource, ...]:
    """Returns the sources of one file, in the order in which they are tried. `vendor` is a path, `blobs` are URLs."""
    sources = []
    subpath = f"{fetch.sha256[:2]}/{fetch.sha256}"
    if vendor and os.path.exists(os.path.join(vendor, subpath)):
        sources.append(FetchSource(url=file_url(os.path.join(vendor, subpath)), what=f"{VENDOR}: "))
    sources += [FetchSource(url=url) for url in (fetch.url, *fetch.mirrors) if url]
    sources += [FetchSource(url=f"{url}/{subpath}", what=f"{VARIABLE}: ") for url in blobs]
    return tuple(sources)


def local_sources(fetch: Fetch, folders: Sequence[str]) -> tuple[FetchSource, ...]:
    """Returns a source for each of the folders (absolute paths) that has a file of this name."""
    paths = [os.path.join(folder, fetch.sha256[:2], fetch.sha256) for folder in folders]
    return tuple(FetchSource(url=file_url(path)) for path in paths if os.path.exists(path))


def local_folders(root: str) -> list[str]:
    """Returns the absolute paths of the folders that can be read without a network: the folder beside the spec, and the
    local ones of ENVTOOL_BLOBS. Raises StoreError."""
    vendored = vendor_folder(root)
    return ([vendored] if vendored else []) + local_blob_folders()


def local_blob_folders() -> list[str]:
    """Returns the paths of the local folders in ENVTOOL_BLOBS. Raises StoreError."""
    urls = read_blobs_variable()
    if not urls:
        return []
    from urllib.parse import unquote, urlsplit

    return [unquote(parts.path) for parts in map(urlsplit, urls) if parts.scheme == "file"]


def file_url(path: str) -> str:
    """Returns the URL of an absolute path."""
    from pathlib import Path  # imports urllib.parse and ipaddress, which a verb that fetches nothing has no use for

    return Path(path).as_uri()


def fetch_failure(fetch: Fetch, failed: list[tuple[FetchSource, FetchError]]) -> FetchError:
    """Returns the error for a file that no source had: the error of the only source, else one that lists all sources.

    The code is fetch-hash (or -size) when a source served another file, fetch-gone when no source has the file, else
    that of the first other error (fetch-unreachable: the network, fetch-status: not allowed).
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
    mismatches = [code for code in codes if code in MISMATCH_CODES]
    other_codes = [code for code in codes if code != GONE_CODE]
    lines = [f"  {source.what}{error.message}" for source, error in failed]
    return FetchError(
        f"{fetch.name} (sha256 {fetch.sha256}) could not be had:\n" + "\n".join(lines),
        code=mismatches[0] if mismatches else other_codes[0] if other_codes else GONE_CODE,
        hint=next((error.hint for _, error in failed if error.hint and error.code in (*mismatches, *other_codes)), "")
        or next((error.hint for _, error in failed if error.hint), ""),
        found=next((error.found for _, error in failed if error.found), ""),
    )


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).netloc


class UnreachableHosts:
    """Remembers the hosts that did not answer: while another source is left, such a host is tried only once more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dead: set[str] = set()

    def retry_policy(self, url: str, patience: RetryPolicy, *, last: bool) -> RetryPolicy:
        """Returns the retry policy for a URL; `last`: no other source is left."""
        with self._lock:
            dead = _host(url) in self._dead
        return replace(patience, attempts=1) if dead and not last else patience

    def note_failure(self, url: str, error: FetchError) -> None:
        """Remembers the host of a URL if the error says that it did not answer."""
        if error.code == "fetch-unreachable":
            with self._lock:
                self._dead.add(_host(url))
