"""registries.conf, certs.d and the variable, as they lead us."""

from __future__ import annotations

import shutil
import ssl

import pytest

from envtool import net
from envtool.errors import FetchError
from envtool.net import host_config as net_host
from envtool.net.oci import documents, hosts, platforms, serialize
from envtool.net.oci.reference import parse_reference

HEX = "0123456789abcdef" * 4


def load(tmp_path, text, **environ):
    path = tmp_path / "named.conf"
    path.write_text(text)
    return hosts.load({"CONTAINERS_REGISTRIES_CONF": str(path), **environ})


def roots(found, text):
    return [f"{endpoint.root}{endpoint.repository}" for endpoint in found.pull_endpoints(parse_reference(text))]


def test_a_host_without_settings():
    found = hosts.load({"HOME": "/nowhere"})
    assert roots(found, "alpine") == ["https://registry-1.docker.io/v2/library/alpine"]
    assert roots(found, "localhost:5000/a") == ["https://localhost:5000/v2/a"]
    assert found.push_endpoint(parse_reference("host.example/a")) == hosts.Endpoint(
        registry="host.example", repository="a"
    )


def test_plain_http_is_asked_for_by_host_and_port():
    found = hosts.load({"HOME": "/nowhere", hosts.INSECURE: "localhost:5000, other.example,"})
    assert roots(found, "localhost:5000/a") == ["http://localhost:5000/v2/a"]
    assert roots(found, "other.example/a") == ["http://other.example/v2/a"]
    for name in ("localhost:5001/a", "localhost/a", "127.0.0.1:5000/a", "sub.other.example/a"):
        assert roots(found, name)[0].startswith("https://")


