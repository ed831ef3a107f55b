"""Everything that says which files a project has says the same, whatever sort of project it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from envtool.api import Input
from envtool.errors import EnvtoolError
from envtool.project import git, inputs, listing, snapshot, source_files
from envtool.run import fast_exec, fast_list
from tests.unit.project.test_source_files import git as run_git
from tests.unit.project.test_source_files import write

ENVTOOL = Path(listing.__file__).parents[1]


def plain(root: Path) -> None:
    write(root, "a.py", "src/b.py", ".venv/x", "node_modules/y")


def repository(root: Path) -> None:
    run_git(root, "init", "-q")
    write(root, "a.py", "gone.py", "src/b.py", "src/new.py", "x.o", ".envtool/log", "envtool.vendor/deb")
    write(root, ".gitignore", text="*.o\n")
    run_git(root, "add", "a.py", "gone.py", "src/b.py")
    run_git(root, "commit", "-qm", "x")
    (root / "gone.py").unlink()


def links(root: Path) -> None:
    """A directory with tracked files became a link, and links lead to files and directories."""
    repository(root)
    (root / "src").rename(root / "moved")
    (root / "src").symlink_to("moved")
    (root / "to-file").symlink_to("a.py")
    (root / "nowhere").symlink_to("nothing")


def nested(root: Path) -> None:
    """A submodule, an embedded repository, and one in that."""
    repository(root)
    for path in ("emb", "emb/deep"):
        (root / path).mkdir()
        run_git(root / path, "init", "-q")
        write(root / path, "in.py", "in.o")
        write(root / path, ".gitignore", text="*.o\n")
    other = root.parent / "other"
    other.mkdir()
    run_git(other, "init", "-q")
    write(other, "sub.py")
    run_git(other, "add", ".")
    run_git(other, "commit", "-qm", "x")
    run_git(root, "submodule", "add", "-q", str(other), "mod/sub")
    write(root, "mod/sub/untracked.py")


def file_for_directory(root: Path) -> None:
    """What was a directory is a file, and what was a file is a repository."""
    repository(root)
    (root / "src/b.py").unlink()
    (root / "src/new.py").unlink()
    (root / "src").rmdir()
    (root / "src").write_text("x")
    (root / "a.py").unlink()
    (root / "a.py").mkdir()
    run_git(root / "a.py", "init", "-q")
    write(root, "a.py/in")


def odd_names(root: Path) -> None:
    repository(root)
    for name in (b"bad\xff", b"new\nline", "\udbff".encode("utf-8", "surrogatepass"), "ä\U0001f600".encode(), b"-x"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_text("x")
    os.mkfifo(root / "fifo")


def ignored_from_above(root: Path) -> None:
    """A repository above ignores the whole project, so that it is in none."""
    run_git(root.parent, "init", "-q")
    write(root.parent, ".gitignore", text=f"{root.name}/\n")
    plain(root)


def below_a_repository(root: Path) -> None:
    run_git(root.parent, "init", "-q")
    write(root.parent, ".gitignore", text="*.o\n")
    write(root, "a.py", "x.o", "src/b.py")


def unmerged(root: Path) -> None:
    repository(root)
    run_git(root, "checkout", "-qb", "other")
    write(root, "a.py", text="other")
    run_git(root, "commit", "-qam", "y")
    run_git(root, "checkout", "-q", "-")
    write(root, "a.py", text="ours")
    run_git(root, "commit", "-qam", "z")
    with pytest.raises(Exception, match="merge"):
        run_git(root, "merge", "-q", "other")


PROJECTS = [
    plain, repository, links, nested, file_for_directory, odd_names, ignored_from_above, below_a_repository, unmerged,
]  # fmt: skip


@pytest.fixture(params=PROJECTS, ids=lambda make: make.__name__)
def root(request, tmp_path) -> str:
    (tmp_path / "top/project").mkdir(parents=True)
    request.param(tmp_path / "top/project")
    return str(tmp_path / "top/project")


def test_all_readers_agree(root, tmp_path):
    listed = source_files.list_files(root)
    assert "a.py" in listed or "a.py/in" in listed
    assert not [path for path in listed if path.startswith((".envtool", "envtool.vendor", ".venv")) or ".o" in path]
    taken = snapshot.take_snapshot(root, str(tmp_path / "record"))
    assert sorted({os.fsdecode(name) for _, name, _ in listing.counted(taken.names, taken.stats)}) == listed
    assert source_files.ProjectFiles(root).glob("**") == listed
    regular = [path for path in listed if not os.path.islink(f"{root}/{path}") and path != "fifo"]
    assert [item.path for item in inputs.find_inputs(root, [Input(".", keeps=lambda path: path in regular)])] == regular


def test_all_readers_hide_the_same(root):
    repositories = source_files.repositories(root)
    plan = {"repositories": repositories, "project": root, "hidden": (source_files.OWN,)}
    hidden = source_files.list_hidden(root)
    found = fast_exec.list_hidden(plan, fast_exec.start_gits(plan))
    assert {*hidden} - {source_files.VENDOR} == {*found} - {source_files.VENDOR}
    visible = {path for path in source_files.list_files(root) if not path.startswith(".envtool")}
    assert not [path for path in visible for name in hidden if path == name or path.startswith(f"{name}/")]


def test_list_sees_each_name_that_comes_and_goes(root):
    repositories = source_files.repositories(root)
    names = fast_list._list_names(root, repositories)
    assert fast_list._are_known(names, repositories, source_files.ProjectFiles(root))
    assert fast_list._list_names(root, repositories) == names
    write(Path(root), "came.py")
    assert fast_list._list_names(root, repositories) != names


def test_a_listing_that_is_known_is_found_again(root):
    def take(known=None, **more):
        query = listing.start(root, (known.prefixes if known else None) or [b""])
        try:
            return listing.finish(query, known, **more)
        finally:
            query.cancel()

    known = take()
    assert take(known) is known
    assert take(known, only_known=True) is known
    write(Path(root), "came.py")
    assert take(known, only_known=True) is None
    assert {*take(known).names} - {*known.names} == {b"came.py"}


def test_a_repository_that_goes_is_seen_by_all(tmp_path):
    top = tmp_path / "top/project"
    top.mkdir(parents=True)
    nested(top)
    root = str(top)
    repositories = source_files.repositories(root)
    (top / "emb/deep/.git").rename(tmp_path / "moved")
    plan = {"repositories": repositories, "project": root, "hidden": ()}
    with pytest.raises(git.RepositoryError):
        fast_exec.list_hidden(plan, fast_exec.start_gits(plan))
    with pytest.raises(LookupError):
        fast_list._list_names(root, repositories)
    assert len(source_files.repositories(root)) == len(repositories) - 1


def test_a_repository_behind_a_link_is_never_asked(tmp_path):
    """Its directory was exchanged for a link after it was found: git would list files outside of the project."""
    top = tmp_path / "top/project"
    top.mkdir(parents=True)
    nested(top)
    repositories = source_files.list_repositories(str(top))
    (top / "emb").rename(tmp_path / "emb")
    (top / "emb").symlink_to(tmp_path / "emb")
    with pytest.raises(git.RepositoryError):
        git.start_all(str(top), str(top), repositories, git.LISTED)
    plan = {"repositories": [(prefix, "") for prefix, _ in repositories], "project": str(top), "hidden": ()}
    with pytest.raises(git.RepositoryError):
        fast_exec.start_gits(plan)
    assert not [path for path in source_files.list_files(str(top)) if path.startswith("emb/")]
    with pytest.raises(EnvtoolError):
        source_files.start_git_in(repositories[0][1], str(tmp_path / "nothing"), "", git.LISTED)


def test_names_of_a_projects_files_are_listed_in_one_place():
    """git is told how to list them in git.py alone; a walk is begun by the listing, for what it hides, and for inputs
    in a directory that a pattern names."""
    asks, walks = set(), set()
    for path in ENVTOOL.rglob("*.py"):
        text = path.read_text()
        name = str(path.relative_to(ENVTOOL))
        if re.search(r'"ls-files", "-(?:o|c|t", "-s", \*)', text):
            asks.add(name)
        if "walk_files(" in text:
            walks.add(name)
    assert asks == {"project/git.py"}
    assert walks == {
        "project/walk.py", "project/listing.py", "project/source_files.py", "run/fast_exec.py",
    }  # fmt: skip
