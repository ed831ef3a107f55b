"""Versions from tags, by the project's own rule."""

from __future__ import annotations

import pytest
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.tagged import match, tell_version
from envtool_python.versions import mark_as_ours, pretend_version_variables, public_version, tag_rule
from packaging.version import Version


class Resolver:
    """A site whose tags stand in the order of history, and the container's part done here."""

    def __init__(self, *tags):
        self.history = tags
        self.site = self

    def tags(self, _directory):
        return sorted(self.history)

    def described(self, _directory, names):
        return next((tag for tag in reversed(self.history) if tag in names), "")

    def match_tags(self, regex, tags, *, anchored):
        return match({"regex": regex, "anchored": anchored, "tags": tags})["versions"]


class Files(dict):
    def read(self, path):
        return self.get(path)


def version(text, *tags, setup=None):
    facts = read_facts(Files({"pyproject.toml": text, **({"setup.py": setup} if setup else {})}))
    told = pretend_version_variables(Resolver(*tags), facts, "", None)
    assert len({*told.values()}) == 1
    return told["PBR_VERSION"]


SCM = '[build-system]\nrequires = ["setuptools-scm"]\n[tool.setuptools_scm]\n'
HATCH = '[build-system]\nrequires = ["hatch-vcs"]\n[tool.hatch.version]\nsource = "vcs"\n'
PDM = '[project]\nname = "me"\ndynamic = ["version"]\n[tool.pdm.version]\nsource = "scm"\n'
IT = '[build-system]\nrequires = ["versioningit"]\n[tool.versioningit]\n'
POETRY = '[build-system]\nrequires = ["poetry-dynamic-versioning"]\n[tool.poetry-dynamic-versioning]\n'


@pytest.mark.parametrize(
    ("text", "tags", "wanted"),
    [
        (SCM, ["v1.0"], "1.0"),
        (SCM, ["1.10", "1.9.1"], "1.9.1"),  # a maintenance branch: the nearest, not the highest
        (SCM, ["v1.0rc1"], "1.0rc1"),
        (SCM, ["v1.0", "v1.1.dev3", "nightly"], "1.1.dev3"),
        (SCM, ["1.0+build.7"], "1.0"),
        (SCM, ["release/1.4.2"], "1.4.2"),  # nothing that setuptools-scm reads: better than no version
        (SCM, ["nightly", "latest"], "0.0.0"),
        (SCM + 'fallback_version = "7.1"\n', [], "7.1"),
        (SCM + "tag_regex = '^pkg-a/v(?P<version>.*)$'\n", ["pkg-a/v1.2", "pkg-b/v9.0"], "1.2"),
        (SCM + 'git_describe_command = "git describe --long --match lib-*"\n', ["lib-1.2", "app-9.0"], "1.2"),
        (SCM + 'git_describe_command = ["git", "describe", "--match=lib-*"]\n', ["lib-1.2", "app-9.0"], "1.2"),
        (SCM + 'scm.git.describe_command = "git describe --match lib-*"\n', ["lib-1.2", "app-9.0"], "1.2"),
        (HATCH + "tag-pattern = '^v(?P<version>[^+]+)$'\n", ["v0.1.3", "base-image-v99.0.0"], "0.1.3"),
        (HATCH + 'raw-options = {git_describe_command = "git describe --match v*"}\n', ["v0.1", "base-9.0"], "0.1"),
        (HATCH + 'fallback-version = "3.1"\n', ["latest"], "3.1"),
        (PDM + "tag_regex = '^release-(?P<version>.*)$'\n", ["release-2.1", "v9.0"], "2.1"),
        (PDM + 'tag_filter = "lib/*"\n', ["lib/2.1", "app/9.0"], "2.1"),
        (IT, ["v1.4.0"], "1.4.0"),
        (IT + 'vcs.match = ["v*"]\nvcs.exclude = ["*rc*"]\n', ["v1.4", "v1.5rc1", "x9.0"], "1.4"),
        (IT + 'tag2version.rmprefix = "release-"\n', ["release-1.4"], "1.4"),
        (IT + "tag2version.regex = 'rel(?P<version>[0-9.]+)'\n", ["my-rel1.4", "v9.0"], "1.4"),
        (POETRY, ["v1.4", "2024.1"], "1.4"),  # dunamai wants a v
        (POETRY + 'pattern = "default-unprefixed"\n', ["v1.4", "2024.1"], "2024.1"),
        (POETRY + 'pattern-prefix = "lib-"\n', ["lib-v1.4", "app-v9.0"], "1.4"),
        (
            POETRY + "pattern = '^r(?P<base>[0-9.]+)(-?(?P<stage>[a-z]+)[.]?(?P<revision>[0-9]+))?$'\n",
            ["r1.4-rc.2"],
            "1.4rc2",
        ),
        (SCM + "tag_regex = '(' \n", ["v1.0"], "0.0.0"),  # no expression: its own backend says so
        ('[build-system]\nrequires = ["pbr"]\n', ["1.0.0", "2.0.0.0rc1"], "2.0.0.0rc1"),
    ],
)
def test_the_version_is_what_the_projects_own_rule_finds_in_the_nearest_tag(text, tags, wanted):
    mark = "+envtool" if "rc" in wanted or "dev" in wanted else ".post0+envtool"
    assert version(text, *tags) == f"{wanted}{mark}"


