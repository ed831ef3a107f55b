"""How this machine's pip is configured, and the files on the pages of package indexes: the simple repository API in
HTML (PEP 503, with the marks of PEP 592 for yanked files), and pip's find-links.

pip itself says how it is configured, so its files, its variables PIP_* and their order are pip's own. A page is a
stranger's: its size is bounded, and a page from a server cannot name a file of this machine.
"""

from __future__ import annotations

import ast
import os
import re
import threading
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit, urlunsplit

from envtool.errors import FetchError, ResolveError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api.site_protocol import Site
    from envtool.recipe import Completed

__all__ = [
    "Link",
    "PackageLinks",
    "default_index",
    "is_on",
    "local_directory",
    "package_links",
    "parse_config_list",
    "parse_default_index",
    "parse_page",
    "read_options",
    "read_page",
    "redact_credentials",
    "strip_credentials",
    "with_credentials",
]

_MAX_PAGE = 64 << 20  # bytes of the page of one package
_SECTIONS = ("global", "install", ":env:")  # a later section wins, as in `pip install`
_DEFAULT = re.compile(r"\(default:?\s+((?:https?|file)://[^\s)]+)\)")
_HASH = re.compile(r"(sha256|sha384|sha512)=([0-9a-fA-F]{64,128})")
_SECRET = re.compile(r"(?<=://)[^/@\s'\"]+@")
_REMOTE = ("http", "https")


class Link(NamedTuple):
    """A file that a page names: its name, its URL without fragment, the fragment ("sha256=hex"), and whether the file
    is yanked."""

    name: str
    url: str
    fragment: str
    yanked: bool

    @property
    def digest(self) -> str:
        """Returns "sha256:hex" or the like; "" if the page has no such hash."""
        match = _HASH.search(self.fragment)
        return f"{match[1]}:{match[2].lower()}" if match else ""


class PackageLinks(NamedTuple):
    """The files of one package, in pip's order, and the errors of the indexes that did not answer. `answered` says
    whether any index did."""

    links: tuple[Link, ...]
    errors: tuple[FetchError, ...]
    answered: bool


# ---- the configuration ---------------------------------------------------------------------------------------------


class _Configuration:
    """What pip printed, read once for a run; threads that need it meanwhile wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.options: Mapping[str, str] | None = None
        self.default_index = ""


def read_options(site: Site) -> Mapping[str, str]:
    """Returns option -> value, as `pip install` on this machine has them ("index-url", "find-links" …), and permits
    file: URLs into the directories that they name. Raises ResolveError if pip fails."""
    configuration = site.shared("pip: its configuration", _Configuration)
    with configuration.lock:
        if configuration.options is None:
            configuration.options = parse_config_list(_run_pip(site, "config", "list"))
        options = configuration.options
    for option in ("find-links", "index-url", "extra-index-url"):
        for location in options.get(option, "").split():
            if path := local_directory(location):
                for place in dict.fromkeys((os.path.realpath(path), path)):
                    site.own(place)
    return options


def default_index(site: Site) -> str:
    """Returns the index that pip takes if none is configured. Raises ResolveError."""
    configuration = site.shared("pip: its configuration", _Configuration)
    with configuration.lock:
        if not configuration.default_index:
            configuration.default_index = parse_default_index(
                _run_pip(site, "install", "--help", variables={"COLUMNS": "300"})
            )
        return configuration.default_index


def _run_pip(site: Site, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
    completed: Completed = site.host_pip(*arguments, variables=variables)
    if completed.status != 0:
        output = redact_credentials(completed.stderr.decode(errors="replace"))
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line.partition(":")[2].strip() for line in lines if line.startswith("ERROR:")]
        reason = next(iter([*errors, *reversed(lines)]), "it said nothing")
        raise ResolveError(
            f"pip {arguments[0]} failed on this machine: {reason}",
            code="pip",
            hint=f"see what `pip {' '.join(arguments)}` says",
        )
    return completed.stdout.decode(errors="replace")


def parse_config_list(listing: str) -> dict[str, str]:
    """Parses the output of `pip config list`: option -> value of the section that wins. As in pip, an empty value is
    none."""
    winners: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if not equals or section not in _SECTIONS:
            continue
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # as ast.literal_eval documents
            text = value
        if not text:
            continue
        rank = _SECTIONS.index(section)
        if rank >= winners.get(option, (-1, ""))[0]:
            winners[option] = (rank, text)
    return {option: text for option, (_, text) in winners.items()}


def parse_default_index(help_text: str) -> str:
    """Returns pip's default index, from the output of `pip install --help`. Raises ResolveError."""
    match = _DEFAULT.search(help_text)
    if match is None:
        hint = "set one: `pip config set global.index-url URL`"
        raise ResolveError("pip names no default index", code="index", hint=hint)
    return match[1]


