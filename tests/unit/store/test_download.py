from __future__ import annotations

import base64
import hashlib
import http.server
import os
import re
import threading
import time
from collections import Counter

import pytest
import requests

from envtool import net
from envtool.api import Fetch
from envtool.errors import FetchError, Interrupted
from envtool.net.transfer import retry_after
from envtool.project import host_access
from envtool.store import blobs
from envtool.store.download import download

BODY = os.urandom(400_000)
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = net.RetryPolicy(attempts=3, pause=0.01, longest=0.2, connect=2, read=0.4)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.split("?")[0].strip("/")
        with self.server.lock:
            self.server.count[name] += 1
            self.server.ranges.append((name, self.headers.get("Range")))
            turn = self.server.count[name]
        getattr(self, "do_" + name.split("-")[0], self.do_good)(turn)

    def send(self, body, status=200, length=None, cut=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def part(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(match[1]) if match else 0

    def do_good(self, _):
        self.send(BODY)

    def do_truncates(self, turn):
        start = self.part()
        rest = BODY[start:]
        headers = {"Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}
        self.send(rest, 206 if start else 200, cut=100_000 if turn < 4 else None, **headers)

    def do_norange(self, turn):
        self.send(BODY, cut=100_000 if turn < 2 else None)

    def do_lies(self, _):
        self.send(BODY[:-1] + bytes([BODY[-1] ^ 1]))

    def do_longer(self, _):
        self.send(BODY + b"?")

    def do_changed(self, turn):
        start = self.part()
        if start:
            self.send(b"?" * (len(BODY) - start), 206, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        else:
            self.send(BODY, cut=1000 if turn == 1 else None)

    def do_busy(self, turn):
        if turn < 3:
            self.send(b"", 429, Retry_After="0")
        else:
            self.send(BODY)

    def do_down(self, _):
        self.send(b"", 503)

    def do_missing(self, _):
        self.send(b"", 404)

    def do_stalls(self, turn):
        if turn > 1:
            self.send(BODY)
            return
        self.send(BODY[:1000], length=len(BODY))
        self.wfile.flush()
        time.sleep(0.8)
        self.close_connection = True

    def do_chunked(self, _):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(BODY), 50_000):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(BODY[start : start + 50_000]), BODY[start : start + 50_000]))
        self.wfile.write(b"0\r\n\r\n")

    def do_gzip(self, _):
        self.send(BODY, Content_Encoding="gzip")  # a mislabelled .gz: the bytes are what counts

    def do_drips(self, _):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        try:
            for byte in BODY[:1000]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True


def whole(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture
def server(monkeypatch):
    for name in (*net.PROXY_VARIABLES, *(name.upper() for name in net.PROXY_VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.handle_error = lambda *_: None
    served.lock = threading.Lock()
    served.count = Counter()
    served.ranges = []
    thread = threading.Thread(target=served.serve_forever, args=(0.02,))
    thread.start()
    served.url = f"http://127.0.0.1:{served.server_port}/"
    yield served
    net.close_session()
    served.shutdown()
    thread.join()
    served.server_close()


def fetch(server, name, sha256=SHA, size=400_000):
    return Fetch(url=server.url + name, sha256=sha256, name=name, size=size)


def bring(server, store, *names, events=None, **kwargs):
    emit = events.append if events is not None else (lambda _: None)
    return download([fetch(server, name) for name in names], store, emit=emit, event_id="x", patience=QUICK, **kwargs)


def test_good(server, store):
    events = []
    (path,) = bring(server, store, "good", events=events)
    assert whole(path) == BODY
    assert (events[-1].done, events[-1].total) == (len(BODY), len(BODY))
    bring(server, store, "good")
    assert server.count["good"] == 1
    assert os.listdir(store.path("tmp")) == []


@pytest.mark.parametrize("name", ["truncates", "norange", "busy", "stalls", "changed", "gzip", "chunked"])
def test_comes_in_the_end(server, store, name):
    events = []
    (path,) = bring(server, store, name, events=events)
    assert hashlib.sha256(whole(path)).hexdigest() == SHA
    assert events[-1].done == len(BODY)


def test_a_broken_transfer_is_resumed(server, store):
    bring(server, store, "truncates")
    starts = [int(re.search(r"\d+", asked)[0]) for _, asked in server.ranges if asked]
    assert starts == sorted(starts)
    assert len(starts) == 3


@pytest.mark.parametrize(
    ("name", "code"),
    [("lies", "fetch-hash"), ("longer", "fetch-size"), ("down", "fetch-unreachable"), ("missing", "fetch-gone")],
)
def test_does_not_come(server, store, name, code):
    with pytest.raises(FetchError) as caught:
        bring(server, store, name)
    assert caught.value.code == code
    assert server.url + name in caught.value.message
    assert not blobs.has(store, SHA)
    assert os.listdir(store.path("tmp")) == []
    assert server.count[name] == (QUICK.attempts if name == "down" else 1)


def test_an_unknown_size_is_checked_by_hash_alone(server, store):
    (path,) = download([fetch(server, "good", size=0)], store, emit=lambda _: None, event_id="x", patience=QUICK)
    assert os.path.getsize(path) == len(BODY)


def test_refused_connection(server, store):
    gone = Fetch(url="http://127.0.0.1:1/x?token=abc", sha256=SHA, name="x")
    with pytest.raises(FetchError, match="connection refused") as caught:
        download([gone], store, emit=lambda _: None, event_id="x", patience=QUICK)
    assert "abc" not in caught.value.message


def test_cancel_ends_a_transfer(server, store):
    began = time.monotonic()
    with pytest.raises(Interrupted):
        bring(server, store, "drips", cancel=lambda: time.monotonic() - began > 0.3)
    assert time.monotonic() - began < 20, "50 s in full"
    assert os.listdir(store.path("tmp")) == []


def test_many_ask_for_one(server, store):
    threads = [threading.Thread(target=bring, args=(server, store, "good")) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert server.count["good"] == 1


def test_one_failure_ends_the_rest(server, store):
    others = [Fetch(url=f"{server.url}good-{n}", sha256=f"{n:064x}", name=f"{n}") for n in range(50)]
    with pytest.raises(FetchError):
        download([fetch(server, "missing"), *others], store, emit=lambda _: None, event_id="x", jobs=2, patience=QUICK)
    assert sum(server.count.values()) < 10


def test_get(server, tmp_path):
    assert net.read_url(server.url + "norange", patience=QUICK) == BODY
    with pytest.raises(FetchError, match="the connection ended"):
        net.read_url(server.url + "truncates", patience=QUICK)
    with pytest.raises(FetchError, match="more than 10 B"):
        net.read_url(server.url + "good", limit=10)
    (tmp_path / "a b").write_bytes(b"x")
    files = host_access.HostAccess(str(tmp_path)).open_absolute
    assert net.read_url((tmp_path / "a b").as_uri(), files=files) == b"x"
    with pytest.raises(FetchError, match="not read here"):
        net.read_url((tmp_path / "a b").as_uri())
    for url, code in (
        ((tmp_path / "gone").as_uri(), "fetch-gone"),
        ("ftp://x/y", "fetch-url"),
        ("file://host/x", "fetch-url"),
    ):
        with pytest.raises(FetchError) as caught:
            net.read_url(url, files=files)
        assert caught.value.code == code


def test_redacted():
    assert net.redact_url("https://me:secret@h:1/p?a=1&X-Amz-Signature=zz&token=t") == (
        "https://***@h:1/p?a=1&X-Amz-Signature=***&token=***"
    )
    assert net.redact_url("https://h/p") == "https://h/p"


def test_certificates(monkeypatch, tmp_path):
    for name in net.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert net.ca_bundle() in ("", *net.CA_FILES)
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    assert net.ca_bundle_file() == str(bundle.resolve())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
    with pytest.raises(FetchError, match="SSL_CERT_FILE"):
        net.ca_bundle()


def test_retry_after():
    assert retry_after("7") == 7
    assert retry_after("") is None
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("soon") is None


@pytest.mark.parametrize(
    "proxy", ["http://me:pw@h:1", "me:pw@h:1", "//me:pw@h:1", "http://me:p/w@h:1", "http://me:p@w@h:1", "http://pw@h:1"]
)
def test_a_proxys_password_reaches_a_container_by_the_callers_word_alone(monkeypatch, proxy):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert net.proxy_variables()["http_proxy"].removeprefix("http:").removeprefix("//") == "h:1"
    assert net.proxy_variables(lambda name: name == "http_proxy")["HTTP_PROXY"] == proxy


def test_credentials_of_a_url_come_before_netrc(server, tmp_path, monkeypatch):
    seen = []
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login wrong password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    real = requests.Session.send

    def send(self, request, **more):
        seen.append(request.headers.get("Authorization"))
        return real(self, request, **more)

    monkeypatch.setattr(requests.Session, "send", send)
    for user in ("me:pw@", ""):
        net.read_url(server.url.replace("://", f"://{user}") + "good", patience=QUICK)
    words = [base64.b64decode(each.split()[1]).decode() for each in seen]
    assert words == ["me:pw", "wrong:other"]


def test_what_failed_is_not_tried_again_in_the_same_run(store, server):
    """Two envs want one dead file at once, and a third one later: it is asked for as often as one would."""
    failed, said, heard = {}, [], []

    def one(name="down-forever"):
        wanted = Fetch(name="x", url=server.url + name, sha256="ab" * 32, size=0)
        try:
            download([wanted], store, emit=heard.append, event_id="x", patience=QUICK, failed=failed)
        except FetchError as error:
            said.append((error.message, error.code))

    threads = [threading.Thread(target=one) for _ in range(2)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    one()
    assert server.count["down-forever"] == QUICK.attempts
    assert len(said) == 3
    assert len({*said}) == 1
    assert not [event for event in heard if "waiting" in getattr(event, "note", "")], "we are no other envtool"
    failed.clear()
    one()
    assert server.count["down-forever"] == 2 * QUICK.attempts
