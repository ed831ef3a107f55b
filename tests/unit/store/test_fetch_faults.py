"""What mirrors, proxies and connections do to a transfer, each by a real server on this machine."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import importlib.util
import os
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool import net
from envtool.api import Fetch
from envtool.errors import FetchError, Interrupted
from envtool.net import host_config
from envtool.project import host_access
from envtool.store import blobs, fetch_sources
from envtool.store import store as stores
from envtool.store.download import copy_local, download

_spec = importlib.util.spec_from_file_location("faulty", Path(__file__).with_name("faulty.py"))
faulty = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(faulty)

BODY = os.urandom(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
PAGE = b"<!doctype html><title>Sign in</title>" * 20
QUICK = net.RetryPolicy(attempts=3, pause=0.01, longest=0.1, connect=2, read=0.3, slow=1000)
VARIABLES = (*net.PROXY_VARIABLES, *(name.upper() for name in net.PROXY_VARIABLES), *net.CA_VARIABLES)


@pytest.fixture(autouse=True)
def _no_settings_of_this_host(monkeypatch, tmp_path):
    for name in (*VARIABLES, "ENVTOOL_BLOBS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    yield
    net.close_session()


@pytest.fixture
def server():
    with faulty.Faulty().running() as running:
        yield running


def pinned(server, name, *, size=300_000, **more):
    return Fetch(url=server.url + name, sha256=SHA, name=name, size=size, **more)


ANYWHERE = host_access.HostAccess("/").open_absolute


def bring(store, *fetches, **more):
    more.setdefault("patience", QUICK)
    more.setdefault("files", ANYWHERE)
    return download(fetches, store, emit=lambda _: None, event_id="x", **more)


def refused(store, *fetches, **more):
    with pytest.raises(FetchError) as caught:
        bring(store, *fetches, **more)
    assert not blobs.has(store, SHA)
    assert os.listdir(store.path("tmp")) == []
    return caught.value


# ---- it comes in the end -------------------------------------------------------------------------------------------


def slow_then_good(handler, turn):
    if turn > 1:
        handler.resumable(BODY)
        return
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.drip(BODY[:40], 0.02)


def other_part(handler, turn):
    start = handler.start()
    if turn == 1:
        handler.send(BODY, cut=70_000)
    elif start:  # not what was asked for, said honestly
        handler.send(BODY[5:], 206, Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}")
    else:
        handler.send(BODY)


def other_file(handler, turn):
    start = handler.start()
    if start:
        handler.send(b"?" * 100, 206, Content_Range=f"bytes {start}-{start + 99}/{start + 100}")
    else:
        handler.send(BODY, cut=70_000 if turn == 1 else None)


def many_parts(handler, turn):
    if handler.start():
        handler.send(b"--x\r\n\r\n", 206, Content_Type="multipart/byteranges; boundary=x")
    else:
        handler.send(BODY, cut=70_000 if turn == 1 else None)


def no_such_range(handler, turn):
    if handler.start():
        handler.send(b"", 416)
    else:
        handler.send(BODY, cut=70_000 if turn == 1 else None)


def spliced(handler, turn):
    """Two versions behind one name: what is resumed never fits, and a whole transfer breaks once more."""
    start = handler.start()
    if start:
        handler.send(b"?" * (len(BODY) - start), 206, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    else:
        handler.send(BODY, cut=70_000 if turn in (1, 3) else None)


def ignores_range(handler, turn):
    handler.send(BODY, cut=70_000 if turn < 3 else None)


def resets(handler, turn):
    if turn == 1:
        handler.send(BODY[:70_000], length=len(BODY))
        handler.reset()
    else:
        handler.resumable(BODY)


def hangs_up(handler, turn):
    if turn == 1:
        handler.reset()
    elif turn == 2:
        handler.close_connection = True
    else:
        handler.resumable(BODY)


def nonsense(handler, turn):
    if turn == 1:
        handler.wfile.write(b"\0\1\2 this is no HTTP\r\n\r\n")
        handler.close_connection = True
    else:
        handler.resumable(BODY)


def chunks_cut_short(handler, turn):
    handler.chunks(BODY[:70_000] if turn == 1 else BODY, end=turn > 1)


def unframed_cut_short(handler, turn):
    handler.unframed(BODY[:70_000] if turn == 1 else BODY)


def stalls_before_the_answer(handler, turn):
    if turn == 1:
        time.sleep(0.5)
        handler.close_connection = True
    else:
        handler.resumable(BODY)


def odd_length(handler, turn):
    handler.send_response(200)
    handler.send_header("Content-Length", "²" if turn == 1 else str(len(BODY)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(BODY)
    handler.close_connection = True


COMES = [
    slow_then_good, other_part, other_file, many_parts, no_such_range, spliced, ignores_range, resets, hangs_up, nonsense,
    chunks_cut_short, unframed_cut_short, stalls_before_the_answer, odd_length,
]  # fmt: skip


@pytest.mark.parametrize("size", [len(BODY), 0], ids=["sized", "unsized"])
@pytest.mark.parametrize("route", COMES, ids=lambda route: route.__name__)
def test_comes_in_the_end(server, store, route, size):
    server.routes["x"] = route
    events = []
    (path,) = download([pinned(server, "x", size=size)], store, emit=events.append, event_id="x", patience=QUICK)
    assert Path(path).read_bytes() == BODY
    assert events[-1].done == len(BODY)
    assert os.listdir(store.path("tmp")) == []


@pytest.mark.parametrize("status", sorted({408, 425, 429, 500, 502, 503, 504}))
def test_a_passing_trouble_is_tried_again(server, store, status):
    server.routes["x"] = lambda handler, turn: handler.send(b"", status) if turn < 3 else handler.send(BODY)
    bring(store, pinned(server, "x"))
    assert server.count["x"] == 3


@pytest.mark.parametrize(
    ("value", "least"),
    [
        (lambda: "1", 0.25),
        (lambda: "86400", 0.25),
        (lambda: email.utils.formatdate(time.time() + 3600, usegmt=True), 0.25),
        (lambda: email.utils.formatdate(0, usegmt=True), 0),
        (lambda: "soon", 0),
        (lambda: "²", 0),
        (lambda: "Fri, 31 Dec 99999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_honoured_and_capped(server, store, value, least):
    server.routes["x"] = lambda handler, turn: (
        handler.send(b"", 429, Retry_After=value()) if turn == 1 else handler.send(BODY)
    )
    began = time.monotonic()
    bring(store, pinned(server, "x"), patience=net.RetryPolicy(attempts=2, pause=0.01, longest=0.3, connect=2, read=2))
    assert least <= time.monotonic() - began < 30, "not an hour, or a day"


def test_what_breaks_is_resumed_where_it_broke(server, store):
    server.routes["x"] = lambda handler, turn: handler.resumable(BODY, cut=80_000 if turn < 4 else None)
    bring(store, pinned(server, "x"))  # four attempts of three: each brought it further
    starts = [headers.get("Range") for _, headers in server.asked]
    assert starts == [None, "bytes=80000-", "bytes=160000-", "bytes=240000-"]


def test_another_process_goes_on_where_one_ended(server, store):
    server.routes["x"] = lambda handler, turn: handler.resumable(BODY, cut=80_000 if turn == 1 else None)
    once = net.RetryPolicy(attempts=1, pause=0.01, connect=2, read=0.3)
    assert refused(store, pinned(server, "x"), patience=once).code == "fetch-unreachable"
    assert os.path.getsize(blobs.partial_path(store, SHA)) == 80_000
    events = []
    download([pinned(server, "x")], store, emit=events.append, event_id="x", patience=once)
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=80000-"]
    assert events[-1].done == len(BODY)
    assert not os.path.exists(blobs.partial_path(store, SHA))


@pytest.mark.parametrize(
    ("left", "ranges"),
    [
        (BODY, []),
        (b"?" * 80_000, ["bytes=80000-", None]),
        (BODY[:-1] + b"?", [None]),
        (BODY + b"?", [None]),
        (b"", [None]),
    ],
    ids=["whole", "wrong", "wrong to the last byte", "longer", "empty"],
)
def test_what_an_earlier_process_left_is_judged_like_all_else(server, store, left, ranges):
    server.routes["x"] = lambda handler, _: handler.resumable(BODY)
    Path(blobs.partial_path(store, SHA)).write_bytes(left)
    (path,) = bring(store, pinned(server, "x"))
    assert Path(path).read_bytes() == BODY
    assert [headers.get("Range") for _, headers in server.asked] == ranges


def test_a_mirror_goes_on_where_another_ended(server, store):
    server.routes |= {"url": lambda h, _: h.resumable(BODY, cut=80_000), "good": lambda h, _: h.resumable(BODY)}
    once = net.RetryPolicy(attempts=1, pause=0.01, connect=2, read=0.3)
    bring(store, pinned(server, "url", mirrors=(server.url + "good",)), patience=once)
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=80000-"]


def test_what_nobody_goes_on_with_is_forgotten(server, store):
    server.routes["x"] = lambda handler, _: handler.resumable(BODY)
    old = Path(blobs.partial_path(store, "a" * 64))
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    young = Path(blobs.partial_path(store, "b" * 64))
    young.write_bytes(b"x")
    bring(store, pinned(server, "x"))
    assert (old.exists(), young.exists()) == (False, True)


def test_files_come_side_by_side_and_no_more_than_asked(server, store):
    bodies = [os.urandom(1000) for _ in range(12)]

    def route(body):
        def serve(handler, _):
            time.sleep(0.05)
            handler.send(body)

        return serve

    for number, body in enumerate(bodies):
        server.routes[f"{number}"] = route(body)
    fetches = [
        Fetch(url=f"{server.url}{number}", sha256=hashlib.sha256(body).hexdigest(), name=f"{number}", size=1000)
        for number, body in enumerate(bodies)
    ]
    events = []
    paths = download(fetches, store, emit=events.append, event_id="x", jobs=4, patience=QUICK)
    assert [Path(path).read_bytes() for path in paths] == bodies
    assert 2 <= server.most <= 4
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (done[-1], events[-1].total) == (12_000, 12_000)


# ---- it does not come ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "fetch-status"), (403, "fetch-status"), (404, "fetch-gone"), (410, "fetch-gone"), (501, "fetch-status")],
)
def test_a_clear_no_is_asked_once(server, store, status, code):
    server.routes["x"] = lambda handler, _: handler.send(b"no", status)
    error = refused(store, pinned(server, "x"))
    assert (error.code, server.count["x"]) == (code, 1)
    assert f"HTTP {status}" in error.message


@pytest.mark.parametrize("size", [len(BODY), 0], ids=["sized", "unsized"])
@pytest.mark.parametrize(
    "route",
    [
        lambda handler, _: handler.send(PAGE, Content_Type="text/html; charset=utf-8"),
        lambda handler, _: handler.send(PAGE * 1000, Content_Type="text/html"),
    ],
    ids=["short", "long"],
)
def test_a_login_page_is_called_one(server, store, route, size):
    server.routes["x"] = route
    error = refused(store, pinned(server, "x", size=size))
    assert error.code == ("fetch-size" if size else "fetch-hash")
    assert "a web page came instead of the file" in error.message
    assert server.count["x"] == 1


def test_too_much_is_cut_off(server, store):
    sent = 0

    def endless(handler, _):
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while sent < 100 << 20:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            sent += 1 << 16

    server.routes["x"] = endless
    assert refused(store, pinned(server, "x")).code == "fetch-size"
    assert sent < 50 << 20


def test_a_trickle_is_given_up_however_far_it_comes(server, store):
    def trickle(handler, _):
        start = handler.start()
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(BODY) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        handler.end_headers()
        handler.drip(BODY[start:], 0.01)

    server.routes["x"] = trickle
    began = time.monotonic()
    error = refused(store, pinned(server, "x"))
    assert error.code == "fetch-unreachable"
    assert "bytes a second" in error.message
    assert server.count["x"] == QUICK.attempts
    assert time.monotonic() - began < 60, "the whole body takes many minutes"


def test_a_server_that_always_hangs_up_after_a_little_is_given_up(server, store):
    server.routes["x"] = lambda handler, _: handler.resumable(BODY, cut=100)
    assert refused(store, pinned(server, "x")).code == "fetch-unreachable"
    assert server.count["x"] == QUICK.attempts


@pytest.mark.parametrize("unframed", [True, False])
def test_wrong_bytes_are_asked_for_again_only_where_they_may_be_cut_short(server, store, unframed):
    short = BODY[:1000]
    server.routes["x"] = lambda handler, _: handler.unframed(short) if unframed else handler.send(short)
    assert refused(store, pinned(server, "x", size=0)).code == "fetch-hash"
    assert server.count["x"] == (QUICK.attempts if unframed else 1)


def test_a_dead_server_is_given_up(store):
    with faulty.Faulty().running() as gone:
        pass
    assert refused(store, pinned(gone, "x")).code == "fetch-unreachable"
    assert refused(store, Fetch(url="http://no-such-host.invalid/x", sha256=SHA, name="x")).code == "fetch-unreachable"


# ---- cancel --------------------------------------------------------------------------------------------------------


def hang(handler):
    """Says nothing more until the client hangs up, a minute at most."""
    handler.close_connection = True
    handler.connection.settimeout(60)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)


def silent(handler, _):
    hang(handler)


def halfway(handler, _):
    handler.send(BODY[:1000], length=len(BODY))
    handler.wfile.flush()
    hang(handler)


@pytest.mark.parametrize(
    "route",
    [silent, halfway, lambda handler, _: handler.send(b"", 503, Retry_After="60")],
    ids=["silent", "half", "503"],
)
@pytest.mark.parametrize("way", ["download", "get"])
def test_cancel_is_obeyed_at_once(server, store, route, way):
    server.routes["x"] = route
    began = time.monotonic()
    slow = net.RetryPolicy(read=60, longest=60)

    def cancelled():
        return time.monotonic() - began > 0.3

    with pytest.raises(Interrupted):
        if way == "get":
            net.read_url(server.url + "x", patience=slow, cancelled=cancelled)
        else:
            bring(store, pinned(server, "x"), patience=slow, cancel=cancelled)
    assert time.monotonic() - began < 20
    assert os.listdir(store.path("tmp")) == []


# ---- redirects, credentials, proxies, authorities -------------------------------------------------------------------


def redirect(target, status=302):
    return lambda handler, _: handler.send(b"", status, Location=target)


def test_redirects(server, store):
    server.routes |= {"a": redirect("/b"), "b": redirect(server.url + "c", 307), "c": lambda h, _: h.resumable(BODY)}
    server.routes |= {"loop": redirect("/loop"), "disk": redirect("file:///etc/passwd"), "odd": redirect("gopher://x/")}
    for name, code in (("loop", "fetch-url"), ("disk", "fetch-redirect"), ("odd", "fetch-redirect")):
        assert refused(store, pinned(server, name)).code == code
    bring(store, pinned(server, "a"))


def test_credentials_come_from_netrc_and_stay_with_their_host(server, store, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.routes["a"] = redirect(server.url.replace("127.0.0.1", "localhost") + "b")
    server.routes["b"] = lambda handler, _: handler.resumable(BODY)
    bring(store, pinned(server, "a"))
    (first, second) = [headers.get("Authorization", "") for _, headers in server.asked]
    assert first.startswith("Basic ")
    assert second == ""


def test_the_proxy_of_the_environment_is_used_but_for_what_no_proxy_names(server, store, monkeypatch):
    server.routes["x"] = lambda handler, _: handler.resumable(BODY)
    monkeypatch.setenv("http_proxy", server.url)
    bring(store, Fetch(url="http://mirror.invalid/x", sha256=SHA, name="x"))
    assert server.count["x"] == 1
    monkeypatch.setenv("no_proxy", "mirror.invalid")
    with pytest.raises(FetchError):
        net.read_url("http://mirror.invalid/x", patience=QUICK)
    assert server.count["x"] == 1


def test_a_proxy_that_refuses_is_asked_once_and_named(server, store, monkeypatch):
    server.routes["CONNECT"] = lambda handler, _: handler.send(b"", 407)
    monkeypatch.setenv("https_proxy", server.url)
    error = refused(store, Fetch(url="https://mirror.invalid/x", sha256=SHA, name="x"))
    assert error.code == "fetch-status"
    assert "the proxy says HTTP 407" in error.message
    assert len(server.asked) == 1


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """A server whose certificate a private authority signed, and the path of the authority's."""
    trustme = pytest.importorskip("trustme", reason="the dev group has trustme: .ci/setup --dev")
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with faulty.Faulty(context).running() as running:
        running.routes["x"] = lambda handler, _: handler.resumable(BODY)
        yield running, str(bundle)


