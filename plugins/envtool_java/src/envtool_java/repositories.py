"""Where this machine's Maven looks: mirrors, repositories and credentials of its settings.xml files.

Formats: https://maven.apache.org/settings.html and guides/mini/guide-mirror-settings.html. Credentials go only to URLs
that a settings.xml names: a project could declare a repository with the id of another one.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from envtool_java.poms import DeclaredRepository, WrongPomError, child_text, parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LOCAL_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MavenRepository:
    """A repository with this machine's URL for it. `authorization` is the HTTP header, or ""."""

    url: str  # without a slash at its end
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MavenSettings:
    """What settings.xml files say. The repr has no credentials."""

    mirrors: tuple[tuple[str, str, str], ...] = ()  # id, mirrorOf, URL
    repositories: tuple[DeclaredRepository, ...] = ()  # of active profiles
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)  # id of a server -> header
    encrypted: frozenset[str] = frozenset()  # ids of servers whose password only Maven can decrypt
    proxy: str = ""  # host of an active proxy


def read_settings(environ: Mapping[str, str]) -> MavenSettings:
    """Returns the settings of this machine: those of the user come before those of the machine. Files that are not
    there or not XML are left out, as if they were empty."""
    home = environ.get("HOME", "")
    maven_home = environ.get("MAVEN_HOME", "") or "/usr/share/maven"
    places = [f"{home}/.m2/settings.xml"] if home else []
    places += ["/etc/maven/settings.xml", f"{maven_home}/conf/settings.xml"]
    seen: dict[str, str] = {}
    for place in places:
        real = os.path.realpath(place)
        if real not in seen and (text := _read_text(real)):
            seen[real] = text
    return merge_settings([parse_settings(text, path, environ) for path, text in seen.items()])


def merge_settings(several: Sequence[MavenSettings]) -> MavenSettings:
    """Returns the sum of several settings, of which the first outweighs the others."""
    credentials: dict[str, str] = {}
    for settings in reversed(several):
        credentials |= settings.credentials
    return MavenSettings(
        mirrors=tuple(mirror for settings in several for mirror in settings.mirrors),
        repositories=tuple(dict.fromkeys(item for settings in several for item in settings.repositories)),
        credentials=credentials,
        encrypted=frozenset(name for settings in several for name in settings.encrypted),
        proxy=next((settings.proxy for settings in several if settings.proxy), ""),
    )


def parse_settings(text: str, path: str, environ: Mapping[str, str]) -> MavenSettings:
    """Returns what the text of a settings.xml says; `${env.NAME}` becomes a variable of `environ`."""
    text = re.sub(r"\$\{env\.(\w+)\}", lambda match: _escape(environ.get(match[1], match[0])), text)
    try:
        root = parse_xml(text, path)
    except WrongPomError:
        return MavenSettings()
    active = {(item.text or "").strip() for item in root.iter("activeProfile")}
    profiles = [
        profile
        for profile in root.iter("profile")
        if child_text(profile, "id") in active or child_text(profile, "activation", "activeByDefault") == "true"
    ]
    credentials, encrypted = _read_servers(root)
    return MavenSettings(
        mirrors=tuple(
            (child_text(mirror, "id"), child_text(mirror, "mirrorOf"), child_text(mirror, "url").rstrip("/"))
            for mirror in root.iter("mirror")
            if re.match("https?://", child_text(mirror, "url"))
        ),
        repositories=tuple(
            DeclaredRepository(id=child_text(item, "id"), url=child_text(item, "url").rstrip("/"))
            for profile in profiles
            for name in ("repository", "pluginRepository")
            for item in profile.iter(name)
            if re.match("https?://", child_text(item, "url"))
        ),
        credentials=credentials,
        encrypted=encrypted,
        proxy=next(
            (child_text(item, "host") for item in root.iter("proxy") if child_text(item, "active") != "false"), ""
        ),
    )


def _read_servers(root: Element) -> tuple[dict[str, str], frozenset[str]]:
    credentials: dict[str, str] = {}
    encrypted = set()
    for server in root.iter("server"):
        name, user, password = (child_text(server, key) for key in ("id", "username", "password"))
        if re.search(r"(?<!\\)\{.+\}", password):
            encrypted.add(name)
        elif user:
            credentials[name] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return credentials, frozenset(encrypted)


def choose_repositories(
    settings: MavenSettings, declared: Sequence[DeclaredRepository], central: str
) -> tuple[MavenRepository, ...]:
    """Returns the repositories in the order in which Maven asks them: those of settings.xml, those of the project, and
    Maven's own (`central`); each by the mirror that stands for it."""
    rows = [
        *((item, True) for item in settings.repositories),
        *((item, False) for item in declared),
        (DeclaredRepository(id="central", url=central.rstrip("/")), False),
    ]
    chosen: dict[str, MavenRepository] = {}
    for item, trusted in rows:
        mirror = next((row for row in settings.mirrors if matches(row[1], item)), None)
        name, url = (mirror[0], mirror[2]) if mirror else (item.id, item.url)
        header = settings.credentials.get(name, "") if mirror or trusted else ""
        if url:
            chosen.setdefault(url, MavenRepository(url=url, authorization=header))
    return tuple(chosen.values())


def matches(pattern: str, repository: DeclaredRepository) -> bool:
    """Returns whether `mirrorOf` has a repository: `*`, `external:*`, `external:http:*`, ids and `!id`."""
    words = [word.strip() for word in pattern.split(",")]
    if f"!{repository.id}" in words:
        return False
    parts = urlsplit(repository.url)
    external = parts.hostname not in LOCAL_HOSTS
    return (
        repository.id in words
        or "*" in words
        or ("external:*" in words and external)
        or ("external:http:*" in words and external and parts.scheme == "http")
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4 << 20)
    except OSError:
        return ""
