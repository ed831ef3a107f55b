from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from envtool.errors import UsageError
from envtool.project import inputs, source_files
from tests import project_inputs


def git(where, *words):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *words], cwd=where, check=True, capture_output=True, env=clean)


def write(root, *paths, text="x"):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_files_around_a_project_are_those_of_its_repository_near_it(tmp_path):
    top = tmp_path / "top"
    for path in ("a/x", "b/x", "b/c/x", "deep/one/two/x", "lib/pa/x", ".hidden/x", "x"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    (tmp_path / "x").write_text("outside of the repository")
    (top / "link").symlink_to("/etc")
    (top / "b/link").mkdir()
    (top / "b/link/x").symlink_to("../x")
    files = source_files.ProjectFiles(str(top / "b"))
    assert files.around("x") == {}, "no repository"
    git(top, "init", "-q")
    assert files.around("x") == {"../x": b"x", "../a/x": b"a/x", "../lib/pa/x": b"lib/pa/x"}
    assert str(top / "lib/pa/x") in {seen.path for seen in files.seen()}
    assert source_files.ProjectFiles(str(top / "b/c")).around("x").keys() == {
        "../x",
        "../../x",
        "../../a/x",
        "../../lib/pa/x",
    }
    assert source_files.ProjectFiles(str(top)).around("x") == {}


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    (root / ".gitignore").write_text("node_modules/\n*.log\n")
    write(root, "a.py", "src/b.py", "src/c d\n.py", "node_modules/x/y", "debug.log", ".envtool/last/log", "new.py")
    git(root, "add", "a.py", "src", ".gitignore")
    git(root, "commit", "-qm", "x")
    return root


def test_listed_and_hidden(repository):
    assert source_files.list_files(str(repository)) == [".gitignore", "a.py", "new.py", "src/b.py", "src/c d\n.py"]
    assert source_files.list_hidden(str(repository)) == (".envtool", "debug.log", "node_modules")
    (repository / "a.py").unlink()
    assert "a.py" not in source_files.list_files(str(repository))


def test_a_project_below_the_repository(repository):
    write(repository, "package/e.py", "package/e.log", "package/node_modules/z")
    assert source_files.list_files(str(repository / "package")) == ["e.py"]
    assert source_files.list_hidden(str(repository / "package")) == (".envtool", "e.log", "node_modules")


def test_submodules_embedded_repositories_and_worktrees(repository, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    write(inner, "in.py")
    (inner / ".gitignore").write_text("*.o\n")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    git(repository, "submodule", "add", "-q", str(inner), "sub/module")
    git(repository, "clone", "-q", str(inner), "embedded")
    write(repository, "sub/module/in.o", "embedded/in.o", "embedded/free.py")
    names = source_files.list_files(str(repository))
    assert {"sub/module/in.py", "embedded/in.py", "embedded/free.py"} <= set(names)
    assert not [name for name in names if name.endswith(".o")]
    assert {"sub/module/in.o", "embedded/in.o"} <= set(source_files.list_hidden(str(repository)))
    git(repository, "commit", "-qm", "sub")
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", str(tree))
    write(tree, "w.log")
    assert source_files.list_hidden(str(tree)) == (".envtool", "w.log")
    assert "a.py" in source_files.list_files(str(tree))


def test_no_repository(tmp_path):
    write(tmp_path, "a", "b/c", ".envtool/x")
    assert source_files.list_files(str(tmp_path)) == ["a", "b/c"]
    assert source_files.list_hidden(str(tmp_path)) == (".envtool",)


def test_no_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_files.list_hidden(str(repository)) == (".envtool", "node_modules")
    assert "debug.log" in source_files.list_files(str(repository))


def test_the_callers_git_variables_do_not_matter(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert "a.py" in source_files.list_files(str(repository))


def test_hooks_of_the_checkout_are_not_run(repository, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(hook))
    source_files.list_files(str(repository))
    source_files.list_hidden(str(repository))
    assert not (tmp_path / "ran").exists()


def test_a_checkout_of_another_user(repository):
    if os.geteuid():
        pytest.skip("giving files away needs root")
    for top, directories, files in os.walk(repository):
        for name in (*directories, *files, "."):
            os.lchown(os.path.join(top, name), 4711, 4711)
    assert source_files.list_hidden(str(repository)) == (".envtool", "debug.log", "node_modules")


def test_inputs(repository):
    (repository / "src" / "run.sh").write_text("x")
    (repository / "src" / "run.sh").chmod(0o755)
    os.symlink("b.py", repository / "src" / "link")
    found = {item.path: item for item in project_inputs.find(str(repository), ["src/", "debug.log", "./*.py"])}
    assert list(found) == ["a.py", "debug.log", "new.py", "src/b.py", "src/c d\n.py", "src/link", "src/run.sh"]
    assert found["a.py"].sha256 == hashlib.sha256(b"x").hexdigest()
    assert found["src/run.sh"].executable
    assert not found["a.py"].executable
    assert found["src/link"].link == "b.py"
    assert found["src/link"].sha256 == found["src/b.py"].sha256
    assert [item.path for item in project_inputs.find(str(repository), ["**/b.py"])] == ["src/b.py"]
    assert len(project_inputs.find(str(repository), ["."])) == 7


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("../x", "input-outside"),
        ("/etc/passwd", "input-outside"),
        ("src/../../x", "input-outside"),
        ("out/passwd", "input-outside"),
        ("nothing", "input-missing"),
        ("*.rs", "input-missing"),
        ("node_modules", "input-missing"),
        ("pipe", "input-kind"),
    ],
)
def test_wrong_inputs(repository, pattern, code):
    os.symlink("/etc", repository / "out")
    os.mkfifo(repository / "pipe")
    with pytest.raises(UsageError) as caught:
        project_inputs.find(str(repository), [pattern])
    assert caught.value.code == code
    assert pattern in caught.value.message


@pytest.mark.parametrize("pattern", [".git", ".git/", ".git/refs", "sub/.git", ".git/*"])
def test_what_is_gits_own_is_no_input_and_is_named(repository, pattern):
    (repository / "sub/.git").mkdir(parents=True)
    with pytest.raises(UsageError, match="a directory of git's own is no part of a layer") as caught:
        project_inputs.find(str(repository), [pattern])
    assert caught.value.code == "input-missing"
    assert "ignores" not in caught.value.hint


def test_stage_copies_what_was_hashed(repository, tmp_path):
    os.symlink("b.py", repository / "src" / "link")
    (repository / "src" / "b.py").chmod(0o700)
    items = project_inputs.find(str(repository), ["src"])
    old = os.umask(0o077)
    try:
        (tmp_path / "one").mkdir()
        inputs.stage_inputs(str(repository), items, str(tmp_path / "one"))
    finally:
        os.umask(old)
    assert sorted(os.listdir(tmp_path / "one" / "src")) == ["b.py", "c d\n.py", "link"]
    assert (tmp_path / "one" / "src").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "one/src/b.py").stat().st_mode & 0o777 == 0o755
    (repository / "src" / "b.py").write_text("changed")
    (tmp_path / "two").mkdir()
    with pytest.raises(UsageError) as caught:
        inputs.stage_inputs(str(repository), items, str(tmp_path / "two"))
    assert caught.value.code == "input-changed"


