from __future__ import annotations

import pytest

from envtool.api import ResolveError
from envtool.kinds.debian import mirrors
from envtool.kinds.debian.mirrors import AptSource

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://a.invalid/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://a.invalid/debian-security
Suites: bookworm-security
Components: main
Enabled: yes

Types: deb
Enabled: no
URIs: http://off.invalid/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.invalid/debian
Suites: bookworm
Components: main
"""


def test_one_line_reads_options_and_leaves_out_comments_and_sources():
    text = """
        # deb http://no.invalid/debian bookworm main
        deb [arch=amd64 signed-by=/keys/b.gpg] http://b.invalid/debian/ bookworm main contrib # why
        deb-src http://b.invalid/debian bookworm main
    """
    assert list(mirrors.parse_one_line(text)) == [
        AptSource(
            url="http://b.invalid/debian", suite="bookworm", components=("main", "contrib"), signed_by="/keys/b.gpg"
        )
    ]


def test_deb822_gives_each_suite_and_leaves_out_what_is_off():
    found = list(mirrors.parse_deb822(DEB822))
    assert [(item.url, item.suite) for item in found] == [
        ("http://a.invalid/debian", "bookworm"),
        ("http://a.invalid/debian", "bookworm-updates"),
        ("http://a.invalid/debian-security", "bookworm-security"),
    ]
    assert found[0].signed_by == "/usr/share/keyrings/a.gpg"
    assert found[0].components == ("main", "contrib")


def test_configured_reads_both_styles_in_order(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.invalid/debian trixie main\ndeb cdrom:[x]/ trixie main\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "c.list.save").write_text("deb http://old.invalid/debian sid main\n")
    urls = [item.url for item in mirrors.read_host_sources(str(tmp_path))]
    assert urls[:2] == ["http://one.invalid/debian", "http://a.invalid/debian"]
    assert not any("old.invalid" in url or "cdrom" in url for url in urls)
    assert mirrors.read_host_sources(str(tmp_path / "none")) == ()


SOURCES = (*mirrors.parse_deb822(DEB822), AptSource(url="http://third.invalid/apt", suite="nodistro"))


def test_another_suite_of_the_archive_is_on_the_same_mirror():
    found = mirrors.choose_mirrors("trixie", sources=SOURCES, environ={})
    assert found.main == ("http://a.invalid/debian",)
    assert found.security[0] == "http://a.invalid/debian-security"
    assert found.archive == "debian"


def test_the_spec_goes_before_the_variable_and_that_before_the_host():
    environ = {"ENVTOOL_DEBIAN_MIRROR": "http://env.invalid/debian/"}
    assert mirrors.choose_mirrors("sid", sources=SOURCES, environ=environ).main == ("http://env.invalid/debian",)
    told = mirrors.choose_mirrors("sid", mirror="http://spec.invalid/d", sources=SOURCES, environ=environ)
    assert told.main == ("http://spec.invalid/d",)
    assert told.security[0] == "http://spec.invalid/d-security"
    assert told.signed_by == ()


@pytest.mark.parametrize("suite", ["noble", "trixie"])
def test_a_host_without_mirrors_is_told_what_to_set(suite):
    sources = SOURCES if suite == "noble" else ()
    with pytest.raises(ResolveError) as caught:
        mirrors.choose_mirrors(suite, sources=sources, environ={})
    assert caught.value.code == "no-mirror"
    assert "mirror:" in caught.value.hint
    assert ("ENVTOOL_UBUNTU_MIRROR" if suite == "noble" else "ENVTOOL_DEBIAN_MIRROR") in caught.value.hint


def test_an_unknown_suite_is_looked_for_on_every_mirror_of_the_host():
    found = mirrors.choose_mirrors(
        "new", sources=(*SOURCES, AptSource(url="http://u.invalid/ubuntu", suite="noble")), environ={}
    )
    assert found.main == ("http://a.invalid/debian", "http://u.invalid/ubuntu")
    assert found.archive == ""
