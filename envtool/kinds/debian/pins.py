"""What the pins of both kinds say, as values: package lists and debs. Loaded on every command, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envtool.api import Fetch, Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.kinds.debian.index import Package


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
