"""The index of a suite: its InReleases verified, its Packages files fetched, as values that pins can hold."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envtool.api import Fetch, FetchError, Json, ResolveError, Site
from envtool.kinds.debian import mirrors, release, suites
from envtool.kinds.debian.index import Index, Package

_FORMS = ("xz", "gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the spec says of a Debian base. `pockets` None: those that the suite has."""

    suite: str
    mirror: str = ""
    security_mirror: str = ""
    components: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    pockets: tuple[str, ...] | None = None
    keyring: str = ""
    valid_until: bool = True

    @classmethod
    def read(cls, options: Json) -> Wish:
        """From the options of the spec: `SUITE`, or a mapping (checked against the schema before)."""
        value: Any = {"suite": options} if isinstance(options, str) else options
        return cls(
            suite=value["suite"],
            mirror=value.get("mirror", ""),
            security_mirror=value.get("security_mirror", ""),
            components=tuple(value.get("components", ())),
            packages=tuple(value.get("packages", ())),
            pockets=tuple(value["pockets"]) if "pockets" in value else None,
            keyring=value.get("keyring", ""),
            valid_until=value.get("valid_until", True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageList:
    """One Packages file: `path` is below `url`; `size` bytes; `inrelease` the sha256 of what vouches for it."""

    url: str
    suite: str
    component: str
    path: str
    sha256: str
    size: int
    inrelease: str
    form: str  # "xz" or "gz"

    def fetch(self) -> Fetch:
        """The file as it is fetched."""
        name = f"{self.suite}_{self.component}_Packages.{self.form}".replace("/", "_")
        return Fetch(url=f"{self.url}/{self.path}", sha256=self.sha256, size=self.size, name=name)

    def json(self) -> dict[str, Json]:
        """As it stands in the pins."""
        return {field: getattr(self, field) for field in _LIST_FIELDS}


_LIST_FIELDS = ("url", "suite", "component", "path", "sha256", "size", "inrelease", "form")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A suite with its pockets, verified. `date` (seconds) is the main suite's; `suite` its code name."""

    suite: str
    arch: str  # as Debian calls it
    date: int
    lists: tuple[PackageList, ...]


def architecture(machine: str) -> str:
    """Debian's name of what `uname -m` says. Raises ResolveError."""
    if machine not in suites.ARCHITECTURES:
        raise ResolveError(f"there is no Debian for `{machine}` machines", code="arch")
    return suites.ARCHITECTURES[machine]


def find(wish: Wish, site: Site, *, environ: Mapping[str, str], sources: tuple[mirrors.Source, ...]) -> Archive:
    """Ask the mirrors for a suite and its pockets. Raises ResolveError, FetchError."""
    arch = architecture(site.arch)
    where = mirrors.choose(
        wish.suite, mirror=wish.mirror, security=wish.security_mirror, sources=sources, environ=environ
    )
    named = [path for path in where.signed_by if os.path.exists(path)]
    own = [str(site.project / wish.keyring)] if wish.keyring else []
    keyrings = release.keyrings(where.archive, extra=[*named, *own])
    url, main = _release(where.main, wish.suite, wish, site, keyrings)
    suite = main.codename or wish.suite
    components = wish.components or suites.COMPONENTS.get(where.archive, ("main",))
    lists = [listed(url, main, wish.suite, component, arch) for component in components]
    asked = wish.pockets is not None
    for pocket in wish.pockets if wish.pockets is not None else suites.pockets(suite):
        name = f"{suite}-{pocket}"
        places = where.security if pocket == "security" else (url,)
        try:
            at, found = _release(places, name, wish, site, keyrings)
        except FetchError as error:
            if asked or not absent(error):
                raise
            site.note(f"{name}: not on this mirror")
            continue
        lists += [listed(at, found, name, part, arch) for part in components if has(found, part, arch)]
    return Archive(suite=suite, arch=arch, date=main.date, lists=tuple(lists))


def absent(error: FetchError) -> bool:
    """Whether a fetch failed because the file is not there, rather than because the network is not."""
    return error.code == "fetch-missing" or any(
        text in error.message for text in ("HTTP 404", "HTTP 410", "No such file")
    )


def _release(
    urls: tuple[str, ...], suite: str, wish: Wish, site: Site, keyrings: tuple[release.Keyring, ...]
) -> tuple[str, release.Release]:
    first: FetchError | None = None
    for url in urls:
        what = f"{url}/dists/{suite}/InRelease"
        try:
            data = site.get(what)
        except FetchError as error:
            # A network that is down says more than a mirror beside it that never had the suite.
            first = error if first is None or absent(first) else first
            continue
        found = release.parse(data, keyrings=keyrings, what=what)
        remark = release.check(found, suite=suite, what=what, now=time.time(), strict=wish.valid_until)
        if remark:
            site.note(remark)
        return url, found
    assert first is not None
    if absent(first) and suite == wish.suite:
        raise ResolveError(
            f"no suite `{suite}` on {' or '.join(urls)}", code="no-suite", hint="name a mirror that has it: `mirror:`"
        ) from first
    raise first


def has(found: release.Release, component: str, arch: str) -> bool:
    """Whether a component is there for an architecture."""
    return any(f"{component}/binary-{arch}/Packages.{form}" in found.files for form in _FORMS)


def listed(url: str, found: release.Release, suite: str, component: str, arch: str) -> PackageList:
    """The Packages file of a component, by its hash where the archive offers that. Raises ResolveError."""
    for form in _FORMS:
        entry = found.files.get(f"{component}/binary-{arch}/Packages.{form}")
        if entry is None:
            continue
        folder = os.path.dirname(entry.path)
        # Without by-hash a mirror that is being updated serves a Packages file that its InRelease does not know.
        path = f"{folder}/by-hash/SHA256/{entry.sha256}" if found.by_hash else entry.path
        return PackageList(
            url=url,
            suite=suite,
            component=component,
            path=f"dists/{suite}/{path}",
            sha256=entry.sha256,
            size=entry.size,
            inrelease=found.sha256,
            form=form,
        )
    raise ResolveError(f"suite `{suite}` has no component `{component}` for {arch}", code="no-component")


def load(lists: tuple[PackageList, ...], site: Site) -> Index:
    """Fetch Packages files (checked by size and hash) and scan them. Raises FetchError, ResolveError."""
    return Index(
        [_text(path, item) for path, item in zip(site.fetch([it.fetch() for it in lists]), lists, strict=True)]
    )


def _text(path: os.PathLike[str], item: PackageList) -> str:
    import lzma
    import zlib

    with open(path, "rb") as file:
        data = file.read()
    try:
        plain = lzma.decompress(data) if data.startswith(b"\xfd7zXZ") else zlib.decompress(data, wbits=31)
    except (lzma.LZMAError, zlib.error) as error:
        raise ResolveError(f"the package list of {item.suite} is damaged: {error}", code="index") from error
    return plain.decode("utf-8", "replace")


# ---- pins ----------------------------------------------------------------------------------------------------------


def from_pins(pins: Any) -> tuple[PackageList, ...]:
    """The lists that a base's pins name."""
    return tuple(PackageList(**{field: item[field] for field in _LIST_FIELDS}) for item in pins["lists"])


def pin(package: Package) -> dict[str, Json]:
    """A package as it stands in the pins; `list` says which of the lists it is from, 0 is left out."""
    found: dict[str, Json] = {
        "name": package.name,
        "version": package.version,
        "arch": package.architecture,
        "path": package.path,
        "sha256": package.sha256,
        "size": package.size,
    }
    return found | ({"list": package.origin} if package.origin else {})


def fetches(pins: Any) -> tuple[Fetch, ...]:
    """The debs of pins (`lists` and `debs`) as files to fetch, named as apt names them."""
    return tuple(
        Fetch(
            url=f"{pins['lists'][item.get('list', 0)]['url']}/{item['path']}",
            sha256=item["sha256"],
            size=item["size"],
            name=file_name(item),
        )
        for item in pins["debs"]
    )


def file_name(item: Mapping[str, Any]) -> str:
    """`name_version_arch.deb`, an epoch's colon written %3a."""
    return f"{item['name']}_{item['version'].replace(':', '%3a')}_{item['arch']}.deb"


def summary(pins: Any) -> str:
    """As in: 88 packages, 41 MB."""
    count, size = len(pins["debs"]), sum(item["size"] for item in pins["debs"])
    return f"{count} package{'s' if count != 1 else ''}, {max(1, round(size / 1e6))} MB" if count else "nothing to add"
