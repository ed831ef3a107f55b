"""What builds with network get of the host's authorities: names in their environment, and files below /dev."""

from __future__ import annotations

import ssl
import subprocess
from shutil import which

import pytest

from envtool import net
from envtool.build.host_network import BUNDLE, encode_jks, host_network_access, java_truststore
from envtool.container import userns
from envtool.project.host_access import HostPermissions

PEM = """\
words between certificates
-----BEGIN CERTIFICATE-----
{}
-----END CERTIFICATE-----
"""


@pytest.fixture
def alone(monkeypatch):
    """No variable of the caller names authorities, and containers have more than one id."""
    monkeypatch.setattr(userns, "caller_ids", lambda: userns.IdMaps("range", [], []))
    for name in net.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_bundle_stands_over_no_path_of_the_tree(alone, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    alone.setenv("PIP_CERT", str(bundle))
    variables, binds, texts = host_network_access(HostPermissions())
    assert [(bind.source, bind.target, bind.readonly) for bind in binds] == [(str(bundle), BUNDLE, True)]
    places = {bind.target for bind in binds} | {text.target for text in texts}
    assert all(place.startswith("/dev/envtool/") for place in places)
    named = {value for name, value in variables.items() if "proxy" not in name.lower()}
    assert named == places
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO",
                 "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO"):  # fmt: skip
        assert variables[name] == BUNDLE
    assert "SSL_CERT_DIR" not in variables  # the tree's own authorities are trusted, too


def test_the_names_do_not_tell_machines_apart(alone, tmp_path):
    found = []
    for name in ("one.pem", "another.pem"):
        (tmp_path / name).write_text(name)
        alone.setenv("SSL_CERT_FILE", str(tmp_path / name))
        variables, _, texts = host_network_access(HostPermissions())
        found.append((variables, texts))
    assert found[0] == found[1]


@pytest.mark.parametrize("bundle", ["", "ca.pem"])
def test_with_a_single_id_apt_becomes_nobody(alone, tmp_path, bundle):
    """The user that it would download as is not there."""
    (tmp_path / "ca.pem").write_text("")
    alone.setattr(net.host_config, "CA_FILES", ())
    alone.setenv("SSL_CERT_FILE", str(tmp_path / bundle) if bundle else "")
    alone.setattr(userns, "caller_ids", lambda: userns.IdMaps("single", [], []))
    variables, binds, texts = host_network_access(HostPermissions())
    (content,) = [text.content for text in texts if text.target == variables["APT_CONFIG"]]
    assert b'APT::Sandbox::User "root";\n' in content
    assert (b"CaInfo" in content) == ("WGETRC" in variables) == bool(binds) == bool(bundle)


@pytest.mark.parametrize("text", ["", "/"])
def test_without_a_bundle_there_is_nothing(alone, tmp_path, text):
    alone.setattr(net.host_config, "CA_FILES", ())
    alone.setenv("SSL_CERT_FILE", text and str(tmp_path))
    alone.setenv("HTTPS_PROXY", "http://proxy:1")
    variables, binds, texts = host_network_access(HostPermissions())
    assert (binds, texts) == ((), ())
    assert variables.pop("https_proxy") == "http://proxy:1"
    assert all("proxy" in name.lower() for name in variables)
    assert java_truststore() == ({}, ())


def test_java_is_told_of_authorities_that_a_variable_names(alone, certificate):
    assert java_truststore() == ({}, ())  # those of the system a JDK knows
    alone.setenv("SSL_CERT_FILE", str(certificate))
    variables, (text,) = java_truststore()
    assert variables == {"JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={text.target}"}
    assert text.target.startswith("/dev/envtool/")
    assert text.content == encode_jks(certificate.read_bytes())
    certificate.write_text(PEM.format("no base64 at all"))
    assert java_truststore() == ({}, ())


def test_a_keystore_has_each_certificate(certificate, tmp_path):
    text = certificate.read_text()
    der = ssl.PEM_cert_to_DER_cert(text)
    found = encode_jks((text + "\n# words\n" + text).encode())
    assert found[:12] == bytes.fromhex("feedfeed 00000002 00000002")
    assert found.count(len(der).to_bytes(4, "big") + der) == 2
    if which("keytool"):
        path = tmp_path / "store.jks"
        path.write_bytes(found)
        words = ["keytool", "-list", "-keystore", path, "-storepass", "changeit"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert said.count("trustedCertEntry") == 2


@pytest.fixture
def certificate(tmp_path):
    path = tmp_path / "own.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=own",
             "-days", "30", "-keyout", tmp_path / "key", "-out", path]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    return path
