"""The project of a command that needs none (`exec --base BASE`): a directory in the store, with a spec of one env.

The same options always lead to the same directory, so that such a command can start by the fast path, too.
"""

from __future__ import annotations

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = "one-off"  # in the store
SPEC = "one-off.yaml"
ENV = "one-off"
_MAX_NAME = 200  # bytes of a name that is the options themselves


def directory_of(store: str, base: str, layers: Sequence[str], *, network: bool) -> str:
    """Returns the directory of a one-off in the store directory `store`: its name is the options, or their digest where
    they are long."""
    words = "\0".join((base, "network" if network else "", *layers)).encode("utf-8", "surrogateescape")
    name = "a" + binascii.b2a_base64(words, newline=False).rstrip(b"=").decode().replace("/", "_").replace("+", "-")
    if len(name) > _MAX_NAME:
        import hashlib  # takes 2 ms to import

        name = "d" + hashlib.sha256(words).hexdigest()
    return f"{store}/{DIRECTORY}/{name}"
