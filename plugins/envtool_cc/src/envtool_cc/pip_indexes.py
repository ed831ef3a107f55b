"""The package indexes of this machine's pip, and the files on their pages: the simple repository API in HTML (PEP 503,
with the marks of PEP 592 for yanked files), and pip's find-links.

A page is a stranger's: its size is bounded, and a page from a server cannot name a file of this machine."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from envtool import api

MAX_PAGE = 16 << 20  # bytes of the page of one package
_SECONDS = 60  # that pip may take to say how it is configured
_SECTIONS = ("global", "install", ":env:")  # a later section wins, as in `pip install`
_DEFAULT = re.compile(r"\(default:?\s+((?:https?|file)://[^\s)]+)\)")
_HASH = re.compile(r"(sha256|sha384|sha512)=([0-9a-fA-F]{64,128})")


class Link(NamedTuple):
    """A file that a page names. `digest` is "sha256:hex" or the like, "" if the page has no such hash."""

    name: str
    url: str
    digest: str
    yanked: bool


class Indexes(NamedTuple):
    """Where pip looks for packages: pages and directories of find-links, then indexes, with this machine's
    credentials."""

    find_links: tuple[str, ...]
    urls: tuple[str, ...]


def package_links(package: str, site: api.Site) -> tuple[Link, ...]:
    """Returns the files of a package in all of this machine's indexes, in pip's order. Raises FetchError if no index
    answers, and ResolveError."""
    indexes: Indexes = site.shared("cc toolchains: indexes", _IndexesOnce).read()
    links: list[Link] = []
    for location in indexes.find_links:
        links += _read_page(location, site)
    errors: list[api.FetchError] = []
    for url in indexes.urls:
        try:
            links += _read_page(f"{url.rstrip('/')}/{package}/", site)
        except api.FetchError as error:  # an index answers 404 for a package that it does not have
            if error.code == "offline":
                raise
            errors.append(error)
    if errors and len(errors) == len(indexes.urls) and not links:
        raise errors[0]
    return tuple(links)


class _IndexesOnce:
    """The indexes, read when the first toolchain of a run needs them."""

    def __init__(self) -> None:
        self._indexes: Indexes | None = None

    def read(self) -> Indexes:
        """Raises ResolveError."""
        if self._indexes is None:
            self._indexes = read_indexes(_run_pip)
        return self._indexes


def read_indexes(run_pip: Callable[..., str]) -> Indexes:
    """Returns the indexes by pip's own configuration; `run_pip` returns what pip prints. Without a configured index
    pip's default is taken. Raises ResolveError."""
    options = parse_config(run_pip("config", "list"))
    find_links = tuple(options.get("find-links", "").split())
    if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        return Indexes(find_links, ())
    main = options.get("index-url", "").strip() or default_index(run_pip("install", "--help"))
    return Indexes(find_links, (main, *options.get("extra-index-url", "").split()))


def parse_config(listing: str) -> dict[str, str]:
    """Parses what `pip config list` prints: option -> value of the section that wins."""
    winners: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if not equals or section not in _SECTIONS:
            continue
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            text = value
        rank = _SECTIONS.index(section)
        if rank >= winners.get(option, (-1, ""))[0]:
            winners[option] = (rank, text)
    return {option: text for option, (_, text) in winners.items()}


def default_index(help_text: str) -> str:
    """Returns pip's default index, from what `pip install --help` prints. Raises ResolveError."""
    match = _DEFAULT.search(help_text)
    if match is None:
        hint = "set one: `pip config set global.index-url URL`"
        raise api.ResolveError("pip names no default index", code="toolchain-registry", hint=hint)
    return match[1]


def _run_pip(*arguments: str) -> str:
    """Returns what this machine's pip prints: that of this Python, else the one in PATH. Raises ResolveError."""
    path = api.search_path()
    program = [sys.executable, "-P", "-m", "pip"]  # -P: no pip.py of the current directory
    if importlib.util.find_spec("pip") is None:
        program = [found for name in ("pip3", "pip") if (found := api.find_program(name, path))][:1]
    if not program:
        hint = "install pip: its configuration says where packages are"
        raise api.ResolveError("this machine has no pip", code="toolchain-registry", hint=hint)
    environment = {**os.environ, "PATH": path, "COLUMNS": "300", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        completed = subprocess.run(
            [*program, *arguments], cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        message = f"pip {arguments[0]} failed on this machine"
        hint = f"see what `pip {' '.join(arguments)}` says"
        raise api.ResolveError(message, code="toolchain-registry", hint=hint) from None
    return completed.stdout


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
    """Returns the links of a page at `url`. Links of another scheme are left out: a page of a server names no file of
    this machine."""
    parser = _PageParser(strip_credentials(url))
    parser.feed(page)
    schemes = ("http", "https") if url.startswith(("http://", "https://")) else ("file",)
    links = []
    for link, yanked in parser.links:
        plain, fragment = urldefrag(link)
        try:
            parts = urlsplit(plain)
        except ValueError:
            continue
        if parts.scheme in schemes:
            found = _HASH.search(fragment)
            digest = f"{found[1]}:{found[2].lower()}" if found else ""
            links.append(Link(unquote(parts.path.rpartition("/")[2]), plain, digest, yanked))
    return links


def _read_page(location: str, site: api.Site) -> list[Link]:
    """Returns the links of a page, or the files of a directory of this machine. Raises FetchError."""
    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
    if not path.startswith("/"):
        content = site.get(location)
        if len(content) > MAX_PAGE:
            message = f"{strip_credentials(location)} has more than {MAX_PAGE >> 20} MB"
            raise api.ResolveError(message, code="toolchain-registry")
        return [
            link._replace(url=with_credentials(link.url, location))
            for link in parse_page(content.decode(errors="replace"), location)
        ]
    path = os.path.realpath(path)
    page = os.path.join(path, "index.html") if os.path.isdir(path) else path
    if os.path.isfile(page):
        # an index on disk has its files beside the directory of its pages
        site.own(os.path.dirname(os.path.dirname(path)) if location.endswith("/") else os.path.dirname(page))
        with open(page, encoding="utf-8", errors="replace") as file:
            return parse_page(file.read(MAX_PAGE), f"file://{page}")
    if os.path.isdir(path):
        site.own(path)
        return [Link(name, f"file://{os.path.join(path, name)}", "", False) for name in sorted(os.listdir(path))]
    return []


def strip_credentials(url: str) -> str:
    """Returns the URL without credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def with_credentials(url: str, index: str) -> str:
    """Returns a URL of the same server as an index with the credentials of that index."""
    netloc = urlsplit(index).netloc
    parts = urlsplit(url)
    same = "@" in netloc and parts.netloc == netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=netloc)) if same else url
