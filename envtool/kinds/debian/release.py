"""Verifies and reads an InRelease, which has the hashes of all index files. Reads only the bytes that the signature
covers.

Format: the Debian wiki, DebianRepository/Format."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from envtool.api import ResolveError
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pysequoia import Cert

KEYS_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keys")
HOST_KEYRINGS = "/usr/share/keyrings"
MAX_STALENESS = 30 * 24 * 3600  # seconds past Valid-Until that only get a remark: caching mirrors lag behind
_ENTRY = re.compile(r"^ ([0-9a-f]{64}) +([0-9]{1,18}) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A file that a Release lists. `path` is below dists/SUITE, `size` is in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The content of a verified InRelease. Times are seconds since the epoch; `valid_until` 0 means for ever."""

    sha256: str  # of the InRelease file
    date: int
    valid_until: int
    suite: str
    codename: str
    by_hash: bool
    files: dict[str, ReleaseFile]
    signers: tuple[str, ...]  # fingerprints of the certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """A file of OpenPGP certificates: its path, for messages, and its content, binary or armoured."""

    path: str
    data: bytes


def keyrings(archive: str, *, host: str = HOST_KEYRINGS, extra: Sequence[str] = ()) -> tuple[Keyring, ...]:
    """Returns the keyrings that may sign an archive: envtool's, the host's, and those in `extra`. For an unknown
    archive it returns those of all archives. Raises ResolveError if a keyring in `extra` cannot be read."""
    names = [archive] if archive else ["debian", "ubuntu"]
    paths = [f"{KEYS_DIRECTORY}/{name}.pgp" for name in names]
    for name in names:
        for ending in ("gpg", "pgp", "asc"):
            paths.extend(sorted(glob.glob(f"{host}/{name}-archive-keyring.{ending}")))
    return tuple(_read(path) for path in dict.fromkeys([*paths, *extra]))


def _read(path: str) -> Keyring:
    try:
        with open(path, "rb") as file:
            return Keyring(path=path, data=file.read())
    except OSError as error:
        raise ResolveError(f"keyring {path} cannot be read: {error.strerror}", code="keyring") from error


def verify_signature(data: bytes, *, keyrings: Sequence[Keyring], url: str) -> tuple[bytes, tuple[str, ...]]:
    """Returns the signed text of a clear-signed message, and the fingerprints of the certificates that signed it.
    Raises ResolveError if no key of the keyrings made a valid signature."""
    if not data.lstrip().startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        raise ResolveError(f"{url} is not a signed message", code="signature", hint="is this an archive's mirror?")
    from pysequoia import verify as check

    certificates = [cert for keyring in keyrings for cert in _certificates(keyring)]
    key_ids: list[str] = []

    def store(ids: list[str]) -> list[Cert]:
        key_ids.extend(ids)
        return certificates

    try:
        result = check(data, store=store)
    except Exception as error:
        raise _refusal(url, str(error), key_ids, certificates) from error
    # pysequoia accepts a signature that claims to be made while its key was valid. apt does not, because
    # a thief of an old key can make such a signature.
    signers = {signature.certificate for signature in result.valid_sigs}
    if all(_expired(cert) for cert in certificates if cert.fingerprint in signers):
        raise _refusal(url, "its key has expired", key_ids, certificates)
    return bytes(result.bytes or b""), tuple(sorted(signers))


def _certificates(keyring: Keyring) -> list[Cert]:
    from pysequoia import Cert

    try:
        return list(Cert.split_bytes(keyring.data))
    except Exception as error:
        raise ResolveError(f"{keyring.path} has no OpenPGP keys: {error}", code="keyring") from error


