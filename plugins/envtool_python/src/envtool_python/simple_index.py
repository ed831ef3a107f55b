"""Where a file of the index is: pages of the simple repository API in HTML (PEP 503) and pip's find-links, over http(s)
or from disk, as the host's own pip is configured.
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
_AT_ONCE = 8  # pages


def locate_files(
    fetches: Sequence[api.Fetch], projects: Mapping[str, str], site: api.Site, replaced: str = ""
) -> list[api.Fetch]:
    """Files with their URLs, and the credentials that this machine has for them; `projects` are their names by sha256,
    `replaced` the index that stands in the place of the usual one.

    A file that is on no page stays without a URL. Raises FetchError where no index answers, ResolveError.
    """
    index = with_replacement_index(read_index(site), replaced)

    def one(fetch: api.Fetch) -> api.Fetch:
        url = fetch.url or _find(fetch, normal(projects[fetch.sha256]), index, site)
        return replace(fetch, url=index.opened(url)) if url else fetch

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [*pool.map(one, fetches)]


def _find(fetch: api.Fetch, name: str, index: PipConfig, site: api.Site) -> str:
    fitting = [url for url in iter_pages(index, name, site) if file_name(url) == fetch.name]
    # of several, that whose link has this hash; where links have none, the fetch checks it
    return strip_credentials(
        next((url for url in fitting if fetch.sha256 in urlsplit(url).fragment), "".join(fitting[:1]))
    )


def with_replacement_index(index: PipConfig, url: str) -> PipConfig:
    """The index with this one in the place of the usual one, and of those beside it. Where this machine has a mirror of
    the usual one, or looks there already, its own configuration stands; likewise where it knows no index at all."""
    variables = dict(index.variables)
    own = variables.get("PIP_INDEX_URL", "")
    if (
        not url
        or _index_disabled(variables)
        or (own and _plain(own) == _plain(url) and "PIP_EXTRA_INDEX_URL" not in variables)
    ):
        return index
    if _plain(url) == _plain(_default_index_url()):
        return index
    variables.pop("PIP_EXTRA_INDEX_URL", None)
    return replace(index, variables={**variables, "PIP_INDEX_URL": index.opened(url)})


def _plain(url: str) -> str:
    return strip_credentials(url).rstrip("/")


def _index_disabled(variables: Mapping[str, str]) -> bool:
    return variables.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}


@lru_cache
def _default_index_url() -> str:
    return default_index(run_host_pip("install", "--help", variables={"COLUMNS": "300"}))


class _LinkParser(HTMLParser):
    """The links of a page, absolute."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<a href> and <base href>."""
        href = dict(attrs).get("href")
        if href and tag == "base":
            self.base = urljoin(self.base, href)
        elif href and tag == "a":
            self.found.append(urljoin(self.base, href))


def links(page: str, url: str) -> list[str]:
    """Absolute URLs of a page's links, hashes and all."""
    parser = _LinkParser(url)
    parser.feed(page)
    return parser.found


def iter_pages(index: PipConfig, name: str, site: api.Site) -> Iterator[str]:
    """All that the host's pip would look at, in its order: find-links, then the indexes."""
    variables = index.variables
    for place in variables.get("PIP_FIND_LINKS", "").split():
        yield from _listed(place, site)
    if _index_disabled(variables):
        return
    main = variables.get("PIP_INDEX_URL") or _default_index_url()
    failed: api.FetchError | None = None
    answered = False
    for place in (main, *variables.get("PIP_EXTRA_INDEX_URL", "").split()):
        try:
            yield from _listed(f"{place.rstrip('/')}/{name}/", site)
            answered = True
        except api.FetchError as error:  # an index answers 404 for what it does not have
            failed = failed or error
    if failed is not None and not answered:
        raise failed


def _listed(place: str, site: api.Site) -> list[str]:
    path = unquote(urlsplit(place).path) if place.startswith("file:") else place
    if not path.startswith("/"):
        return links(site.get(place).decode(errors="replace"), place)
    page = os.path.join(path, "index.html") if os.path.isdir(path) else path
    if os.path.isfile(page):
        with open(page, encoding="utf-8", errors="replace") as file:
            return links(file.read(), f"file://{page}")
    if os.path.isdir(path):
        return [f"file://{os.path.join(path, entry)}" for entry in sorted(os.listdir(path))]
    return []


def default_index(said: str) -> str:
    """Where pip looks when nothing is configured, by its own help. Raises ResolveError."""
    found = _DEFAULT.search(said)
    if found is None:
        raise api.ResolveError(
            "pip names no default index", code="index", hint="set one: `pip config set global.index-url URL`"
        )
    return found.group(1)
