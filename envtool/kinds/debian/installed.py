"""Lists the Debian packages of a stack, from dpkg's database or from status.d, which distroless images have in its
place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envtool.api import Package, Tree

DATABASE = "/var/lib/dpkg/status"
LISTS = "/var/lib/dpkg/info/*.list"
PARTS = "/var/lib/dpkg/status.d/*"
RELEASES = ("/etc/os-release", "/usr/lib/os-release")
FORMAT = "packaging-manuals/copyright-format/"  # of a machine-readable debian/copyright (DEP 5)
GNU = re.compile(r"(AGPL|LGPL|GPL|GFDL)-(\d+)(\.\d+)?(\+|-or-later|-only)?")
# SPDX's names for licences that DEP 5 names in another way
SPDX = {
    "expat": "MIT",
    "artistic": "Artistic-1.0-Perl",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "zlib": "Zlib",
    "isc": "ISC",
    "mit": "MIT",
}


def installed_packages(tree: Tree) -> list[Package]:
    """Returns all installed packages, in the order of the database."""
    parts = [path for path in tree.find(PARTS) if not path.endswith(".md5sums")]
    content = tree.read([DATABASE, *parts, *RELEASES])
    releases = [content[path].decode(errors="replace") for path in RELEASES if path in content]
    namespace, distro = _distribution(releases[0] if releases else "")
    stanzas = [
        (path, stanza)
        for path in (DATABASE, *parts)
        for stanza in parse_stanzas(content.get(path, b"").decode(errors="replace"))
        if path != DATABASE or _installed(stanza)
    ]
    documents = {f"/usr/share/doc/{stanza.get('package', '')}/copyright" for _, stanza in stanzas}
    copyrights = tree.read(sorted(documents))
    return [
        _package(path, stanza, namespace, distro, copyrights)
        for path, stanza in stanzas
        if stanza.get("package") and stanza.get("version")
    ]


def owners(tree: Tree, path: str) -> list[Package]:
    """Returns the packages whose list of files has a path. The list may have the path without /usr, from before /bin
    and /lib became links into /usr."""
    spellings = {path.encode(errors="surrogateescape"), path.removeprefix("/usr").encode(errors="surrogateescape")}
    names = {
        list_path.rpartition("/")[2].removesuffix(".list").partition(":")[0]
        for list_path, content in tree.read(tree.find(LISTS)).items()
        if spellings & {*content.split(b"\n")}
    }
    return [package for package in installed_packages(tree) if package.name in names] if names else []


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yields the fields of each stanza (deb822), with their names in lower case."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        field = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t"):
                if field:
                    fields[field] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                field = name.strip().lower()
                fields[field] = value.strip()
        if fields:
            yield fields


def parse_licenses(text: str) -> tuple[str, ...]:
    """Returns the licences that a machine-readable copyright file names, sorted, in SPDX's names where there are
    any."""
    first, *others = [*parse_stanzas(text)] or [{}]
    if FORMAT not in first.get("format", ""):
        return ()
    names = {stanza["license"].partition("\n")[0].strip() for stanza in (first, *others) if "license" in stanza}
    return tuple(sorted({_expression(name) for name in names if name}))


def _expression(name: str) -> str:
    """Returns a licence in DEP 5's syntax (`A or B and C, with X exception`) as an SPDX expression; one with a comma or
    an exception stays as it is."""
    words = re.split(r" (or|and) ", " ".join(name.split()))
    if any("," in word or " " in word for word in words):
        return name
    return " ".join(word.upper() if word in ("or", "and") else _spdx(word) for word in words)


def _spdx(word: str) -> str:
    if match := GNU.fullmatch(word):
        family, major, minor, later = match.groups()
        return f"{family}-{major}{minor or '.0'}-{'or-later' if later in ('+', '-or-later') else 'only'}"
    return SPDX.get(word.lower(), word)


def _installed(stanza: dict[str, str]) -> bool:
    return stanza.get("status", "").split()[-1:] == ["installed"]


def _distribution(text: str) -> tuple[str, str]:
    """Returns ID and ID-VERSION of an os-release, as in ("debian", "debian-12"); ("debian", "") if it has none."""
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    name, version = (lines.get(key, "").strip("\"' ").lower() for key in ("ID", "VERSION_ID"))
    return name or "debian", f"{name}-{version}" if name and version else ""


def _package(path: str, stanza: dict[str, str], namespace: str, distro: str, copyrights: dict[str, bytes]) -> Package:
    name, version, arch = stanza["package"], stanza["version"], stanza.get("architecture", "")
    copyright_text = copyrights.get(f"/usr/share/doc/{name}/copyright", b"").decode(errors="replace")
    source = stanza.get("source", "").replace("(", "").replace(")", "").split()
    upstream = "@".join(source) if source and source[0] != name else ""
    qualifiers = {"arch": arch, "distro": distro, "upstream": upstream}
    return Package(
        type="deb",
        namespace=namespace,
        name=name,
        version=version,
        qualifiers={key: value for key, value in qualifiers.items() if value},
        path=path,
        licenses=parse_licenses(copyright_text),
        summary=stanza.get("description", "").partition("\n")[0],
        homepage=stanza.get("homepage", ""),
        archives=(f"{name}_{version.replace(':', '%3a')}_{arch}.deb",),
    )
