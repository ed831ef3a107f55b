"""Finds the URLs of files in indexes: pages of the simple repository API in HTML (PEP 503) and pip's find-links, over
http(s) or from disk, as the host's own pip is configured.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from envtool import api
from envtool.api.pip_indexes import Link, default_index, is_on, package_links, read_page, strip_credentials
from envtool_python.pip_config import PipConfig, file_name, read_index
from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_THREADS = 8  # pages that are read at once


def locate_files(
    fetches: Sequence[api.Fetch], projects: Mapping[str, str], site: api.Site, replacement: str = ""
) -> list[api.Fetch]:
    """Returns the files with their URLs and this machine's credentials for them.

    `projects` are the files' project names by sha256; `replacement` is the index that replaces the usual one. A file
    that is on no page keeps an empty URL. Raises FetchError if no index answers, and ResolveError.
    """
    index = with_replacement_index(read_index(site), replacement, site)

    def locate(fetch: api.Fetch) -> api.Fetch:
        url = fetch.url or _find_url(fetch, normal(projects[fetch.sha256]), index, site)
        return replace(fetch, url=index.opened(url)) if url else fetch

    with ThreadPoolExecutor(_MAX_THREADS) as pool:
        return [*pool.map(locate, fetches)]


def _find_url(fetch: api.Fetch, name: str, index: PipConfig, site: api.Site) -> str:
    urls = [url for url in list_files(index, name, site) if file_name(url) == fetch.name]
    # prefer the link with this hash; links may have none: the fetch checks it
    return strip_credentials(next((url for url in urls if fetch.sha256 in urlsplit(url).fragment), "".join(urls[:1])))


def with_replacement_index(index: PipConfig, url: str, site: api.Site) -> PipConfig:
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
    if _bare_url(url) == _bare_url(default_index(site)):
        return index
    variables.pop("PIP_EXTRA_INDEX_URL", None)
    return replace(index, variables={**variables, "PIP_INDEX_URL": index.opened(url)})


def is_usual_index(location: str, index: PipConfig, replacement: str, site: api.Site) -> bool:
    """Whether a lock's index is one where the host's pip looks: its default, a configured one, or `replacement`, which
    replaces them. "" is the default."""
    variables = index.variables
    configured = (
        variables.get(name, "").split() for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
    )
    usual = {"", _bare_url(replacement), *(_bare_url(url) for urls in configured for url in urls)}
    return _bare_url(location) in usual or is_default_index(location, site)


def _bare_url(url: str) -> str:
    return strip_credentials(url).rstrip("/")


def _index_disabled(variables: Mapping[str, str]) -> bool:
    return is_on(variables.get("PIP_NO_INDEX", ""))


def list_files(index: PipConfig, name: str, site: api.Site) -> list[str]:
    """Returns the URLs of all files that the host's pip would find for `name`, in pip's order: find-links, then
    indexes. Raises FetchError if no index answers."""
    variables = index.variables
    indexes: tuple[str, ...] = ()
    if not _index_disabled(variables):
        main = variables.get("PIP_INDEX_URL") or default_index(site)
        indexes = (main, *variables.get("PIP_EXTRA_INDEX_URL", "").split())
    found = package_links(name, variables.get("PIP_FIND_LINKS", "").split(), indexes, site)
    if found.errors and not found.answered:
        raise found.errors[0]
    return [_url(link) for link in found.links]


def _url(link: Link) -> str:
    return f"{link.url}#{link.fragment}" if link.fragment else link.url


def pages_of_one_index(location: str, index: PipConfig, name: str, site: api.Site) -> list[str]:
    """Returns the URLs of all files that one index has for `name`, read with this machine's credentials for it. Raises
    FetchError."""
    return [_url(link) for link in read_page(index.opened(f"{location.rstrip('/')}/{name}/"), site)]


def is_default_index(location: str, site: api.Site) -> bool:
    """Whether a lock's index is pip's default: "" is, too."""
    return not location or _bare_url(location) == _bare_url(default_index(site))
