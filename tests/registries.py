"""Real registries on loopback, for all tests: Debian's docker-registry, open, behind a password, behind TLS, behind tokens.

Each is started once, when the first test asks for it, as whoever runs pytest; the kernel kills it should we die.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

USER, PASSWORD = "ci", "not:so secret"


@dataclass(frozen=True)
class Registry:
    """A registry that runs. `host` is host:port, as it stands in references."""

    host: str
    data: Path
    plain: bool = True
    authority: str = ""  # file of the certificate authority, for TLS
    username: str = ""
    password: str = ""
    log: Path = field(default=Path("/dev/null"))

    def name(self, repository: str, tag: str = "latest") -> str:
        return f"{self.host}/{repository}:{tag}"

    @property
    def variables(self) -> dict[str, str]:
        """What lets envtool speak plain HTTP with it."""
        return {"ENVTOOL_INSECURE_REGISTRIES": self.host} if self.plain else {}

    def docker_config(self, directory: Path) -> str:
        """A DOCKER_CONFIG directory that knows its password."""
        directory.mkdir(parents=True, exist_ok=True)
        secret = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        (directory / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": secret}}}))
        return str(directory)

    def skopeo(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """skopeo, which may speak plain HTTP, without the credentials and policies of this host."""
        program = shutil.which("skopeo")
        if not program:
            pytest.skip("skopeo is not installed")
        first, *rest = words
        options = {"copy": ["--src-tls-verify=false", "--dest-tls-verify=false"], "inspect": ["--tls-verify=false"]}
        argv = [program, "--insecure-policy", first, *options.get(first, []), *rest]
        environ = {**os.environ, **own_runtime(self.data)}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done


def own_runtime(directory: Path) -> dict[str, str]:
    """Returns variables by which podman, buildah and skopeo keep sockets, and look for credentials, in a directory of the
    test: in /run/containers they meet what other users made there, which they may not even be allowed to search."""
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    credentials = runtime / "auth.json"
    if not credentials.exists():
        credentials.write_text("{}")
    return {"XDG_RUNTIME_DIR": str(runtime), "REGISTRY_AUTH_FILE": str(credentials)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(top: Path, *, http_more: dict | None = None, auth: dict | None = None, **about) -> Iterator[Registry]:
    """A docker-registry whose data lie below `top`."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("docker-registry is not installed")
    (top / "data").mkdir(
        parents=True, exist_ok=True
    )  # the registry makes it with the first push; tests write there, too
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    for attempt in range(5):
        port = free_port()
        config = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(top / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}", **(http_more or {})},
            **({"auth": auth} if auth else {}),
        }
        (top / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with open(top / "log", "ab") as log:
            words = [*guard, program, "serve", str(top / "config.yml")]
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if _ready(process, port):
            break
        process.kill()
        process.wait()
        assert attempt < 4, (top / "log").read_text()[-2000:]
    try:
        yield Registry(host=f"127.0.0.1:{port}", data=top / "data", log=top / "log", **about)
    finally:
        process.kill()
        process.wait()


def _ready(process: subprocess.Popen, port: int) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False


def htpasswd(top: Path) -> Path:
    """A file that knows USER and PASSWORD (bcrypt, as docker-registry wants it)."""
    if not shutil.which("htpasswd"):
        pytest.skip("htpasswd (apache2-utils) is not installed")
    done = subprocess.run(
        ["htpasswd", "-niB", "-C", "4", USER], input=PASSWORD, capture_output=True, text=True, check=True
    )
    path = top / "htpasswd"
    path.write_text(done.stdout)
    return path


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate of 127.0.0.1 and localhost by it."""

    authority: str
    certificate: str
    key: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Certificates:
    import trustme

    top = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1", "localhost")
    paths = [str(top / name) for name in ("ca.crt", "server.crt", "server.key")]
    authority.cert_pem.write_to_path(paths[0])
    for blob in pair.cert_chain_pems:
        blob.write_to_path(paths[1], append=True)
    pair.private_key_pem.write_to_path(paths[2])
    return Certificates(*paths)


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Iterator[Registry]:
    """Open, by plain HTTP."""
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory) -> Iterator[Registry]:
    """By plain HTTP, for USER with PASSWORD alone (Basic)."""
    top = tmp_path_factory.mktemp("password-registry")
    auth = {"htpasswd": {"realm": "tests", "path": str(htpasswd(top))}}
    with running(top, auth=auth, username=USER, password=PASSWORD) as found:
        yield found


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory, certificates) -> Iterator[Registry]:
    """By https, with a certificate of a private authority, for USER with PASSWORD alone."""
    top = tmp_path_factory.mktemp("tls-registry")
    more = {"tls": {"certificate": certificates.certificate, "key": certificates.key}}
    auth = {"htpasswd": {"realm": "tests", "path": str(htpasswd(top))}}
    about = {"plain": False, "authority": certificates.authority, "username": USER, "password": PASSWORD}
    with running(top, http_more=more, auth=auth, **about) as found:
        yield found


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory, certificates) -> Iterator[Registry]:
    """By plain HTTP, with bearer tokens of a service of ours: anybody may pull below public/, USER does all."""
    top = tmp_path_factory.mktemp("token-registry")
    with _issuer(certificates) as realm:
        auth = {
            "token": {
                "realm": realm,
                "service": "tests",
                "issuer": "tests-issuer",
                "rootcertbundle": certificates.certificate,
            }
        }
        with running(top, auth=auth, username=USER, password=PASSWORD) as found:
            yield found


@contextlib.contextmanager
def _issuer(certificates: Certificates) -> Iterator[str]:
    """A token service by the distribution project's specification; the tokens are really signed."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Issuer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            given = self.headers.get("Authorization", "")
            if given not in ("", wanted):
                self.send_error(401)
                return
            access = []
            for scope in fields.get("scope", []):
                kind, name, actions = scope.split(":")
                allowed = actions.split(",") if given else ["pull"] if name.startswith("public/") else []
                access.append({"type": kind, "name": name, "actions": allowed})
            body = json.dumps({"token": _signed(certificates, access), "expires_in": 300}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


def _signed(certificates: Certificates, access: list) -> str:
    """A JSON Web Token, signed by openssl with the key of our certificate, which it carries."""

    def packed(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    pem = Path(certificates.certificate).read_text()
    inner = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    now = int(time.time())
    header = {"typ": "JWT", "alg": "ES256", "x5c": ["".join(inner.split())]}
    claims = {"iss": "tests-issuer", "sub": USER, "aud": "tests", "exp": now + 300, "nbf": now - 60, "iat": now}
    claims |= {"jti": os.urandom(8).hex(), "access": access}
    text = f"{packed(json.dumps(header).encode())}.{packed(json.dumps(claims).encode())}"
    words = ["openssl", "dgst", "-sha256", "-sign", certificates.key]
    der = subprocess.run(words, input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{packed(_raw(der))}"


def _raw(der: bytes) -> bytes:
    """An ECDSA signature as JOSE wants it: r and s, 32 bytes each, out of their DER."""
    position, numbers = 2, []
    for _ in range(2):
        length = der[position + 1]
        numbers.append(der[position + 2 : position + 2 + length].lstrip(b"\0").rjust(32, b"\0"))
        position += 2 + length
    return b"".join(numbers)
