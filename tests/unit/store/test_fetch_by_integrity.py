from __future__ import annotations

import base64
import hashlib
import http.server
import os
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import net
from envtool.api import Fetch, Sealed
from envtool.errors import FetchError, Interrupted
from envtool.net.integrity import integrity_digest
from envtool.store import blobs
from envtool.store.download import download
from envtool.store.fetch_by_integrity import fetch_sealed

QUICK = net.RetryPolicy(attempts=2, pause=0.01, longest=0.1, connect=2, read=2)
BODY = os.urandom(70_000)
OTHER = BODY[:-1] + bytes([BODY[-1] ^ 1])
SHA = hashlib.sha256(BODY).hexdigest()


def integrity(body, *algorithms):
    """As npm writes it."""
    return " ".join(
        f"{name}-{base64.b64encode(hashlib.new(name, body, usedforsecurity=False).digest()).decode()}"
        for name in algorithms
    )


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.count[self.path] += 1
        self.server.headers.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.server.other + "/good")
            self.end_headers()
            return
        if self.path.startswith("/private") and self.headers.get("Authorization") != "Bearer s3cret":
            self.send_error(401)
            return
        body = {"/lies": OTHER}.get(self.path, BODY)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    for name in (*net.PROXY_VARIABLES, *(name.upper() for name in net.PROXY_VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.count = Counter()
    served.headers = []
    served.url = f"http://127.0.0.1:{served.server_port}"
    served.other = f"http://localhost:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, args=(0.02,))
    thread.start()
    yield served
    net.close_session()
    served.shutdown()
    thread.join()
    served.server_close()


def ask(store, *sealed, **more):
    return fetch_sealed(sealed, store, emit=lambda _: None, event_id="x", patience=QUICK, **more)


@pytest.mark.parametrize("algorithms", [("sha512",), ("sha1",), ("md5", "sha384"), ("sha3_256",), ("sha256",), ()])
def test_what_any_hash_names_is_known_by_its_sha256(server, store, algorithms):
    item = Sealed(urls=(server.url + "/good",), name="good.tgz", integrity=integrity(BODY, *algorithms))
    found = ask(store, item)
    assert found == [Fetch(url=server.url + "/good", sha256=SHA, name="good.tgz", size=len(BODY))]
    assert download(found, store, emit=lambda _: None, event_id="x") == [blobs.path(store, SHA)]
    assert ask(store, item) == found
    assert server.count["/good"] == (1 if algorithms else 2), "without a hash nothing says that it is still the same"


def test_in_the_order_given_and_each_once(server, store):
    one = Sealed(urls=(server.url + "/good",), name="one", integrity=integrity(BODY, "sha512"))
    two = Sealed(urls=(server.url + "/lies",), name="two", integrity=integrity(OTHER, "sha512"))
    found = ask(store, one, two, one)
    assert [(item.name, item.sha256 == SHA) for item in found] == [("one", True), ("two", False), ("one", True)]
    assert server.count["/good"] == 1
    assert os.listdir(store.path("tmp")) == []


def test_the_strongest_hash_counts(server, store):
    wrong_sha1 = integrity(b"other", "sha1") + " " + integrity(BODY, "sha512")
    assert ask(store, Sealed(urls=(server.url + "/good",), name="x", integrity=wrong_sha1))
    wrong_sha512 = integrity(BODY, "sha1") + " " + integrity(b"other", "sha512")
    with pytest.raises(FetchError, match="sha512 is") as caught:
        ask(store, Sealed(urls=(server.url + "/good",), name="x", integrity=wrong_sha512))
    assert caught.value.code == "fetch-hash"


def test_a_liar_is_passed_over_for_who_has_it(server, store):
    urls = (server.url + "/missing", server.url + "/lies", server.url + "/good")
    (found,) = ask(store, Sealed(urls=urls, name="x", integrity=integrity(BODY, "sha512")))
    assert found.url == urls[2]
    with pytest.raises(FetchError, match="HTTP 404"):
        ask(store, Sealed(urls=urls[:2], name="x", integrity=integrity(BODY + b"", "sha384")))
    assert os.listdir(store.path("tmp")) == []


def test_authorization_goes_to_its_own_host_alone(server, store, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    item = Sealed(urls=(server.url + "/private",), name="x", authorization="Bearer s3cret")
    assert "s3cret" not in repr(item)
    (found,) = ask(store, item)
    assert "s3cret" not in repr(found)
    os.unlink(blobs.path(store, SHA))
    download([found], store, emit=lambda _: None, event_id="x", patience=QUICK)
    moved = Sealed(urls=(server.url + "/moved",), name="x", authorization="Bearer s3cret")
    ask(store, moved)
    assert dict(server.headers)["/good"] != "Bearer s3cret"
    monkeypatch.delenv("NETRC")
    second = Sealed(urls=(server.url + "/missing", server.url + "/private"), name="x", authorization="Bearer s3cret")
    with pytest.raises(FetchError):
        ask(store, second)
    assert server.headers[-1] == ("/private", None)


def test_it_can_be_interrupted(server, store):
    with pytest.raises(Interrupted):
        ask(store, Sealed(urls=(server.url + "/good",), name="x"), cancel=lambda: True)


@given(st.binary(max_size=64), st.sets(st.sampled_from(["md5", "sha1", "sha256", "sha384", "sha512"]), min_size=1))
def test_an_integrity_is_its_strongest_hash(body, names):
    order = ["md5", "sha1", "sha256", "sha384", "sha512"]
    best = max(names, key=order.index)
    assert integrity_digest(integrity(body, *names)) == f"{best}:{hashlib.new(best, body).hexdigest()}"


@pytest.mark.parametrize("text", ["sha512-", "sha512-####", "sha512-AAAA", "nothing", "sha999-AAAA"])
def test_an_integrity_that_says_nothing_is_refused(text):
    with pytest.raises(FetchError, match="no hash that can be checked"):
        integrity_digest(text)


def test_options_of_an_integrity_are_passed_over():
    good = integrity(b"x", "sha256")
    assert integrity_digest(f"sha999-AAAA {good}?foo") == f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    assert not integrity_digest("")
