"""The one door to the network: http(s) and file URLs, by the host's proxies, netrc and certificate authorities.

Each name has its module, which is imported when the name is first asked for: most runs ask for nothing. `requests` is
kept as one session a thread, and is imported for the first URL.

request        one request and its answer, for services that speak HTTP
download       one file: attempt after attempt, until it is there with its hash
transfer       one attempt: what the server says is judged, what arrives is handed on
host_config    proxies, netrc and certificate authorities of this host
redact         URLs and errors without secrets
integrity      hashes as lock files of package managers write them
oci            references, documents, layouts and the registry client of the OCI specifications
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envtool.net.download import download_file, read_url
    from envtool.net.host_config import (
        CA_FILES,
        CA_VARIABLES,
        PROXY_VARIABLES,
        ca_bundle,
        ca_bundle_file,
        close_session,
        netrc_credentials,
        proxy_variables,
        trust_host,
    )
    from envtool.net.redact import redact_url
    from envtool.net.request import HttpResponse, UploadBody, send_request
    from envtool.net.transfer import (
        DEFAULT_RETRY_POLICY,
        Cancelled,
        OpenFile,
        RetryPolicy,
        note_event,
        wait_or_cancel,
    )

_PLACES = {
    "download": ("download_file", "read_url"),
    "host_config": (
        "CA_FILES", "CA_VARIABLES", "PROXY_VARIABLES", "ca_bundle", "ca_bundle_file", "close_session",
        "netrc_credentials", "proxy_variables", "trust_host",
    ),
    "redact": ("redact_url",),
    "request": ("HttpResponse", "UploadBody", "send_request"),
    "transfer": ("DEFAULT_RETRY_POLICY", "Cancelled", "OpenFile", "RetryPolicy", "note_event", "wait_or_cancel"),
}  # fmt: skip
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "CA_FILES",
    "CA_VARIABLES",
    "DEFAULT_RETRY_POLICY",
    "PROXY_VARIABLES",
    "Cancelled",
    "HttpResponse",
    "OpenFile",
    "RetryPolicy",
    "UploadBody",
    "ca_bundle",
    "ca_bundle_file",
    "close_session",
    "download_file",
    "netrc_credentials",
    "note_event",
    "proxy_variables",
    "read_url",
    "redact_url",
    "send_request",
    "trust_host",
    "wait_or_cancel",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
