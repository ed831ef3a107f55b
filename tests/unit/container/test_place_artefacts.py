"""Artefacts in a project: what is removed, what is put there, and what a stranger's names and links can do."""

from __future__ import annotations

import os
import stat

import pytest

from envtool.container.place_artefacts import place_artefacts


@pytest.fixture
def trees(tmp_path, monkeypatch):
    project, source = tmp_path / "project", tmp_path / "source"
    project.mkdir()
    source.mkdir()
    monkeypatch.chdir(tmp_path)  # the step leaves its directory
    return project, source


def fill(top, files):
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


def listing(top):
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def test_what_matches_is_replaced_and_nothing_else(trees):
    project, source = trees
    fill(project, {"dist/old.whl": "old", "dist/notes": "kept", "dist/sub/old.whl": "kept", "src/a": "kept"})
    fill(source, {"dist/new.whl": "new", "dist/deep/er/file": "deep"})
    (source / "dist" / "link").symlink_to("new.whl")
    (source / "dist" / "new.whl").chmod(0o750)
    os.utime(source / "dist" / "new.whl", ns=(1, 2_000_000_003))
    place_artefacts(str(project), ["dist/*.whl"], [str(source)])
    assert listing(project) == [
        "dist", "dist/deep", "dist/deep/er", "dist/deep/er/file", "dist/link", "dist/new.whl", "dist/notes",
        "dist/sub", "dist/sub/old.whl", "src", "src/a",
    ]  # fmt: skip
    info = (project / "dist" / "new.whl").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime_ns) == (0o750, 2_000_000_003)
    assert os.readlink(project / "dist" / "link") == "new.whl"
    assert (source / "dist" / "new.whl").read_text() == "new"


def test_several_needs_and_whole_directories(trees, tmp_path):
    project, source = trees
    other = tmp_path / "other"
    other.mkdir()
    fill(project, {"a/b/c": "gone", "a/d": "gone", "e": "gone"})
    fill(source, {"a/new": "1"})
    fill(other, {"a/second": "2"})
    place_artefacts(str(project), ["a", "e"], [str(source), str(other)])
    assert listing(project) == ["a", "a/new", "a/second"]


def test_links_in_the_project_lead_nowhere(trees, tmp_path):
    project, source = trees
    outside = tmp_path / "outside"
    fill(outside, {"kept": "kept"})
    (project / "dist").symlink_to(outside)
    fill(source, {"dist/file": "new"})
    place_artefacts(str(project), ["dist/**"], [str(source)])
    assert listing(outside) == ["kept"]
    assert not (project / "dist").is_symlink()
    assert (project / "dist" / "file").read_text() == "new"


def test_a_file_in_place_of_a_directory_and_the_reverse(trees):
    project, source = trees
    fill(project, {"one": "a file", "two/three": "a directory"})
    fill(source, {"one/inner": "1", "two": "2"})
    place_artefacts(str(project), [], [str(source)])
    assert listing(project) == ["one", "one/inner", "two"]


def test_patterns_that_leave_the_project_remove_nothing(trees, tmp_path):
    project, source = trees
    fill(tmp_path, {"victim": "kept"})
    place_artefacts(str(project), ["../victim", "..", "/victim", "."], [str(source)])
    assert (tmp_path / "victim").read_text() == "kept"


def test_git_stays(trees):
    project, source = trees
    fill(project, {".git/HEAD": "ref", "file": "gone", "sub/.git/HEAD": "ref"})
    place_artefacts(str(project), ["*", "**"], [str(source)])
    assert listing(project) == [".git", ".git/HEAD", "sub", "sub/.git", "sub/.git/HEAD"]


def test_what_cannot_be_replaced_is_an_error(trees):
    project, _ = trees
    with pytest.raises(FileNotFoundError):
        place_artefacts(str(project), [], ["/nothing/there"])
