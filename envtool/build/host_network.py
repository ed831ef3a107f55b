"""What a container with the host's network gets beside it: the host's proxies, and the authorities that it trusts.

Nothing of it is part of a key or of a layer. The authorities lie below /dev, which is never part of a tree: at the
path of the system's own bundle they would stand over a file that a package owns, and no package could replace it.
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

_CERTS = "/dev/envtool/CERTS"  # a word that filters of environments look for, as it is in most of the variables' names
BUNDLE = f"{_CERTS}/bundle.pem"
_JAVA = f"{_CERTS}/bundle.jks"
# Programs of GnuTLS look at the system's bundle alone, and no variable tells them of another: their own settings do.
_SETTINGS = {
    "APT_CONFIG": f'Acquire::https::CaInfo "{BUNDLE}";\n',
    "WGETRC": f"ca_certificate = {BUNDLE}\n",
}
_APT_WITHOUT_USER = (
    'APT::Sandbox::User "root";\n'  # with a single id there is no user `_apt` whom apt could become to download
)
# A program that adds to what it trusts by itself, or looks at a directory too, goes on trusting the tree's own. That is
# why SSL_CERT_DIR stays as it is: OpenSSL and Go look at the tree's /etc/ssl/certs as well as at SSL_CERT_FILE.
_VARIABLES = (*net.CA_VARIABLES, "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE",
              "NIX_SSL_CERT_FILE", "DENO_CERT")  # fmt: skip
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END", re.ASCII)


def host_network_access(
    allowed: HostPermissions,
) -> tuple[dict[str, str], tuple[BindMount, ...], tuple[TextMount, ...]]:
    """Variables, and what they name: the bundle, and settings of programs that take no variable. A proxy's password
    only where the caller allows the variable: what runs there may send it anywhere."""
    variables = net.proxy_variables(lambda name: matches(name, allowed.variables))
    settings: dict[str, str] = {}
    if bundle := net.ca_bundle_file():
        variables |= dict.fromkeys(_VARIABLES, BUNDLE)
        settings |= _SETTINGS
    if userns.caller_ids().mode == "single":
        settings["APT_CONFIG"] = settings.get("APT_CONFIG", "") + _APT_WITHOUT_USER
    named = {name: f"{_CERTS}/{name.lower()}" for name in settings}
    texts = tuple(TextMount(target=named[name], content=text.encode()) for name, text in settings.items())
    return variables | named, (BindMount(source=bundle, target=BUNDLE),) if bundle else (), texts


def java_truststore() -> tuple[dict[str, str], tuple[TextMount, ...]]:
    """The same for Java, which takes no PEM, and says on standard error that it was told: so only where a variable of
    the caller names authorities that a JDK cannot know."""
    if not any(os.environ.get(name) for name in net.CA_VARIABLES) or not (bundle := net.ca_bundle_file()):
        return {}, ()
    try:
        with open(bundle, "rb") as file:
            store = encode_jks(file.read())
    except (OSError, ValueError):  # the container says that the bundle cannot be read
        return {}, ()
    return {"JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={_JAVA}"}, (TextMount(target=_JAVA, content=store),)


def encode_jks(pem: bytes) -> bytes:
    """The certificates of a PEM file as a JKS, which every JDK reads (sun.security.provider.JavaKeyStore): entries of
    alias, time and DER, and at the end a hash with the usual password, of which a reader of certificates has no need.
    Raises ValueError for base64 that is none."""
    found = [base64.b64decode(text) for text in _CERTIFICATE.findall(pem)]
    body = b"\xfe\xed\xfe\xed" + (2).to_bytes(4, "big") + len(found).to_bytes(4, "big")
    for number, der in enumerate(found):
        body += (2).to_bytes(4, "big") + _short(b"%d" % number) + bytes(8) + _short(b"X.509")
        body += len(der).to_bytes(4, "big") + der
    return body + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()  # noqa: S324


def _short(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text
