"""Makes and checks Ed25519 signatures in OpenSSH's format (PROTOCOL.sshsig), which `ssh-keygen -Y verify` can check.

Only one form is accepted: a signature that differs by a byte from the one that envtool would write is refused.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from envtool.errors import StoreError
from envtool.fs.beneath import real_path
from envtool.lazy_dataclass import dataclass, field
from envtool.project.host_access import SIGNING_KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VARIABLE = SIGNING_KEY
NAMESPACE = b"envtool-cache"
HASH = b"sha512"
MAGIC = b"SSHSIG"
ALGORITHM = b"ssh-ed25519"
BEGIN, END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
MAX_SIGNATURE_LENGTH = 2048  # characters: a longer signature is refused unread
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----"


class BadSignature(Exception):  # noqa: N818 - the caller turns it into a RefusedStatement
    """The text is malformed as a signature, or the signature is of another message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key. `public` is its line for `trust:`, without a comment."""

    public: str
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes, namespace: bytes = NAMESPACE) -> str:
        """Returns the armored signature of a message; the same for each call."""
        public = _decode_line(self.public)
        signature = self.key.sign(_signed_data(message, namespace))
        return _armor(_blob(public, namespace, _string(ALGORITHM) + _string(signature)))


def generate(comment: str = "") -> tuple[str, str]:
    """Makes a new key; returns the private key as text (OpenSSH's format, without a passphrase) and the public line."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    return private.decode(), f"{_public(key)} {comment}".strip()


def find_signer(environ: Mapping[str, str] | None = None, *, project: str = "") -> Signer | None:
    """Returns the key that ENVTOOL_CACHE_KEY holds, or whose file it names; None where it is not set. Raises StoreError
    where the value is no such key, or the file is in the `project` (absolute path), where tasks can read it. The
    message never has the key, or the text in place of one."""
    value = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    if not value:
        return None
    if not value.startswith("-----BEGIN"):
        if project and os.path.realpath(value.replace("\0", "")).startswith(real_path(project) + "/"):
            raise StoreError(f"{VARIABLE} names a file of the project, which tasks and commits see", code="cache-key")
        try:
            with open(value, encoding="ascii", errors="replace") as file:
                value = file.read(1 << 16).strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise StoreError(f"{VARIABLE} names no file that can be read: {reason}", code="cache-key") from error
    return load_private_key(value)


def load_private_key(text: str) -> Signer:
    """Reads a private key in OpenSSH's format. Raises StoreError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    hint = "`envtool cache key FILE` makes one"
    try:
        # some CI systems take the line breaks out of secrets, all of them or the last
        words = text.replace("\\n", "\n").removeprefix(PEM).partition("-----END")[0].split()
        pem = f"{PEM}\n" + "\n".join(words) + "\n-----END OPENSSH PRIVATE KEY-----\n"
        key = form.load_ssh_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "it has a passphrase" if "assword" in str(error) else "it is no private key in OpenSSH's format"
        raise StoreError(f"{VARIABLE}: {why}", code="cache-key", hint=hint) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{VARIABLE}: not a key of the sort ssh-ed25519", code="cache-key", hint=hint)
    return Signer(public=_public(key), key=key)


def verify(message: bytes, signature: str, namespace: bytes = NAMESPACE) -> str:
    """Whose signature of a message this is: the public line, without a comment. Raises BadSignature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(signature) > MAX_SIGNATURE_LENGTH:
        raise BadSignature
    try:
        blob = base64.b64decode("".join(signature.removeprefix(BEGIN).removesuffix(END).split("\n")), validate=True)
        public, signed = _parts(blob)
    except (ValueError, struct.error) as error:
        raise BadSignature from error
    canonical = _blob(_string(ALGORITHM) + _string(public), namespace, _string(ALGORITHM) + _string(signed))
    if len(public) != 32 or len(signed) != 64 or _armor(canonical) != signature:
        raise BadSignature
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed, _signed_data(message, namespace))
    except (InvalidSignature, ValueError) as error:
        raise BadSignature from error
    return _line(public)


def strip_comment(line: str) -> str:
    """Returns a public line without its comment, so that lines can be compared."""
    return " ".join(line.split(" ")[:2])


def fingerprint(line: str) -> str:
    """Returns the fingerprint of a public line as `ssh-keygen -l` prints it: SHA256:…"""
    digest = hashlib.sha256(_decode_line(line)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _public(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization as form

    return key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()


def _line(public: bytes) -> str:
    return f"ssh-ed25519 {base64.b64encode(_string(ALGORITHM) + _string(public)).decode()}"


def _decode_line(line: str) -> bytes:
    return base64.b64decode(line.split(" ")[1])


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _signed_data(message: bytes, namespace: bytes) -> bytes:
    digest = hashlib.sha512(message).digest()
    return MAGIC + _string(namespace) + _string(b"") + _string(HASH) + _string(digest)


def _blob(public: bytes, namespace: bytes, signature: bytes) -> bytes:
    head = MAGIC + struct.pack(">I", 1) + _string(public)
    return head + _string(namespace) + _string(b"") + _string(HASH) + _string(signature)


def _armor(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    return BEGIN + "".join(f"{text[start : start + 70]}\n" for start in range(0, len(text), 70)) + END


def _parts(blob: bytes) -> tuple[bytes, bytes]:
    """Returns the 32 bytes of the key and the 64 of the signature. The caller compares all other bytes."""
    (length,) = struct.unpack_from(">I", blob, 10)
    public = blob[14 : 14 + length]
    return public[-32:], blob[-64:]
