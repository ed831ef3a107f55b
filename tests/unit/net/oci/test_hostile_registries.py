"""Registries that lie, stall, send us elsewhere or never end: each is refused by an error with a code, and soon."""

from __future__ import annotations

import base64
import json
import os
import threading
import time

import pytest

from envtool.errors import FetchError, Interrupted
from envtool.net.oci import documents, platforms, reference, registry, serialize
from envtool.net.oci.registry import RegistryClient

AMD64 = platforms.platform_of_machine("x86_64")
NOWHERE = "sha256:" + "0" * 64


def refused(code, ask, *words, **more):
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        ask(*words, **more)
    assert caught.value.code == code, caught.value
    assert time.monotonic() - began < 10
    return caught.value


def redirect(to, status=307):
    return lambda handler, _: handler.send(b"", status, Location=to)


def top(scripted):
    return json.loads(scripted.manifest.body)


# ---- digests and sizes ---------------------------------------------------------------------------------------------


def test_the_good_image_is_taken(scripted, client):
    image = client.image(scripted.reference(), AMD64)
    assert image.reference.digest == image.index == scripted.manifest.digest
    assert client.image(image.reference, AMD64) == image


def test_other_bytes_under_a_digest(scripted, client):
    scripted.put(scripted.manifest.body + b" ", name=scripted.manifest.digest)
    error = refused("registry-digest", client.document, scripted.reference().with_digest(scripted.manifest.digest))
    assert scripted.host in str(error)


def test_a_header_that_says_another_digest(scripted, client):
    scripted.put(scripted.manifest.body, Docker_Content_Digest=NOWHERE)
    refused("registry-digest", client.document, scripted.reference())


def test_a_config_of_other_bytes(scripted, client):
    scripted.blob(b"?" * len(scripted.config), documents.sha256_digest(scripted.config))
    refused("registry-digest", client.image, scripted.reference(), AMD64)


def test_a_config_that_is_longer_than_said(scripted, client):
    scripted.blob(scripted.config * 3, documents.sha256_digest(scripted.config))
    refused("fetch-large", client.image, scripted.reference(), AMD64)


def test_a_config_that_is_shorter_than_said(scripted, client):
    scripted.blob(scripted.config[:-1], documents.sha256_digest(scripted.config))
    refused("registry-digest", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"?" * 9000, "fetch-hash"),
        (b"a layer, " * 1001, "fetch-size"),
        (b"a layer, " * 999, "fetch-size"),
    ],
    ids=["other", "longer", "shorter"],
)
def test_a_layer_that_is_not_what_it_should_be(scripted, client, tmp_path, body, code):
    digest = documents.sha256_digest(scripted.layer)
    scripted.blob(body, digest)
    layer = client.image(scripted.reference(), AMD64).manifest.layers[0]
    refused(code, client.pull_blob, scripted.reference(), layer, str(tmp_path / "layer"))


def test_a_manifest_without_end(scripted, client):
    def endless(handler, _):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Content-Type", documents.OCI_MANIFEST)
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")

    scripted.routes["v2/team/app/manifests/1"] = endless
    refused("fetch-large", client.document, scripted.reference())
    assert len(scripted.asked) == 1


def test_a_config_that_claims_gigabytes(scripted, client):
    scripted.put(top(scripted) | {"config": {**top(scripted)["config"], "size": 1 << 33}})
    refused("registry-document", client.image, scripted.reference(), AMD64)


# ---- elsewhere -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])
def test_redirects_to_other_schemes(scripted, client, tmp_path, to):
    scripted.routes["v2/team/app/manifests/1"] = redirect(to)
    refused("fetch-redirect", client.document, scripted.reference())
    scripted.put(scripted.manifest.body, name="2")
    client.document(scripted.reference("2"))
    layer = serialize.descriptor_of(scripted.layer, documents.OCI_LAYER)
    scripted.routes[f"v2/team/app/blobs/{layer.digest}"] = redirect(to)
    refused("fetch-redirect", client.pull_blob, scripted.reference("2"), layer, str(tmp_path / "x"))


def test_redirects_in_circles(scripted, client):
    scripted.routes["v2/team/app/manifests/1"] = redirect("/v2/team/app/manifests/1")
    refused("fetch-url", client.document, scripted.reference())
    assert len(scripted.asked) < 20


