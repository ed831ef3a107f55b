"""The git directory of a worktree, a submodule or a project below its repository's top: whose it is, and its index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from envtool.project import git
from envtool.run import host_inputs, task_git

WHO = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "protocol.file.allow=always")


def run(where, *words) -> str:
    done = subprocess.run(["git", *WHO, *words], cwd=where, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def places(tmp_path) -> dict[str, Path]:
    """The same commit as a checkout, a worktree of it, a submodule, and as projects below their tops."""
    main = tmp_path / "main"
    (main / "pkg/a").mkdir(parents=True)
    (main / "pkg/a/x").write_text("x\n")
    (main / "top file").write_text("y\n")
    run(main, "init", "-q", "-b", "main", ".")
    run(main, "add", "-A")
    run(main, "commit", "-qm", "one")
    run(main, "tag", "v1")
    run(main, "worktree", "add", "-q", "../tree", "-b", "side")
    run(tmp_path, "init", "-q", "super")
    run(tmp_path / "super", "submodule", "--quiet", "add", str(main), "sub")
    return {
        "checkout": main,
        "worktree": tmp_path / "tree",
        "submodule": tmp_path / "super/sub",
        "below": main / "pkg/a",
        "below a worktree": tmp_path / "tree/pkg/a",
        "below a submodule": tmp_path / "super/sub/pkg/a",
    }


def elsewhere(place) -> bool:
    found = git.find_repository(str(place))
    assert found
    return git.has_external_git(found, os.path.realpath(place))


def test_whose_it_is(places, tmp_path):
    assert {name: elsewhere(place) for name, place in places.items()} == {name: name != "checkout" for name in places}
    run(places["checkout"], "worktree", "move", str(places["worktree"]), str(tmp_path / "moved"))
    assert elsewhere(tmp_path / "moved")


@pytest.mark.parametrize("kind", ["worktree", "submodule"])
def test_a_strangers_file_leads_nowhere(places, tmp_path, kind):
    """It names another's git directory, which does not name it."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    text = (places[kind] / ".git").read_text()
    said = os.path.join(places[kind], text.removeprefix("gitdir: ").strip())
    (stranger / ".git").write_text(f"gitdir: {said}\n")
    assert not elsewhere(stranger)


def test_a_worktrees_directory_of_a_strangers_own_leads_nowhere(places, tmp_path):
    """It names the project, and says that its objects are those of another repository."""
    stranger, own = tmp_path / "stranger", tmp_path / "own"
    stranger.mkdir()
    own.mkdir()
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "gitdir").write_text(f"{stranger}/.git\n")
    (own / "commondir").write_text(f"{places['checkout']}/.git\n")
    (stranger / ".git").write_text(f"gitdir: {own}\n")
    assert not elsewhere(stranger)


@pytest.mark.parametrize("how", ["commondir", "objects", "git"])
def test_a_repository_above_that_is_not_its_own_leads_nowhere(places, tmp_path, how):
    victim = places["checkout"] / ".git"
    above = tmp_path / "above"
    (above / "project").mkdir(parents=True)
    if how == "git":
        os.symlink(victim, above / ".git")
    else:
        run(above, "init", "-q", ".")
        if how == "commondir":
            (above / ".git/commondir").write_text(f"{victim}\n")
        else:
            (above / ".git/objects").rename(tmp_path / "aside")
            os.symlink(victim / "objects", above / ".git/objects")
    assert not elsewhere(above / "project")


def test_a_repository_of_another_user_leads_nowhere(places, monkeypatch):
    state = os.stat

    def other(path, **more):
        found = state(path, **more)
        return SimpleNamespace(st_uid=4711) if str(path).endswith(".git") else found

    assert elsewhere(places["worktree"])
    found = git.find_repository(str(places["worktree"]))
    monkeypatch.setattr(os, "stat", other)
    assert not git.has_external_git(found, str(places["worktree"]))


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("hash", ["sha1", "sha256"])
def test_an_index_takes_all_but_the_project_as_unchanged(tmp_path, version, hash):
    run(tmp_path, "init", "-q", f"--object-format={hash}", ".")
    names = ["a", "pkg/a/x", "pkg/a/y/z", "pkg/ab", "pkg/b/q", "z" * 200, "pkg/a/é"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    run(tmp_path, "add", "-A")
    if version == 3:  # one entry with extended flags is what makes it that
        (tmp_path / "later").write_text("")
        run(tmp_path, "add", "-N", "later")
    run(tmp_path, "update-index", "--index-version", str(version))
    index = tmp_path / ".git/index"
    assert index.read_bytes()[7] == version
    index.write_bytes(task_git.assume_unchanged(index.read_bytes(), b"pkg/a/"))
    listed = run(tmp_path, "ls-files", "-v", "-z").split("\0")[:-1]
    assert {line[2:] for line in listed if line[0] == "H"} == {"pkg/a/x", "pkg/a/y/z", "pkg/a/é"}
    assert len(listed) == len(names) + (version == 3)
    run(tmp_path, "fsck")


def test_an_index_that_is_none_is_refused(tmp_path):
    run(tmp_path, "init", "-q", ".")
    (tmp_path / "a").write_text("a")
    run(tmp_path, "add", "-A")
    whole = (tmp_path / ".git/index").read_bytes()
    for wrong in (whole[:-1] + b"x", whole[:60], whole[:40] + b"x" + whole[41:]):
        with pytest.raises(ValueError, match=r"sum|index"):
            task_git.assume_unchanged(wrong, b"x/")


@pytest.mark.parametrize("name", ["checkout", "worktree", "submodule", "below"])
def test_what_of_git_counts(places, name):
    """Each way to another state is another digest, and what git does to its own files is not."""
    place = places[name]
    top = place.parents[1] if name == "below" else place
    setting = SimpleNamespace(root=str(place), cancel=SimpleNamespace(reader=-1))
    seen = [host_inputs.read_git_history(setting).digest]

    def differs(*words):
        run(top, *words)
        seen.append(host_inputs.read_git_history(setting).digest)
        assert len({*seen}) == len(seen), words
        (top / "top file").touch()
        run(top, "update-index", "-q", "--refresh")
        assert host_inputs.read_git_history(setting).digest == seen[-1], "times in the index"

    differs("tag", "v2")
    differs("commit", "-q", "--allow-empty", "-m", "two")
    differs("commit", "-q", "--allow-empty", "--amend", "-m", "three")
    differs("checkout", "-q", "-b", "other")
    differs("checkout", "-q", "--detach")
    differs("config", "user.name", "b")
    differs("rm", "-q", "--cached", "top file")
    differs("pack-refs", "--all")
    shallow = top / ".git/shallow"
    if shallow.parent.is_dir():
        shallow.write_text(run(top, "rev-parse", "HEAD"))
        assert host_inputs.read_git_history(setting).digest not in seen
