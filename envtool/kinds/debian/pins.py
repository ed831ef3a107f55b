"""What the pins of both kinds say, as values: package lists and debs. Loaded on every command, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from envtool.api import Fetch, Json, Request, Site, shapes
from envtool.fs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.kinds.debian.package_index import DebianPackage


_WORD: Json = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
    "errorMessage": "the name of a suite or component",
}
_ARCH: Json = {"type": "string", "pattern": "^[a-z0-9-]+$", "errorMessage": "an architecture, as in amd64"}
_DEB = shapes.record(
    {
        "name": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9+.-]*$",
            "errorMessage": "the name of a package",
        },
        "version": {
            "type": "string",
            "pattern": "^[A-Za-z0-9.+:~-]+$",
            "errorMessage": "the version of a package, as in 3.0.11-1",
        },
        "arch": _ARCH,
        "path": shapes.PATH,
        "sha256": shapes.SHA256,
        "size": shapes.SIZE,
    },
    {"list": {"type": "integer", "minimum": 0, "maximum": 1000}},
)
_LIST = shapes.record(
    {
        "suite": _WORD,
        "component": _WORD,
        "path": shapes.PATH,
        "sha256": shapes.SHA256,
        "size": shapes.SIZE,
        "form": {"enum": ["xz", "gz"]},
    },
    {"url": shapes.URL, "inrelease": shapes.SHA256},
)
SCHEMA: dict[str, Json] = {  # of the pins of both kinds
    "suite": _WORD,
    "arch": _ARCH,
    "lists": shapes.rows(_LIST),
    "debs": shapes.rows(_DEB),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageList:
    """One Packages file: `path` is below `url` (empty: below whatever mirror this machine uses, see mirrors.py); `size`
    bytes; `inrelease` the sha256 of what vouches for it."""

    url: str
    suite: str
    component: str
    path: str
    sha256: str
    size: int
    inrelease: str
    form: str  # "xz" or "gz"

    def fetch(self, places: Sequence[str] = ()) -> Fetch:
        """The file as it is fetched, from `places` (URLs of archives) where it does not say itself where it is."""
        name = f"{self.suite}_{self.component}_Packages.{self.form}".replace("/", "_")
        return with_archives(
            Fetch(sha256=self.sha256, size=self.size, name=name), [self.url] if self.url else places, self.path
        )

    def json(self) -> dict[str, Json]:
        """As it stands in the pins."""
        return {field: getattr(self, field) for field in _LIST_FIELDS if getattr(self, field)}


_LIST_FIELDS = ("url", "suite", "component", "path", "sha256", "size", "inrelease", "form")


def package_lists(pins: Any) -> tuple[PackageList, ...]:
    """The lists that a base's pins name."""
    return tuple(PackageList(**{field: item.get(field, "") for field in _LIST_FIELDS}) for item in pins["lists"])


def pin_package(package: DebianPackage) -> dict[str, Json]:
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


def deb_fetches(pins: Any) -> tuple[Fetch, ...]:
    """The debs of pins (`lists` and `debs`) as files to fetch, named as apt names them. Raises LookupError for one of a
    list that is not there."""
    if any(item.get("list", 0) >= len(pins["lists"]) for item in pins["debs"]):
        raise LookupError("a package of a list that is not there")
    return tuple(Fetch(sha256=item["sha256"], size=item["size"], name=file_name(item)) for item in pins["debs"])


def locate_debs(request: Request, pins: Any, missing: Sequence[Fetch], site: Site) -> list[Fetch]:
    """The debs of pins where this machine's mirrors have them. Raises ResolveError where no mirror is known."""
    from envtool.kinds.debian import mirrors

    mirrors.allow_host_archives(site)
    lists = package_lists(pins)
    debs = {item["sha256"]: item for item in pins["debs"]}
    epoch = int(pins.get("epoch", request.epoch))
    places = {item: mirrors.archive_urls(item.url, pins["suite"], item.suite, epoch) for item in lists}
    return [
        with_archives(fetch, places[lists[debs[fetch.sha256].get("list", 0)]], debs[fetch.sha256]["path"])
        for fetch in missing
    ]


def with_archives(fetch: Fetch, places: Sequence[str], path: str) -> Fetch:
    """A file in the first of some archives, and in the others."""
    first, *more = (f"{place}/{path}" for place in places)
    return replace(fetch, url=first, mirrors=tuple(more))


def file_name(item: Mapping[str, Any]) -> str:
    """`name_version_arch.deb`, an epoch's colon written %3a."""
    return f"{item['name']}_{item['version'].replace(':', '%3a')}_{item['arch']}.deb"


def summary(pins: Any) -> str:
    """As in: 88 packages, 41 MB."""
    count, size = len(pins["debs"]), sum(item["size"] for item in pins["debs"])
    return f"{count} package{'s' if count != 1 else ''}, {format_size(size)}" if count else "nothing to add"