def test_a_redirect_from_https_to_http(scripted_tls, client):
    scripted_tls.routes["v2/team/app/manifests/1"] = redirect("http://127.0.0.1:1/x")
    refused("fetch-redirect", client.document, scripted_tls.reference())


def test_plain_http_where_nobody_asked_for_it(scripted, client, monkeypatch):
    monkeypatch.delenv("ENVTOOL_INSECURE_REGISTRIES")
    error = refused("registry-insecure", client.document, scripted.reference())
    assert f"ENVTOOL_INSECURE_REGISTRIES={scripted.host}" in error.hint
    assert scripted.asked == []


def test_pages_of_tags_elsewhere_and_without_end(scripted, client, monkeypatch):
    monkeypatch.setattr(registry, "PAGES", 5)
    page = b'{"name": "team/app", "tags": ["a"]}'
    first = "v2/team/app/tags/list?n=1000"
    scripted.routes[first] = lambda handler, _: handler.send(page, Link='<http://127.0.0.1:1/x>; rel="next"')
    assert client.tags(scripted.reference()) == ["a"]
    scripted.routes[first] = lambda handler, _: handler.send(page, Link=f'</{first}>; rel="next"')
    refused("registry-document", client.tags, scripted.reference())


# ---- getting in ----------------------------------------------------------------------------------------------------


