"""Finds the URLs of files in indexes: pages of the simple repository API in HTML (PEP 503) and pip's find-links, over
http(s) or from disk, as the host's own pip is configured.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from envtool import api
from envtool_python.pip_config import PipConfig, file_name, read_index, run_host_pip, strip_credentials
from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DEFAULT = re.compile(r"\(default:?\s+((?:https?|file)://[^\s)]+)\)")
_MAX_THREADS = 8  # pages that are read at once


def locate_files(
    fetches: Sequence[api.Fetch], projects: Mapping[str, str], site: api.Site, replacement: str = ""
) -> list[api.Fetch]:
    """Returns the files with their URLs and this machine's credentials for them.

    `projects` are the files' project names by sha256; `replacement` is the index that replaces the usual one. A file
    that is on no page keeps an empty URL. Raises FetchError if no index answers, and ResolveError.
    """
    index = with_replacement_index(read_index(site), replacement)

    def locate(fetch: api.Fetch) -> api.Fetch:
        url = fetch.url or _find_url(fetch, normal(projects[fetch.sha256]), index, site)
        return replace(fetch, url=index.opened(url)) if url else fetch

    with ThreadPoolExecutor(_MAX_THREADS) as pool:
        return [*pool.map(locate, fetches)]


def _find_url(fetch: api.Fetch, name: str, index: PipConfig, site: api.Site) -> str:
    urls = [url for url in iter_pages(index, name, site) if file_name(url) == fetch.name]
    # prefer the link with this hash; links may have none: the fetch checks it
    return strip_credentials(next((url for url in urls if fetch.sha256 in urlsplit(url).fragment), "".join(urls[:1])))


def with_replacement_index(index: PipConfig, url: str) -> PipConfig:
    """Returns the configuration with `url` instead of the usual index and the extra ones.

    The configuration stays as it is if it has no index at all, if it uses `url` alone already, or if `url` is pip's
    default index: this machine may have a mirror of that.
    """
    variables = dict(index.variables)
    configured = variables.get("PIP_INDEX_URL", "")
    if (
        not url
        or _index_disabled(variables)
        or (configured and _bare_url(configured) == _bare_url(url) and "PIP_EXTRA_INDEX_URL" not in variables)
    ):
        return index
    if _bare_url(url) == _bare_url(_default_index_url()):
        return index
    variables.pop("PIP_EXTRA_INDEX_URL", None)
    return replace(index, variables={**variables, "PIP_INDEX_URL": index.opened(url)})


def is_usual_index(location: str, index: PipConfig, replacement: str) -> bool:
    """Whether a lock's index is one where the host's pip looks: its default, a configured one, or `replacement`, which
    replaces them. "" is the default."""
    variables = index.variables
    configured = (
        variables.get(name, "").split() for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
    )
    usual = {"", _bare_url(replacement), *(_bare_url(url) for urls in configured for url in urls)}
    return _bare_url(location) in usual or is_default_index(location)


def _bare_url(url: str) -> str:
    return strip_credentials(url).rstrip("/")


def _index_disabled(variables: Mapping[str, str]) -> bool:
    return variables.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}


@lru_cache
def _default_index_url() -> str:
    return default_index(run_host_pip("install", "--help", variables={"COLUMNS": "300"}))


class _LinkParser(HTMLParser):
    """Collects the links of a page, as absolute URLs."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<a href> and <base href>."""
        href = dict(attrs).get("href")
        if href and tag == "base":
            self.base = urljoin(self.base, href)
        elif href and tag == "a":
            self.urls.append(urljoin(self.base, href))


def links(page: str, url: str) -> list[str]:
    """Returns the absolute URLs of a page's links, with their fragments (hashes)."""
    parser = _LinkParser(url)
    parser.feed(page)
    return parser.urls


def iter_pages(index: PipConfig, name: str, site: api.Site) -> Iterator[str]:
    """Yields the URLs of all files that the host's pip would find for `name`, in pip's order: find-links, then indexes.
    Raises FetchError if no index answers."""
    variables = index.variables
    for location in variables.get("PIP_FIND_LINKS", "").split():
        yield from _read_links(location, site)
    if _index_disabled(variables):
        return
    main = variables.get("PIP_INDEX_URL") or _default_index_url()
    first_error: api.FetchError | None = None
    answered = False
    for location in (main, *variables.get("PIP_EXTRA_INDEX_URL", "").split()):
        try:
            yield from _read_links(f"{location.rstrip('/')}/{name}/", site)
            answered = True
        except api.FetchError as error:  # an index answers 404 for a project that it does not have
            first_error = first_error or error
    if first_error is not None and not answered:
        raise first_error


def pages_of_one_index(location: str, index: PipConfig, name: str, site: api.Site) -> list[str]:
    """Returns the URLs of all files that one index has for `name`, read with this machine's credentials for it. Raises
    FetchError."""
    return _read_links(index.opened(f"{location.rstrip('/')}/{name}/"), site)


def is_default_index(location: str) -> bool:
    """Whether a lock's index is pip's default: "" is, too."""
    return not location or _bare_url(location) == _bare_url(_default_index_url())


def _read_links(location: str, site: api.Site) -> list[str]:
    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
    if not path.startswith("/"):
        return links(site.get(location).decode(errors="replace"), location)
    page = os.path.join(path, "index.html") if os.path.isdir(path) else path
    if os.path.isfile(page):
        with open(page, encoding="utf-8", errors="replace") as file:
            return links(file.read(), f"file://{page}")
    if os.path.isdir(path):
        return [f"file://{os.path.join(path, entry)}" for entry in sorted(os.listdir(path))]
    return []


def default_index(help_text: str) -> str:
    """Returns pip's default index, from the output of `pip install --help`. Raises ResolveError."""
    match = _DEFAULT.search(help_text)
    if match is None:
        raise api.ResolveError(
            "pip names no default index", code="index", hint="set one: `pip config set global.index-url URL`"
        )
    return match.group(1)
