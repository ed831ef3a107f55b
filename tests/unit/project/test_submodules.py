"""Submodules that are not checked out."""

import os

import pytest

from envtool.project.submodules import find_absent
from envtool.run.task import describe_submodules

ONE = '[submodule "vendor/a"]\n\tpath = vendor/a\n\turl = ../a.git\n'


@pytest.fixture
def project(tmp_path):
    (tmp_path / "vendor/a").mkdir(parents=True)
    (tmp_path / ".gitmodules").write_text(ONE)
    return tmp_path


def test_an_empty_directory_is_one(project):
    assert find_absent(str(project)) == ("vendor/a",)


def test_one_that_is_checked_out_is_none(project):
    (project / "vendor/a/file").write_text("")
    assert find_absent(str(project)) == ()


def test_a_directory_that_is_missing_is_none(project):  # an archive of a release leaves them out on purpose
    os.rmdir(project / "vendor/a")
    assert find_absent(str(project)) == ()


def test_names_in_quotes_and_names_of_many(project):
    (project / "b c").mkdir()
    (project / ".gitmodules").write_text(ONE + '[submodule "b"]\n path="b c"\r\n')
    assert find_absent(str(project)) == ("vendor/a", "b c")


@pytest.mark.parametrize("path", ["..", "../outside", "/tmp", "link", "link/below", "a\0b", "x" * 300, ""])
def test_nothing_outside_is_looked_at(project, tmp_path_factory, path):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "below").mkdir()
    (project / "link").symlink_to(outside)
    (project / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = {path}\n')
    assert find_absent(str(project)) == ()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_a_file_that_is_none_is_not_read(project, make):
    os.unlink(project / ".gitmodules")
    make(project / ".gitmodules")
    assert find_absent(str(project)) == ()


@pytest.mark.parametrize(
    ("is_checkout", "advice"),
    [
        (True, "not checked out: `git submodule update --init`"),
        (False, "empty here: a git checkout of it would have the files"),
    ],
)
def test_what_a_failed_task_says_of_them(project, is_checkout, advice):
    if is_checkout:
        (project / ".git").mkdir()
    assert describe_submodules(str(project)) == [f"the submodule `vendor/a` of this project is {advice}"]
