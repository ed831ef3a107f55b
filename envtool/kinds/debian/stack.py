"""What an apt layer stands on: the index that its packages are chosen from.

On a `debian` base that is the index of the base's pins. On any other system with apt (an image, a tarball) it is
what the system's own sources and keyrings say, verified in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from envtool.api import FetchError, Request, ResolveError, Site, SpecError
from envtool.kinds.debian import lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The lists to choose from, and where each lies on this machine."""

    suite: str
    arch: str
    lists: tuple[lists.PackageList, ...]
    paths: Sequence[PathLike[str]]


def ground(request: Request, site: Site) -> Ground:
    """The index under a layer. Raises SpecError, ResolveError, FetchError."""
    if request.base_kind == "host":
        from envtool.errors import Problem

        problem = Problem(
            where=request.where,
            message=f"layer `{request.name}` installs packages, but the host's own system is read-only",
            code="apt-on-host",
            hint="stand on a base of kind `debian`: {debian: bookworm}",
        )
        raise SpecError((problem,))
    if request.base_kind == "debian":
        pins: Any = request.base_pins
        return _at_hand(pins["suite"], pins["arch"], lists.from_pins(pins), site)
    return _own(request, site)


def _at_hand(suite: str, arch: str, found: tuple[lists.PackageList, ...], site: Site) -> Ground:
    try:
        paths = site.fetch([item.fetch() for item in found])
    except FetchError as error:
        if not lists.absent(error):
            raise
        raise ResolveError(
            f"the index that base {suite} was made from is gone from its mirror: {error.message}",
            code="index-gone",
            hint="resolve the base anew, so that base and layers come from one index",
        ) from error
    return Ground(suite=suite, arch=arch, lists=found, paths=paths)