MIRRORS = """
unqualified-search-registries = ["elsewhere.example"]
short-name-mode = "enforcing"
[[registry]]
prefix = "docker.io"
location = "cache.example/hub"
[[registry.mirror]]
location = "near.example:5000/hub"
insecure = true
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "digests.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "docker.io/team"
blocked = true
[[registry]]
prefix = "*.corp.example"
location = "hub.corp.example"
[[registry]]
location = "old.example/a"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "new.example/b"
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "alpine",
            [
                "http://near.example:5000/v2/hub/library/alpine",
                "https://tags.example/v2/library/alpine",
                "https://cache.example/v2/hub/library/alpine",
            ],
        ),
        (
            f"other/app@sha256:{HEX}",
            [
                "http://near.example:5000/v2/hub/other/app",
                "https://digests.example/v2/other/app",
                "https://cache.example/v2/hub/other/app",
            ],
        ),
        ("a.corp.example/x", ["https://hub.corp.example/v2/x"]),
        ("corp.example/x", ["https://corp.example/v2/x"]),
        ("old.example/a/x", ["http://old.example/v2/a/x"]),
        (f"old.example/a@sha256:{HEX}", ["https://new.example/v2/b", "http://old.example/v2/a"]),
        ("old.example/ab", ["https://old.example/v2/ab"]),
        ("docker.io/teams/app", ["http://near.example:5000/v2/hub/teams/app", "https://tags.example/v2/teams/app", "https://cache.example/v2/hub/teams/app"]),
    ],
)  # fmt: skip
def test_mirrors_and_locations(tmp_path, text, wanted):
    found = load(tmp_path, MIRRORS)
    assert roots(found, text) == wanted
    assert found.push_endpoint(parse_reference(text)).root in wanted[-1]
    assert not found.push_endpoint(parse_reference(text)).mirror


def test_what_is_blocked_is_not_asked(tmp_path):
    for ask in (load(tmp_path, MIRRORS).pull_endpoints, load(tmp_path, MIRRORS).push_endpoint):
        with pytest.raises(FetchError) as caught:
            ask(parse_reference("team/app"))
        assert caught.value.code == "registry-blocked"


@pytest.mark.parametrize(
    "text",
    ["[[registry]", "registry = 7", "[[registry]]\ninsecure = true", '[[registry]]\nprefix = "a"\nmirror = 7', '[[registry]]\nprefix = "a"\n[[registry.mirror]]\n', "registry = [7]"],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(tmp_path, text):
    with pytest.raises(FetchError) as caught:
        load(tmp_path, text)
    assert caught.value.code == "registry-configuration"
    assert "named.conf" in str(caught.value)


def test_dockers_mirrors_are_for_docker_hub(tmp_path):
    (tmp_path / "daemon.json").write_text(
        '{"registry-mirrors": ["https://mirror.example/", "http://near.example:5000/hub"],'
        ' "insecure-registries": ["plain.example:80", "10.0.0.0/8"]}'
    )
    found = hosts.load({"HOME": "/nowhere"})
    assert roots(found, "alpine") == [
        "https://mirror.example/v2/library/alpine",
        "http://near.example:5000/v2/hub/library/alpine",
        "https://registry-1.docker.io/v2/library/alpine",
    ]
    assert roots(found, "other.example/a") == ["https://other.example/v2/a"]
    assert roots(found, "plain.example:80/a") == ["http://plain.example:80/v2/a"]
    assert roots(load(tmp_path, MIRRORS), "a")[-1] == "https://cache.example/v2/hub/library/a"
    for text in ("[]", "{", '{"registry-mirrors": 7}'):
        (tmp_path / "daemon.json").write_text(text)
        with pytest.raises(FetchError, match=r"daemon\.json"):
            hosts.load({"HOME": "/nowhere"})


def test_the_users_own_file_stands_for_the_systems_and_drop_ins_come_on_top(tmp_path, monkeypatch):
    system = tmp_path / "etc" / "registries.conf"
    own = tmp_path / "home" / ".config" / "containers" / "registries.conf"
    for path, location in (
        (system, "system.example"),
        (system.parent / "registries.conf.d" / "1.conf", "drop-in.example"),
        (own, "own.example"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[[registry]]\nprefix = "{path.name}.example"\nlocation = "{location}"\n')
    monkeypatch.setattr(hosts, "SYSTEM_FILE", str(system))
    found = hosts.load({"HOME": str(tmp_path / "home")})
    assert {rule.location for rule in found.rules} == {"own.example", "drop-in.example"}
    found = hosts.load({"HOME": str(tmp_path / "other")})
    assert {rule.location for rule in found.rules} == {"system.example", "drop-in.example"}


def test_a_private_authority_is_trusted_for_its_host_alone(
    tmp_path, scripted_tls, other_tls, certificates, client, monkeypatch
):
    monkeypatch.delenv("SSL_CERT_FILE")
    place = tmp_path / "certs.d" / scripted_tls.host
    place.mkdir(parents=True)
    shutil.copy(certificates.authority, place / "ca.crt")
    assert client.document(scripted_tls.reference()).digest == scripted_tls.manifest.digest
    layer = serialize.descriptor_of(scripted_tls.layer, documents.OCI_LAYER)
    client.pull_blob(scripted_tls.reference(), layer, str(tmp_path / "layer"))
    with pytest.raises(FetchError) as caught:
        client.document(other_tls.reference())
    assert caught.value.code == "fetch-tls"


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_a_certificate_that_is_none_is_named(tmp_path, scripted_tls, client, name):
    place = tmp_path / "certs.d" / scripted_tls.host
    place.mkdir(parents=True)
    for file in (name, "client.key"):
        (place / file).write_text("nonsense")
    with pytest.raises(FetchError) as caught:
        client.document(scripted_tls.reference())
    assert caught.value.code == "fetch-tls"
    assert name in str(caught.value)


def test_we_say_who_we_are_where_that_is_configured(tmp_path, context, certificates, client, scripted):
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.authority)
    with type(scripted)(context).running() as running:
        place = tmp_path / "certs.d" / running.host
        place.mkdir(parents=True)
        shutil.copy(certificates.certificate, place / "client.cert")
        shutil.copy(certificates.key, place / "client.key")
        assert client.document(running.reference()).digest == running.manifest.digest
        (place / "client.cert").unlink()
        net.close_session()
        net_host._trusted.clear()
        with pytest.raises(FetchError):
            type(client)(patience=client._transport.patience).document(running.reference())


# ---- mirrors, really ------------------------------------------------------------------------------------------------


@pytest.fixture
def mirrored(tmp_path, scripted, other, monkeypatch):
    """`scripted` is a mirror of `other`."""
    path = tmp_path / "mirrors.conf"
    path.write_text(
        f'[[registry]]\nprefix = "{other.host}"\ninsecure = true\n'
        f'[[registry.mirror]]\nlocation = "{scripted.host}"\ninsecure = true\n'
    )
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))
    return scripted, other


def test_a_mirror_is_asked_first(mirrored, client, tmp_path):
    mirror, registry = mirrored
    image = client.image(registry.reference(), platforms.platform_of_machine("x86_64"))
    client.pull_blob(image.reference, image.manifest.layers[0], str(tmp_path / "layer"))
    assert registry.asked == []
    digest = image.manifest.layers[0].digest
    assert [place.url.split("/")[2] for place in client.blob_locations(image.reference, digest)] == [
        mirror.host,
        registry.host,
    ]
    mirror.routes[f"v2/team/app/blobs/{digest}"] = lambda handler, _: handler.send(b"", 404)
    assert [place.url.split("/")[2] for place in client.blob_locations(image.reference, digest)] == [registry.host]


@pytest.mark.parametrize("status", [404, 401, 500])
def test_what_a_mirror_has_not_the_registry_has(mirrored, client, tmp_path, status):
    mirror, registry = mirrored
    for name in mirror.routes:
        mirror.routes[name] = lambda handler, _: handler.send(b"", status)
    image = client.image(registry.reference(), platforms.platform_of_machine("x86_64"))
    client.pull_blob(image.reference, image.manifest.layers[0], str(tmp_path / "layer"))
    assert (tmp_path / "layer").read_bytes() == registry.layer


def test_a_mirror_that_lies_or_is_away_does_not_matter(mirrored, client, tmp_path):
    mirror, registry = mirrored
    layer = serialize.descriptor_of(registry.layer, documents.OCI_LAYER)
    mirror.routes[f"v2/team/app/blobs/{layer.digest}"] = lambda handler, _: handler.send(b"?" * layer.size)
    client.pull_blob(registry.reference(), layer, str(tmp_path / "layer"))
    assert (tmp_path / "layer").read_bytes() == registry.layer
    mirror.routes["v2/team/app/manifests/1"] = lambda handler, _: handler.reset()
    for _ in range(3):
        client.document(registry.reference())
    assert mirror.names().count("v2/team/app/manifests/1") == 3  # once for the blob; twice, and then never again


def test_proxies_of_the_environment_lead_to_registries(scripted, client, monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", scripted.url)
    monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", "registry.invalid")
    image = client.image(parse_reference("registry.invalid/team/app:1"), platforms.platform_of_machine("x86_64"))
    client.pull_blob(image.reference, image.manifest.layers[0], str(tmp_path / "layer"))
    assert {headers["Host"] for _, headers in scripted.asked} == {"registry.invalid"}
