"""Reads this host's configuration of the network: proxies, netrc, and the certificate authorities that it trusts."""

from __future__ import annotations

import os
import re
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool import __version__
from envtool.errors import FetchError
from envtool.net.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "PIP_CERT")
CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
REDIRECTS = 10
# The credentials in a proxy's URL, with or without a scheme: up to the last @, since a password may contain one
_CREDENTIALS = re.compile(r"^(\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?).*@", re.DOTALL)

_local = threading.local()
# host[:port] -> (authorities, client certificates with keys), for all threads
_trusted: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}


def session() -> requests.Session:
    """Returns the session of this thread, which reuses connections. Proxies and netrc come from the environment."""
    current: requests.Session | None = getattr(_local, "session", None)
    if current is None:
        import requests

        from envtool.net.bundle_adapter import BundleAdapter

        class Session(requests.Session):
            """Follows redirects only to http(s), and from https only to https."""

            def get_adapter(self, url: str) -> requests.adapters.BaseAdapter:
                parts = urllib.parse.urlsplit(url.lower())
                prefix = f"https://{parts.netloc}/"
                if parts.scheme == "https" and parts.netloc in _trusted and prefix not in self.adapters:
                    self.mount(prefix, _tls_adapter(parts.netloc))
                return super().get_adapter(url)

            def get_redirect_target(self, resp: requests.Response) -> str | None:
                target = super().get_redirect_target(resp)
                if target is not None:
                    absolute = urllib.parse.urljoin(resp.url, target)
                    schemes = ("https",) if resp.url.lower().startswith("https:") else ("http", "https")
                    if urllib.parse.urlsplit(absolute).scheme not in schemes:
                        resp.close()
                        text = f"{redact_url(resp.url)}: redirects to {redact_url(absolute)}, which is not followed"
                        raise FetchError(text, code="fetch-redirect", hint=f"only {' or '.join(schemes)} is")
                return target

        current = Session()
        current.mount("https://", BundleAdapter())
        current.max_redirects = REDIRECTS
        current.headers["User-Agent"] = f"envtool/{__version__}"
        _local.session = current
    return current


def netrc_credentials(url: str) -> tuple[str, str] | None:
    """Returns user and password for the host of a URL from ~/.netrc (or the file in NETRC), or None."""
    from requests.utils import get_netrc_auth

    entry = get_netrc_auth(url)
    return (entry[0], entry[1]) if entry and entry[0] else None


def trust_host(netloc: str, authorities: tuple[str, ...], identities: tuple[tuple[str, str], ...] = ()) -> None:
    """Trusts further authorities for https to this host[:port] alone, in all threads: those in the files `authorities`.
    `identities` are files (certificate, key); the first pair is sent if the server asks for a client certificate. The
    first request raises an error (code fetch-tls) if a file cannot be used."""
    _trusted[netloc.lower()] = (authorities, identities)


def _tls_adapter(netloc: str) -> requests.adapters.BaseAdapter:
    """Returns the adapter for TLS with a host of `_trusted`. The `verify` of each call adds the usual bundle."""
    import requests
    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context()
    authorities, identities = _trusted[netloc]
    for path in authorities:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # ssl.SSLError is one
            raise FetchError(f"{path}: no certificates that can be used: {error}", code="fetch-tls") from error
    for certificate, key in identities[:1]:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise FetchError(f"{certificate}, {key}: no pair that can be used: {error}", code="fetch-tls") from error

    class PrivateAdapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *words: Any, **options: Any) -> None:
            super().init_poolmanager(*words, ssl_context=context, **options)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, ssl_context=context, **options)

    return PrivateAdapter()


def adopt_session(other: requests.Session) -> None:
    """Uses the session of another thread in this one, while the other thread waits."""
    _local.session = other


def forget_session() -> None:
    """Drops this thread's session without closing it: another thread still uses it."""
    del _local.session


def close_session() -> None:
    """Closes the connections of this thread."""
    current: requests.Session | None = getattr(_local, "session", None)
    if current is not None:
        current.close()
        del _local.session


def ca_bundle() -> str:
    """Returns the path of the bundle of authorities that this host trusts: the value of a variable, else the system's;
    "" if there is none.

    Pass it to requests with each call: a session's `verify` is ignored when REQUESTS_CA_BUNDLE is set. Raises
    FetchError if a variable names a path that does not exist.
    """
    for name in CA_VARIABLES:
        path = os.environ.get(name)
        if path:
            if not os.path.exists(path):
                raise FetchError(f"{name} names {path}, which is not there", code="fetch-tls", hint=f"unset {name}")
            return path
    return next((path for path in CA_FILES if os.path.isfile(path)), "")


def ca_bundle_file() -> str:
    """Returns the file of `ca_bundle` without symlinks; "" if there is none, or if it is a hashed directory, which few
    programs accept. Raises FetchError, as `ca_bundle`."""
    path = os.path.realpath(ca_bundle() or "/")
    return path if os.path.isfile(path) else ""


def proxy_variables(whole: Callable[[str], bool] = lambda _: False) -> dict[str, str]:
    """Returns the variables with which a container with network uses the host's proxies. A proxy's user and password
    are removed, except where `whole` returns True for the name of the variable: the caller allows it."""
    variables: dict[str, str] = {}
    for name in PROXY_VARIABLES:
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value and not (whole(name) or whole(name.upper())):
            value = _CREDENTIALS.sub(r"\1", value)
        if value:
            variables |= {name: value, name.upper(): value}
    return variables


class TunnelProxy(NamedTuple):
    """The proxy of this host for connections that it does not look into: it is asked by CONNECT."""

    host: str
    port: int
    authorization: str  # the value of Proxy-Authorization; "" for none
    exceptions: str  # the value of NO_PROXY


def tunnel_proxy() -> TunnelProxy | None:
    """Returns the proxy of HTTPS_PROXY, else of ALL_PROXY, or None. Raises FetchError (code fetch-proxy) for one
    that is not an HTTP proxy."""
    for name in ("https_proxy", "all_proxy"):
        variable = name if os.environ.get(name) else name.upper()
        if value := os.environ.get(variable, ""):
            break
    else:
        return None
    parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise FetchError(
            f"{variable} is `{redact_url(value)}`, which connections of containers cannot go through",
            code="fetch-proxy",
            hint="set it to http://HOST:PORT, or name the hosts that need no proxy in NO_PROXY and unset it",
        )
    authorization = ""
    if parts.username is not None:
        import base64

        words = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(words.encode()).decode()}"
    exceptions = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return TunnelProxy(parts.hostname, port, authorization, exceptions)


def bypasses_proxy(host: str, port: int, exceptions: str) -> bool:
    """Returns whether a value of NO_PROXY excepts a destination, as it does for our own downloads."""
    from requests.utils import should_bypass_proxies

    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return bool(should_bypass_proxies(f"https://{netloc}/", exceptions))
