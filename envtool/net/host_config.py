"""What this host says about the network: proxies, netrc, and the certificate authorities it trusts."""

from __future__ import annotations

import os
import re
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

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
# Of a proxy, with a scheme or without; up to the last @, since a password may hold anything
_CREDENTIALS = re.compile(r"^(\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?).*@", re.DOTALL)

_local = threading.local()
_trusted: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}  # by host[:port], for all threads


def session() -> requests.Session:
    """The session of this thread: connections are kept. Proxies and netrc come from the environment."""
    kept: requests.Session | None = getattr(_local, "session", None)
    if kept is None:
        import requests

        class Session(requests.Session):
            """Follows no redirect from https to anything less, and to http(s) alone."""

            def get_adapter(self, url: str) -> requests.adapters.BaseAdapter:
                parts = urllib.parse.urlsplit(url.lower())
                prefix = f"https://{parts.netloc}/"
                if parts.scheme == "https" and parts.netloc in _trusted and prefix not in self.adapters:
                    self.mount(prefix, _tls_adapter(parts.netloc))
                return super().get_adapter(url)

            def get_redirect_target(self, resp: requests.Response) -> str | None:
                target = super().get_redirect_target(resp)
                if target is not None:
                    whole = urllib.parse.urljoin(resp.url, target)
                    wanted = ("https",) if resp.url.lower().startswith("https:") else ("http", "https")
                    if urllib.parse.urlsplit(whole).scheme not in wanted:
                        resp.close()
                        text = f"{redact_url(resp.url)}: redirects to {redact_url(whole)}, which is not followed"
                        raise FetchError(text, code="fetch-redirect", hint=f"only {' or '.join(wanted)} is")
                return target

        kept = Session()
        kept.max_redirects = REDIRECTS
        kept.headers["User-Agent"] = f"envtool/{__version__}"
        _local.session = kept
    return kept


def netrc_credentials(url: str) -> tuple[str, str] | None:
    """User and password that ~/.netrc (or what NETRC names) has for a host."""
    from requests.utils import get_netrc_auth

    found = get_netrc_auth(url)
    return (found[0], found[1]) if found and found[0] else None


def trust_host(netloc: str, authorities: tuple[str, ...], identities: tuple[tuple[str, str], ...] = ()) -> None:
    """For https to this host[:port] alone, and in all threads: trust these files' authorities, too, and show the first
    of these (certificate, key) files to a server that asks who we are. A file that cannot be used is an error (code
    fetch-tls) of the first request."""
    _trusted[netloc.lower()] = (authorities, identities)


def _tls_adapter(netloc: str) -> requests.adapters.BaseAdapter:
    """What speaks TLS with a host of `_trusted`; the usual bundle is added by the `verify` of each call."""
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

    class Private(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *words: Any, **options: Any) -> None:
            super().init_poolmanager(*words, ssl_context=context, **options)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, ssl_context=context, **options)

    return Private()


def adopt_session(kept: requests.Session) -> None:
    """Use another thread's session in this one, while that one waits."""
    _local.session = kept


def forget_session() -> None:
    """Let go of this thread's session without closing it: another thread still uses it."""
    del _local.session


def close_session() -> None:
    """Give this thread's connections back."""
    kept: requests.Session | None = getattr(_local, "session", None)
    if kept is not None:
        kept.close()
        del _local.session


def ca_bundle() -> str:
    """The bundle of authorities this host trusts: named by a variable, else the system's; empty where there is none.

    It is handed to requests with each call: a session's `verify` is ignored when REQUESTS_CA_BUNDLE is set.
    Raises FetchError when a variable names nothing.
    """
    for name in CA_VARIABLES:
        path = os.environ.get(name)
        if path:
            if not os.path.exists(path):
                raise FetchError(f"{name} names {path}, which is not there", code="fetch-tls", hint=f"unset {name}")
            return path
    return next((path for path in CA_FILES if os.path.isfile(path)), "")


def ca_bundle_file() -> str:
    """The file of the authorities that this host trusts, resolved; empty where there is none, or a hashed directory in
    its place: few programs take one. Raises FetchError, as `certificates`."""
    path = os.path.realpath(ca_bundle() or "/")
    return path if os.path.isfile(path) else ""


def proxy_variables(whole: Callable[[str], bool] = lambda _: False) -> dict[str, str]:
    """The variables that give a container with network the host's proxies. A proxy's user and password are left out but
    where `whole` says of the variable that the caller lets them in."""
    variables: dict[str, str] = {}
    for name in PROXY_VARIABLES:
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value and not (whole(name) or whole(name.upper())):
            value = _CREDENTIALS.sub(r"\1", value)
        if value:
            variables |= {name: value, name.upper(): value}
    return variables
