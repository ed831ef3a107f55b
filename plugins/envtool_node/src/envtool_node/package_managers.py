"""Which package manager installs a project, and in which version: pnpm, Yarn 1, or Yarn 2 and later. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from envtool_node.lockfile import LockedPackage, WrongLockError

_WANTED = re.compile(r"(\d{1,6}\.\d{1,6}\.\d{1,6}(?:-[0-9A-Za-z.-]{1,100})?)(?:\+([a-z0-9]{1,20})\.([0-9a-f]{2,256}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageManager:
    """A package manager, and its tarball in the npm registry. `digest` is "algorithm:hex" of its one file, where the
    project names that instead of the tarball's (Yarn 2 and later)."""

    name: str  # "pnpm" or "yarn", as its command
    version: str
    package: LockedPackage
    digest: str = ""

    @property
    def is_berry(self) -> bool:
        return self.package.name == "@yarnpkg/cli-dist"


def choose_manager(name: str, wanted: str) -> PackageManager:
    """Returns the package manager of a version, which may have a hash behind it, as `packageManager` of package.json
    does: `9.15.9+sha512.0a1b…` (https://nodejs.org/api/corepack.html). Raises WrongLockError.
    """
    match = _WANTED.fullmatch(wanted)
    if match is None:
        raise WrongLockError(f"`{name}@{wanted[:100]}` is no exact version, as in `{name}@1.2.3`")
    version, algorithm, digest = match[1], match[2] or "", match[3] or ""
    is_berry = name == "yarn" and not version.startswith(("0.", "1."))
    package = "@yarnpkg/cli-dist" if is_berry else name
    integrity = ""
    if digest and not is_berry:
        integrity = (
            f"{algorithm}-{base64.b64encode(binascii.unhexlify(digest)).decode()}" if len(digest) % 2 == 0 else "?"
        )
    return PackageManager(
        name=name,
        version=version,
        package=LockedPackage(
            name=package,
            version=version,
            path=f"{package}/-/{package.rpartition('/')[2]}-{version}.tgz",
            integrity=integrity,
        ),
        digest=f"{algorithm}:{digest}" if digest and is_berry else "",
    )