def known(monkeypatch, tmp_path, host, secret="user:hidden-word"):
    config = {"auths": {host: {"auth": base64.b64encode(secret.encode()).decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def demanding(scripted, realm, token="good", scheme="Bearer"):
    """The image, for those alone who come with this token."""
    good = scripted.routes["v2/team/app/manifests/1"]

    def route(handler, turn):
        if handler.headers.get("Authorization") == f"Bearer {token}":
            good(handler, turn)
        else:
            handler.send(b"", 401, WWW_Authenticate=f'{scheme} realm="{realm}",service="tests"')

    scripted.routes["v2/team/app/manifests/1"] = route


TOKEN = "token?service=tests&scope=repository%3Ateam%2Fapp%3Apull"


def test_a_token_from_where_the_registry_says(scripted, client):
    demanding(scripted, scripted.url + "token")
    scripted.routes[TOKEN] = lambda handler, _: handler.send(b'{"token": "good"}')
    assert client.document(scripted.reference()).digest == scripted.manifest.digest
    assert client.document(scripted.reference()).digest == scripted.manifest.digest
    assert scripted.names().count(TOKEN) == 1


@pytest.mark.parametrize("realm", ["http://127.0.0.1:1/token", "file:///etc/passwd", "//127.0.0.1/x", "", "token"])
def test_a_realm_that_is_less_than_https_gets_nothing(scripted_tls, client, monkeypatch, tmp_path, realm):
    known(monkeypatch, tmp_path, scripted_tls.host)
    demanding(scripted_tls, realm)
    refused("registry-token", client.document, scripted_tls.reference())


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_registry_that_is_never_satisfied(scripted, client, monkeypatch, tmp_path, scheme):
    known(monkeypatch, tmp_path, scripted.host)
    demanding(scripted, scripted.url + "token", token="another", scheme=scheme)
    scripted.routes[TOKEN] = lambda handler, _: handler.send(b'{"token": "good"}')
    for _ in range(2):
        error = refused("registry-denied", client.document, scripted.reference())
        assert "hidden-word" not in f"{error} {error.hint}"
    assert len(scripted.asked) <= 6


def test_a_challenge_that_nobody_knows(scripted, client):
    demanding(scripted, "x", scheme="Negotiate")
    refused("registry-denied", client.document, scripted.reference())


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nHost: x"}', b'{"token":"x","expires_in":"soon"}']
)
def test_a_token_service_that_talks_nonsense(scripted, client, body):
    demanding(scripted, scripted.url + "token")
    scripted.routes[TOKEN] = lambda handler, _: handler.send(body)
    refused("registry-token", client.document, scripted.reference())


def test_a_token_service_without_end(scripted, client):
    demanding(scripted, scripted.url + "token")
    scripted.routes[TOKEN] = lambda handler, _: handler.send(b" " * (2 << 20))
    refused("fetch-large", client.document, scripted.reference())


def test_no_token_goes_to_another_host(scripted, other, client, tmp_path):
    demanding(scripted, scripted.url + "token")
    scripted.routes[TOKEN] = lambda handler, _: handler.send(b'{"token": "good"}')
    client.document(scripted.reference())
    layer = serialize.descriptor_of(scripted.layer, documents.OCI_LAYER)
    scripted.routes[f"v2/team/app/blobs/{layer.digest}"] = redirect(f"{other.url}cdn")
    other.routes["cdn"] = lambda handler, _: handler.resumable(scripted.layer)
    assert client.blob_locations(scripted.reference(), layer.digest)[0].authorization == "Bearer good"
    client.pull_blob(scripted.reference(), layer, str(tmp_path / "layer"))
    assert client.blob(scripted.reference(), layer) == (tmp_path / "layer").read_bytes() == scripted.layer
    assert len(other.asked) == 2
    assert not [headers for _, headers in other.asked if "Authorization" in headers]


def test_an_upload_that_goes_on_elsewhere_gets_no_token(scripted_tls, other_tls, client, monkeypatch, tmp_path):
    known(monkeypatch, tmp_path, scripted_tls.host)
    digest = documents.sha256_digest(b"blob")

    def begin(handler, _):
        known = handler.headers.get("Authorization")
        more = {"Location": f"{other_tls.url}upload"} if known else {"WWW_Authenticate": 'Basic realm="x"'}
        handler.send(b"", 202 if known else 401, **more)

    scripted_tls.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted_tls.routes["v2/team/app/blobs/uploads"] = begin
    other_tls.routes[f"upload?digest={digest.replace(':', '%3A')}"] = lambda handler, _: (
        handler.body(),
        handler.send(b"", 201),
    )
    assert client.push_blob(scripted_tls.reference(), digest, 4, b"blob") == "sent"
    assert ["Authorization" in headers for _, headers in other_tls.asked] == [False]


def test_what_a_registry_repeats_of_our_secrets_is_not_shown(scripted, client, monkeypatch, tmp_path):
    known(monkeypatch, tmp_path, scripted.host)

    def echo(handler, _):
        header = handler.headers.get("Authorization", "")
        said = json.dumps({"errors": [{"message": f"\x1b[31m{header} hidden-word"}]}).encode()
        handler.send(said, 403 if header else 401, WWW_Authenticate='Basic realm="x"')

    scripted.routes["v2/team/app/manifests/1"] = echo
    error = refused("registry-denied", client.document, scripted.reference())
    text = f"{error} {error.hint}"
    assert "***" in text
    assert "hidden-word" not in text
    assert "\x1b" not in text
    assert base64.b64encode(b"user:hidden-word").decode() not in text


# ---- busy, broken, stalled -----------------------------------------------------------------------------------------


def test_too_many_requests_is_waited_for(scripted, client):
    good = scripted.routes["v2/team/app/manifests/1"]
    scripted.routes["v2/team/app/manifests/1"] = lambda handler, turn: (
        good(handler, turn) if turn > 2 else handler.send(b"", 429, Retry_After="0")
    )
    assert client.document(scripted.reference()).digest == scripted.manifest.digest


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_trouble_that_does_not_end(scripted, client, status):
    scripted.routes["v2/team/app/manifests/1"] = lambda handler, _: handler.send(b"", status, Retry_After="3600")
    error = refused("fetch-unreachable", client.document, scripted.reference())
    assert f"HTTP {status}" in str(error)
    assert len(scripted.asked) == 3


def test_a_registry_that_hangs_up(scripted, client):
    scripted.routes["v2/team/app/manifests/1"] = lambda handler, _: handler.reset()
    refused("fetch-unreachable", client.document, scripted.reference())


@pytest.mark.parametrize("where", ["manifests/1", "blobs"])
def test_what_stalls_is_left_at_once_when_asked(scripted, tmp_path, where):
    stop = False
    layer = serialize.descriptor_of(scripted.layer, documents.OCI_LAYER)
    name = f"v2/team/app/blobs/{layer.digest}" if where == "blobs" else f"v2/team/app/{where}"

    def stall(handler, _):
        nonlocal stop
        handler.send_response(200)
        handler.send_header("Content-Length", "9000")
        handler.send_header("Content-Type", documents.OCI_MANIFEST)
        handler.end_headers()
        handler.drip(b"x" * 4, 0.05)
        stop = True
        handler.drip(b"x" * 100, 0.05)

    scripted.routes[name] = stall
    client = RegistryClient(cancelled=lambda: stop)
    with pytest.raises(Interrupted):
        if where == "blobs":
            client.pull_blob(scripted.reference(), layer, str(tmp_path / "x"))
        else:
            client.document(scripted.reference())


# ---- documents -----------------------------------------------------------------------------------------------------


def test_indexes_in_indexes_in_indexes(scripted, client):
    inner = scripted.manifest.descriptor()
    for _ in range(5):
        index = serialize.index_document(documents.ImageIndex(media_type=documents.OCI_INDEX, manifests=(inner,)))
        scripted.put(index.body, documents.OCI_INDEX, name=index.digest)
        inner = index.descriptor()
        scripted.put(index.body, documents.OCI_INDEX)
    refused("registry-document", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize("change", [{"size": 7}, {"mediaType": documents.DOCKER_MANIFEST}], ids=["size", "type"])
def test_an_index_that_describes_its_manifest_wrongly(scripted, client, change):
    entry = serialize.descriptor_json(scripted.manifest.descriptor()) | change
    scripted.put({"schemaVersion": 2, "manifests": [entry]}, documents.OCI_INDEX)
    refused("registry-document", client.image, scripted.reference(), AMD64)


def test_a_manifest_of_thousands_of_layers(scripted, client):
    scripted.put(top(scripted) | {"layers": top(scripted)["layers"] * 3000})
    refused("registry-document", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize("media_type", ["text/html", "image/png", "application/vnd.oci.image.config.v1+json", "x"])
def test_a_manifest_of_another_type(scripted, client, media_type):
    scripted.put(scripted.manifest.body, media_type)
    refused("registry-document", client.document, scripted.reference())


def test_an_image_of_dockers_first_schema(scripted, client):
    old = {"schemaVersion": 1, "name": "x", "fsLayers": []}
    for media_type in (documents.SCHEMA1[1], documents.OCI_MANIFEST):
        scripted.put(old, media_type)
        error = refused("registry-document", client.image, scripted.reference(), AMD64)
        assert "newer tool" in error.hint


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"schemaVersion": 2',
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        b'{"schemaVersion": 2, "x": ' + b"[" * 100_000,
        b'{"schemaVersion": 2, "x": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"schemaVersion": ' + b"9" * 10_000 + b"}",
        b'{"schemaVersion": 2, "x": "\\ud800"}',
        b'{"schemaVersion": true}',
        b'{"schemaVersion": "2"}',
    ],
)
def test_what_is_no_document(scripted, client, body):
    scripted.put(body)
    refused("registry-document", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": documents.OCI_INDEX},
        {"mediaType": documents.DOCKER_MANIFEST},
        {"manifests": []},
        {"config": None},
        {"config": []},
        {"layers": {}},
        {"layers": [None]},
        {"annotations": {"a": 1}},
        {"subject": "x"},
    ],
    ids=str,
)
def test_manifests_that_are_two_things_or_none(scripted, client, change):
    scripted.put(top(scripted) | change)
    refused("registry-document", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:../../../etc/passwd"},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "md5:" + "0" * 32},
        {"digest": 7},
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"size": "9000"},
        {"size": 1 << 62},
        {"mediaType": ""},
        {"mediaType": "application/zip"},
    ],
    ids=str,
)
def test_layers_that_are_described_wrongly(scripted, client, change):
    scripted.put(top(scripted) | {"layers": [{**top(scripted)["layers"][0], **change}]})
    refused("registry-document", client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "registry-document"),
        ({"rootfs": {"type": "layers", "diff_ids": [NOWHERE] * 2}}, "registry-document"),
        ({"rootfs": {"type": "layers", "diff_ids": ["../x"]}}, "registry-document"),
        ({"rootfs": {"type": "other", "diff_ids": [NOWHERE]}}, "registry-document"),
        ({"architecture": "s390x"}, "registry-platform"),
        ({"os": "windows"}, "registry-platform"),
        ({"config": {"Env": [["A=b"]]}}, "registry-document"),
        ({"config": {"Env": "A=b"}}, "registry-document"),
        ({"config": {"User": 0}}, "registry-document"),
        ({"config": {"WorkingDir": "/\0"}}, "registry-document"),
    ],
    ids=str,
)
def test_configs_that_do_not_fit(scripted, client, change, code):
    body = json.dumps(json.loads(scripted.config) | change).encode()
    scripted.blob(body)
    scripted.put(
        top(scripted) | {"config": serialize.descriptor_json(serialize.descriptor_of(body, documents.OCI_CONFIG))}
    )
    refused(code, client.image, scripted.reference(), AMD64)


