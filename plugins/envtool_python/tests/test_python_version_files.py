"""Version files of Python projects: a note where the env has another Python, and never a failure."""

from __future__ import annotations

import pytest
from envtool_python.language import Python
from envtool_python.python_versions import hint

from envtool import api, testing

HERE = api.Where(file="envtool.yaml", line=3, column=5)
NO_SUITE = 'write `toolchain: {python: "3.12"}`, or take a base that has it, such as an image: `base: {image: NAME}`'
PYPROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.9"\n'


def layers(files, suite="bookworm", toolchains=(), **options):
    env = api.EnvDraft(
        name="e", base_kind="debian", base_options=suite, options=options, layer_names=(), where=HERE,
        toolchains=toolchains,
    )  # fmt: skip
    return Python().layers(env, testing.MemoryProject({"pyproject.toml": PYPROJECT, **files}))


def note(files, **more):
    drafts = layers(files, **more)
    assert [draft.options for draft in drafts] == [draft.options for draft in layers({}, **more)], (
        "a note changes no key"
    )
    assert not any(draft.note for draft in drafts[1:])
    return drafts[0].note


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {".python-version": "# ours\n3.13.1\n"},
            ".python-version:2 wants Python 3.13.1, the env has 3.11: `base: {debian: trixie}` has Python 3.13.5",
        ),
        (
            {".python-version": "3.12\n3.11\n"},
            f".python-version:1 wants Python 3.12, the env has 3.11: {NO_SUITE}",
        ),
        (
            {".tool-versions": "nodejs 20\npython 3.9.18\n"},
            ".tool-versions:2 wants Python 3.9.18, the env has 3.11: `base: {debian: bullseye}` has Python 3.9.2",
        ),
    ],
)
def test_another_python_is_noted(files, expected):
    assert note(files) == expected


@pytest.mark.parametrize(
    "text",
    ["3.11", "3.11.9\n", "3", "\ufeff3.11\n", "cpython-3.11", "system", "pypy3.9-7.3.15", "my-env", "3.13t", "", "\n#\n", "\0"],
)  # fmt: skip
def test_what_fits_or_is_no_version_says_nothing(text):
    assert note({".python-version": text}) == ""


def test_files_that_cannot_be_read_say_nothing(monkeypatch):
    read = testing.MemoryProject.read

    def refuse(self, path):
        if path in (".python-version", *api.SHARED_VERSION_FILES):
            raise api.UsageError(f"{path} leads out of the project", code="project-file")
        return read(self, path)

    monkeypatch.setattr(testing.MemoryProject, "read", refuse)
    assert layers({".python-version": "3.13"})[0].note == ""


def test_a_mise_toml_that_is_none_says_nothing():
    assert note({"mise.toml": "python = ["}) == ""


def test_an_env_whose_python_is_not_known_or_pinned_has_no_note():
    assert note({".python-version": "3.13"}, suite="sid") == ""
    assert layers({".python-version": "3.13"}, toolchains=("python",)) == (), (
        "which the toolchain has, and no apt layer"
    )
    drafts = layers({".python-version": "3.13"}, toolchains=("python",), packages=["attrs"])
    assert [draft.note for draft in drafts] == [""]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            'write `toolchain: {python: "3.14"}`, or take a base that has it, such as an image: `base: {image: NAME}`',
        ),
        ({"python": "python3.11"}, "take a base that has it, such as an image: `base: {image: NAME}`"),
    ],
)
def test_a_python_of_no_suite_can_be_a_toolchain(options, expected):
    """But not where the env names an interpreter of its own, before which no toolchain comes."""
    with pytest.raises(api.SpecError) as caught:
        layers({"pyproject.toml": PYPROJECT.replace(">=3.9", ">=3.14")}, **options)
    assert caught.value.problems[0].hint == expected


def test_a_python_that_does_not_exist_is_no_toolchain():
    assert hint(">=4") == "take a base that has it, such as an image: `base: {image: NAME}`"
