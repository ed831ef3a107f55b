"""The kind `host`: this machine's own system as a base, read-only and without a download.

Its programs and libraries (`/usr` and the directories that belong to it) are mounted as they are. `/etc` is a copy of
the files that root has made readable by everybody. Home directories, /root, /var, /run, sockets and mounted disks are
not visible in the container, not even if root runs envtool. The installed software is the identity of the base: after
an upgrade of the machine there are other layers. Packages are identified by their databases, all other files by
host_files."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import Base, Json, Looked, Request, Site, shapes
from envtool.kinds import host_files
from envtool.kinds.host_files import LEFT_OUT

if TYPE_CHECKING:
    from envtool.api import Recipe

SYSTEM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
EMPTY_DIRECTORIES = (
    "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "dev",
    "var/lib", "var/cache", "var/log", "var/spool",
)  # fmt: skip
ETC = "/run/envtool/etc"
STAMP = "var/lib/envtool-host"  # a file with a hash of the mounted directories: layers above depend on their content
_CLOCK = "libfaketime.so.1"
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
}
# Package databases, on every family of systems; a database changes with each installation and removal
DATABASES = (
    "/var/lib/dpkg/status",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/lib/apk/db/installed",
    "/var/lib/pacman/local",
    "/usr/lib/os-release",
    "/etc/os-release",
)
# Names of the pins for files that belong to no package
UNPACKAGED, UNPACKAGED_ETC = "what no package has", "/etc"
# `exec` checks only these paths before each command, because a full scan would take too long
WATCHED_PATHS = (*DATABASES, "/usr/local/bin", "/usr/local/lib", "/etc", "/etc/ld.so.cache")


class Host(Base):
    """The base kind. Its pins hold only for this machine and this moment: the kind is displayed as not pinned."""

    name: ClassVar[str] = "host"
    schema: ClassVar[Json] = {
        "description": "This machine's own system, read-only: no download, and nothing can be installed into it.",
        "examples": [{}],
        "anyOf": [{"type": "object", "additionalProperties": False, "properties": {}}, {"type": "null"}],
    }
    version: ClassVar[int] = 2
    pinned: ClassVar[bool] = False
    pins: ClassVar[Json] = shapes.record({"system": shapes.TEXT, "installed": shapes.mapping({"type": "string"})})
    _last: host_files.HostFiles | None = None
    _shown: tuple[host_files.HostFiles, Json, Looked] | None = (
        None  # what `looked` returned: each task asks several times
    )
    _made: tuple[host_files.HostFiles | None, Json, Recipe] | None = None  # what `build` returned, for which scan
    _changed: dict[str, Json] | None = None  # what `fresh` found the last time, if it fitted the pins no more

    def resolve(self, request: Request, site: Site) -> Json:
        """Returns the installed software; where `fresh` has just found that it is another, what that has found."""
        found, self._changed = self._changed, None
        return found or self._identity()

    def fresh(self, request: Request, pins: Json) -> bool:
        """Whether the machine is unchanged."""
        found = self._identity()
        self._changed = None if pins == found else found
        return self._changed is None

    def watches(self, pins: Json) -> tuple[str, ...]:
        """Returns the package databases, and directories in which programs are installed."""
        return WATCHED_PATHS

    def looked(self, pins: Any) -> Looked:
        """Returns the state of the files that belong to no package, from the scan that made these pins."""
        shown = self._shown
        installed = pins["installed"]
        if shown is not None and shown[0] is self._last and (shown[1] is installed or shown[1] == installed):
            return shown[2]
        scan = self._last
        if scan is None or _unpackaged_files(scan).items() - pins["installed"].items():
            scan = self._last = host_files.scan_host(LEFT_OUT)
        changed = _unpackaged_files(scan).items() - pins["installed"].items()  # since these pins were made
        unseen = "the machine has changed meanwhile" if changed else scan.unseen
        looked = Looked(states=scan.states, trees=tuple(scan.trees), unseen=unseen)
        self._shown = (scan, pins["installed"], looked)
        return looked

    def _identity(self) -> dict[str, Json]:
        early_scan = sys.modules.get("envtool.kinds.early_scan")  # imported where a scan has begun (cli/fastpath.py)
        scan = self._last = (early_scan.take() if early_scan else None) or host_files.scan_host(LEFT_OUT)
        return {"system": _system(), "installed": {**_databases(), **_unpackaged_files(scan)}}

    def platform(self, pins: Any) -> str:
        """Returns the name of the system: the Pythons of machines with the same system are equal."""
        return str(pins["system"])

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the pins: the installed software."""
        return pins

    def build(self, request: Request, pins: Any) -> Recipe:
        """Returns a recipe that makes a copy of the public files of /etc, links and empty directories, and mounts the
        system directories."""
        from envtool.api import Bind, Call, Recipe

        made = self._made
        if made is not None and made[0] is self._last is not None and made[1] is pins:
            return made[2]
        directories = [
            name for name in SYSTEM_DIRECTORIES if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
        ]
        links: list[Json] = [
            [name, os.readlink(f"/{name}")] for name in SYSTEM_DIRECTORIES if os.path.islink(f"/{name}")
        ]
        recipe = Recipe(
            steps=(
                Call(
                    function=_create_layout, prepare=_import_for_layout, arguments=([*directories], links, _stamp(pins))
                ),
            ),
            binds=(Bind(source="/etc", target=ETC),),
            mounts=tuple(Bind(source=f"/{name}", target=f"/{name}") for name in directories),
        )
        self._made = (self._last, pins, recipe)
        return recipe

    def faketime(self, request: Request, pins: Json, site: Site) -> bytes | None:
        """Returns the machine's own library, None if it is not installed."""
        import glob

        paths = [
            match
            for directory in ("lib/*", "lib64", "lib")
            for match in glob.glob(f"/usr/{directory}/faketime/{_CLOCK}")
        ]
        for path in sorted(paths)[:1]:
            with open(path, "rb") as file:
                return file.read()
        return None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns the packages that have the files: on Debian and Ubuntu, from the Contents index of the suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Any) -> str:
        """Returns the name of the system, as in "Debian GNU/Linux 12 (bookworm), this machine"."""
        return f"{pins['system']}, this machine"