@pytest.mark.parametrize("name", net.CA_VARIABLES)
def test_a_private_authority_is_trusted_when_any_of_the_variables_names_it(secure, store, monkeypatch, name):
    server, bundle = secure
    error = refused(store, pinned(server, "x"))
    assert error.code == "fetch-tls"
    assert "SSL_CERT_FILE" in error.hint
    assert server.count["x"] == 0
    monkeypatch.setenv(name, bundle)
    bring(store, pinned(server, "x"))


def test_a_bundle_is_read_once_for_all_threads_and_again_when_it_is_another(secure, monkeypatch):
    import trustme

    server, bundle = secure
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    loaded, load = [], ssl.SSLContext.load_verify_locations

    def count(context, *words):
        loaded.append(words)
        return load(context, *words)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", count)

    def read():
        try:
            return net.read_url(f"{server.url}x", patience=QUICK) == BODY
        finally:
            net.close_session()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: read(), range(8)))
    assert loaded == [(bundle,)]
    trustme.CA().cert_pem.write_to_path(bundle)  # another authority in the same file
    with pytest.raises(FetchError) as caught:
        read()
    assert caught.value.code == "fetch-tls"
    assert loaded == [(bundle,), (bundle,)]


def test_a_trusted_certificate_of_another_host_is_refused(tmp_path, store, monkeypatch):
    trustme = pytest.importorskip("trustme", reason="the dev group has trustme: .ci/setup --dev")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("other.invalid", "127.0.0.2").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with faulty.Faulty(context).running() as running:
        running.routes["x"] = lambda handler, _: handler.resumable(BODY)
        assert refused(store, pinned(running, "x")).code == "fetch-tls"
        assert running.count["x"] == 0


