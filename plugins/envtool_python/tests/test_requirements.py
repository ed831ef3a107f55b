"""Requirement files, groups and extras become lines for pip."""

from __future__ import annotations

import pytest
from envtool_python.requirements import (
    WrongRequirementError,
    extra,
    flatten,
    group,
    name_of,
    own_extras,
    unique,
)
from hypothesis import given
from hypothesis import strategies as st


def read(files):
    return files.get


def test_nested_files_are_followed_relative_to_the_one_that_names_them():
    files = {
        "requirements/dev.txt": "-r base.txt\n--requirement=more/x.txt\npytest  # why\n",
        "requirements/base.txt": "attrs>=24 ; python_version > '3'\n\n# all\n",
        "requirements/more/x.txt": "click \\\n  >=8\n-c ../limits.txt\n",
        "requirements/limits.txt": "click<9\n",
    }
    lines = flatten(read(files), ["requirements/dev.txt"])
    assert lines.requirements == ("attrs>=24 ; python_version > '3'", "click    >=8", "pytest")
    assert lines.constraints == ("click<9",)
    assert set(lines.files) == set(files)
    assert lines.extras is None


def test_requirements_of_a_constraint_file_are_constraints_also_when_nested():
    files = {"c.txt": "-r d.txt\na<2\n", "d.txt": "b<3\n"}
    assert flatten(read(files), [], ["c.txt"]).constraints == ("b<3", "a<2")


def test_files_that_include_each_other_end():
    files = {"a.txt": "-r b.txt\nx\n", "b.txt": "-r a.txt\ny\n"}
    assert flatten(read(files), ["a.txt"]).requirements == ("y", "x")


@pytest.mark.parametrize(
    "line",
    [
        "-e .[Test,docs]",
        ".[test, docs]",
        "--editable=.[test,docs]",
        "-e file:.[test,docs]",
        "me[test,docs] @ file:.",
        "me [test,docs]@file:./#egg=me",
    ],
)
def test_the_project_itself_gives_extras_and_no_line(line):
    lines = flatten(read({"r.txt": line}), ["r.txt"])
    assert lines.requirements == ()
    assert lines.extras == ("test", "docs")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-r gone.txt", "there is no gone.txt, which r.txt:1 includes"),
        ("-r ../out.txt", "outside of the project"),
        ("-r https://host.invalid/x.txt", "not a file of the project"),
    ],
)
def test_what_cannot_be_pinned_is_named_with_its_place(text, said):
    with pytest.raises(WrongRequirementError) as caught:
        flatten(read({"r.txt": text}), ["r.txt"])
    assert said in str(caught.value)


def test_options_of_pip_stay_lines():
    lines = flatten(read({"r.txt": "--no-binary attrs\nattrs==1 --hash=sha256:00\n"}), ["r.txt"])
    assert lines.requirements == ("--no-binary attrs", "attrs==1 --hash=sha256:00")


def test_groups_include_groups_and_names_are_normal():
    groups = {"Test_All": ["pytest", {"include-group": "typing.x"}], "typing-x": ["mypy", "pytest"]}
    assert group(groups, "test-all") == ("pytest", "mypy")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"a": [{"include-group": "b"}], "b": [{"include-group": "a"}]}, "include each other: a -> b -> a"),
        ({"b": []}, "there is no dependency group `a`"),
        ({"a": "x"}, "is not a list"),
        ({"a": [3]}, "neither text nor include-group"),
    ],
)
def test_wrong_groups_are_refused(groups, said):
    with pytest.raises(WrongRequirementError, match=said):
        group(groups, "a")


def test_extras_that_name_the_project_are_expanded_and_cycles_end():
    extras = {"all": ["me[test,docs]"], "test": ["pytest", "Me[all]"], "docs": ["sphinx"]}
    assert extra("me", extras, "all") == ["pytest", "sphinx"]
    assert own_extras("me", extras, ["click", "me"]) == ["click"]
    with pytest.raises(WrongRequirementError, match="there is no extra `nope`"):
        extra("me", extras, "nope")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Foo.Bar_baz>=1", "foo-bar-baz"),
        ("pytest", "pytest"),
        ("pytest [x] ; python_version>'3'", "pytest"),
        ("a@https://host.invalid/a.whl", "a"),
        ("--no-binary x", ""),
        ("https://host.invalid/a.whl", ""),
    ],
)
def test_names(line, name):
    assert name_of(line) == name


@given(st.lists(st.sampled_from(["a", "b>1", "c[x]", "# z", "", "d \\"])))
def test_flattening_its_own_answer_changes_nothing(raw):
    once = flatten(read({"r": "\n".join(raw)}), ["r"]).requirements
    assert flatten(read({"r": "\n".join(once)}), ["r"]).requirements == once
    assert unique(once) == once
