"""The pins of the kinds, as values: package lists, debs, sources. Every command loads it, so it imports little."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from envtool.api import Json, Request, Site, shapes
from envtool.api.untrusted_text import format_size
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api import Fetch
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

SOURCE: dict[str, Json] = {
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9+.-]*$",
    "errorMessage": "the name of a source package in small letters, as in zlib",
}
SUITE: dict[str, Json] = {
    "type": "string",
    "pattern": "^[a-z][a-z0-9.-]*$",
    "errorMessage": "the name of a suite, as in bookworm",
}
SOURCE_PINS: Json = shapes.record(
    {
        "name": SOURCE,
        "version": shapes.TEXT,
        "suite": SUITE,
        "directory": shapes.PATH,
        "files": shapes.rows(shapes.record({"file": shapes.FILE, "sha256": shapes.SHA256, "size": shapes.SIZE})),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageList:
    """One Packages file. `path` is below `url`, or below this machine's mirror if `url` is empty (see mirrors.py);
    `size` is in bytes; `inrelease` is the sha256 of the InRelease that signs it."""

    url: str
    suite: str
    component: str
    path: str
    sha256: str
    size: int
    inrelease: str
    form: str  # "xz" or "gz"

    def fetch(self, archives: Sequence[str] = ()) -> Fetch:
        """Returns the file to fetch: from its own `url`, or from `archives` (URLs) if it has none."""
        from envtool.api import Fetch

        name = f"{self.suite}_{self.component}_Packages.{self.form}".replace("/", "_")
        return with_archives(
            Fetch(sha256=self.sha256, size=self.size, name=name), [self.url] if self.url else archives, self.path
        )

    def json(self) -> dict[str, Json]:
        """Returns the list as it is written in the pins."""
        return {field: getattr(self, field) for field in _LIST_FIELDS if getattr(self, field)}


_LIST_FIELDS = ("url", "suite", "component", "path", "sha256", "size", "inrelease", "form")


def package_lists(pins: Any) -> tuple[PackageList, ...]:
    """Returns the lists in a base's or layer's pins."""
    return tuple(PackageList(**{field: item.get(field, "") for field in _LIST_FIELDS}) for item in pins["lists"])


def pin_package(package: DebianPackage) -> dict[str, Json]:
    """Returns a package as it is written in the pins; `list` is the number of its Packages file, and left out if it is
    0."""
    pin: dict[str, Json] = {
        "name": package.name,
        "version": package.version,
        "arch": package.architecture,
        "path": package.path,
        "sha256": package.sha256,
        "size": package.size,
    }
    return pin | ({"list": package.origin} if package.origin else {})


def deb_fetches(pins: Any) -> tuple[Fetch, ...]:
    """Returns the debs of pins (`lists` and `debs`) as files to fetch, named as apt names them. Raises LookupError if
    the Packages file of a deb is not in `lists`."""
    from envtool.api import Fetch

    if any(deb.get("list", 0) >= len(pins["lists"]) for deb in pins["debs"]):
        raise LookupError("a package of a list that is not there")
    return tuple(Fetch(sha256=deb["sha256"], size=deb["size"], name=file_name(deb)) for deb in pins["debs"])


def locate_debs(request: Request, pins: Any, fetches: Sequence[Fetch], site: Site) -> list[Fetch]:
    """Returns the fetches with their URLs on this machine's mirrors. Raises ResolveError if no mirror is known."""
    from envtool.kinds.debian import mirrors

    mirrors.allow_host_archives(site)
    lists = package_lists(pins)
    debs = {item["sha256"]: item for item in pins["debs"]}
    epoch = int(pins.get("epoch", request.epoch))
    archives = {item: mirrors.archive_urls(item.url, pins["suite"], item.suite, epoch) for item in lists}
    return [
        with_archives(fetch, archives[lists[debs[fetch.sha256].get("list", 0)]], debs[fetch.sha256]["path"])
        for fetch in fetches
    ]


def with_archives(fetch: Fetch, archives: Sequence[str], path: str) -> Fetch:
    """Returns a fetch with the URL of its path in the first archive, and in the other archives as mirrors."""
    url, *mirrors = (f"{archive}/{path}" for archive in archives)
    return replace(fetch, url=url, mirrors=tuple(mirrors))


def file_name(deb: Mapping[str, Any]) -> str:
    """Returns `name_version_arch.deb`, in which %3a is the colon of an epoch."""
    return f"{deb['name']}_{deb['version'].replace(':', '%3a')}_{deb['arch']}.deb"


def summary(pins: Any) -> str:
    """Returns the number and size of the debs, as in "88 packages, 41 MB"."""
    count, size = len(pins["debs"]), sum(deb["size"] for deb in pins["debs"])
    return f"{count} package{'s' if count != 1 else ''}, {format_size(size)}" if count else "nothing to add"


def package_of_deb(file: str) -> tuple[str, str]:
    """Returns name and version in the file name of a deb, as apt writes it; (the name, "") for another."""
    from urllib.parse import unquote

    words = file.removesuffix(".deb").split("_")
    return (words[0], unquote(words[1])) if file.endswith(".deb") and len(words) == 3 else (file, "")
