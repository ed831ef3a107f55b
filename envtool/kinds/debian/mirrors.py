"""Where an archive is. No host name is built in: the spec says it, a variable, or the host's apt configuration.

Formats: sources.list(5), both the one-line and the deb822 style.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envtool.api import ResolveError
from envtool.kinds.debian.suites import nearest_suite, suite_family

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envtool.api import Site

VARIABLES = {"debian": "ENVTOOL_DEBIAN_MIRROR", "ubuntu": "ENVTOOL_UBUNTU_MIRROR"}
ARCHIVES = {"debian": "ENVTOOL_DEBIAN_ARCHIVE", "ubuntu": "ENVTOOL_UBUNTU_ARCHIVE"}  # that keep what mirrors drop
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<url>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """One entry of an apt configuration: `signed_by` is a path, or empty."""

    url: str  # without a slash at its end
    suite: str
    components: tuple[str, ...] = ()
    signed_by: str = ""


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Entries of a sources.list."""
    for line in text.splitlines():
        found = _ONE_LINE.match(line.strip())
        if not found:
            continue
        options = dict(item.partition("=")[::2] for item in (found["options"] or "").split())
        signed = options.get("signed-by", "")
        yield AptSource(
            url=found["url"].rstrip("/"),
            suite=found["suite"],
            components=tuple(found["components"].split()),
            signed_by=signed if signed.startswith("/") else "",
        )


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Entries of a .sources file: every URI with every suite. Disabled and deb-src stanzas are left out."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
            continue
        signed = fields.get("signed-by", "")
        for url in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield AptSource(
                    url=url.rstrip("/"),
                    suite=suite,
                    components=tuple(fields.get("components", "").split()),
                    signed_by=signed if signed.startswith("/") else "",
                )


def read_host_sources(etc: str = "/etc/apt") -> tuple[AptSource, ...]:
    """What the host's own apt is told, in the order of its files; empty on a host without apt."""
    found: list[AptSource] = []
    parts = f"{etc}/sources.list.d"
    names = sorted(os.listdir(parts)) if os.path.isdir(parts) else []
    for path in [f"{etc}/sources.list", *(f"{parts}/{name}" for name in names)]:
        reader = parse_deb822 if path.endswith(".sources") else parse_one_line if path.endswith(".list") else None
        if reader is None:
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found.extend(reader(file.read()))
        except OSError:
            continue  # unreadable to this user: as if it were not there
    return tuple(item for item in found if item.url.startswith(("http://", "https://", "file:")))


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteMirrors:
    """Where to look for a suite (`main`), and for its security pocket; in the order in which to try."""

    main: tuple[str, ...]
    security: tuple[str, ...]
    archive: str  # "debian", "ubuntu" or "" (the suite is unknown: every mirror of the host is tried)
    signed_by: tuple[str, ...] = ()  # keyrings that the host's configuration names for them


def choose_mirrors(
    suite: str,
    *,
    mirror: str = "",
    security: str = "",
    sources: Iterable[AptSource],
    environ: Mapping[str, str],
) -> SuiteMirrors:
    """The mirrors for a suite. Raises ResolveError where nothing says where the archive is."""
    archive = suite_family(suite)
    ours = [item for item in sources if suite_family(item.suite) and archive in ("", suite_family(item.suite))]
    exact = [item for item in ours if item.suite == suite]
    plain = [item for item in ours if not _is_security(item.suite)]
    told = mirror or environ.get(VARIABLES.get(archive, ""), "")
    if not told and not archive:
        told = next((environ[name] for name in VARIABLES.values() if environ.get(name)), "")
    main = _unique([told] if told else [item.url for item in (*exact, *plain)])
    if not main:
        like = nearest_suite(suite)
        where = f"give the base a `mirror:` (an URL), or set {VARIABLES.get(archive, 'ENVTOOL_DEBIAN_MIRROR')}"
        raise ResolveError(
            f"no mirror is known for suite `{suite}`: this host's apt configuration names none",
            code="no-mirror",
            hint=f"did you mean `{like}`? Else {where}" if like else where,
        )
    # The security archive of Debian lies beside the main one; Ubuntu's is a pocket of it. A mirror that the user
    # names is believed to have both, before the host's are asked.
    beside = [f"{url}-security" for url in main] if archive != "ubuntu" else []
    hosts = [item.url for item in ours if _is_security(item.suite)]
    candidates = [security] if security else [*beside, *main, *hosts] if told else [*hosts, *beside, *main]
    return SuiteMirrors(
        main=main,
        security=_unique(candidates),
        archive=archive,
        signed_by=_unique([item.signed_by for item in ours]) if not told else (),
    )


def archive_urls(url: str, suite: str, pocket: str, epoch: int) -> tuple[str, ...]:
    """Where files of a pinned index may be: `url` where the pins say one, else this machine's mirrors; then an archive
    that keeps everything, where one is configured (`{date}` in its URL becomes that of the index, 20250101T000000Z).

    `suite` is the base's, `pocket` that of the index, as in bookworm-security. Raises ResolveError.
    """
    archive = suite_family(suite)
    if url:
        first: tuple[str, ...] = (url,)
    else:
        found = choose_mirrors(suite, sources=read_host_sources(), environ=os.environ)
        first = found.security if _is_security(pocket) else found.main
    last = os.environ.get(ARCHIVES.get(archive, ""), "")
    if last:
        import time

        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch))
        beside = "-security" if _is_security(pocket) and archive == "debian" else ""
        last = last.replace("{date}", date).replace("{archive}", f"{archive}{beside}")
    return _unique([*first, last])


def allow_host_archives(site: Site) -> None:
    """Tell a site which archives this machine's own configuration names: their file URLs may be read."""
    named = [*(os.environ.get(name, "") for name in VARIABLES.values()), *(item.url for item in read_host_sources())]
    for url in filter(None, named):
        site.own(url)
        site.own(f"{url.rstrip('/')}-security")  # where `choose` looks beside it
    for name in ARCHIVES.values():
        site.own(os.environ.get(name, "").partition("{")[0])


def _is_security(suite: str) -> bool:
    return suite.endswith(("-security", "/updates"))


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.rstrip("/") for item in items if item))
