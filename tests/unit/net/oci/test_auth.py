"""Tokens: asked for once, renewed in time, for what is needed and no more."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool import net
from envtool.errors import FetchError
from envtool.net.oci import auth, documents, serialize
from envtool.net.oci.registry import RegistryClient


class Service:
    """A token service in front of every route of `scripted`: good for `life` seconds, and as many requests."""

    def __init__(self, scripted, life=300, uses=10**6, field="token"):
        self.asked, self.given, self.life, self.uses, self.field = [], {}, life, uses, field
        self.scripted, self.lock = scripted, threading.Lock()
        for name, route in list(scripted.routes.items()):
            scripted.routes[name] = self.guarded(route)
        scripted.routes = Routes(scripted.routes, self)

    def guarded(self, route):
        def guard(handler, turn):
            given = self.given.get(handler.headers.get("Authorization", "").removeprefix("Bearer "))
            if given and given["until"] > time.monotonic() and given["uses"] > 0:
                given["uses"] -= 1
                route(handler, turn)
            else:
                handler.body()
                challenge = f'Bearer realm="{self.scripted.url}token?also=this",service="a service"'
                handler.send(b"", 401, WWW_Authenticate=challenge)

        return guard

    def token(self, handler, _):
        query = handler.path.partition("?")[2] if handler.command == "GET" else handler.body().decode()
        with self.lock:
            self.asked.append(urllib.parse.parse_qs(query))
            token = f"token-{len(self.asked)}"
            self.given[token] = {"until": time.monotonic() + self.life, "uses": self.uses}
        handler.send(json.dumps({self.field: token, "expires_in": self.life}).encode())


class Routes(dict):
    def __init__(self, routes, service):
        super().__init__(routes)
        self.service = service

    def __missing__(self, name):
        if name.startswith("token"):
            return self.service.token
        raise KeyError(name)


def test_one_token_for_a_repository(scripted, client):
    service = Service(scripted)
    image = client.image(scripted.reference(), documents.Platform(os="linux", architecture="amd64"))
    client.blob(scripted.reference(), image.manifest.layers[0])
    assert service.asked == [{"also": ["this"], "service": ["a service"], "scope": ["repository:team/app:pull"]}]


def test_a_token_is_asked_for_once_by_many_threads(scripted, client):
    service = Service(scripted)
    layer = serialize.descriptor_of(scripted.layer, documents.OCI_LAYER)

    def one(_):
        try:
            return client.blob(scripted.reference(), layer)
        finally:
            net.close_session()

    with ThreadPoolExecutor(8) as pool:
        assert {*pool.map(one, range(16))} == {scripted.layer}
    assert len(service.asked) == 1


def test_a_token_that_ends_is_renewed(scripted, client, monkeypatch, tmp_path):
    service = Service(scripted, uses=2)
    for _ in range(5):
        client.document(scripted.reference())
    assert len(service.asked) == 3
    layer = serialize.descriptor_of(scripted.layer, documents.OCI_LAYER)
    service.given.clear()
    client.pull_blob(scripted.reference(), layer, str(tmp_path / "layer"))
    assert (tmp_path / "layer").read_bytes() == scripted.layer


def test_a_token_is_renewed_before_it_ends(scripted, client, monkeypatch):
    service = Service(scripted, life=100)
    client.document(scripted.reference())
    now = time.monotonic()
    monkeypatch.setattr(auth.time, "monotonic", lambda: now + 80)
    client.document(scripted.reference())
    assert len(service.asked) == 1
    monkeypatch.setattr(auth.time, "monotonic", lambda: now + 95)
    client.document(scripted.reference())
    assert len(service.asked) == 2


def test_what_oauth_calls_a_token(scripted, client):
    Service(scripted, field="access_token")
    assert client.document(scripted.reference()).digest == scripted.manifest.digest


def test_an_identity_token_is_posted(scripted, client, monkeypatch, tmp_path):
    entry = {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "refresh me"}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {scripted.host: entry}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    service = Service(scripted)
    client.document(scripted.reference())
    assert service.asked == [
        {
            "grant_type": ["refresh_token"],
            "client_id": ["envtool"],
            "refresh_token": ["refresh me"],
            "service": ["a service"],
            "scope": ["repository:team/app:pull"],
        }
    ]
    assert "Authorization" not in dict(scripted.asked[1][1])


def test_pushing_asks_for_more_and_a_mount_for_both(scripted, client):
    digest = documents.sha256_digest(b"blob")
    scripted.routes[f"v2/team/app/blobs/{digest}"] = lambda handler, _: handler.send(b"", 404)
    query = urllib.parse.urlencode({"mount": digest, "from": "team/base"})
    scripted.routes[f"v2/team/app/blobs/uploads/?{query}"] = lambda handler, _: handler.send(b"", 201)
    service = Service(scripted)
    assert client.push_blob(scripted.reference(), digest, 4, b"blob", mount=["team/app", "team/base"]) == "mounted"
    assert [asked["scope"] for asked in service.asked] == [
        ["repository:team/app:pull,push"],
        ["repository:team/app:pull,push", "repository:team/base:pull"],
    ]


def test_no_mount_is_an_upload_like_any_other(scripted, client):
    digest = documents.sha256_digest(b"blob")
    scripted.routes[f"v2/team/app/blobs/{digest}"] = lambda handler, _: handler.send(b"", 404)
    query = urllib.parse.urlencode({"mount": digest, "from": "team/base"})
    begun = lambda handler, _: handler.send(b"", 202, Location="/upload?state=1")  # noqa: E731
    scripted.routes[f"v2/team/app/blobs/uploads/?{query}"] = begun
    sent = []
    scripted.routes[f"upload?state=1&digest={digest.replace(':', '%3A')}"] = lambda handler, _: (
        sent.append(handler.body()),
        handler.send(b"", 201),
    )
    assert client.push_blob(scripted.reference(), digest, 4, b"blob", mount=["team/base"]) == "sent"
    assert sent == [b"blob"]


def test_a_repository_that_is_not_for_us_is_not_mounted_from(scripted, client):
    digest, sent = documents.sha256_digest(b"blob"), []
    scripted.routes[f"v2/team/app/blobs/{digest}"] = lambda handler, _: handler.send(b"", 404)
    scripted.routes["v2/team/app/blobs/uploads"] = lambda handler, _: handler.send(b"", 202, Location="/upload?s=1")
    query = urllib.parse.urlencode({"mount": digest, "from": "not/ours"})
    scripted.routes[f"v2/team/app/blobs/uploads/?{query}"] = lambda handler, _: handler.send(b"", 401)
    scripted.routes[f"upload?s=1&digest={digest.replace(':', '%3A')}"] = lambda handler, _: (
        sent.append(handler.body()),
        handler.send(b"", 201),
    )
    service = Service(scripted)
    good = service.token

    def picky(handler, turn):
        good(handler, turn) if "not%2Fours" not in handler.path else handler.send(b"", 403)

    service.token = picky
    assert client.push_blob(scripted.reference(), digest, 4, b"blob", mount=["not/ours"]) == "sent"
    assert sent == [b"blob"]


def test_who_is_refused_is_told_where_the_credentials_were_from(scripted, monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {scripted.host: {"auth": base64.b64encode(b"me:x").decode()}}})
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    Service(scripted).token = lambda handler, _: handler.send(b"", 401)
    with pytest.raises(FetchError) as caught:
        RegistryClient(patience=net.RetryPolicy(attempts=1)).document(scripted.reference())
    assert caught.value.code == "registry-denied"
    assert str(tmp_path / "config.json") in caught.value.hint
    assert f"login {scripted.host}" in caught.value.hint
