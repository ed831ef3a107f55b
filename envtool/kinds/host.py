"""`host: {}`: this machine's own system as a base, read-only and without a download.

Its programs and libraries are shown as they are (`/usr` and what belongs to it); of `/etc` a copy is made that holds
what root gave everybody to read. Home directories, /root, /var, /run, sockets and mounted disks are not shown, whoever
runs envtool. What is installed is its identity: an upgrade of the machine makes other layers. Packages are told by
their databases, everything else by installed.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from envtool.api import Bind, Call, Json, Kind, Looked, Recipe, Request, Site, shapes
from envtool.kinds import host_files

SYSTEM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
EMPTY_DIRECTORIES = (
    "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "dev",
    "var/lib", "var/cache", "var/log", "var/spool",
)  # fmt: skip
ETC = "/run/envtool/etc"
STAMP = "var/lib/envtool-host"  # what the shown directories hold, as a hash: it makes layers above those of this system
_CLOCK = "libfaketime.so.1"
# Of the machine itself, or of its administrator, not of what is installed
LEFT_OUT = frozenset(
    [
        "fstab",
        "mtab",
        "hostname",
        "hosts",
        "resolv.conf",
        "machine-id",
        "passwd",
        "group",
        "shadow",
        "gshadow",
        "passwd-",
        "group-",
        "shadow-",
        "gshadow-",
        "subuid",
        "subgid",
        "subuid-",
        "subgid-",
        "ssh",
        "sudoers",
        "sudoers.d",
        "crontab",
        "cron.d",
        "cron.daily",
        "cron.hourly",
        "cron.weekly",
        "cron.monthly",
        "apt",
        "pip.conf",
        "npmrc",
        "netrc",
        "docker",
        "containers",
        "NetworkManager",
        "network",
        "netplan",
        "systemd",
        "wireguard",
        "environment",
        "motd",
        "issue",
        ".pwd.lock",
        ".updated",
        "adjtime",
        "blkid.tab",
        "ld.so.cache~",
    ]
)
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
}
# What says which packages are installed, on every family of systems; the databases change with each transaction
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
# Of what is looked at besides, what `exec` can afford to look at each time: it remembers no results
UNPACKAGED, UNPACKAGED_ETC = "what no package has", "/etc"
WATCHED_PATHS = (*DATABASES, "/usr/local/bin", "/usr/local/lib", "/etc", "/etc/ld.so.cache")


class Host(Kind):
    """The base kind. Its pins are only true here and now: it is shown as not pinned."""

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

    def resolve(self, request: Request, site: Site) -> Json:
        """What is installed now."""
        return self._identity()

    def fresh(self, request: Request, pins: Json) -> bool:
        """Whether the machine is still the same."""
        return pins == self._identity()

    def watches(self, pins: Json) -> tuple[str, ...]:
        """The package databases, and where programs come and go."""
        return WATCHED_PATHS

    def looked(self, pins: Any) -> Looked:
        """What no package has, as it was when these pins were looked at last."""
        last = self._last
        if last is None or _unpackaged_files(last).items() - pins["installed"].items():
            last = self._last = host_files.scan_host(LEFT_OUT)
        changed = (
            _unpackaged_files(last).items() - pins["installed"].items()
        )  # by now: of these pins nothing is known any more
        unseen = "the machine has changed meanwhile" if changed else last.unseen
        return Looked(states=last.states, trees=tuple(last.trees), unseen=unseen)

    def _identity(self) -> dict[str, Json]:
        last = self._last = host_files.scan_host(LEFT_OUT)
        return {"system": _system(), "installed": {**_databases(), **_unpackaged_files(last)}}

    def platform(self, pins: Any) -> str:
        """The name of the system: its Python is the same on each machine that has it."""
        return str(pins["system"])

    def material(self, request: Request, pins: Json) -> Json:
        """What is installed."""
        return pins

    def build(self, request: Request, pins: Any) -> Recipe:
        """A copy of what is public in /etc, and links and empty directories where a system has them."""
        shown = [name for name in SYSTEM_DIRECTORIES if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")]
        links: list[Json] = [
            [name, os.readlink(f"/{name}")] for name in SYSTEM_DIRECTORIES if os.path.islink(f"/{name}")
        ]
        return Recipe(
            steps=(Call(function=_create_layout, arguments=([*shown], links, _stamp(pins))),),
            binds=(Bind(source="/etc", target=ETC),),
            mounts=tuple(Bind(source=f"/{name}", target=f"/{name}") for name in shown),
        )

    def faketime(self, request: Request, pins: Json, site: Site) -> bytes | None:
        """The machine's own, where it is installed."""
        import glob

        places = [found for top in ("lib/*", "lib64", "lib") for found in glob.glob(f"/usr/{top}/faketime/{_CLOCK}")]
        for path in sorted(places)[:1]:
            with open(path, "rb") as file:
                return file.read()
        return None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Where it is Debian or Ubuntu, by the Contents index of its suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Any) -> str:
        """As in: Debian GNU/Linux 12 (bookworm), this machine."""
        return f"{pins['system']}, this machine"


def _unpackaged_files(found: host_files.HostFiles) -> dict[str, Json]:
    return {UNPACKAGED: found.digest, UNPACKAGED_ETC: found.etc}


def _stamp(pins: Any) -> str:
    """Of all that is shown and not copied: what is in /etc counts by what is copied."""
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


def _create_layout(shown: list[str], links: list[list[str]], stamp: str) -> None:
    os.umask(0o022)
    for name in (*shown, *EMPTY_DIRECTORIES, "etc", "tmp", "var/tmp"):
        os.makedirs(f"/{name}", exist_ok=True)
    for name in ("tmp", "var/tmp"):
        os.chmod(f"/{name}", 0o1777)
    for name, target in links:
        os.symlink(target, f"/{name}")
    os.symlink("/run", "/var/run")
    with open(f"/{STAMP}", "w", encoding="utf-8") as file:
        file.write(f"{stamp}\n")
    _copy_public(ETC, "/etc", top=True)
    for name, text in ACCOUNTS.items():
        with open(f"/etc/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def _copy_public(source: str, target: str, *, top: bool = False) -> None:
    """What the host's root gave everybody to read. Host root has no id here: its files are nobody's (65534)."""
    for name in sorted(os.listdir(source)):
        if top and name in LEFT_OUT:
            continue
        path, copy = f"{source}/{name}", f"{target}/{name}"
        found = os.lstat(path)
        if found.st_uid != 65534:
            continue
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(path), copy)
        elif stat.S_ISDIR(found.st_mode) and found.st_mode & 0o005 == 0o005:
            os.mkdir(copy, 0o755)
            _copy_public(path, copy)
        elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o004:
            try:
                shutil.copyfile(path, copy)
            except OSError:
                continue  # readable by its mode, refused by the machine's policy
            os.chmod(copy, 0o755 if found.st_mode & 0o111 else 0o644)
            os.utime(copy, ns=(found.st_mtime_ns, found.st_mtime_ns))
