"""Reads Packages files: 60,000 stanzas, of which about a hundred are needed.

The text is scanned once for names; a stanza is parsed when its package is looked up. Parsing all of them with
python-debian would take longer than the whole bootstrap."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from envtool.api import ResolveError
from envtool.api.untrusted_text import natural
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FIELD = re.compile(r"^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_NAME = re.compile(r"^Package: (\S+)$", re.MULTILINE)
_PROVIDES = re.compile(r"^Provides: (.*)$", re.MULTILINE)
_IMPORTANCE = {"required": 0, "important": 1, "standard": 2, "optional": 3, "extra": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianPackage:
    """One binary package of an index. Relations are the text of the field; `size` is in bytes."""

    name: str
    version: str
    architecture: str
    path: str  # below the mirror
    sha256: str
    size: int
    essential: bool
    priority: str
    multi_arch: str
    depends: str
    pre_depends: str
    provides: str
    origin: int  # the number of its Packages file

    def marks(self) -> dict[str, str]:
        """Returns the fields that `PackageIndex.marked` searches."""
        return {"Essential": "yes" if self.essential else "no", "Priority": self.priority}

    @property
    def rank(self) -> tuple[int, str]:
        """The sort key among packages that provide the same name: by priority, then by name."""
        return _IMPORTANCE.get(self.priority, 5), self.name


class PackageIndex:
    """All packages of several Packages files. Of several versions of a name the highest counts. Immutable."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._positions: dict[str, list[tuple[int, int]]] = {}
        for origin, text in enumerate(texts):
            for match in _NAME.finditer(text):
                self._positions.setdefault(match[1], []).append((origin, match.start()))
        self._parsed: dict[str, DebianPackage] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._positions

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __getitem__(self, name: str) -> DebianPackage:
        if name not in self._parsed:
            self._parsed[name] = self._best(self.versions(name))
        return self._parsed[name]

    def versions(self, name: str) -> list[DebianPackage]:
        """Returns every version of a name in the index; none for an unknown name."""
        return [self._package(origin, start) for origin, start in self._positions.get(name, ())]

    def marked(self, field: str, value: str) -> list[str]:
        """Returns the sorted names of the packages whose `field` is `value`, in their highest version."""
        names = set()
        for text in self._texts:
            offset = text.find(f"\n{field}: {value}\n")
            while offset >= 0:
                names.add(self._name_before(text, offset))
                offset = text.find(f"\n{field}: {value}\n", offset + 1)
        return sorted(name for name in names if self[name].marks()[field] == value)

    @cached_property
    def _providers(self) -> dict[str, list[str]]:
        providers: dict[str, list[str]] = {}
        for text in self._texts:
            for line in _PROVIDES.finditer(text):
                name = self._name_before(text, line.start())
                for item in line[1].split(","):
                    providers.setdefault(item.strip().partition(" ")[0].partition(":")[0], []).append(name)
        return providers

    def providers(self, virtual: str) -> list[DebianPackage]:
        """Returns the packages that provide a name, the preferred one first."""
        names = dict.fromkeys(self._providers.get(virtual, ()))
        return sorted((self[name] for name in names), key=lambda item: item.rank)

    def _name_before(self, text: str, offset: int) -> str:
        start = text.rfind("\n\n", 0, offset) + 2 if text.rfind("\n\n", 0, offset) >= 0 else 0
        match = _NAME.search(text, start)
        return match[1] if match else ""

    def stanza(self, name: str, version: str) -> str:
        """Returns the text of one version of a package, without the blank line at its end. Raises KeyError."""
        for origin, start in self._positions.get(name, ()):
            if self._package(origin, start).version == version:
                return self._stanza(origin, start)
        raise KeyError(name)

    def _stanza(self, origin: int, start: int) -> str:
        text = self._texts[origin]
        end = text.find("\n\n", start)
        return text[start : end if end >= 0 else len(text)]

    def _package(self, origin: int, start: int) -> DebianPackage:
        stanza = self._stanza(origin, start)
        fields = {name.lower(): value for name, value in _FIELD.findall(stanza)}
        try:
            return DebianPackage(
                name=fields["package"],
                version=fields["version"],
                architecture=fields["architecture"],
                path=_safe(fields["filename"]),
                sha256=fields["sha256"].lower(),
                size=_size(fields["size"]),
                essential=fields.get("essential") == "yes",
                priority=fields.get("priority", "optional"),
                multi_arch=fields.get("multi-arch", ""),
                depends=fields.get("depends", ""),
                pre_depends=fields.get("pre-depends", ""),
                provides=fields.get("provides", ""),
                origin=origin,
            )
        except (KeyError, ValueError) as error:
            raise ResolveError(
                f"the index has a wrong entry for package `{fields.get('package', '?')}`: {error}", code="index"
            ) from error

    def _best(self, items: list[DebianPackage]) -> DebianPackage:
        if len(items) == 1:
            return items[0]
        if not items:
            raise KeyError
        from debian.debian_support import Version

        return max(items, key=lambda item: (Version(item.version), -item.origin))


def _size(text: str) -> int:
    size = natural(text.strip())
    if size is None:
        raise ValueError(f"its size is `{text[:40]}`")
    return size


def _safe(path: str) -> str:
    # The path is joined to the mirror's URL and, for file: mirrors, to a directory.
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"file name `{path}` leaves the mirror")
    return path