def test_a_file_without_certificates_is_no_bundle(secure, store, monkeypatch, tmp_path):
    server, _ = secure
    (tmp_path / "no.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no.pem"))
    assert refused(store, pinned(server, "x")).code == "fetch-tls"
    assert server.count["x"] == 0


def test_through_a_proxy_the_servers_certificate_still_counts(secure, server, store, monkeypatch):
    behind, bundle = secure
    monkeypatch.setenv("https_proxy", server.url)
    assert refused(store, pinned(behind, "x")).code == "fetch-tls"
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    bring(store, pinned(behind, "x"))
    assert server.asked[-1][0] == f"CONNECT 127.0.0.1:{behind.server_port}"


def test_no_redirect_leads_out_of_tls(secure, server, store, monkeypatch):
    behind, bundle = secure
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    server.routes["x"] = lambda handler, _: handler.resumable(BODY)
    behind.routes["down"] = redirect(f"{server.url}x?token=secret")
    behind.routes["disk"] = redirect("file:///etc/passwd")
    for name in ("down", "disk"):
        error = refused(store, pinned(behind, name))
        assert error.code == "fetch-redirect"
        assert "secret" not in error.message
    assert not server.asked


def test_no_tls_where_tls_is_expected(server, store):
    server.routes["x"] = lambda handler, _: handler.resumable(BODY)
    error = refused(store, Fetch(url=server.url.replace("http:", "https:") + "x", sha256=SHA, name="x"))
    assert error.code == "fetch-tls"


