"""What a git directory says is believed only where its own files say it, and only one that is the project's is asked.

Whoever wrote the checkout may not read what we may: commits, tags and names come into evidence, keys and containers.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from envtool.errors import EnvtoolError
from envtool.project import git, refs, source_files
from envtool.run import provenance
from tests.load import allowed

OTHER = 4711
SECRET = "5ec2e7" * 10 + "5ec2"  # a token of 64 digits looks like a commit
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


def run(directory, *words):
    environ = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }  # fmt: skip
    words = ("git", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", *words)
    return subprocess.run(words, cwd=directory, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def repository(path, *tags):
    path.mkdir(parents=True, exist_ok=True)
    run(path, "init", "-q")
    (path / "file").write_text(path.name)
    run(path, "add", "file")
    run(path, "commit", "-q", "-m", "x")
    for tag in tags:
        run(path, "tag", tag)
    return path


def give(path, owner=OTHER):
    for each in (path, *path.rglob("*")):
        os.chown(each, owner, owner, follow_symlinks=False)


@pytest.fixture
def root(tmp_path):
    return repository(tmp_path / "checkout", "v1")


@pytest.fixture
def private(tmp_path):
    """A repository that its owner alone may read, with a file of a token in it."""
    path = repository(tmp_path / "private", "secret-tag")
    (path / "token").write_text(SECRET)
    (path / ".git/refs/tags/token").write_text(SECRET)
    path.chmod(0o700)
    return path


def known(root):
    """All that is told of a repository."""
    try:
        return f"{provenance.describe_commit(str(root))} {source_files.list_tags(str(root))}"
    except EnvtoolError as error:
        return error.message


PLACES = {
    "HEAD": ".git/HEAD", "a branch": ".git/refs/heads/main", "packed-refs": ".git/packed-refs", "a tag": ".git/refs/tags/v1",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_is_a_link_says_nothing(place, root, private):
    if place == "packed-refs":
        run(root, "pack-refs", "--all")
    (root / PLACES[place]).unlink()
    target = private / "token" if place != "packed-refs" else private / "packed"
    (private / "packed").write_text(f"{SECRET} refs/heads/main\n{SECRET} refs/tags/secret-tag\n")
    (root / PLACES[place]).symlink_to(target)
    assert SECRET not in known(root)
    assert "secret-tag" not in known(root)
    before = source_files.git_history_digest(str(root))
    target.write_text(target.read_text().replace("5", "6"))
    assert source_files.git_history_digest(str(root)) == before


@pytest.mark.parametrize("place", ["refs", "refs/tags", "refs/heads"])
def test_a_directory_that_is_a_link_says_nothing(place, root, private):
    (root / ".git" / place).rename(root / ".git/away")
    (root / ".git" / place).symlink_to(private / ".git" / place)
    there = run(private, "rev-parse", "HEAD")
    assert there not in known(root)
    assert SECRET not in known(root)
    assert "token" not in known(root)


def test_a_head_that_is_a_link_to_a_branch_is_as_git_wrote_it_once(root):
    (root / ".git/HEAD").unlink()
    (root / ".git/HEAD").symlink_to("refs/heads/main")
    assert provenance.describe_commit(str(root)) == run(root, "rev-parse", "refs/heads/main")


WAYS = {
    "a file": lambda root, private: (root / ".git").write_text(f"gitdir: {private}/.git\n"),
    "a relative file": lambda root, private: (root / ".git").write_text("gitdir: ../private/.git\n"),
    "a link": lambda root, private: (root / ".git").symlink_to(private / ".git"),
    "a file to a link": lambda root, private: ((root / "l").symlink_to(private / ".git"), (root / ".git").write_text("gitdir: l\n")),
    "commondir": lambda root, private: ((root / ".git").mkdir(), (root / ".git/HEAD").write_text("ref: refs/heads/main\n"),
                                        (root / ".git/commondir").write_text(f"{private}/.git\n")),
    "a file to commondir": lambda root, private: ((root / "g").mkdir(), (root / "g/HEAD").write_text("ref: refs/heads/main\n"),
                                                  (root / "g/commondir").write_text(f"{private}/.git\n"), (root / ".git").write_text("gitdir: g\n")),
    "a worktree of its own making": lambda root, private: (
        (root / "g/worktrees/w").mkdir(parents=True), (root / "g/worktrees/w/HEAD").write_text("ref: refs/heads/main\n"),
        (root / "g/worktrees/w/commondir").write_text(f"{private}/.git\n"), (root / "g/worktrees/w/gitdir").write_text(f"{root}/.git\n"),
        (root / ".git").write_text("gitdir: g/worktrees/w\n")),
}  # fmt: skip


@needs_root
@pytest.mark.parametrize("way", WAYS)
def test_a_repository_of_somebody_elses_is_not_asked(way, private, tmp_path):
    """Root's own, which root would read: the checkout is not root's."""
    root = tmp_path / "checkout"
    root.mkdir()
    WAYS[way](root, private)
    give(root)
    there = run(private, "rev-parse", "HEAD")
    for told in (known(root), *failures(root)):
        assert there not in told
        assert "secret-tag" not in told
    with pytest.raises(git.RepositoryError, match=r"which belongs to user 0 and not to the project's owner \(4711\)"):
        git.find_repository(str(root))
    give(root, 0)  # who owns both has no secrets from himself
    assert there in known(root)


def failures(root):
    for ask in (source_files.list_files, source_files.git_history_digest):
        with pytest.raises(EnvtoolError) as caught:
            ask(str(root))
        yield caught.value.message


@needs_root
def test_a_worktree_and_a_submodule_that_root_made_name_the_project(tmp_path):
    """Then it is told, whoever owns the work tree now."""
    main, inner = repository(tmp_path / "main"), repository(tmp_path / "inner")
    run(main, "worktree", "add", "-q", str(tmp_path / "tree"))
    run(main, "submodule", "--quiet", "add", str(inner), "sub")
    run(main, "commit", "-q", "-m", "sub")
    for path in (tmp_path / "tree", main / "sub"):
        give(path)
        assert provenance.describe_commit(str(path)) == run(path, "rev-parse", "HEAD")
    (tmp_path / "tree").rename(tmp_path / "moved")
    assert "does not say that this is its work tree" in known(tmp_path / "moved")


def test_a_worktree_that_was_moved_is_its_owners(tmp_path):
    main = repository(tmp_path / "main")
    run(main, "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "tree").rename(tmp_path / "moved")
    assert provenance.describe_commit(str(tmp_path / "moved")).startswith(run(main, "rev-parse", "HEAD"))
    apart = tmp_path / "apart"
    run(tmp_path, "clone", "-q", "--separate-git-dir", str(apart), str(main), "cloned")
    assert provenance.describe_commit(str(tmp_path / "cloned")) == run(main, "rev-parse", "HEAD")


@needs_root
@pytest.mark.parametrize("way", ["a file", "a link"])
def test_what_stands_above_is_not_anybodys(way, private, tmp_path):
    """In a directory such as /tmp: a `.git` of another user, that leads to a repository of ours."""
    top = tmp_path / "common"
    (top / "project").mkdir(parents=True)
    top.chmod(0o1777)
    WAYS[way](top, private)
    os.chown(top / ".git", OTHER, OTHER, follow_symlinks=False)
    assert git.find_repository(str(top / "project")) is None
    assert run(private, "rev-parse", "HEAD") not in known(top / "project")


def test_a_directory_that_is_swapped_is_an_error(root, private):
    found = git.find_repository(str(root))
    (root / ".git").rename(root / "away")
    (root / ".git").symlink_to(private / ".git")
    assert refs.head_commit(found) == ""
    assert refs.read_tags(found) == []
    with pytest.raises(git.RepositoryError):
        git.start_git(found, str(root), git.LISTED)
    (root / ".git").unlink()
    run(root, "init", "-q")
    with pytest.raises(git.RepositoryError, match=r"another directory than a moment ago"):
        refs.head_commit(found)
    with pytest.raises(git.RepositoryError):
        git.start_git(found, str(root), git.LISTED)


@needs_root
@pytest.mark.e2e
def test_evidence_says_nothing_of_a_file_that_the_owner_may_not_read(place):
    if place.caller.mode != "root":
        pytest.skip("root, in another user's checkout")
    run(place.project, "init", "-q")
    place.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    run(place.project, "add", "-A")
    run(place.project, "commit", "-q", "-m", "x")
    secret = place.write("secret", SECRET, at=place.top, mode=0o600)
    (place.project / ".git/HEAD").unlink()
    (place.project / ".git/HEAD").symlink_to(secret)
    give(place.project)
    done = place.envtool("test", "--again")
    assert done.status == 0, done.said
    for path in Path(place.project).rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path


# ---- submodules ------------------------------------------------------------------------------------------------------


def test_submodules_through_links_are_not_asked(tmp_path):
    """Thirty small repositories, each with two links to the next as submodules: 2^30 questions."""
    top, below = tmp_path / "top", ""
    for number in range(30, -1, -1):
        here = top / f".l{number}" if number else top
        here.mkdir(parents=True, exist_ok=True)
        run(here, "init", "-q")
        (here / "f").write_text("x")
        (here / ".gitignore").write_text(".l*\n")
        run(here, "add", "f", ".gitignore")
        for name in "ab" if below else "":
            run(here, "update-index", "--add", "--cacheinfo", f"160000,{below},{name}")
            (here / name).symlink_to(top / f".l{number + 1}")
        run(here, "commit", "-q", "-m", "x")
        below = run(here, "rev-parse", "HEAD")
    began = time.monotonic()
    assert provenance.describe_commit(str(top)) == f"{below}-dirty"
    assert time.monotonic() - began < allowed(10)


def test_each_repository_is_asked_once(root):
    """Two work trees that say to be of the same one: what they are cannot be told."""
    there = run(root, "rev-parse", "HEAD")
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / ".git").write_text("gitdir: ../.git\n")
        run(root, "update-index", "--add", "--cacheinfo", f"160000,{there},{name}")
    run(root, "commit", "-q", "-m", "x")
    assert provenance.describe_commit(str(root)).endswith("-dirty")


def test_submodules_are_compared(tmp_path):
    inner, top = repository(tmp_path / "inner"), repository(tmp_path / "top")
    for name in ("one", "deep/two"):
        run(top, "submodule", "--quiet", "add", str(inner), name)
    run(top, "commit", "-q", "-m", "x")
    there = run(top, "rev-parse", "HEAD")
    assert provenance.describe_commit(str(top)) == there
    (top / "deep/two/file").write_text("other")
    assert provenance.describe_commit(str(top)) == f"{there}-dirty"
    shutil.rmtree(top / "deep/two")
    assert provenance.describe_commit(str(top)) == there  # not checked out


def test_comparing_has_one_limit(tmp_path, monkeypatch):
    inner, top = repository(tmp_path / "inner"), repository(tmp_path / "top")
    run(top, "submodule", "--quiet", "add", str(inner), "sub")
    run(top, "commit", "-q", "-m", "x")
    moments = iter(range(0, 10_000, 20))
    monkeypatch.setattr(provenance, "time", SimpleNamespace(monotonic=lambda: float(next(moments))))
    assert provenance.describe_commit(str(top)).endswith("-dirty")
    assert next(moments) < 200  # as many questions as there was time for
