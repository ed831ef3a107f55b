"""Finds the mirrors of an archive. No host name is built in: the spec names the mirror, a variable, or the host's apt
configuration.

Formats: sources.list(5), both the one-line and the deb822 style."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envtool.api import ResolveError
from envtool.kinds.debian.suites import nearest_suite, suite_family
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envtool.api import Site

VARIABLES = {"debian": "ENVTOOL_DEBIAN_MIRROR", "ubuntu": "ENVTOOL_UBUNTU_MIRROR"}
ARCHIVES = {"debian": "ENVTOOL_DEBIAN_ARCHIVE", "ubuntu": "ENVTOOL_UBUNTU_ARCHIVE"}  # archives that keep old versions
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<url>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """One entry of an apt configuration. `signed_by` is a path, or empty."""

    url: str  # without a slash at its end
    suite: str
    components: tuple[str, ...] = ()
    signed_by: str = ""


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Yields the entries of a sources.list."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if not match:
            continue
        options = dict(item.partition("=")[::2] for item in (match["options"] or "").split())
        signed_by = options.get("signed-by", "")
        yield AptSource(
            url=match["url"].rstrip("/"),
            suite=match["suite"],
            components=tuple(match["components"].split()),
            signed_by=signed_by if signed_by.startswith("/") else "",
        )


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Yields the entries of a .sources file: one for each URI and suite. Disabled and deb-src stanzas are left out."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        field = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and field:
                fields[field] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                field = name.strip().lower()
                fields[field] = value.strip()
        if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
            continue
        signed_by = fields.get("signed-by", "")
        for url in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield AptSource(
                    url=url.rstrip("/"),
                    suite=suite,
                    components=tuple(fields.get("components", "").split()),
                    signed_by=signed_by if signed_by.startswith("/") else "",
                )


def read_host_sources(etc: str = "/etc/apt") -> tuple[AptSource, ...]:
    """Returns the entries of the host's own apt configuration, in the order of its files; none on a host without
    apt."""
    sources: list[AptSource] = []
    directory = f"{etc}/sources.list.d"
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    for path in [f"{etc}/sources.list", *(f"{directory}/{name}" for name in names)]:
        parse_file = parse_deb822 if path.endswith(".sources") else parse_one_line if path.endswith(".list") else None
        if parse_file is None:
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                sources.extend(parse_file(file.read()))
        except OSError:
            continue  # a file that this user cannot read is ignored
    return tuple(item for item in sources if item.url.startswith(("http://", "https://", "file:")))


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteMirrors:
    """The mirrors of a suite (`main`) and of its security pocket, in the order in which they are tried."""

    main: tuple[str, ...]
    security: tuple[str, ...]
    archive: str  # "debian", "ubuntu" or "" (the suite is unknown: every mirror of the host is tried)
    signed_by: tuple[str, ...] = ()  # keyrings that the host's apt configuration names for these mirrors


def choose_mirrors(
    suite: str,
    *,
    mirror: str = "",
    security: str = "",
    sources: Iterable[AptSource],
    environ: Mapping[str, str],
) -> SuiteMirrors:
    """Returns the mirrors for a suite. `mirror` and `security` are those of the spec. Raises ResolveError if none is
    known."""
    archive = suite_family(suite)
    of_archive = [item for item in sources if suite_family(item.suite) and archive in ("", suite_family(item.suite))]
    of_suite = [item for item in of_archive if item.suite == suite]
    without_security = [item for item in of_archive if not _is_security(item.suite)]
    chosen = mirror or environ.get(VARIABLES.get(archive, ""), "")
    if not chosen and not archive:
        chosen = next((environ[name] for name in VARIABLES.values() if environ.get(name)), "")
    main = _unique([chosen] if chosen else [item.url for item in (*of_suite, *without_security)])
    if not main:
        similar = nearest_suite(suite)
        advice = f"give the base a `mirror:` (an URL), or set {VARIABLES.get(archive, 'ENVTOOL_DEBIAN_MIRROR')}"
        raise ResolveError(
            f"no mirror is known for suite `{suite}`: this host's apt configuration names none",
            code="no-mirror",
            hint=f"did you mean `{similar}`? Else {advice}" if similar else advice,
        )
    # Debian's security archive is a directory beside the main archive; Ubuntu's is a pocket of the main archive. A
    # mirror that the user names is expected to have both, so it is tried before the host's.
    siblings = [f"{url}-security" for url in main] if archive != "ubuntu" else []
    from_host = [item.url for item in of_archive if _is_security(item.suite)]
    candidates = (
        [security] if security else [*siblings, *main, *from_host] if chosen else [*from_host, *siblings, *main]
    )
    return SuiteMirrors(
        main=main,
        security=_unique(candidates),
        archive=archive,
        signed_by=_unique([item.signed_by for item in of_archive]) if not chosen else (),
    )


def archive_urls(url: str, suite: str, pocket: str, epoch: int) -> tuple[str, ...]:
    """Returns the URLs of archives that may have the files of a pinned index: `url` if the pins have one, else this
    machine's mirrors; then the archive of old versions, if one is configured (`{date}` in its URL becomes the date of
    the index, as in 20250101T000000Z).

    `suite` is the base's, `pocket` is the index's, as in bookworm-security; `epoch` is in seconds. Raises
    ResolveError."""
    archive = suite_family(suite)
    if url:
        urls: tuple[str, ...] = (url,)
    else:
        suite_mirrors = choose_mirrors(suite, sources=read_host_sources(), environ=os.environ)
        urls = suite_mirrors.security if _is_security(pocket) else suite_mirrors.main
    old_archive = os.environ.get(ARCHIVES.get(archive, ""), "")
    if old_archive:
        import time

        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch))
        suffix = "-security" if _is_security(pocket) and archive == "debian" else ""
        old_archive = old_archive.replace("{date}", date).replace("{archive}", f"{archive}{suffix}")
    return _unique([*urls, old_archive])


def allow_host_archives(site: Site) -> None:
    """Allows a site to read the file URLs of the archives that this machine's own configuration names."""
    urls = [*(os.environ.get(name, "") for name in VARIABLES.values()), *(item.url for item in read_host_sources())]
    for url in filter(None, urls):
        site.own(url)
        site.own(f"{url.rstrip('/')}-security")  # where `choose_mirrors` looks for the security archive
    for name in ARCHIVES.values():
        site.own(os.environ.get(name, "").partition("{")[0])


def _is_security(suite: str) -> bool:
    return suite.endswith(("-security", "/updates"))


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.rstrip("/") for item in items if item))