# ---- where else to look --------------------------------------------------------------------------------------------


def put(directory, body=BODY, sha256=SHA):
    place = directory / sha256[:2] / sha256
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body)
    return place


def test_the_order_is_store_folder_url_mirrors_variable(server, store, tmp_path, monkeypatch):
    gone = lambda handler, _: handler.send(b"", 404)  # noqa: E731
    good = lambda handler, _: handler.resumable(BODY)  # noqa: E731
    blob = f"blobs/{SHA[:2]}/{SHA}"
    server.routes |= {"url": gone, "one": gone, "two": gone, blob: good}
    monkeypatch.setenv("ENVTOOL_BLOBS", f"{tmp_path}/nothing {server.url}blobs/")
    fetch = pinned(server, "url", mirrors=(server.url + "one", server.url + "two"))
    for routes, last in (({}, blob), ({"two": good}, "two"), ({"one": good}, "one"), ({"url": good}, "url")):
        server.routes |= routes
        server.asked.clear()
        bring(store, fetch)
        order = ["url", "one", "two", blob]
        assert [name for name, _ in server.asked] == order[: order.index(last) + 1]
        os.unlink(blobs.path(store, SHA))
    put(tmp_path / "vendor")
    server.asked.clear()
    bring(store, fetch, vendor=str(tmp_path / "vendor"))
    bring(store, fetch)
    assert not server.asked


