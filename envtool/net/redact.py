"""Removes secrets from URLs and errors of the network, and finds the innermost reason of an error."""

from __future__ import annotations

import re
import urllib.parse

SECRET_NAMES = re.compile(
    r"token|secret|password|passwd|signature|credential|^sig$|^auth|api_?key|access_?key", re.IGNORECASE
)


def redact_url(url: str) -> str:
    """Returns a URL for people: without user, password, and values that look like keys."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(a malformed URL)"
    netloc = f"***@{host}" if "@" in parts.netloc else host
    query = "&".join(
        f"{name}=***" if equal and SECRET_NAMES.search(urllib.parse.unquote(name)) else f"{name}{equal}{value}"
        for name, equal, value in (pair.partition("=") for pair in parts.query.split("&"))
    )
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def innermost_reason(error: BaseException) -> str:
    """Returns the innermost reason of an error, without the URL (and its secrets) that the libraries put around it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        inner = inner or error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    if type(error).__name__ == "IncompleteRead":
        return "the connection ended before the file did"
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    text = re.sub(r"\b(\w+)://[^\s/@]+@", r"\1://***@", text)
    return (text[:1].lower() + text[1:]).rstrip(".")


def is_proxy_error(error: BaseException) -> bool:
    """Returns whether the connection failed at the proxy."""
    import requests

    return isinstance(error, requests.exceptions.ProxyError)
