"""No output makes a directory of the checkout a repository: git obeys the configuration of one that it stands in."""

import os
import random
import subprocess

import pytest

from envtool.container.outputs import OutputReceiver

CONFIG = b'[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = "touch pwned; false"\n'
BARE = {"HEAD": b"ref: refs/heads/m\n", "objects/x": b"", "refs/x": b"", "config": CONFIG}
APART = {"HEAD": b"ref: refs/heads/m\n", "commondir": b"../b\n"}  # what it shares is another directory's


def receive(top, entries, **more):
    """Write (kind, path, content) as if they came from a container; the notes."""
    receiver = OutputReceiver(str(top), owned=False, **more)
    for kind, path, content in entries:
        if kind == "file":
            receiver._handle_frame(("file", path, 0o644, 0, len(content)), b"")
            receiver._handle_frame(("data", 0, len(content)), content)
            receiver._handle_frame(("end",), b"")
        else:
            receiver._handle_frame((kind, path, content if kind == "link" else 0o755), b"")
    return receiver.finish()[1]


def is_repository(path):
    """Whether git obeys what is in a directory."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CEILING_DIRECTORIES": str(path.parent), "GIT_CONFIG_COUNT": "1",
               "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}  # fmt: skip
    subprocess.run(["git", "status"], cwd=path, env=environ, capture_output=True, check=False)
    done = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=path, env=environ, capture_output=True, check=False)
    return done.returncode == 0 or (path / "pwned").exists()


def files(directory, content):
    return [("file", f"{directory}{name}", text) for name, text in content.items()]


def test_the_trap_is_one(tmp_path):
    for name, text in BARE.items():
        (tmp_path / "dist" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dist" / name).write_bytes(text)
    assert is_repository(tmp_path / "dist")


@pytest.mark.parametrize("where", ["dist/", "a/b/c/", ""])
def test_in_no_order_and_no_number_of_runs(where, tmp_path, depth):
    top = tmp_path / "top"
    for number in depth.times(6, 200):
        top = tmp_path / f"top{number}"
        (top / where).mkdir(parents=True)
        entries = [*files(where, BARE), ("directory", f"{where}objects", b""), ("directory", f"{where}refs", b"")]
        depth.random.shuffle(entries)
        cut = depth.random.randrange(len(entries))
        notes = receive(top, entries[:cut]) + receive(top, entries[cut:])
        assert not is_repository(top / where)
        assert any("is a repository, whose configuration git obeys" in note for note in notes)


@pytest.mark.parametrize(
    "entries",
    [
        [("link", "dist/HEAD", "refs/heads/m"), *files("dist/", BARE)[1:]],
        [("directory", "x", b""), ("link", "dist/objects", "../x"), ("link", "dist/refs", "../x"), *files("dist/", BARE)],
        [("link", "dist/commondir", "c"), *files("dist/", BARE)],
        files("b/", {name: BARE[name] for name in ("objects/x", "refs/x", "config")}) + files("dist/", APART),
        files("dist/", APART) + files("b/", {name: BARE[name] for name in ("objects/x", "refs/x", "config")}),
        files("dist/", {"head": BARE["HEAD"], "OBJECTS/x": b"", "Refs/x": b"", "config": CONFIG}),  # where case is folded
        files("dist/", {"HEAD ": BARE["HEAD"], "objects./x": b"", "refs::$INDEX_ALLOCATION/x": b""}),
        files("dist/", {"ＨＥＡＤ": BARE["HEAD"], "objects/x": b"", "re\u200cfs/x": b""}),
    ],
    ids=["a link for HEAD", "links for directories", "commondir beside it", "commondir", "commondir first", "case", "NTFS", "Unicode"],
)  # fmt: skip
def test_in_no_other_way(entries, tmp_path):
    notes = receive(tmp_path, entries)
    assert any("is a repository, whose configuration git obeys" in note for note in notes), notes
    assert not is_repository(tmp_path / "dist")


@pytest.mark.parametrize(
    "name", ["config", "hooks/pre-commit", "HEAD", "objects/info/alternates", "deep/er/file", "config.worktree"]
)
def test_one_that_is_there_is_not_written_to(name, tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "fixture.git"], check=True)
    before = (tmp_path / "fixture.git/config").read_text()
    (note,) = receive(tmp_path, [("file", f"fixture.git/{name}", b"evil"), ("file", "fixture.gi", b"good")])
    assert note.startswith("fixture.git/")
    assert (tmp_path / "fixture.git/config").read_text() == before
    assert not (tmp_path / "fixture.git/deep").exists()
    assert (tmp_path / "fixture.gi").read_text() == "good"


def test_what_is_none_comes_back(tmp_path):
    entries = [
        *files("docs/", {"HEAD": b"x", "objects/x": b"x", "config": b"x"}), *files("api/", {"refs/x": b"x", "objects/x": b"x"}),
        *files("", {"commondir": b"x", "refs": b"x"}),
    ]  # fmt: skip
    random.Random(1).shuffle(entries)
    assert receive(tmp_path, entries) == ()
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(entries)


@pytest.mark.e2e
@pytest.mark.one_caller
def test_a_task_leaves_no_repository(common):
    common.task(
        "mkdir -p dist/objects dist/refs; echo ref: refs/heads/m > dist/HEAD; cp trap dist/config; echo good > dist/out",
        options="outputs: [dist]",
    )
    common.write("trap", CONFIG)
    done = common.envtool("test")
    assert done.status == 0, done.said
    assert "with it `dist` is a repository, whose configuration git obeys, not copied" in done.err
    assert (common.project / "dist/out").read_text() == "good\n"
    assert not is_repository(common.project / "dist")
