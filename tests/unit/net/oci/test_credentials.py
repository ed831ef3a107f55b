"""What files, helpers and ~/.netrc know, in which order, and that none of it is shown."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from envtool.errors import FetchError
from envtool.net.oci import credentials
from envtool.net.oci.auth import Challenge, parse_challenges
from envtool.net.oci.credentials import Credentials, find_credentials


def packed(text):
    return base64.b64encode(text.encode()).decode()


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return lambda document: write(tmp_path / "docker" / "config.json", document)


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Puts a docker-credential-NAME on PATH."""

    def make(name, script):
        path = write(tmp_path / "bin" / f"docker-credential-{name}", "#!/bin/sh\n" + script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    return make


def test_nothing_is_known():
    assert find_credentials("host.example", "a") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("host.example", "host.example"),
        ("https://host.example", "host.example"),
        ("https://host.example/v1/", "host.example"),
        ("http://host.example/v2/", "host.example"),
        ("host.example/", "host.example"),
        ("localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_keys_of_auths(config, key, registry):
    config({"auths": {key: {"auth": packed("me:a:b")}}})
    found = find_credentials(registry, "team/app")
    assert (found.username, found.password) == ("me", "a:b")
    assert find_credentials("another.example", "team/app") is None


def test_the_longest_name_counts(config):
    config(
        {
            "auths": {
                "h.example": {"auth": packed("all:1")},
                "h.example/team": {"auth": packed("team:1")},
                "h.example/team/app": {"auth": packed("app:1")},
            }
        }
    )
    assert find_credentials("h.example", "team/app").username == "app"
    assert find_credentials("h.example", "team/other").username == "team"
    assert find_credentials("h.example", "teams/app").username == "all"


def test_files_in_their_order(tmp_path, monkeypatch):
    places = [
        ("REGISTRY_AUTH_FILE", tmp_path / "named.json", tmp_path / "named.json"),
        ("DOCKER_CONFIG", tmp_path / "docker", tmp_path / "docker" / "config.json"),
        ("XDG_RUNTIME_DIR", tmp_path / "run", tmp_path / "run" / "containers" / "auth.json"),
        ("XDG_CONFIG_HOME", tmp_path / "config", tmp_path / "config" / "containers" / "auth.json"),
        ("HOME", tmp_path / "home", tmp_path / "home" / ".docker" / "config.json"),
    ]
    for name, value, path in reversed(places):
        monkeypatch.setenv(name, str(value))
        write(path, {"auths": {"h.example": {"auth": packed(f"{name}:x")}}})
        assert find_credentials("h.example", "a").username == name
        assert find_credentials("h.example", "a").source == str(path)


def test_an_identity_token(config):
    config({"auths": {"h.example": {"auth": packed("me:"), "identitytoken": "refresh-me"}}})
    found = find_credentials("h.example", "a")
    assert found.identity == "refresh-me"
    assert "refresh-me" not in repr(found)


def test_an_entry_without_a_secret_is_none(config):
    config({"auths": {"h.example": {}}})
    assert find_credentials("h.example", "a") is None


def test_a_helper_of_one_registry(config, helper):
    helper(
        "one", 'read name; [ "$1" = get ] && printf \'{"ServerURL":"%s","Username":"%s","Secret":"s"}\' "$name" "$name"'
    )
    config({"credHelpers": {"h.example": "one"}, "auths": {"h.example": {"auth": packed("file:x")}}})
    assert find_credentials("h.example", "a") == Credentials(
        username="h.example", password="s", source="docker-credential-one"
    )
    assert find_credentials("other.example", "a") is None


def test_the_store_of_all(config, helper):
    helper("all", 'read name; printf \'{"Username":"<token>","Secret":"%s"}\' "$name"')
    config({"credsStore": "all", "auths": {"h.example": {}}})
    assert find_credentials("h.example", "a").identity == "h.example"
    assert find_credentials("docker.io", "library/a").identity == "https://index.docker.io/v1/"


def test_a_helper_that_knows_nothing(config, helper):
    helper("none", "echo credentials not found in native keychain; exit 1")
    config({"credsStore": "none"})
    assert find_credentials("h.example", "a") is None


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo the keyring is locked; exit 1", "exit 1"),
        ("echo '{'", "no Secret"),
        ("echo '[]'", "no Secret"),
        ('echo \'{"Username": "me"}\'', "no Secret"),
        ("sleep 9", "no answer for 0.1 s"),
        ("kill -9 $$", "exit 137"),
    ],
)
def test_a_helper_that_fails_is_named(config, helper, monkeypatch, script, why):
    monkeypatch.setattr(credentials, "HELPER_TIMEOUT", 0.1 if "sleep" in script else 10.0)
    helper("bad", script)
    config({"credsStore": "bad"})
    with pytest.raises(FetchError) as caught:
        find_credentials("h.example", "a")
    assert caught.value.code == "registry-credentials"
    assert "docker-credential-bad" in str(caught.value)
    assert why in str(caught.value)


def test_a_helper_that_is_not_there(config):
    path = config({"credsStore": "absent"})
    with pytest.raises(FetchError) as caught:
        find_credentials("h.example", "a")
    assert "docker-credential-absent" in str(caught.value)
    assert str(path) in f"{caught.value} {caught.value.hint}"
    config({"credsStore": "../x"})
    with pytest.raises(FetchError, match="no name of a helper"):
        find_credentials("h.example", "a")


@pytest.mark.parametrize("document", ["{", {"auths": {"h.example": {"auth": "!hidden-word"}}}, {"auths": {"h.example": {"auth": packed("hidden-word")}}}])  # fmt: skip
def test_a_file_that_is_wrong_is_named_and_not_shown(config, document):
    path = config(document)
    with pytest.raises(FetchError) as caught:
        find_credentials("h.example", "a")
    assert caught.value.code == "registry-credentials"
    assert str(path) in str(caught.value)
    assert "hidden-word" not in str(caught.value)
    assert packed("hidden-word") not in str(caught.value)


def test_netrc_comes_last(config, tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(write(tmp_path / "netrc", "machine h.example login me password mine\n")))
    assert find_credentials("h.example", "a").password == "mine"
    config({"auths": {"h.example": {"auth": packed("file:x")}}})
    assert find_credentials("h.example", "a").username == "file"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b=\\"c\\""', [("basic", {"realm": 'a, b="c"'})]),
        (
            'Bearer realm="https://a/t",service="b",scope="repository:x:pull,push" , error=invalid',
            [
                (
                    "bearer",
                    {"realm": "https://a/t", "service": "b", "scope": "repository:x:pull,push", "error": "invalid"},
                )
            ],
        ),
        (
            'Negotiate, Basic realm="x", BEARER Realm=y',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        ("=, \x00", []),
        ('Bearer realm="unended', [("bearer", {})]),
    ],
)
def test_challenges(header, wanted):
    assert parse_challenges(header) == [
        Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in wanted
    ]


def test_a_directory_that_is_not_ours_has_nothing_of_ours(monkeypatch, tmp_path):
    path = tmp_path / "auth.json"

    def refused(*_words, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(credentials.os, "access", lambda *_: False)
    assert credentials._read(str(path)) is None
    monkeypatch.setattr(credentials.os, "access", lambda *_: True)
    with pytest.raises(FetchError) as found:
        credentials._read(str(path))
    assert found.value.code == "registry-credentials"
