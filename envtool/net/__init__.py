"""The one door to the network: http(s) and file URLs, by the host's proxies, netrc and certificate authorities.

`requests`, kept as one session a thread; imported when the first URL is asked for, since most runs ask for none.
"""

from __future__ import annotations

from envtool.events import Progress
from envtool.net.download import get, retrieve
from envtool.net.host_config import (
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
from envtool.net.redact import redacted
from envtool.net.request import HttpResponse, UploadBody, exchange
from envtool.net.transfer import PATIENCE, Cancelled, Files, RetryPolicy, wait

__all__ = [
    "CA_FILES",
    "CA_VARIABLES",
    "PATIENCE",
    "PROXY_VARIABLES",
    "Cancelled",
    "Files",
    "HttpResponse",
    "RetryPolicy",
    "UploadBody",
    "bundle",
    "certificates",
    "close",
    "exchange",
    "get",
    "netrc",
    "note",
    "proxies",
    "redacted",
    "retrieve",
    "trust",
    "wait",
]  # fmt: skip


def note(event_id: str, text: str) -> Progress:
    """An event that says what a piece of work is waiting for."""
    return Progress(id=event_id, note=text)
