"""Which Debian packages a stack has: dpkg's database, and what distroless images have in its place (status.d)."""

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
# Names of DEP 5 that SPDX has otherwise
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
    """All that is installed, sorted as the database has it."""
    parts = [path for path in tree.find(PARTS) if not path.endswith(".md5sums")]
    content = tree.read([DATABASE, *parts, *RELEASES])
    releases = [content[path].decode(errors="replace") for path in RELEASES if path in content]
    namespace, distro = _distribution(releases[0] if releases else "")
    found = [
        (path, stanza)
        for path in (DATABASE, *parts)
        for stanza in parse_stanzas(content.get(path, b"").decode(errors="replace"))
        if path != DATABASE or _installed(stanza)
    ]
    documents = {f"/usr/share/doc/{stanza.get('package', '')}/copyright" for _, stanza in found}
    copyrights = tree.read(sorted(documents))
    return [
        _package(path, stanza, namespace, distro, copyrights)
        for path, stanza in found
        if stanza.get("package") and stanza.get("version")
    ]


def owners(tree: Tree, path: str) -> list[Package]:
    """The packages whose list of files has a path, or the name that it had before /bin and /lib moved below /usr."""
    wanted = {path.encode(errors="surrogateescape"), path.removeprefix("/usr").encode(errors="surrogateescape")}
    names = {
        place.rpartition("/")[2].removesuffix(".list").partition(":")[0]
        for place, content in tree.read(tree.find(LISTS)).items()
        if wanted & {*content.split(b"\n")}
    }
    return [package for package in installed_packages(tree) if package.name in names] if names else []


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Fields of each stanza (deb822), names in lower case."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t"):
                if last:
                    fields[last] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if fields:
            yield fields


def parse_licenses(text: str) -> tuple[str, ...]:
    """The licences that a machine-readable copyright file names, sorted, in SPDX's words where they have them."""
    first, *rest = [*parse_stanzas(text)] or [{}]
    if FORMAT not in first.get("format", ""):
        return ()
    names = {stanza["license"].partition("\n")[0].strip() for stanza in (first, *rest) if "license" in stanza}
    return tuple(sorted({_expression(name) for name in names if name}))


def _expression(name: str) -> str:
    """Of DEP 5's syntax (`A or B and C, with X exception`): what is not plain stays as it is."""
    words = re.split(r" (or|and) ", " ".join(name.split()))
    if any("," in word or " " in word for word in words):
        return name
    return " ".join(word.upper() if word in ("or", "and") else _spdx(word) for word in words)


def _spdx(word: str) -> str:
    if found := GNU.fullmatch(word):
        family, major, minor, later = found.groups()
        return f"{family}-{major}{minor or '.0'}-{'or-later' if later in ('+', '-or-later') else 'only'}"
    return SPDX.get(word.lower(), word)


def _installed(stanza: dict[str, str]) -> bool:
    return stanza.get("status", "").split()[-1:] == ["installed"]


def _distribution(text: str) -> tuple[str, str]:
    """As in ("debian", "debian-12"); ("debian", "") where nothing says more."""
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    name, version = (lines.get(key, "").strip("\"' ").lower() for key in ("ID", "VERSION_ID"))
    return name or "debian", f"{name}-{version}" if name and version else ""


def _package(path: str, stanza: dict[str, str], namespace: str, distro: str, copyrights: dict[str, bytes]) -> Package:
    name, version, arch = stanza["package"], stanza["version"], stanza.get("architecture", "")
    said = copyrights.get(f"/usr/share/doc/{name}/copyright", b"").decode(errors="replace")
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
        licenses=parse_licenses(said),
        summary=stanza.get("description", "").partition("\n")[0],
        homepage=stanza.get("homepage", ""),
        archives=(f"{name}_{version.replace(':', '%3a')}_{arch}.deb",),
    )