@pytest.mark.parametrize("wrong", [lambda h, _: h.send(BODY[:-1] + b"?"), lambda h, _: h.send(b"", 503), silent])
def test_a_mirror_stands_in_for_whatever_went_wrong(server, store, wrong):
    server.routes |= {"url": wrong, "good": lambda handler, _: handler.resumable(BODY)}
    events = []
    fetch = pinned(server, "url", mirrors=(server.url + "good",))
    download([fetch], store, emit=events.append, event_id="x", patience=QUICK)
    assert events[-1].done == len(BODY)


def test_a_folder_that_lies_is_told_and_left(server, store, tmp_path):
    put(tmp_path, BODY[:-1] + b"?")
    server.routes["url"] = lambda handler, turn: handler.send(b"", 404) if turn == 1 else handler.resumable(BODY)
    error = refused(store, pinned(server, "url"), vendor=str(tmp_path))
    assert error.code == "fetch-hash"
    assert "envtool.vendor: file:" in error.message
    bring(store, pinned(server, "url"), vendor=str(tmp_path))


def test_the_error_says_all_that_was_tried(server, store, tmp_path, monkeypatch):
    monkeypatch.setenv("ENVTOOL_BLOBS", f"{tmp_path}")
    gone = lambda handler, _: handler.send(b"", 404)  # noqa: E731
    server.routes |= {"url": gone, "mirror": gone, "down": lambda handler, _: handler.send(b"", 503)}
    error = refused(store, pinned(server, "url", mirrors=(server.url + "mirror",)))
    assert error.code == "fetch-gone"
    assert error.message.splitlines() == [
        f"url (sha256 {SHA}) could not be had:",
        f"  {server.url}url: HTTP 404 Not Found",
        f"  {server.url}mirror: HTTP 404 Not Found",
        f"  ENVTOOL_BLOBS: file://{tmp_path}/{SHA[:2]}/{SHA}: No such file or directory",
    ]
    assert refused(store, pinned(server, "url", mirrors=(server.url + "down",))).code == "fetch-unreachable"
    nowhere = Fetch(url="", sha256=SHA, name="x")
    assert refused(store, nowhere).code == "fetch-gone"