@pytest.mark.parametrize(
    ("release", "marked"),
    [
        ("26.1.0", "26.1.0.post0+envtool"),  # projects make numbers of the first three
        ("1!2.0", "1!2.0.post0+envtool"),
        ("2.0.post1", "2.0.post1+envtool"),
        ("2.0.dev4", "2.0.dev4+envtool"),
        ("2.0a1", "2.0a1+envtool"),
        ("2.0+ours", "2.0+ours"),
    ],
)
def test_no_release_has_the_version(release, marked):
    assert mark_as_ours(release) == marked
    assert Version(release) <= Version(marked)


def test_setup_py_may_say_the_rule():
    setup = "setup(use_scm_version={'tag_regex': r'^lib-(?P<version>.*)$', 'fallback_version': '5.0'})"
    assert version("", "lib-1.2", "app-9.0", setup=setup) == "1.2.post0+envtool"
    assert version("", "app-9.0", setup=setup) == "5.0.post0+envtool"
    setup = "setup(use_scm_version={'git_describe_command': ['git', 'describe', '--match', 'lib-*']})"
    assert version("", "lib-1.2", "app-9.0", setup=setup) == "1.2.post0+envtool"


def test_the_spec_comes_first_and_other_projects_are_told_nothing():
    assert (
        pretend_version_variables(Resolver("v1.0"), ProjectMetadata(versioned=True), "", "3.1")[
            "SETUPTOOLS_SCM_PRETEND_VERSION"
        ]
        == "3.1"
    )
    assert pretend_version_variables(Resolver("v1.0"), ProjectMetadata(), "", None) == {}
    assert tag_rule(ProjectMetadata()).admits("anything")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("v1.0", "1.0"), ("1.0+local", "1.0"), ("1!2.0a1", "1!2.0a1"), ("nightly", ""), ("", ""), ("9" * 400, "9" * 200)],
)
def test_versions(text, wanted):
    assert public_version(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "[tool.versioningit]\n",
        '[tool.versioningit]  # so\ndefault-version = "0.1"\nwrite = {file = "a.py"}\n',
        '[tool.versioningit.vcs]\nmethod = "git"\n',
        '[tool.versioningit.vcs]\nmethod = "git"\n[tool.other]\nx = 1\n',
    ],
)
def test_versioningit_is_told_by_its_own_table(tmp_path, text):
    import tomllib

    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    before = tomllib.loads(text)["tool"]
    tell_version(str(tmp_path), "1.4+envtool")
    after = tomllib.loads(path.read_text())["tool"]
    assert after.pop("versioningit") == {**before.pop("versioningit"), "default-version": "1.4+envtool"}
    assert after == before


def test_others_files_are_left_alone(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.other]\nversioningit = 1\n")
    tell_version(str(tmp_path), "1.4")
    assert path.read_text() == "[tool.other]\nversioningit = 1\n"
    path.write_text("[tool.versioningit]\n")
    (tmp_path / "PKG-INFO").write_text("Version: 1\n")
    tell_version(str(tmp_path), "1.4")
    assert path.read_text() == "[tool.versioningit]\n"
