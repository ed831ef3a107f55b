"""Which Python distributions a stack has: what pip, Debian and everybody else leave beside the modules."""

from __future__ import annotations

import csv
import email.parser
import email.policy
import posixpath
import re
from email.message import Message

from envtool.api import Package, Tree

PATTERNS = ("/**/*.dist-info/METADATA", "/**/*.egg-info/PKG-INFO", "/**/*.egg-info")
ARCHIVES = ("-*.whl", ".tar.gz", ".zip")
UNKNOWN = ("", "UNKNOWN")
TROVE = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}


def installed_packages(tree: Tree) -> list[Package]:
    """All installed distributions, in the order of their paths."""
    paths = {path for pattern in PATTERNS for path in tree.find(pattern)}
    found = (parse_metadata(path, content) for path, content in tree.read(sorted(paths)).items())
    return [package for package in found if package is not None]


def owners(tree: Tree, path: str) -> list[Package]:
    """The distributions whose RECORD has a path (PyPA: recording installed projects)."""
    found: list[str] = []
    for record, content in tree.read(tree.find("/**/*.dist-info/RECORD")).items():
        site = posixpath.dirname(posixpath.dirname(record))
        if any(posixpath.normpath(posixpath.join(site, name)) == path for name in _names(content)):
            found.append(posixpath.join(posixpath.dirname(record), "METADATA"))
    said = (parse_metadata(place, content) for place, content in tree.read(found).items())
    return [package for package in said if package is not None]


def _names(record: bytes) -> list[str]:
    try:
        return [row[0] for row in csv.reader(record.decode(errors="replace").splitlines()) if row]
    except csv.Error:
        return []


def parse_metadata(path: str, content: bytes) -> Package | None:
    """What one METADATA or PKG-INFO says; None where it names no distribution."""
    head = content.partition(b"\n\n")[0] if b"\r" not in content[:4096] else content
    said = email.parser.Parser(policy=email.policy.compat32).parsestr(head.decode(errors="replace"), headersonly=True)
    name, version = _field(said, "Name"), _field(said, "Version")
    if not name or not version:
        return None
    stem = re.sub(r"[-_.]+", "?", name)  # `-`, `_` or `.` in a file's name
    return Package(
        type="pypi",
        name=re.sub(r"[-_.]+", "-", name).lower(),  # PEP 503, as purl wants it
        version=version,
        path=path,
        licenses=_licenses(said),
        summary=_field(said, "Summary"),
        homepage=_homepage(said),
        archives=tuple(
            f"{each}-{version}{end}" for each in (stem, stem.lower()) for end in ("-*.whl", ".tar.gz", ".zip")
        ),
    )


def _field(said: Message, name: str) -> str:
    value = " ".join(str(said.get(name) or "").split())
    return "" if value in UNKNOWN else value


def _licenses(said: Message) -> tuple[str, ...]:
    """The expression (PEP 639); else what the classifiers say; else the free text, when it is a name and no essay."""
    if expression := _field(said, "License-Expression"):
        return (expression,)
    names = []
    for classifier in said.get_all("Classifier") or []:
        kind, _, name = str(classifier).strip().rpartition(" :: ")
        if kind.startswith("License") and name != "OSI Approved":
            names.append(TROVE.get(name, name))
    text = _field(said, "License")
    if not names and text and len(text) <= 60:
        names.append(text)
    return tuple(dict.fromkeys(names))


def _homepage(said: Message) -> str:
    if page := _field(said, "Home-page"):
        return page
    for item in said.get_all("Project-URL") or []:
        label, _, url = str(item).partition(",")
        if label.strip().lower() in ("homepage", "home", "source", "repository"):
            return str(url).strip()
    return ""