@pytest.mark.parametrize(
    "missing", [{"architecture": ""}, {"os": None}, {"os": "", "architecture": "", "variant": ""}], ids=str
)
def test_a_config_that_does_not_say_its_platform_is_of_the_one_that_is_asked_for(scripted, client, missing):
    body = json.dumps(json.loads(scripted.config) | missing).encode()
    scripted.blob(body)
    scripted.put(
        top(scripted) | {"config": serialize.descriptor_json(serialize.descriptor_of(body, documents.OCI_CONFIG))}
    )
    assert client.image(scripted.reference(), AMD64).config.platform == AMD64


def test_an_artifact_is_no_image(scripted, client):
    scripted.put(top(scripted) | {"config": {**top(scripted)["config"], "mediaType": "application/x"}})
    refused("registry-document", client.image, scripted.reference(), AMD64)


# ---- pushing -------------------------------------------------------------------------------------------------------


def absent(handler, _):
    handler.body()
    handler.send(b"", 404)


def test_an_upload_is_not_sent_from_https_to_http(scripted_tls, client):
    digest = documents.sha256_digest(b"blob")
    scripted_tls.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted_tls.routes["v2/team/app/blobs/uploads"] = redirect("http://127.0.0.1:1/x", 202)
    error = refused("registry-refused", client.push_blob, scripted_tls.reference(), digest, 4, b"blob")
    assert "ENVTOOL_INSECURE_REGISTRIES=127.0.0.1:1" in error.hint


