"""Which proxy of this machine connections of containers go through."""

from __future__ import annotations

import base64

import pytest

from envtool.errors import FetchError
from envtool.net.host_config import TunnelProxy, bypasses_proxy, tunnel_proxy

NAMES = ("https_proxy", "all_proxy", "no_proxy", "http_proxy")


@pytest.fixture
def variables(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("values", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://p.example:3128"}, TunnelProxy("p.example", 3128, "", "")),
        ({"HTTPS_PROXY": "http://P:1", "https_proxy": "http://q:2/"}, TunnelProxy("q", 2, "", "")),
        ({"ALL_PROXY": "p:3128", "no_proxy": "a,.b"}, TunnelProxy("p", 3128, "", "a,.b")),
        ({"all_proxy": "http://p:1", "https_proxy": "http://q:2"}, TunnelProxy("q", 2, "", "")),
        ({"HTTPS_PROXY": "http://p"}, TunnelProxy("p", 80, "", "")),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, TunnelProxy("::1", 3128, "", "")),
        (
            {"HTTPS_PROXY": "http://me:p%40ss@p:1"},
            TunnelProxy("p", 1, f"Basic {base64.b64encode(b'me:p@ss').decode()}", ""),
        ),
    ],
)
def test_which_proxy(variables, values, proxy):
    variables(values)
    assert tunnel_proxy() == proxy


@pytest.mark.parametrize(
    "value", ["socks5://me:secret@p:1080", "https://me:secret@p:443", "http://me:secret@p:port", "http://"]
)
def test_a_proxy_that_cannot_be_used(variables, value):
    variables({"ALL_PROXY": value})
    with pytest.raises(FetchError) as caught:
        tunnel_proxy()
    assert caught.value.code == "fetch-proxy"
    assert "ALL_PROXY is `" in caught.value.message
    assert "secret" not in caught.value.message
    assert "http://HOST:PORT" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "exceptions", "bypassed"),
    [
        ("a.example", "", False),
        ("a.example", ".example", True),
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.3.7", "192.0.2.0/24", False),
        ("a.example", "a.example:443", True),
        ("a.example", "a.example:80", False),
        ("2001:db8::7", "2001:db8::7", True),
    ],
)
def test_exceptions_are_read_as_for_downloads(variables, host, exceptions, bypassed):
    variables({})
    assert bypasses_proxy(host, 443, exceptions) == bypassed