def _unpackaged_files(files: host_files.HostFiles) -> dict[str, Json]:
    return {UNPACKAGED: files.digest, UNPACKAGED_ETC: files.etc}


def _stamp(pins: Any) -> str:
    """Returns a hash of all mounted directories. /etc is no part of it: its files are copied into the layer."""
    rows = (f"{path} {digest}\n" for path, digest in sorted(pins["installed"].items()) if path != UNPACKAGED_ETC)
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _databases() -> dict[str, Json]:
    states: dict[str, Json] = {}
    for path in DATABASES:
        if os.path.isfile(path) and os.path.getsize(path) < 64 << 20:
            with open(path, "rb") as file:
                states[path] = hashlib.file_digest(file, "sha256").hexdigest()
        elif os.path.isdir(path):
            states[path] = hashlib.sha256("\n".join(sorted(os.listdir(path))).encode()).hexdigest()
    return states


def _system() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith("PRETTY_NAME="):
                        return line.partition("=")[2].strip().strip('"')
        except OSError:
            continue
    return "Linux"


# ---- inside the container ----------------------------------------------------------------------------------------


def _create_layout(directories: list[str], links: list[list[str]], stamp: str) -> None:
    os.umask(0o022)
    for name in (*directories, *EMPTY_DIRECTORIES, "etc", "tmp", "var/tmp"):
        os.makedirs(f"/{name}", exist_ok=True)
    for name in ("tmp", "var/tmp"):
        os.chmod(f"/{name}", 0o1777)
    for name, target in links:
        os.symlink(target, f"/{name}")
    os.symlink("/run", "/var/run")
    with open(f"/{STAMP}", "w", encoding="utf-8") as file:
        file.write(f"{stamp}\n")
    _copy_public(ETC, "/etc")
    for name, text in ACCOUNTS.items():
        with open(f"/etc/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def _import_for_layout() -> None:
    """Imports what `_create_layout` needs: inside the container nothing can be imported. A plan does without it."""
    import shutil  # noqa: F401


def _copy_public(source: str, target: str) -> None:
    """Copies the files that the host's root has made readable by everybody. The host's root has no id in the container:
    its files belong to 65534 (nobody)."""
    import shutil

    pending = [name for name in sorted(os.listdir(source), reverse=True) if name not in LEFT_OUT]
    while pending:
        name = pending.pop()
        path, copy = f"{source}/{name}", f"{target}/{name}"
        status = os.lstat(path)
        if status.st_uid != 65534:
            continue
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(path), copy)
        elif stat.S_ISDIR(status.st_mode) and status.st_mode & 0o005 == 0o005:
            os.mkdir(copy, 0o755)
            pending += [f"{name}/{below}" for below in sorted(os.listdir(path), reverse=True)]
        elif stat.S_ISREG(status.st_mode) and status.st_mode & 0o004:
            try:
                shutil.copyfile(path, copy)
            except OSError:
                continue  # the mode allows reading, but a policy of the machine (such as SELinux) does not
            os.chmod(copy, 0o755 if status.st_mode & 0o111 else 0o644)
            os.utime(copy, ns=(status.st_mtime_ns, status.st_mtime_ns))
