"""Files of version managers: what of them counts, and that nothing else in them does anything."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.api import version_choice
from envtool.api.version_choice import plain_version, read_shared
from envtool.errors import UsageError


def read(files, tool="node", names=("nodejs",)):
    passed = []
    found = read_shared(tool, names, testing.MemoryProject(files), passed)
    return [(wanted.wanted, wanted.file, wanted.line) for wanted in found], passed


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ("nodejs 20.9.0\n", 1, "20.9.0"),
        ("# tools\n\nruby 3.2\n  nodejs\t20.9.0 18.1.0 # the oldest\n", 4, "20.9.0"),
        ("node v20\n", 1, "20"),
    ],
)
def test_tool_versions(text, line, wanted):
    assert read({".tool-versions": text}) == ([(wanted, ".tool-versions", line)], [])


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ('[tools]\nnode = "22"\n', 2, "22"),
        ("[env]\nA = '1'\n[tools]\ngo = '1'\n'core:node' = '22.1'\n", 5, "22.1"),
        ('[tools]\nnode = ["20.9.0", "22"]\n', 2, "20.9.0"),
        ('[tools]\nnode = {version = "20.9.0", postinstall = "rm -rf /"}\n', 2, "20.9.0"),
        ('[tools.node]\nos = ["macos"]\nversion = "20"\n[tools.nodejs]\nversion = "22"\nos = ["linux/x64"]\n', 4, "22"),
        ('[tools.nodejs]\nos = ["linux"]\nversion = "prefix:20"\n', 1, "20"),
        ('tools.node = "20"\n', 1, "20"),
        ('tools = {node = "20"}\n', 1, "20"),
    ],
)
def test_mise(text, line, wanted):
    assert read({"mise.toml": text}) == ([(wanted, "mise.toml", line)], [])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('"latest"', "latest"),
        ('"lts"', "lts"),
        ("\"{{ exec(command='touch /tmp/x') }}\"", "{{ exec(command='touch /tmp/x') }}"),
        ('"ref:main"', "ref:main"),
        ('"path:/opt/node"', "path:/opt/node"),
        (f'"{"9" * 5000}"', "9" * 40),
    ],
)
def test_what_is_no_plain_version_is_passed_over(value, shown):
    found, passed = read({"mise.toml": f"[tools]\nnode = {value}\n", ".tool-versions": "nodejs 20\n"})
    assert found == [("20", ".tool-versions", 1)]
    assert passed == [f"mise.toml:2 names `{shown}`, which is no version"]


@pytest.mark.parametrize("value", ["20.1", "20", "true", "[]", '{path = "/opt"}', "[[]]"])
def test_what_is_no_text_is_passed_over(value):
    found, passed = read({"mise.toml": f"[tools]\nnode = {value}\n"})
    assert (found, passed) == ([], ["mise.toml:2 names no version in quotes for node"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tools", "mise.toml is no TOML"),
        ("a = " + "[" * 10_000, "mise.toml is no TOML"),
        ("#" * (version_choice.MAX_TEXT + 1), "mise.toml is larger than"),
    ],
)
def test_a_file_that_cannot_be_used_is_passed_over(text, why):
    found, passed = read({"mise.toml": text, ".mise.toml": '[tools]\nnode = "22"\n'})
    assert found == [("22", ".mise.toml", 2)]
    assert [reason.startswith(why) for reason in passed] == [True]


@pytest.mark.parametrize("text", ["", "tools = 3\n", "[tools]\ngo = '1'\n", "[[tools]]\nnode = '1'\n"])
def test_a_file_that_says_nothing_of_a_toolchain(text):
    assert read({"mise.toml": text}) == ([], [])


@pytest.mark.parametrize("text", ["", "nodejs\n", "golang 1\n", "# nodejs 20\n", "nodejs # 20\n"])
def test_a_tool_versions_that_says_nothing_of_a_toolchain(text):
    assert read({".tool-versions": text}) == ([], [])


def test_a_file_that_may_not_be_read_is_passed_over():
    class Outside(testing.MemoryProject):
        def read(self, path):
            raise UsageError(f"{path} leads out of the project", code="project-file")

    passed = []
    assert read_shared("node", (), Outside({}), passed) == []
    assert len(passed) == len(api.SHARED_VERSION_FILES) + len(version_choice.MISE_FILES)


@pytest.mark.parametrize("file", version_choice.MISE_FILES)
def test_other_places_of_mises_file(file):
    files = {file: '[tools]\nnode = "22"\n', ".tool-versions": "nodejs 20\n"}
    assert read(files) == ([("22", file, 2), ("20", ".tool-versions", 1)], [])
    assert read({**files, ".mise.toml": '[tools]\nnode = "21"\n'})[0][0] == ("21", ".mise.toml", 2)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("22", "22"), ("v22.1.0 ", "22.1.0"), ("1.23rc1", "1.23rc1"), ("2.0.0-beta.1", "2.0.0-beta.1"), ("", ""), ("v", ""),
        ("1.2.3.4.5", ""), ("lts/*", ""), ("pypy3.9-7.3", ""), ("3.12;rm", ""), ("٣.١٢", ""), ("1" * 10, ""),
    ],
)  # fmt: skip
def test_plain_versions(text, version):
    assert plain_version(text) == version
