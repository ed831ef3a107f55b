"""An adapter of requests for https whose connections share one TLS context for each bundle of authorities.

To parse a system's bundle takes 20 to 50 ms of processor time, and urllib3 does it for every connection: each thread
that downloads has connections of its own.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_lock = threading.Lock()
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}  # by path, and what tells that the file is the same
_ids: set[int] = set()  # of these contexts, which are never dropped


class BundleAdapter(HTTPAdapter):
    """Connects as HTTPAdapter does. A connection by way of a proxy, without verification, with a client certificate, or
    with a directory of authorities has a context of its own."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> Any:
        """See HTTPAdapter."""
        is_usual = not cert and not select_proxy(request.url or "", {**(proxies or {})})
        context = _context_of(verify) if is_usual and isinstance(verify, str) else None
        if context is None or verify is None:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        host, _ = self.build_connection_pool_key_attributes(request, verify, cert)
        return self.poolmanager.connection_from_host(
            **host, pool_kwargs={"cert_reqs": "CERT_REQUIRED", "ssl_context": context}
        )

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """See HTTPAdapter. A shared context has the authorities already: with `ca_certs` it would load them again."""
        if id(conn.conn_kw.get("ssl_context")) not in _ids:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]


def _context_of(path: str) -> ssl.SSLContext | None:
    """Returns the context that trusts the authorities of a file; None where requests has to say what is wrong with
    it."""
    try:
        status = os.stat(path)
        if os.path.isdir(path):
            return None
        state = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with _lock:  # other threads would load the same
            context = _contexts.get(state)
            if context is None:
                context = create_urllib3_context()
                context.load_verify_locations(path)
                _contexts[state] = context
                _ids.add(id(context))
            return context
    except OSError:  # ssl.SSLError is one
        return None
