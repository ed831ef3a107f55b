"""Every page: links lead somewhere, and each spec that is shown is one. The commands run in tests/e2e/test_pages.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envtool.plugins import discover
from envtool.project.source_files import ProjectFiles
from envtool.spec import load

TOP = Path(__file__).parents[3]
PAGES = sorted([TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md", *(
    path for place in ("docs", "examples", "plugins", "benchmarks") for path in (TOP / place).rglob("*.md")
)])  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


SPECS = [
    pytest.param(text, id=f"{page.relative_to(TOP)}:{number}")
    for page in PAGES
    for number, text in enumerate(shown(page, "yaml"))
    if "version: 1" in text and "envs:" in text  # and not the caller's own configuration
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    for target in LINK.findall(prose):
        path, _, anchor = target.partition("#")
        if re.match("[a-z]+:", path):
            continue
        place = (page.parent / path) if path else page
        assert place.exists(), f"{target} leads nowhere"
        if anchor and place.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{target}: there is no such heading"


@pytest.mark.parametrize("text", SPECS)
def test_specs_that_are_shown_are_right(text, tmp_path):
    (tmp_path / "envtool.yaml").write_text(text)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shown"\nversion = "1"\n')
    (tmp_path / "CMakeLists.txt").write_text("project(shown)\n")
    (tmp_path / "package.json").write_text('{"name": "shown"}')
    (tmp_path / "go.mod").write_text("module example.org/shown\n")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "shown"\nversion = "1.0.0"\n')
    spec = load(ProjectFiles(str(tmp_path)), "envtool.yaml", root=str(tmp_path), registry=discover(), args=())
    assert spec.envs


COMMAND = ".ci/setup --dev && .venv/bin/python -m pytest -q"


def test_the_command_that_tests_is_what_ci_runs():
    assert COMMAND in shown(TOP / "README.md", "sh")[-1]
    assert COMMAND in (TOP / ".ci/run").read_text()


def test_what_contributing_names_is_there():
    page = (TOP / "CONTRIBUTING.md").read_text()
    commands = re.findall(r"`([^`\n]+)`", BLOCK.sub("", page)) + "".join(shown(TOP / "CONTRIBUTING.md", "sh")).split(
        "\n"
    )
    paths = {
        word
        for command in commands
        for word in re.findall(r"(?:^| )((?:tests|docs|envtool|plugins|\.ci)/[\w/.]+)", command)
    }
    assert len(paths) > 8
    assert [path for path in sorted(paths) if not (TOP / path).exists() and "NAME" not in path] == []
    installed = re.findall(
        r"install -qq -y --no-install-recommends (.*?)\\?\n *</dev/null", (TOP / ".ci/run").read_text(), re.DOTALL
    )
    (said,) = re.findall(r"misses one is skipped and says so: (.*?)\. ", page, re.DOTALL)
    packages = {word for words in installed for word in words.replace("\\", " ").split()}
    assert packages <= {*re.findall(r"[a-z][\w-]+", said)}
    assert {"uidmap", "podman"} <= packages


def test_there_are_some():
    assert len(PAGES) > 20
    assert len(SPECS) >= 4
