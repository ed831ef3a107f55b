"""The layer kind `sdist`: a released source distribution, found where the host's pip looks, fetched by hash, unpacked.

Pages are those of the simple repository API in HTML (PEP 503) and pip's find-links, over http(s) or from disk.
"""

from __future__ import annotations

import os
import posixpath
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urljoin, urlsplit

from envtool import api
from envtool_python.index import Index, closed, file_name, host_pip, read_index
from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_DEFAULT = re.compile(r"\(default:?\s+((?:https?|file)://[^\s)]+)\)")


class Sdist(api.Kind):
    """`sdist: {name: attrs, version: "25.3.0", sha256: …, to: /src}`."""

    name: ClassVar[str] = "sdist"
    schema: ClassVar[api.Json] = {
        "description": "the files of a released source distribution, as its authors packed them, found where this "
        "machine's pip looks and fetched by hash",
        "type": "object",
        "required": ["name", "version", "sha256", "to"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "description": "the project's name"},
            "version": {"type": "string", "minLength": 1, "description": "its exact version"},
            "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "of the archive, in hex"},
            "to": {
                "type": "string",
                "pattern": "^/",
                "description": "absolute path of the directory that its files are put into, without the archive's own",
            },
        },
    }

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Find the archive. Raises ResolveError where no index has this version."""
        chosen = _options(request)
        name, version = normal(chosen["name"]), chosen["version"]
        index = read_index()
        site.note(f"looking for {name} {version}")
        found = [url for url in _links(index, name, site) if version_of(file_name(url), name) is not None]
        fitting = [url for url in found if _same(version_of(file_name(url), name) or "", version)]
        if not fitting:
            raise _missing(name, version, found)
        # of several, that whose link has this hash; where links have none, the fetch checks it
        digest = chosen["sha256"].lower()
        url = next((url for url in fitting if digest in urlsplit(url).fragment), fitting[0])
        private = sorted({urlsplit(closed(url)).netloc} & set(index.secrets))
        return {"url": closed(url), "private": [*private]}

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The archive. Credentials of the host are added here, where no key or lock sees them."""
        assert isinstance(pins, dict)
        index = read_index() if pins["private"] else Index()
        url = str(pins["url"])
        return (api.Fetch(url=index.opened(url), sha256=_options(request)["sha256"].lower(), name=file_name(url)),)

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Where it goes: the archive's hash says what it is."""
        return {"to": posixpath.normpath(_options(request)["to"])}

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacked without its own top directory."""
        assert isinstance(pins, dict)
        target = posixpath.normpath(_options(request)["to"])
        return api.Recipe(steps=(api.Unpack(name=file_name(str(pins["url"])), target=target, strip=1),))

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `attrs 25.3.0`."""
        return f"{_options(request)['name']} {_options(request)['version']}"


def version_of(file: str, name: str) -> str | None:
    """The version in the file name of a source distribution of `name` (normalised); None where it is another file."""
    for ending in _ENDINGS:
        if file.endswith(ending):
            stem = file.removesuffix(ending)
            cut = next((i for i, letter in enumerate(stem) if letter == "-" and normal(stem[:i]) == name), 0)
            return stem[cut + 1 :] if cut else None
    return None


class _Anchors(HTMLParser):
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
    parser = _Anchors(url)
    parser.feed(page)
    return parser.found


def _links(index: Index, name: str, site: api.Site) -> Iterator[str]:
    """All that the host's pip would look at, in its order: find-links, then the indexes."""
    variables = index.variables
    for place in variables.get("PIP_FIND_LINKS", "").split():
        yield from _listed(place, site)
    if variables.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}:
        return
    main = variables.get("PIP_INDEX_URL") or default_index(host_pip("install", "--help", variables={"COLUMNS": "300"}))
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


def _same(found: str, wanted: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(found) == Version(wanted)
    except InvalidVersion:
        return found == wanted


def _missing(name: str, version: str, found: list[str]) -> api.ResolveError:
    known = list(dict.fromkeys(version_of(file_name(url), name) or "" for url in found))
    if not known:
        return api.ResolveError(
            f"no source distribution of {name} was found",
            code="sdist",
            hint="it was looked for where `pip config list` says on this machine; is the name right?",
        )
    return api.ResolveError(
        f"there is no source distribution of {name} {version}", code="sdist", hint=f"versions: {', '.join(known[-6:])}"
    )


def _options(request: api.Request) -> dict[str, Any]:
    assert isinstance(request.options, dict)
    return request.options