@pytest.mark.parametrize(
    "listed", ["variable", "registries.conf", "daemon.json", "as a mirror", "another port", "nowhere"]
)
@pytest.mark.parametrize("kind", ["scripted", "scripted_tls"])
def test_an_upload_is_sent_to_another_host_by_http_where_that_is_listed(
    request, kind, other, monkeypatch, tmp_path, listed
):
    first = request.getfixturevalue(kind)
    conf, daemon = tmp_path / "registries.conf", tmp_path / "daemon.json"
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    monkeypatch.setattr("envtool.net.oci.hosts.DAEMON_FILE", str(daemon))
    known = {"variable": other.host, "another port": "127.0.0.1:9"}.get(listed, "127.0.0.1:8")
    monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", ",".join([known, *([first.host] if kind == "scripted" else [])]))
    text = f'[[registry]]\nlocation = "{other.host}/some"\ninsecure = true\n' if listed == "registries.conf" else ""
    if listed == "as a mirror":
        text = (
            f'[[registry]]\nlocation = "x.example"\n[[registry.mirror]]\nlocation = "{other.host}"\ninsecure = true\n'
        )
    conf.write_text(text)
    daemon.write_text(json.dumps({"insecure-registries": [other.host]} if listed == "daemon.json" else {}))
    digest = documents.sha256_digest(b"blob")
    first.routes[f"v2/team/app/blobs/{digest}"] = absent
    first.routes["v2/team/app/blobs/uploads"] = redirect(f"{other.url}upload", 202)
    other.routes[f"upload?digest={digest.replace(':', '%3A')}"] = lambda handler, _: (
        handler.body(),
        handler.send(b"", 201),
    )
    client = request.getfixturevalue("client")
    if listed in ("another port", "nowhere"):
        refused("registry-refused", client.push_blob, first.reference(), digest, 4, b"blob")
        assert not other.asked
    else:
        assert client.push_blob(first.reference(), digest, 4, b"blob") == "sent"
        assert ["Authorization" in headers for _, headers in other.asked] == [False]


def test_a_registry_that_changes_what_is_pushed(scripted, client):
    def take(handler, _):
        handler.body()
        handler.send(b"", 201, Docker_Content_Digest=NOWHERE)

    scripted.routes["v2/team/app/manifests/1"] = take
    refused(
        "registry-digest", client.push_document, scripted.reference(), scripted.manifest.body, documents.OCI_MANIFEST
    )


def test_a_full_registry(scripted, client):
    digest = documents.sha256_digest(b"blob")
    scripted.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted.routes["v2/team/app/blobs/uploads"] = lambda handler, _: handler.send(
        b'{"errors": [{"code": "DENIED", "message": "quota exceeded"}]}', 413
    )
    error = refused("registry-refused", client.push_blob, scripted.reference(), digest, 4, b"blob")
    assert "quota exceeded" in str(error)


