"""cargo's configuration of this machine, and where the files of crates are by it."""

from __future__ import annotations

import pytest
from envtool_rust.cargo_config import CargoConfig, host_config
from envtool_rust.cargo_lock import LockedCrate
from envtool_rust.crate_downloads import CrateLocator, download_url, index_prefix, parse_index_config

from envtool import api, testing

CRATE = LockedCrate(name="Serde", version="1.0.0", sha256="ab" * 32)
MIRROR = """
[source.crates-io]
replace-with = "mirror"
[source.mirror]
registry = "sparse+https://mirror.invalid/index/"
[registries.mirror]
index = "sparse+https://mirror.invalid/index/"
[registries.corp]
index = "sparse+https://corp.invalid/"
[http]
cainfo = "ca.pem"
proxy = "p.invalid:1"
[net]
retry = 5
git-fetch-with-cli = true
[build]
rustc-wrapper = "/bin/evil"
"""
CREDENTIALS = '[registries.mirror]\ntoken = "s3cret"\n'


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".cargo").mkdir()
    return tmp_path


def config(home, text="", credentials="", project="", **environ) -> CargoConfig:
    (home / ".cargo/config.toml").write_text(text)
    (home / ".cargo/credentials.toml").write_text(credentials)
    return host_config(project, {"HOME": str(home), **environ})


def locator(settings, urls=None, default=b""):
    site = testing.MemorySite(urls=urls or {})
    return CrateLocator(settings, site, lambda name: default, name="cargo"), site


def test_a_mirror_stands_for_cargos_own_registry(home):
    settings = config(home, MIRROR, CREDENTIALS)
    origin = settings.origin("")
    assert (origin.index, origin.token) == ("sparse+https://mirror.invalid/index/", "s3cret")
    assert "s3cret" not in f"{settings!r}{origin!r}"
    assert settings.cafile == str(home / "ca.pem")
    text = settings.text("/ca")
    assert 'cainfo = "/ca"' in text
    assert 'proxy = "p.invalid:1"' in text
    assert "s3cret" in text
    assert "evil" not in text


def test_without_settings_it_is_cargos_own_registry(home):
    assert host_config("", {}).origin("").index == ""
    where, site = locator(config(home), default=b'{"dl": "https://files.invalid/api/v1"}')
    assert where.locate(CRATE) == ("https://files.invalid/api/v1/Serde/1.0.0/download", "")
    assert site.fetched == []


def test_an_index_is_asked_once_and_a_token_goes_to_the_index_that_has_it(home):
    urls = {"https://mirror.invalid/index/config.json": b'{"dl": "https://mirror.invalid/{crate}.crate"}'}
    where, site = locator(config(home, MIRROR), urls)
    assert where.locate(CRATE) == ("https://mirror.invalid/Serde.crate", "")
    where.locate(LockedCrate(name="x", version="1.0.0", sha256="ab" * 32))
    assert site.fetched == ["https://mirror.invalid/index/config.json"]


def test_a_project_may_name_its_registry_and_gets_no_token_of_another(home):
    stolen = '[registries.mirror]\nindex = "sparse+https://evil.invalid/"\n[registries.own]\nindex = "sparse+https://own.invalid/"\n'
    settings = config(home, MIRROR, CREDENTIALS, stolen)
    assert settings.origin("sparse+https://evil.invalid/").token == ""
    assert settings.origin("sparse+https://own.invalid/").index == "sparse+https://own.invalid/"
    assert "evil" not in settings.text("")
    assert settings.origin("sparse+https://mirror.invalid/index").token == "s3cret"


def test_a_project_cannot_name_directories_of_this_machine(home):
    project = '[source.crates-io]\nreplace-with = "x"\n[source.x]\nlocal-registry = "/etc"\n'
    assert config(home, project=project).directories == ()


def test_variables_name_registries(home):
    environ = {
        "CARGO_REGISTRIES_MY_CORP_INDEX": "sparse+https://my.invalid/",
        "CARGO_REGISTRIES_MY_CORP_TOKEN": "t0ken",
    }
    assert config(home, **environ).origin("sparse+https://my.invalid/").token == "t0ken"


def test_a_local_registry_has_the_files(home):
    text = '[source.crates-io]\nreplace-with = "local"\n[source.local]\nlocal-registry = "crates"\n'
    settings = config(home, text)
    where, site = locator(settings)
    url, _ = where.locate(CRATE)
    assert url == f"file://{home}/crates/Serde-1.0.0.crate"
    assert site.owned == [f"{home}/crates"]
    assert settings.directories == (f"{home}/crates",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "v"\n', "has no files of crates"),
        ('[source.crates-io]\nreplace-with = "a"\n[source.a]\nreplace-with = "crates-io"\n', "in a circle"),
        (
            '[source.crates-io]\nreplace-with = "a"\n[source.a]\nregistry = "https://u:s3cret@a.invalid/x"\n',
            "index in git",
        ),
    ],
)
def test_what_cannot_be_used_is_said(home, text, why):
    with pytest.raises(api.ResolveError) as caught:
        locator(config(home, text))[0].locate(CRATE)
    assert why in str(caught.value)
    assert "s3cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"dl": 1}', b'{"dl": "file:///etc"}', b"[" * 5000])
def test_an_index_that_says_nothing(content):
    with pytest.raises(api.ResolveError, match="does not say where crates are"):
        parse_index_config(content, "the index")


def test_a_token_is_sent_where_the_index_wants_one():
    assert parse_index_config(b'{"dl": "https://x.invalid/", "auth-required": true}', "x") == (
        "https://x.invalid",
        True,
    )
    assert parse_index_config(b'{"dl": "https://x.invalid"}', "x") == ("https://x.invalid", False)


def test_the_marks_of_a_template():
    template = "https://x.invalid/{crate}/{version}/{prefix}/{lowerprefix}/{sha256-checksum}"
    assert download_url(template, CRATE) == f"https://x.invalid/Serde/1.0.0/Se/rd/se/rd/{CRATE.sha256}"
    assert [index_prefix(name) for name in ("a", "ab", "abc", "abcd")] == ["1", "2", "3/a", "ab/cd"]


def test_settings_that_are_wrong_count_as_none(home):
    assert config(home, "[source", "[registries", "[registries").origin("").index == ""
