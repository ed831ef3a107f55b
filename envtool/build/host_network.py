"""Proxies and certificates for containers with the host's network: those of the host.

None of it is part of a key or of a layer. The certificates lie below /dev, which is never part of a tree: a mount at
the path of the system's own bundle would cover a file of a package, and no package could replace that file.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re

from envtool import net
from envtool.container import userns
from envtool.container.program import BindMount, TextMount
from envtool.project.host_access import HostPermissions, matches

_CERTS = "/dev/envtool/CERTS"  # filters of environments look for the word CERT, as in most of the variables' names
BUNDLE = f"{_CERTS}/bundle.pem"
_JAVA = f"{_CERTS}/bundle.jks"
# Programs on GnuTLS read the system's bundle only; no variable names another, but their own settings do.
_SETTINGS = {
    "APT_CONFIG": f'Acquire::https::CaInfo "{BUNDLE}";\n',
    "WGETRC": f"ca_certificate = {BUNDLE}\n",
}
_APT_WITHOUT_USER = 'APT::Sandbox::User "root";\n'  # with a single id apt cannot become its user `_apt` to download
# A program that has certificates of its own, or reads a directory too, still trusts those of the tree. SSL_CERT_DIR is
# not set for that reason: OpenSSL and Go read the tree's /etc/ssl/certs as well as SSL_CERT_FILE.
_VARIABLES = (*net.CA_VARIABLES, "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE",
              "NIX_SSL_CERT_FILE", "DENO_CERT")  # fmt: skip
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END", re.ASCII)


def host_network_access(
    allowed: HostPermissions, *, proxies: bool = True
) -> tuple[dict[str, str], tuple[BindMount, ...], tuple[TextMount, ...]]:
    """Returns variables, the mounted bundle, and settings files of programs that take no variable. A proxy's password
    is in them only where the caller allows the variable: the container may send it anywhere. Without `proxies` only
    what certificates need: a pod asks the proxy itself."""
    variables = net.proxy_variables(lambda name: matches(name, allowed.variables)) if proxies else {}
    settings: dict[str, str] = {}
    if bundle := net.ca_bundle_file():
        variables |= dict.fromkeys(_VARIABLES, BUNDLE)
        settings |= _SETTINGS
    if userns.caller_ids().mode == "single":
        settings["APT_CONFIG"] = settings.get("APT_CONFIG", "") + _APT_WITHOUT_USER
    paths = {name: f"{_CERTS}/{name.lower()}" for name in settings}
    texts = tuple(TextMount(target=paths[name], content=text.encode()) for name, text in settings.items())
    return variables | paths, (BindMount(source=bundle, target=BUNDLE),) if bundle else (), texts


def java_truststore() -> tuple[dict[str, str], tuple[TextMount, ...]]:
    """Returns the variable and the key store for Java, which reads no PEM. Java prints a line on standard error for the
    variable; it is therefore set only where a variable of the caller names certificates that a JDK cannot have."""
    if not any(os.environ.get(name) for name in net.CA_VARIABLES) or not (bundle := net.ca_bundle_file()):
        return {}, ()
    try:
        with open(bundle, "rb") as file:
            keystore = encode_jks(file.read())
    except (OSError, ValueError):  # the container reports a bundle that cannot be read
        return {}, ()
    return {"JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={_JAVA}"}, (TextMount(target=_JAVA, content=keystore),)


def encode_jks(pem: bytes) -> bytes:
    """Encodes the certificates of a PEM file as a JKS, which every JDK reads (sun.security.provider.JavaKeyStore):
    entries of alias, time and DER, then a hash with the usual password, which a reader of certificates does not need.
    Raises ValueError for invalid base64."""
    certificates = [base64.b64decode(text) for text in _CERTIFICATE.findall(pem)]
    body = b"\xfe\xed\xfe\xed" + (2).to_bytes(4, "big") + len(certificates).to_bytes(4, "big")
    for number, der in enumerate(certificates):
        body += (2).to_bytes(4, "big") + _short(b"%d" % number) + bytes(8) + _short(b"X.509")
        body += len(der).to_bytes(4, "big") + der
    return body + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()  # noqa: S324


def _short(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text
