"""A registry that a test scripts, route by route, and a client that cannot see this host's own settings."""

from __future__ import annotations

import importlib.util
import json
import ssl
from pathlib import Path

import pytest

from envtool import net
from envtool.net.oci import documents, hosts, reference, serialize
from envtool.net.oci.registry import RegistryClient

_spec = importlib.util.spec_from_file_location("faulty", Path(__file__).parents[2] / "store" / "faulty.py")
faulty = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(faulty)

QUICK = net.RetryPolicy(attempts=3, pause=0.01, longest=0.1, connect=2, read=0.5, slow=1000)
VARIABLES = (*net.PROXY_VARIABLES, *(name.upper() for name in net.PROXY_VARIABLES), *net.CA_VARIABLES)


@pytest.fixture(autouse=True)
def _no_settings_of_this_host(monkeypatch, tmp_path):
    for name in (*VARIABLES, "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "NETRC": "netrc",
        "HOME": "home",
        "XDG_CONFIG_HOME": "config",
        "XDG_RUNTIME_DIR": "run",
    }.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setattr(hosts, "SYSTEM_FILE", str(tmp_path / "registries.conf"))
    monkeypatch.setattr(hosts, "DAEMON_FILE", str(tmp_path / "daemon.json"))
    monkeypatch.setattr(hosts, "CERTIFICATE_DIRECTORIES", (str(tmp_path / "certs.d"),))
    yield
    net.close_session()


class Scripted(faulty.Faulty):
    """A registry with one good image, team/app:1 of one layer; tests put other routes in the place of its own."""

    def __init__(self, context=None):
        super().__init__(context)
        self.host = f"127.0.0.1:{self.server_port}"
        self.layer = b"a layer, " * 1000
        self.config = serialize.config_bytes(
            documents.ImageConfig(
                platform=documents.Platform(os="linux", architecture="amd64"),
                diff_ids=(documents.sha256_digest(b"tar"),),
            )
        )
        self.manifest = serialize.manifest_document(
            documents.ImageManifest(
                media_type=documents.OCI_MANIFEST,
                config=serialize.descriptor_of(self.config, documents.OCI_CONFIG),
                layers=(serialize.descriptor_of(self.layer, documents.OCI_LAYER_GZIP),),
            )
        )
        self.routes["v2"] = self.greet
        self.put(self.manifest.body)
        self.routes[f"v2/team/app/manifests/{self.manifest.digest}"] = self.routes["v2/team/app/manifests/1"]
        self.blob(self.config)
        self.blob(self.layer)

    def greet(self, handler, _):
        """Is plain HTTP spoken here? Not counted as a request."""
        with self.lock:
            self.asked.remove(("v2", dict(handler.headers)))
        handler.send(b"{}")

    def reference(self, tag="1"):
        return reference.parse_reference(f"{self.host}/team/app:{tag}")

    def put(self, body, media_type=documents.OCI_MANIFEST, name="1", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()

        def route(handler, _):
            handler.send(body, Content_Type=media_type, **headers)

        self.routes[f"v2/team/app/manifests/{name}"] = route
        return documents.sha256_digest(body)

    def blob(self, body, name=""):
        self.routes[f"v2/team/app/blobs/{name or documents.sha256_digest(body)}"] = lambda handler, _: (
            handler.resumable(body)
        )

    def names(self):
        return [name for name, _ in self.asked]


@pytest.fixture
def scripted(monkeypatch):
    with Scripted().running() as running:
        monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", running.host)
        yield running


@pytest.fixture
def other():
    """Another host (a port is one)."""
    with Scripted().running() as running:
        yield running


@pytest.fixture
def context(monkeypatch, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    monkeypatch.setenv("SSL_CERT_FILE", certificates.authority)
    return context


@pytest.fixture
def scripted_tls(context):
    with Scripted(context).running() as running:
        yield running


@pytest.fixture
def other_tls(context):
    with Scripted(context).running() as running:
        yield running


@pytest.fixture
def client():
    return RegistryClient(patience=QUICK)
