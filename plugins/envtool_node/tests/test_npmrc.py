"""The host's npm configuration, and what of it goes where."""

from __future__ import annotations

import base64

import pytest
from envtool_node.npmrc import (
    NpmConfig,
    environment_settings,
    expand_variables,
    host_config,
    parse_ini,
    plain_url,
    redact_credentials,
    sanitize_project_npmrc,
)
from hypothesis import given
from hypothesis import strategies as st

from envtool import api


def test_lines_of_an_ini_file():
    text = """\
; a comment
# another
registry = https://r.invalid/npm
@corp:registry=https://corp.invalid/
//corp.invalid/:_authToken="t0ken"
quoted='it is'
save-exact
omit[]=dev
[section]
semi = a\\;b ; gone
registry=https://last.invalid/
"""
    assert parse_ini(text) == {
        "registry": "https://last.invalid/",
        "@corp:registry": "https://corp.invalid/",
        "//corp.invalid/:_authToken": "t0ken",
        "quoted": "it is",
        "save-exact": "true",
        "semi": "a;b",
    }


def test_variables_are_put_in_as_npm_does():
    environ = {"NPM_TOKEN": "t", "AWS_SECRET": "s"}
    assert expand_variables("a=${NPM_TOKEN} ${GONE} ${GONE?}.", environ.get) == "a=t ${GONE} ."
    assert expand_variables("\\${NPM_TOKEN}", environ.get) == "\\${NPM_TOKEN}"


def test_a_project_knows_the_variables_that_it_is_told_of():
    environ = {"NPM_TOKEN": "t", "AWS_SECRET": "s"}
    asked = []

    def told(name):
        asked.append(name)
        return environ["NPM_TOKEN"] if name == "NPM_TOKEN" else None

    text = "//r.invalid/:_authToken=${NPM_TOKEN}\n@x:registry=https://evil.invalid/${AWS_SECRET}/\n"
    config = host_config(text, {"PATH": "", "npm_config_globalconfig": "/nonexistent"}, told)
    assert asked == ["NPM_TOKEN", "AWS_SECRET"]
    assert config.authorization("https://r.invalid/x") == "Bearer t"
    assert config.registry("@x/y") == "https://evil.invalid/${AWS_SECRET}/"


@pytest.mark.parametrize(
    "line", ["proxy=http://e", "https-proxy=http://e", "strict-ssl=false", "cafile=/etc/passwd", "noproxy=x"]
)
def test_a_project_says_neither_by_which_proxy_nor_whom_to_trust(line):
    bare = {"PATH": "", "npm_config_globalconfig": "/nonexistent"}
    config = host_config(f"registry=https://r.invalid/\n{line}\n", bare, lambda _: None)
    assert dict(config.settings) == {"registry": "https://r.invalid/", "globalconfig": "/nonexistent"}
    assert config.cafile == ""


def test_variables_are_settings_too():
    environ = {
        "npm_config_Registry": "https://e.invalid",
        "NPM_CONFIG_STRICT_SSL": "false",
        "PATH": "/bin",
        "NPM_CONFIG_X": "",
    }
    environ["npm_config_//r.invalid/:_authToken"] = "T"
    assert environment_settings(environ) == {
        "registry": "https://e.invalid",
        "strict-ssl": "false",
        "//r.invalid/:_authToken": "T",
    }


