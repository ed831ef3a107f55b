"""Offers debs to apt inside the container, as a small archive, and makes what packages generate reproducible.

The archive has only the debs of the layer, so that they alone decide the layer: the index that they were chosen from
changes every day. apt orders, configures and marks the packages as usual; `dpkg -i *.deb` would fail on
pre-dependencies, and mark all packages as manually installed."""

from __future__ import annotations

import hashlib
import os

from envtool.kinds.debian.deb import ArchiveError, read_control

OFFER_DIRECTORY = "/run/envtool-apt"
CONFIG = f"{OFFER_DIRECTORY}/apt.conf"
POLICY = "/usr/sbin/policy-rc.d"
CLUSTER = "/etc/postgresql-common/createcluster.d/envtool.conf"
MACHINE_ID = "/etc/machine-id"
CACERTS = "/etc/ssl/certs/java/cacerts"
SNAKEOIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")

DROP = (CLUSTER, POLICY, MACHINE_ID, *SNAKEOIL)

_CONFIG = f"""
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Dir::Etc::SourceList "{OFFER_DIRECTORY}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "{OFFER_DIRECTORY}/lists";
Dir::Cache "{OFFER_DIRECTORY}/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "{OFFER_DIRECTORY}/log";
Dpkg::Options {{ "--force-unsafe-io"; "--force-confold"; }};
Dpkg::Use-Pty "false";
quiet "1";
"""


def prepare_apt_archive(debs: list[tuple[str, int, str]], arch: str, blobs: str, cluster: bool) -> None:
    """Writes an archive of debs [file name, size, sha256] for apt. Prevents what packages must not do in an image:
    start services, make random identities. `cluster`: PostgreSQL is among the packages. Raises ArchiveError,
    OSError."""
    os.umask(0o022)
    for name in ("lists/partial", "cache/archives/partial", "log"):
        os.makedirs(f"{OFFER_DIRECTORY}/{name}", exist_ok=True)
    _write(CONFIG, _CONFIG)
    _write(f"{OFFER_DIRECTORY}/sources.list", f"deb [arch={arch} trusted=yes] file:{blobs} ./\n")
    stanzas = [
        f"{read_control(f'{blobs}/{name}').rstrip()}\nFilename: ./{name}\nSize: {size}\nSHA256: {digest}\n"
        for name, size, digest in debs
    ]
    _write(f"{OFFER_DIRECTORY}/lists/{blobs.replace('/', '_')}_._Packages", "\n".join(stanzas))
    if not os.path.lexists(POLICY):
        _write(POLICY, "#!/bin/sh\nexit 101\n", mode=0o755)
    if cluster:
        os.makedirs(os.path.dirname(CLUSTER), exist_ok=True)
        _write(CLUSTER, "create_main_cluster = false\n")
    if not os.path.exists(MACHINE_ID) or not os.path.getsize(MACHINE_ID):
        _write(MACHINE_ID, "0123456789abcdef0123456789abcdef\n")  # without it dbus and systemd make a random one


def install_rest(debs: list[tuple[str, int, str]], environment: dict[str, str]) -> None:
    """Installs the debs that apt left out, as automatically installed. Of alternatives (`cron | systemd-sysv`) it chose
    one from the whole index when the layer was resolved; from these few it does without, where another package brings
    the other one. Raises ArchiveError, OSError."""
    packages = {}
    for name in _missing(debs):
        package, version, arch = name.removesuffix(".deb").replace("%3a", ":").split("_")
        packages[f"{package}:{arch}" if arch != "all" else package] = version
    if packages:
        install = ("/usr/bin/apt-get", "install", "--yes", "--no-remove", "--no-install-recommends")
        _run((*install, *(f"{name}={version}" for name, version in packages.items())), environment)
        _run(("/usr/bin/apt-mark", "auto", *packages), environment)


def _run(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    _, status = os.waitpid(os.posix_spawn(argv[0], argv, environment), 0)
    if code := os.waitstatus_to_exitcode(status):
        raise ArchiveError(f"{' '.join(argv)}: exit {code}")


def finish_install(debs: list[tuple[str, int, str]]) -> None:
    """Checks that apt installed all debs, and makes the files that packages generated the same on every machine.

    Raises ArchiveError if a deb was not installed: it was chosen on another stack."""
    if missing := _missing(debs):
        raise ArchiveError(f"apt did not install {', '.join(missing)}")
    if os.path.isfile(CACERTS):
        with open(CACERTS, "rb") as file:
            data = file.read()
        if data.startswith(_JKS):
            _write(CACERTS, canonical_keystore(data), mode=0o644)


def _missing(debs: list[tuple[str, int, str]]) -> list[str]:
    """Returns the file names of the debs that are not installed."""
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="surrogateescape") as file:
        installed = _installed(file.read())
    return [name for name, _, _ in debs if name.removesuffix(".deb") not in installed]


def _installed(status: str) -> set[str]:
    installed = set()
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.split("\n")
            if line.startswith(("Package: ", "Version: ", "Architecture: ", "Status: "))
        )
        if fields.get("Status", "").endswith(" installed"):
            version = fields["Version"].replace(":", "%3a")
            installed.add(f"{fields['Package']}_{version}_{fields['Architecture']}")
    return installed


# ---- Java's trusted certificates ------------------------------------------------------------------------------------

_JKS = b"\xfe\xed\xfe\xed\0\0\0\x02"
_PASSWORD = "changeit".encode("utf-16-be")  # Java's default password
_WHITENER = b"Mighty Aphrodite"  # part of the format's digest (sun.security.provider.JavaKeyStore)


def canonical_keystore(data: bytes) -> bytes:
    """Returns a JKS with its certificates sorted by alias and dated 1970: Java writes the current time and a random
    order. A keystore that has anything but trusted certificates is returned unchanged."""
    count, offset = int.from_bytes(data[8:12], "big"), 12
    entries = []
    for _ in range(count):
        if data[offset : offset + 4] != b"\0\0\0\x02":  # a private key
            return data
        start = offset = offset + 4
        offset += 2 + int.from_bytes(data[offset : offset + 2], "big")
        alias = data[start:offset]
        offset += 8
        start = offset
        offset += 2 + int.from_bytes(data[offset : offset + 2], "big")
        offset += 4 + int.from_bytes(data[offset : offset + 4], "big")
        entries.append((alias, data[start:offset]))
    if offset + 20 != len(data):
        return data
    body = _JKS + count.to_bytes(4, "big")
    body += b"".join(b"\0\0\0\x02" + alias + bytes(8) + certificate for alias, certificate in sorted(entries))
    return body + hashlib.sha1(_PASSWORD + _WHITENER + body, usedforsecurity=False).digest()


def _write(path: str, content: str | bytes, *, mode: int = 0o644) -> None:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