def test_an_upload_that_is_sent_on_or_interrupted_arrives_whole(scripted, client):
    body = os.urandom(1 << 20)
    digest, came, moved = documents.sha256_digest(body), [], []
    scripted.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted.routes["v2/team/app/blobs/uploads"] = redirect("/upload/1", 202)
    query = f"?digest={digest.replace(':', '%3A')}"

    def busy(handler, turn):
        handler.body()
        handler.send(b"", 503 if turn == 1 else 307, Location="/upload/2")

    def take(handler, _):
        came.append(handler.body())
        handler.send(b"", 201)

    scripted.routes[f"upload/1{query}"] = busy
    scripted.routes["upload/2"] = take
    assert client.push_blob(scripted.reference(), digest, len(body), body, progress=moved.append) == "sent"
    assert came == [body]
    assert sum(moved) == len(body)


def test_a_push_is_left_at_once_when_asked(scripted, tmp_path):
    body = os.urandom(9 << 20)
    digest, stop, over = documents.sha256_digest(body), False, threading.Event()
    scripted.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted.routes["v2/team/app/blobs/uploads"] = redirect("/upload/1", 202)

    def stall(handler, _):
        nonlocal stop
        handler.rfile.read(100)
        stop = True
        over.wait(120)
        handler.close_connection = True

    scripted.routes["upload/1"] = stall
    began = time.monotonic()
    with pytest.raises(Interrupted):
        RegistryClient(cancelled=lambda: stop).push_blob(scripted.reference(), digest, len(body), body)
    assert time.monotonic() - began < 30, "the server's silence is not waited for"
    over.set()


def broken_upload(scripted, body, *, knows=True):
    """An upload that breaks after a third of it; `knows`: the registry can say how far it came."""
    digest, held = documents.sha256_digest(body), bytearray()
    scripted.routes[f"v2/team/app/blobs/{digest}"] = absent

    def begin(handler, _):
        held.clear()
        handler.send(b"", 202, Location="/upload/1")

    def session(handler, turn):
        if handler.command == "GET":
            if knows:
                handler.send(b"", 204, Range=f"0-{len(held) - 1}", Location="/upload/1")
            else:
                handler.send(b"", 404)
        elif turn == 1:
            held.extend(handler.rfile.read(len(body) // 3))
            handler.reset()
        else:
            held.extend(handler.body())
            handler.send(b"", 202, Location="/upload/1")

    def finish(handler, _):
        handler.send(b"", 201 if documents.sha256_digest(bytes(held)) == digest else 400)

    scripted.routes["v2/team/app/blobs/uploads"] = begin
    scripted.routes["upload/1"] = session
    scripted.routes[f"upload/1?digest={digest.replace(':', '%3A')}"] = finish
    return digest


@pytest.mark.parametrize("knows", [True, False])
def test_an_upload_that_breaks_goes_on(scripted, client, tmp_path, knows):
    body = os.urandom(9 << 20)
    (tmp_path / "blob").write_bytes(body)
    digest = broken_upload(scripted, body, knows=knows)
    moved = []
    path = str(tmp_path / "blob")
    assert client.push_blob(scripted.reference(), digest, len(body), path, progress=moved.append) == "sent"
    assert sum(moved) == len(body)
    sent = [headers for name, headers in scripted.asked if name == "upload/1" and "Content-Length" in headers]
    assert int(sent[-1]["Content-Length"]) == (len(body) - len(body) // 3 if knows else len(body))
    assert ("Content-Range" in sent[-1]) == knows


def test_an_upload_that_never_gets_anywhere_ends(scripted, client):
    body = os.urandom(9 << 20)
    digest = documents.sha256_digest(body)
    scripted.routes[f"v2/team/app/blobs/{digest}"] = absent
    scripted.routes["v2/team/app/blobs/uploads"] = redirect("/upload/1", 202)
    scripted.routes["upload/1"] = lambda handler, _: handler.reset()
    refused("fetch-unreachable", client.push_blob, scripted.reference(), digest, len(body), body)


def test_names_that_could_be_paths_are_no_references():
    for name in (
        "../x",
        "a/../b",
        "/etc/passwd",
        "a/%2e%2e/b",
        "host:80/..",
        "a?b",
        "a#b",
        "a\\b",
        "host:80:80/a",
        "@x",
    ):
        refused("reference", reference.parse_reference, name)
