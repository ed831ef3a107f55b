"""The only access to the network: http(s) and file URLs, by the host's proxies, netrc and certificate authorities.

A module is imported when one of its names is first used, since most runs need none. `requests` is imported for the
first URL; each thread has one session.

request        sends one request and returns its response, for services that speak HTTP
download       downloads one file, with retries, and checks its hash
transfer       makes one attempt to download a file, and classifies what goes wrong
bundle_adapter shares one TLS context between the connections of all threads
host_config    reads this host's proxies, netrc and certificate authorities
redact         removes secrets from URLs and errors
integrity      parses the hashes in lock files of package managers
oci            reads and writes images by the OCI specifications: references, documents, layouts, registries
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