def test_a_host_that_is_down_holds_up_one_file_only(server, store):
    with faulty.Faulty().running() as dead:
        pass
    bodies = [os.urandom(100) for _ in range(6)]
    fetches = []
    for number, body in enumerate(bodies):
        server.routes[f"{number}"] = lambda handler, _, body=body: handler.send(body)
        sha256 = hashlib.sha256(body).hexdigest()
        mirrors = (f"{server.url}{number}",)
        fetches.append(Fetch(url=f"{dead.url}{number}", sha256=sha256, name=f"{number}", size=100, mirrors=mirrors))
    began = time.monotonic()
    bring(store, *fetches, jobs=1, patience=net.RetryPolicy(attempts=3, pause=1, connect=5, read=5))
    assert time.monotonic() - began < 12  # six files that wait in full would take 18 s


def test_local_folders_are_taken_from_without_a_network(server, store, tmp_path, monkeypatch):
    good, wrong = tmp_path / "good", tmp_path / "wrong"
    put(good)
    put(wrong, b"?" * len(BODY))
    fetch = pinned(server, "x")

    def taken(*folders):
        copy_local(
            [fetch], store, [str(folder) for folder in folders], emit=lambda _: None, event_id="x", files=ANYWHERE
        )
        return blobs.has(store, SHA)

    assert not taken()
    assert not taken(wrong, tmp_path / "nothing")
    assert taken(wrong, good)
    assert not server.asked
    monkeypatch.setenv("ENVTOOL_BLOBS", f"{server.url} {tmp_path}/a%20b")
    (tmp_path / "envtool.vendor").mkdir()
    assert fetch_sources.local_folders(str(tmp_path)) == [f"{tmp_path}/envtool.vendor", f"{tmp_path}/a%20b"]


