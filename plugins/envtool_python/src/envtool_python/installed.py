"""Which Python distributions a stack has, by the metadata that pip, Debian and other installers write."""

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
    """Returns all installed distributions, sorted by path."""
    paths = {path for pattern in PATTERNS for path in tree.find(pattern)}
    packages = (parse_metadata(path, content) for path, content in tree.read(sorted(paths)).items())
    return [package for package in packages if package is not None]


def owners(tree: Tree, path: str) -> list[Package]:
    """Returns the distributions whose RECORD has the path (PyPA: recording installed projects)."""
    metadata_paths: list[str] = []
    for record, content in tree.read(tree.find("/**/*.dist-info/RECORD")).items():
        site = posixpath.dirname(posixpath.dirname(record))
        if any(posixpath.normpath(posixpath.join(site, name)) == path for name in _names(content)):
            metadata_paths.append(posixpath.join(posixpath.dirname(record), "METADATA"))
    packages = (parse_metadata(metadata_path, content) for metadata_path, content in tree.read(metadata_paths).items())
    return [package for package in packages if package is not None]


def _names(record: bytes) -> list[str]:
    try:
        return [row[0] for row in csv.reader(record.decode(errors="replace").splitlines()) if row]
    except csv.Error:
        return []


def parse_metadata(path: str, content: bytes) -> Package | None:
    """Returns the package that a METADATA or PKG-INFO describes, or None if it names none."""
    header = content.partition(b"\n\n")[0] if b"\r" not in content[:4096] else content
    metadata = email.parser.Parser(policy=email.policy.compat32).parsestr(
        header.decode(errors="replace"), headersonly=True
    )
    name, version = _field(metadata, "Name"), _field(metadata, "Version")
    if not name or not version:
        return None
    stem = re.sub(r"[-_.]+", "?", name)  # `-`, `_` or `.` in a file's name
    return Package(
        type="pypi",
        name=re.sub(r"[-_.]+", "-", name).lower(),  # PEP 503, as purl wants it
        version=version,
        path=path,
        licenses=_licenses(metadata),
        summary=_field(metadata, "Summary"),
        homepage=_homepage(metadata),
        archives=tuple(
            f"{name_pattern}-{version}{ending}"
            for name_pattern in (stem, stem.lower())
            for ending in ("-*.whl", ".tar.gz", ".zip")
        ),
    )


def _field(metadata: Message, name: str) -> str:
    value = " ".join(str(metadata.get(name) or "").split())
    return "" if value in UNKNOWN else value


def _licenses(metadata: Message) -> tuple[str, ...]:
    """Returns the licence expression (PEP 639), else the classifiers, else the free text if it is a short name."""
    if expression := _field(metadata, "License-Expression"):
        return (expression,)
    names = []
    for classifier in metadata.get_all("Classifier") or []:
        kind, _, name = str(classifier).strip().rpartition(" :: ")
        if kind.startswith("License") and name != "OSI Approved":
            names.append(TROVE.get(name, name))
    text = _field(metadata, "License")
    if not names and text and len(text) <= 60:
        names.append(text)
    return tuple(dict.fromkeys(names))


def _homepage(metadata: Message) -> str:
    if page := _field(metadata, "Home-page"):
        return page
    for item in metadata.get_all("Project-URL") or []:
        label, _, url = str(item).partition(",")
        if label.strip().lower() in ("homepage", "home", "source", "repository"):
            return str(url).strip()
    return ""