def _refusal(url: str, reason: str, key_ids: list[str], certificates: list[Cert]) -> ResolveError:
    ids = sorted({item.upper() for item in key_ids})
    expired = [
        f"{cert.fingerprint.upper()} (on {cert.expiration:%Y-%m-%d})"
        for cert in certificates
        if _expired(cert) and _names(cert, ids)
    ]
    if expired:
        return ResolveError(
            f"{url} is signed by a key that has expired: {', '.join(expired)}", code="signature-expired", hint=_HINT
        )
    by = ", ".join(ids) or "nobody"
    if not any(_names(cert, ids) for cert in certificates):
        count = len(certificates)
        trusted = "not the trusted key" if count == 1 else f"none of the {count} trusted keys"
        return ResolveError(
            f"{url} is signed by {by}, which is {trusted}",
            code="signature-key",
            hint=_HINT,
        )
    return ResolveError(
        f"the signature of {url} is not valid: {reason.splitlines()[0].rstrip('.')} (signed by {by})",
        code="signature",
        hint="the file was changed on the way, or cut short: try another `mirror:`",
    )


def _expired(cert: Cert) -> bool:
    return bool(cert.expiration and cert.expiration.timestamp() < time.time())


def _names(cert: Cert, ids: list[str]) -> bool:
    # A signature names a key, often a subkey, by its fingerprint or the end of the fingerprint. pysequoia does not list
    # subkeys, but the bytes of a certificate contain a signature by each subkey, which names the subkey. This decides
    # only about the message: pysequoia has refused the signature already.
    return any(cert.fingerprint.upper().endswith(item) or bytes.fromhex(item)[-8:] in bytes(cert) for item in ids)


_HINT = "name the file of keys that signs this archive with `keyring:`, or update the host's archive keyring"


def parse_inrelease(data: bytes, *, keyrings: Sequence[Keyring], url: str) -> Release:
    """Verifies an InRelease and returns its content. Raises ResolveError."""
    signed, signers = verify_signature(data, keyrings=keyrings, url=url)
    text = signed.decode("utf-8", "replace").replace("\r\n", "\n")
    head, marker, body = text.partition("\nSHA256:")
    fields = dict(
        re.findall(r"^([A-Za-z][A-Za-z-]*): *(.*)$", head + "\n" + re.sub(r"(?m)^ .*\n?", "", body), re.MULTILINE)
    )
    if not marker or "Date" not in fields:
        raise ResolveError(f"{url} has no SHA256 section or no Date: too old an archive", code="release")
    body = re.split(r"^(?=\S)", body.partition("\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    files = {name: ReleaseFile(path=name, sha256=digest, size=int(size)) for digest, size, name in _ENTRY.findall(body)}
    return Release(
        sha256=hashlib.sha256(data).hexdigest(),
        date=_time(fields["Date"], url),
        valid_until=_time(fields["Valid-Until"], url) if fields.get("Valid-Until") else 0,
        suite=fields.get("Suite", ""),
        codename=fields.get("Codename", ""),
        by_hash=fields.get("Acquire-By-Hash") == "yes",
        files=files,
        signers=signers,
    )


def check_release(release: Release, *, suite: str, url: str, now: float, strict: bool = True) -> str:
    """Checks that a release is the suite that was asked for, and not too old. Returns a remark for the user, or "".

    A mirror may answer with another suite, or with an old index that hides security updates: raises ResolveError."""
    if suite not in (release.suite, release.codename):
        raise ResolveError(
            f"{url} is the index of `{release.codename or release.suite}`, not of `{suite}`", code="release-suite"
        )
    seconds_late = now - release.valid_until
    if not release.valid_until or seconds_late <= 0:
        return ""
    day = time.strftime("%Y-%m-%d", time.gmtime(release.valid_until))
    if strict and seconds_late > MAX_STALENESS:
        raise ResolveError(
            f"{url} was valid until {day} only: the mirror is far behind, or hides updates",
            code="release-expired",
            hint="use another `mirror:`, or accept it with `valid_until: false`",
        )
    return f"{suite}: the mirror is behind, its index was valid until {day}"


def _time(text: str, url: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise ResolveError(f"{url} has an unreadable date `{text[:100]}`", code="release") from error