@pytest.fixture
def machine(tmp_path):
    """A home and a project."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (tmp_path / "globalrc").write_text("registry=https://machine.invalid\ncafile=/nonexistent\n")
    (home / ".npmrc").write_text("registry=https://user.invalid/\n//user.invalid/:_authToken=${NPM_TOKEN}\n")
    (project / ".npmrc").write_text("@corp:registry=https://corp.invalid/npm\n//corp.invalid/npm/:_auth=YTpi\n")
    environ = {
        "HOME": str(home),
        "NPM_TOKEN": "t0ken",
        "npm_config_globalconfig": str(tmp_path / "globalrc"),
        "PATH": "",
    }
    return project, environ


def test_the_later_file_wins(machine):
    project, environ = machine
    config = host_config((project / ".npmrc").read_text(), environ, environ.get)
    assert config.registry("left-pad") == "https://user.invalid/"
    assert config.registry("@corp/tool") == "https://corp.invalid/npm/"
    assert config.registry("@other/tool") == "https://user.invalid/"
    assert config.authorization("https://user.invalid/left-pad/-/left-pad-1.3.0.tgz") == "Bearer t0ken"
    assert config.authorization("https://corp.invalid/npm/@corp/tool/-/tool-1.tgz") == "Basic YTpi"
    assert config.authorization("https://corp.invalid/other/tool.tgz") == ""
    assert config.authorization("https://else.invalid/left-pad.tgz") == ""
    assert config.cafile == ""
    assert host_config("", environ | {"npm_config_registry": "https://v.invalid"}, environ.get).registry("x") == (
        "https://v.invalid/"
    )
    assert host_config("", {"PATH": "", "npm_config_globalconfig": "/nonexistent"}, environ.get).registry("x") == ""


def test_secrets_are_not_shown(machine):
    project, environ = machine
    config = host_config((project / ".npmrc").read_text(), environ, environ.get)
    assert "t0ken" not in repr(config)
    assert "t0ken" in config.text()
    assert "cafile" not in config.text()


def test_user_and_password():
    settings = {
        "//h.invalid:8080/a/:username": "ann",
        "//h.invalid:8080/a/:_password": base64.b64encode(b"pw").decode(),
    }
    config = NpmConfig(settings=settings)
    assert (
        config.authorization("http://h.invalid:8080/a/b/-/b-1.tgz") == "Basic " + base64.b64encode(b"ann:pw").decode()
    )
    assert (
        NpmConfig(settings=settings | {"//h.invalid:8080/a/:_password": "%"}).authorization("http://h.invalid:8080/a/b")
        == ""
    )


def test_the_longest_place_wins():
    config = NpmConfig(settings={"//h.invalid/:_authToken": "all", "//h.invalid/npm/private/:_authToken": "one"})
    assert config.authorization("https://h.invalid/npm/private/x/-/x-1.tgz") == "Bearer one"
    assert config.authorization("https://h.invalid/npm/x/-/x-1.tgz") == "Bearer all"
    assert config.authorization("https://user@h.invalid/x.tgz") == "Bearer all"


def test_a_build_sees_what_a_project_says_of_installing():
    text = "legacy-peer-deps=true\n//r.invalid/:_authToken=T\nregistry=https://r.invalid\n@c:registry = https://c.invalid\n_auth=x\nca[]=y\ngit=./evil\nnode-options=-r ./evil\n omit=dev\n"
    assert sanitize_project_npmrc(text) == "legacy-peer-deps=true\n omit=dev\n"


@given(st.text())
def test_nothing_that_a_file_holds_is_too_much(text):
    parse_ini(text)
    sanitize_project_npmrc(text)
    redact_credentials(text)


def test_words_without_secrets():
    said = "npm error 401 https://ann:pw@h.invalid/x _authToken=abc Bearer def npm_0123456789"
    assert redact_credentials(said) == "npm error 401 https://***@h.invalid/x _authToken=*** Bearer *** ***"
    assert plain_url("https://ann:pw@h.invalid/x/-/x.tgz?token=1#2") == "https://h.invalid/x/-/x.tgz"


def test_all_variables_that_may_not_be_had_are_named_at_once():
    asked = []

    def told(name):
        asked.append(name)
        if name == "MODE":
            return "x"
        raise api.ResolveError(f"the project wants your variable {name}", code="pass-not-allowed", hint=f"allow {name}")

    with pytest.raises(api.ResolveError) as caught:
        expand_variables(
            "//a/:_authToken=${TOKEN}\n//b/:_authToken=${OTHER}\n//c/:_authToken=${TOKEN}\nmode=${MODE}\n", told
        )
    assert caught.value.message == "the project wants your variable TOKEN; the project wants your variable OTHER"
    assert (caught.value.code, caught.value.hint) == ("pass-not-allowed", "allow TOKEN")
    assert asked == ["TOKEN", "OTHER", "TOKEN", "MODE"]
