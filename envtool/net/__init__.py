"""The one door to the network: http(s) and file URLs, by the host's proxies, netrc and certificate authorities.

`requests`, kept as one session a thread; imported when the first URL is asked for, since most runs ask for none.
"""

from __future__ import annotations

from envtool.events import Progress
from envtool.net.exchange import Answer, Upload, exchange
from envtool.net.files import get, retrieve
from envtool.net.host import (
    CA_FILES,
    CA_VARIABLES,
    PROXY_VARIABLES,
    bundle,
    certificates,
    close,
    netrc,
    proxies,
    trust,
)
from envtool.net.transfer import PATIENCE, Cancelled, Files, Patience, wait
from envtool.net.words import redacted

__all__ = [
    "CA_FILES", "CA_VARIABLES", "PATIENCE", "PROXY_VARIABLES", "Answer", "Cancelled", "Files", "Patience", "Upload",
    "bundle", "certificates", "close", "exchange", "get", "netrc", "note", "proxies", "redacted", "retrieve", "trust",
    "wait",
]  # fmt: skip


def note(event_id: str, text: str) -> Progress:
    """An event that says what a piece of work is waiting for."""
    return Progress(id=event_id, note=text)