@pytest.mark.parametrize("value", ["relative/path", "ftp://x/y"])
def test_the_variable_is_checked(server, store, monkeypatch, value):
    monkeypatch.setenv("ENVTOOL_BLOBS", value)
    with pytest.raises(Exception, match="ENVTOOL_BLOBS names"):
        bring(store, pinned(server, "x"))


# ---- whatever happens -----------------------------------------------------------------------------------------------

FAULTS = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, 3000)),
        st.tuples(st.just("status"), st.sampled_from([200, 206, 301, 404, 416, 429, 500, 503])),
        st.tuples(st.just("wrong"), st.integers(0, 2999)),
        st.tuples(st.just("shift"), st.integers(0, 3000)),
        st.tuples(st.just("reset"), st.just(0)),
        st.tuples(st.just("chunks"), st.integers(0, 3000)),
        st.tuples(st.just("good"), st.just(0)),
    ),
    max_size=5,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(faults=FAULTS, sized=st.booleans())
def test_what_is_kept_is_right_whatever_the_server_does(server, store, faults, sized):
    body = BODY[:3000]
    sha256 = hashlib.sha256(body).hexdigest()
    server.count.clear()

    def route(handler, turn):
        fault, number = faults[turn - 1] if turn <= len(faults) else ("good", 0)
        if fault == "cut":
            handler.resumable(body, cut=number)
        elif fault == "status":
            handler.send(body[handler.start() :], number)
        elif fault == "wrong":
            handler.resumable(body[:number] + bytes([body[number] ^ 1]) + body[number + 1 :])
        elif fault == "shift":
            start = handler.start()
            handler.send(body[number:], 206 if start else 200, Content_Range=f"bytes {start}-2999/3000")
        elif fault == "reset":
            handler.reset()
        elif fault == "chunks":
            handler.chunks(body[:number], piece=700, end=False)
        else:
            handler.resumable(body)

    server.routes["x"] = route
    fetch = Fetch(url=server.url + "x", sha256=sha256, name="x", size=len(body) if sized else 0)
    patience = net.RetryPolicy(attempts=8, pause=0.001, longest=0.002, connect=2, read=0.5)
    came = True
    try:
        bring(store, fetch, patience=patience)
    except FetchError:
        came = False
    assert blobs.has(store, sha256) == came
    if came:
        path = blobs.path(store, sha256)
        assert Path(path).read_bytes() == body
        os.unlink(path)
    assert os.listdir(store.path("tmp")) == []


CHILD = """
import sys
from envtool import net
from envtool.api import Fetch
from envtool.store import store
from envtool.store.download import copy_local, download
url, sha256s = sys.argv[1], sys.argv[2:]
place = store.open_store()
print("begins", flush=True)
fetches = [Fetch(url=url + sha256, sha256=sha256, name=sha256) for sha256 in sha256s]
download(fetches, place, emit=lambda _: None, event_id="x", jobs=4)
"""


def test_a_killed_fetch_leaves_no_wrong_blob_and_the_next_one_ends_it(server, tmp_path):
    bodies = {hashlib.sha256(body).hexdigest(): body for body in (os.urandom(150_000) for _ in range(8))}

    def route(body):
        def serve(handler, _):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            for start in range(0, len(body), 30_000):
                handler.wfile.write(body[start : start + 30_000])
                time.sleep(0.003)

        return serve

    server.routes |= {sha256: route(body) for sha256, body in bodies.items()}
    environment = {**os.environ, "ENVTOOL_STORE": str(tmp_path / "store")}
    argv = [sys.executable, "-c", textwrap.dedent(CHILD), server.url, *bodies]
    for number in range(12):
        child = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.012 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        place = stores.Store(root=str(tmp_path / "store"))
        for path in (tmp_path / "store" / "blobs" / "sha256").glob("*/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=30)
    assert all(Path(blobs.path(place, sha256)).read_bytes() == body for sha256, body in bodies.items())


def test_a_session_belongs_to_its_thread(server):
    server.routes["x"] = lambda handler, _: handler.send(b"x")
    mine = host_config.session()
    others = []
    thread = threading.Thread(target=lambda: others.append(host_config.session()))
    thread.start()
    thread.join()
    assert net.read_url(server.url + "x", cancelled=lambda: False) == b"x"
    assert host_config.session() is mine
    assert others[0] is not mine
