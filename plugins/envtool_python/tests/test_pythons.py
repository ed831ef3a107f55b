"""The Python that a project wants, against the one that the base has."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from envtool_python import python_versions
from envtool_python.language import Python
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envtool import api
from envtool.testing import MemoryProject

FILES = {
    "pyproject.toml": '[project]\nname = "me"\nversion = "1"\nrequires-python = "{}"\n[build-system]\nrequires = []\n',
    "Poetry": '[tool.poetry]\nname = "me"\nversion = "1"\n[tool.poetry.dependencies]\npython = "{}"\n',
    "setup.cfg": "[metadata]\nname = me\n[options]\npython_requires = {}\n",
    "setup.py": "setup(\n  name='me',\n  python_requires='{}',\n)\n",
}


def layers(text, base="debian", options="bookworm", file="pyproject.toml", **more):
    where = api.Where(file="envtool.yaml", line=1, column=1)
    env = api.EnvDraft(
        name="unit", base_kind=base, base_options=options, options=more, layer_names=(), where=where, directory="sub"
    )
    return Python().layers(env, MemoryProject({file: text}))


RELEASES = st.lists(st.integers(0, 14), min_size=1, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))


@given(RELEASES, RELEASES, st.sampled_from(["", " ", ",", ".*", "a1"]))
def test_the_lowest_version_is_compared_as_packaging_does(lowest, version, end):
    specifier = f">={lowest}{end}"
    try:
        expected = SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        expected = True
    assert python_versions.fits(specifier, version) is expected


@pytest.mark.parametrize(
    ("name", "specifier", "line"),
    [("pyproject.toml", ">=3.13", 4), ("Poetry", "^3.13", 5), ("setup.cfg", ">=3.13", 4), ("setup.py", ">=3.13", 3)],
)
def test_another_python_is_said_when_planned(name, specifier, line):
    file = "pyproject.toml" if name == "Poetry" else name
    with pytest.raises(api.SpecError) as caught:
        layers(FILES[name].format(specifier), file=file)
    (problem,) = caught.value.problems
    assert (problem.where.file, problem.where.line, problem.code) == (f"sub/{file}", line, "python-version")
    assert "the project wants Python >=3.13" in problem.message
    assert "base bookworm has 3.11" in problem.message
    assert "`base: {debian: trixie}` has Python 3.13" in problem.hint


@pytest.mark.parametrize(
    ("specifier", "more", "fits"),
    [
        (">=3.8", {}, True), (">=3.11.9", {}, True), ("~=3.11.0", {}, True), ("<3.11", {}, False), ("!=3.11.*", {}, False),
        (">=3.13", {"options": {"suite": "trixie"}}, True), (">=3.13", {"options": "noble"}, False),
        (">=3.13", {"options": "unstable"}, True), (">=3.13", {"python": "python3.13"}, True),
        (">=3.13", {"python": "python3.12"}, False), (">=3.13", {"base": "image", "options": "python:3.9"}, True),
        ("nonsense", {}, True),
    ],
)  # fmt: skip
def test_only_what_is_known_is_refused(specifier, more, fits):
    text = FILES["pyproject.toml"].format(specifier)
    if fits:
        layers(text, **more)
    else:
        with pytest.raises(api.SpecError, match="1 error"):
            layers(text, **more)


def test_the_hosts_python_is_known_by_its_name(monkeypatch, tmp_path):
    (tmp_path / "python3.10").write_text("")
    (tmp_path / "python3.10").chmod(0o755)
    (tmp_path / "python3").symlink_to("python3.10")
    monkeypatch.setattr(python_versions, "HOST_PATH", str(tmp_path))
    with pytest.raises(api.SpecError) as caught:
        layers(FILES["pyproject.toml"].format(">=3.12"), base="host", options={})
    assert "base host has 3.10" in caught.value.problems[0].message
    (tmp_path / "python3").unlink()
    layers(FILES["pyproject.toml"].format(">=3.12"), base="host", options={})


def test_a_hint_is_given_where_no_suite_has_it():
    assert "bullseye" in python_versions.hint(">=3.8")
    assert "image" in python_versions.hint(">=3.99")


@pytest.mark.parametrize(
    ("specifier", "base"),
    [
        (">=3.11.5", "trixie"), ("~=3.11.2", "bookworm"), ("~=3.11.5", "image"), (">=3.9.3,<3.12", "bookworm"),
        (">3.13.5,<3.14", "image"), ("==3.9.*", "bullseye"), ("!=3.9.2,<4", "bookworm"),
    ],
)  # fmt: skip
def test_the_base_that_is_named_has_the_patch_version(specifier, base):
    assert f" {base}" in python_versions.hint(specifier) or f"{{{base}:" in python_versions.hint(specifier)


class CountingProject(MemoryProject):
    """Counts how often each file is read."""

    def __init__(self, files):
        super().__init__(files)
        self.reads = Counter()

    def read_bytes(self, path):
        self.reads[path] += 1
        return super().read_bytes(path)


def test_envs_on_other_bases_read_each_file_once():
    """Two envs of one spec have other layers, by what is read once; another project is read by itself."""
    texts = {"pyproject.toml": FILES["pyproject.toml"].format(">=3.11"), "a/pyproject.toml": '[project]\nname = "a"\n'}
    language, first, second = Python(), CountingProject(texts), CountingProject({"setup.py": "setup(name='other')"})
    where = api.Where(file="envtool.yaml", line=1, column=1)
    env = api.EnvDraft(
        name="unit", base_kind="debian", base_options="bookworm", directory=".", options={"packages": ["b"]},
        layer_names=(), where=where,
    )  # fmt: skip
    at_first = language.layers(env, first)
    assert language.layers(replace(env, base_options="trixie"), first) == at_first
    assert first.reads["pyproject.toml"] == first.reads["a/pyproject.toml"] == 1
    of_second = language.layers(env, second)
    assert second.reads["setup.py"] == 1
    assert of_second == Python().layers(env, second) != at_first