def is_on(value: str) -> bool:
    """Whether pip takes the value of an option for true, as its `strtobool` does."""
    return value.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def local_directory(location: str) -> str:
    """Returns the directory of this machine that a path or file: URL leads to; for an index, its parent, to which the
    links of its pages lead. "" for what is on a server, or does not exist."""
    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
    if not path.startswith("/"):
        return ""
    path = path.rstrip("/")
    if path.endswith("/simple"):
        path = os.path.dirname(path)
    return path if path and os.path.exists(path) else ""


# ---- pages ---------------------------------------------------------------------------------------------------------


def package_links(package: str, find_links: Sequence[str], indexes: Sequence[str], site: Site) -> PackageLinks:
    """Returns the files of a package (its normalised name) in locations of find-links and in indexes. Raises
    FetchError for a location of find-links, and ResolveError."""
    links: list[Link] = []
    errors: list[FetchError] = []
    for location in find_links:
        links += read_page(location, site)
    for url in indexes:
        try:
            links += read_page(f"{url.rstrip('/')}/{package}/", site)
        except FetchError as error:  # an index answers 404 for a package that it does not have
            errors.append(error)
    return PackageLinks(tuple(links), tuple(errors), len(errors) < len(indexes))


def read_page(location: str, site: Site) -> list[Link]:
    """Returns the links of a page, or the files of a directory of this machine, with the credentials of `location` for
    its own server. Raises FetchError, ResolveError."""
    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
    if not path.startswith("/"):
        page = site.get(location).decode(errors="replace")
        links = parse_page(page, location)
        return [link._replace(url=with_credentials(link.url, location)) for link in links]
    page_path = os.path.join(path, "index.html") if os.path.isdir(path) else path
    if os.path.isfile(page_path):
        with open(page_path, "rb") as file:
            content = file.read(_MAX_PAGE + 1)
        if len(content) > _MAX_PAGE:
            raise ResolveError(f"{page_path} has more than {_MAX_PAGE >> 20} MB", code="index")
        return parse_page(content.decode(errors="replace"), _file_url(page_path))
    if os.path.isdir(path):
        return [Link(name, _file_url(os.path.join(path, name)), "", False) for name in sorted(os.listdir(path))]
    return []


def _file_url(path: str) -> str:
    return f"file://{quote(path, safe='/+!~')}"


class _PageParser(HTMLParser):
    """Collects the links of a page: absolute URL, with its fragment, and whether the file is yanked."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.links: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<a href data-yanked> and <base href>."""
        values = dict(attrs)
        href = values.get("href")
        if href and tag in ("a", "base"):
            try:
                url = urljoin(self.base, href.strip())
            except ValueError:  # no URL, such as http://[
                return
            if tag == "base":
                self.base = url
            else:
                self.links.append((url, "data-yanked" in values))


def parse_page(page: str, url: str) -> list[Link]:
    """Returns the links of a page at `url`, without credentials of that URL. Links of other schemes than http are left
    out, but a page of this machine may name its files: a page of a server may not. Raises ResolveError for a page that
    is no HTML."""
    parser = _PageParser(strip_credentials(url))
    try:
        parser.feed(page)
        parser.close()
    except AssertionError as error:  # of html.parser, for a marked section that is none
        raise ResolveError(f"{strip_credentials(url)} is no HTML page: {str(error)[:100]}", code="index") from None
    schemes = _REMOTE if url.startswith(("http://", "https://")) else (*_REMOTE, "file")
    links = []
    for link, yanked in parser.links:
        plain, fragment = urldefrag(link)
        try:
            parts = urlsplit(plain)
        except ValueError:
            continue
        if parts.scheme in schemes:
            links.append(Link(unquote(parts.path.rpartition("/")[2]), plain, fragment, yanked))
    return links


# ---- credentials ---------------------------------------------------------------------------------------------------


def strip_credentials(url: str) -> str:
    """Returns the URL without credentials and without its fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def with_credentials(url: str, index: str) -> str:
    """Returns a URL of the same server as an index with the credentials of that index."""
    netloc = urlsplit(index).netloc
    parts = urlsplit(url)
    same = "@" in netloc and parts.netloc == netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=netloc)) if same else url


def redact_credentials(text: str) -> str:
    """Returns text with the credentials in its URLs replaced by asterisks."""
    return _SECRET.sub("****@", text)