def test_a_text_has_no_byte_order_mark_and_ends_its_lines_in_one_way(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffä\r\nb\rc\n".encode())
    files = source_files.ProjectFiles(str(tmp_path))
    assert files.read("a") == "ä\nb\nc\n"
    assert files.read_bytes("a") == (tmp_path / "a").read_bytes()


def test_files_remember_what_was_looked_at(repository):
    files = source_files.ProjectFiles(str(repository))
    assert files.read("a.py") == "x"
    assert files.read("setup.cfg") is None
    assert files.glob("**/*.py") == ["a.py", "new.py", "src/b.py", "src/c d\n.py"]
    assert files.glob("*.log") == []
    seen = files.seen()
    assert all(source_files.stat_signature(item.path) == item.state for item in seen)

    def stale():
        return {
            os.path.relpath(item.path, repository)
            for item in seen
            if source_files.stat_signature(item.path) != item.state
        }

    write(repository, "setup.cfg")
    assert "setup.cfg" in stale()
    write(repository, "src/later.py")
    assert "src" in stale()
    (repository / ".gitignore").write_text("")
    assert ".gitignore" in stale()
    with pytest.raises(UsageError):
        files.read("../x")


def test_optional_inputs_count_where_they_are(repository):
    found = project_inputs.find(
        str(repository), ["src/b.py"], optional=["src/b.py", "none.txt", "no/", "*.nothing", "debug.log"]
    )
    assert [item.path for item in found] == ["debug.log", "src/b.py"]
    with pytest.raises(UsageError):
        project_inputs.find(str(repository), [], optional=["../x"])


def test_named_inputs_count_by_their_names(repository, tmp_path_factory):
    found = project_inputs.find(str(repository), ["src/b.py"], named=["src/*.py", "none.txt"])
    by_name = [item.path for item in found if not item.content]
    assert by_name
    assert "src/b.py" not in by_name
    place = tmp_path_factory.mktemp("stage")
    (repository / by_name[0]).write_text("edited meanwhile")
    assert project_inputs.find(str(repository), ["src/b.py"], named=["src/*.py"]) == found
    inputs.stage_inputs(str(repository), found, str(place))
    assert (place / by_name[0]).read_bytes() == b""
    assert (place / "src/b.py").read_bytes() == (repository / "src/b.py").read_bytes()


def test_asked_inputs_are_for_resolving_alone(repository):
    found = project_inputs.find(
        str(repository), ["src/b.py"], named=["src/*.py"], asked=["src/*.py", "none.txt", "debug.log"]
    )
    built = {item.path: item.built for item in found}
    assert built["src/b.py"]
    assert not built["debug.log"]
    assert all(item.content for item in found if not item.built)
    assert all(built[path] for path in built if path.startswith("src/"))


def test_the_tag_that_describe_names_is_reachable_and_the_nearest(repository, tmp_path):
    def described(*names, at=repository):
        return source_files.nearest_tag(str(at), "", names)

    git(repository, "tag", "v1.0")
    git(repository, "commit", "-qm", "y", "--allow-empty")
    git(repository, "tag", "-am", "said", "v1.1")
    git(repository, "tag", "other-9.0")
    assert described("v1.0", "v1.1") == "v1.1"
    assert described("v1.0", "other-9.0") == "other-9.0"
    assert described("v1.0") == "v1.0"
    assert described("no-such-tag") == described() == ""
    git(repository, "checkout", "-qb", "maintenance", "v1.0")
    assert described("v1.0", "v1.1") == "v1.0"  # higher versions are on another branch
    assert described("v1.1") == ""
    git(repository, "pack-refs", "--all")
    assert described("v1.0", "v1.1") == "v1.0"
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "v1.1")
    assert described("v1.0", "v1.1", at=tmp_path / "tree") == "v1.1"
    write(repository, "deep/er/a.py")
    assert source_files.nearest_tag(str(repository), "deep/er", ["v1.0"]) == "v1.0"
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=v1.1", f"file://{repository}", "shallow")
    assert described("v1.0", "v1.1", at=tmp_path / "shallow") == "v1.1"
    assert described("v1.0", at=tmp_path / "shallow") == ""


def test_a_tag_that_leads_nowhere_is_none(repository):
    refs = repository / ".git/refs/tags"
    (refs / "v9.0").write_text("0" * 39 + "1\n")
    (refs / "v8.0").write_text("../../../etc/passwd\n")
    (refs / "v7.0..x").write_text("0" * 40 + "\n")
    git(repository, "tag", "v1.0")
    assert source_files.nearest_tag(str(repository), "", ["v9.0", "v8.0", "v7.0..x", "v1.0"]) == "v1.0"
    (repository / ".git/HEAD").write_text("ref: refs/heads/unborn\n")
    assert source_files.nearest_tag(str(repository), "", ["v1.0"]) == ""
    assert list(repository.glob("**/envtool-git-*")) == []
