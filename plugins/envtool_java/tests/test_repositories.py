"""settings.xml -> repositories in Maven's order, and where credentials go."""

from __future__ import annotations

import base64

import pytest
from envtool_java.poms import DeclaredRepository
from envtool_java.repositories import (
    MavenRepository,
    MavenSettings,
    choose_repositories,
    matches,
    merge_settings,
    parse_settings,
    read_settings,
)

CENTRAL = "https://central.example/maven2"
SETTINGS = """\
<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <mirrors>
    <mirror><id>corp</id><url>https://nexus.example/all/</url><mirrorOf>external:*,!open</mirrorOf></mirror>
    <mirror><id>bad</id><url>file:///etc</url><mirrorOf>*</mirrorOf></mirror>
  </mirrors>
  <servers>
    <server><id>corp</id><username>me</username><password>${env.NEXUS}</password></server>
    <server><id>team</id><username>t</username><password>s3cret</password></server>
    <server><id>locked</id><username>t</username><password>{abc=}</password></server>
  </servers>
  <profiles>
    <profile><id>on</id><repositories><repository><id>team</id><url>https://team.example/m2</url></repository></repositories></profile>
    <profile><id>off</id><repositories><repository><id>x</id><url>https://x.example</url></repository></repositories></profile>
  </profiles>
  <activeProfiles><activeProfile>on</activeProfile></activeProfiles>
  <proxies><proxy><host>proxy.example</host><port>3128</port></proxy></proxies>
</settings>
"""


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_settings_of_a_machine():
    found = parse_settings(SETTINGS, "settings.xml", {"NEXUS": "a<b"})
    assert found.mirrors == (("corp", "external:*,!open", "https://nexus.example/all"),)
    assert found.repositories == (DeclaredRepository(id="team", url="https://team.example/m2"),)
    assert found.credentials == {"corp": basic("me:a<b"), "team": basic("t:s3cret")}
    assert found.encrypted == {"locked"}
    assert found.proxy == "proxy.example"
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("text", ["", "<settings>", "<!DOCTYPE s><settings/>", "x" * (5 << 20)])
def test_settings_that_are_no_settings_are_empty(text):
    assert parse_settings(text, "settings.xml", {}) == MavenSettings()


def test_the_users_settings_outweigh_the_machines(tmp_path):
    (tmp_path / ".m2").mkdir()
    (tmp_path / "maven/conf").mkdir(parents=True)
    mine = "<settings><servers><server><id>a</id><username>u</username><password>mine</password></server></servers></settings>"
    (tmp_path / ".m2/settings.xml").write_text(mine)
    (tmp_path / "maven/conf/settings.xml").write_text(mine.replace("mine", "theirs"))
    found = read_settings({"HOME": str(tmp_path), "MAVEN_HOME": str(tmp_path / "maven")})
    assert found.credentials["a"] == basic("u:mine")
    assert merge_settings([]) == MavenSettings()


def test_without_settings_maven_asks_the_project_and_then_its_own():
    declared = [DeclaredRepository(id="p", url="https://p.example")]
    assert choose_repositories(MavenSettings(), declared, CENTRAL + "/") == (
        MavenRepository(url="https://p.example"),
        MavenRepository(url=CENTRAL),
    )


def test_a_mirror_stands_for_what_it_names_and_has_its_own_credentials():
    settings = parse_settings(SETTINGS, "settings.xml", {"NEXUS": "p"})
    declared = [DeclaredRepository(id="open", url="https://open.example")]
    assert choose_repositories(settings, declared, CENTRAL) == (
        MavenRepository(url="https://nexus.example/all", authorization=basic("me:p")),
        MavenRepository(url="https://open.example"),
    )


def test_a_project_cannot_have_the_credentials_of_another_repository():
    settings = MavenSettings(
        credentials={"team": "Basic x"}, repositories=(DeclaredRepository(id="team", url="https://team.example"),)
    )
    declared = [DeclaredRepository(id="team", url="https://evil.example")]
    found = {item.url: item.authorization for item in choose_repositories(settings, declared, CENTRAL)}
    assert found == {"https://team.example": "Basic x", "https://evil.example": "", CENTRAL: ""}


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("*", "https://a.example", True),
        ("a", "https://a.example", True),
        ("b,a", "https://a.example", True),
        ("*,!a", "https://a.example", False),
        ("external:*", "https://a.example", True),
        ("external:*", "http://localhost:8081/x", False),
        ("external:http:*", "http://a.example", True),
        ("external:http:*", "https://a.example", False),
        ("b", "https://a.example", False),
        ("", "https://a.example", False),
    ],
)
def test_mirror_of(pattern, url, expected):
    assert matches(pattern, DeclaredRepository(id="a", url=url)) is expected
