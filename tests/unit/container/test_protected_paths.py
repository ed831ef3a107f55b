"""What may never be an output, whatever it is called and wherever it lies."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.container.outputs import OutputReceiver
from envtool.container.protected_paths import Protection
from tests.depth import examples

ALWAYS = Protection((), ())
GITS = [
    ".git", ".GIT", ".Git", ".gIt", ".git ", ".git.", ".git . .", ".git::$INDEX_ALLOCATION", ".git:stream", "git~1", "GIT~1", "git~1 .",
    "git~2", ".g\u200cit", ".gi\u200dt", "\ufeff.git", ".git\u200b", ".\u2060git", "\u202a.git", ".g\u00adit", ".git\ufe0f", ".g\u034fit",
    "\uff0egit", ".\uff47it", ".\U0001d420it", ".g\u2148t", "a\\.git", ".git\\config", "a\\.GIT .\\x", ".git\u200b.", ".GI\u0054\u206e",
    ".git\U000e0100",
]  # fmt: skip
FINE = [
    "git", ".gitignore", ".gitattributes", ".github", ".gitmodules", "x.git", "a.git", ".git2", "..git", "gi", "git~x", "git~",
    ".g\u00eft", "\u65e5\u672c.git", ".gitt", "env", "envtool.yml", "envtool.json", "my-envtool.yaml", "envtool", "...", " ", "envtools.yaml",
]  # fmt: skip
OURS = [
    ".envtool", ".ENVTOOL", ".envtool.", "envtool.yaml", "Envtool.YAML", "envtool.yaml ", "envtool.lock", "ENVTOOL.LOCK", "envtool.vendor",
    "envtool.yaml::$DATA", "envt\u200bool.yaml", "ENVTOO~1.YAM", "envtoo~1", "\uff45nvtool.lock",
]  # fmt: skip


@pytest.mark.parametrize("name", GITS, ids=ascii)
@pytest.mark.parametrize("form", ["{}", "{}/config", "a/b/{}", "a/{}/hooks/pre-commit", "dist/sub/{}/HEAD"])
def test_git_never(name, form):
    path = form.format(name)
    assert ALWAYS.refusal_reason(path, literal=True)
    assert Protection((), (path,)).refusal_reason(path, literal=True), "not even where the spec has its whole name"
    assert Protection((), ("**/*",)).refusal_reason(path, literal=True)
    assert ALWAYS.is_protected_target(path)


@pytest.mark.parametrize("name", OURS, ids=ascii)
@pytest.mark.parametrize("form", ["{}", "{}/x", "a/b/{}"])
def test_ours_only_by_its_whole_name(name, form):
    path = form.format(name)
    assert ALWAYS.refusal_reason(path, literal=True)
    assert Protection((), (f"./{path}",)).refusal_reason(path, literal=True) is None or "\\" in path
    assert Protection((), (path,)).refusal_reason(path, literal=False), "a directory or a link is not the very file"
    for pattern in ("**", "*", path.upper() + "x", path.rpartition("/")[0] or "."):
        assert Protection((), (pattern,)).refusal_reason(path, literal=True), pattern


@pytest.mark.parametrize("name", FINE, ids=ascii)
def test_others_are_outputs(name):
    assert ALWAYS.refusal_reason(f"a/{name}/b", literal=True) is None
    assert ALWAYS.refusal_reason(name, literal=False) is None


def test_what_the_spec_includes():
    one = Protection(("ci/part.yaml", "ci.lock"), ("ci/part.yaml",))
    assert one.refusal_reason("ci.lock", literal=True)
    assert one.refusal_reason("CI.Lock", literal=True)
    assert one.refusal_reason("ci/part.yaml", literal=True) is None
    assert one.refusal_reason("ci/Part.yaml", literal=True)
    assert one.refusal_reason("ci/part.yaml", literal=False)
    assert one.refusal_reason("other/ci.lock", literal=True) is None
    assert one.refusal_reason("part.yaml", literal=True) is None


@pytest.mark.parametrize(
    ("target", "into"),
    [(".git", 1), ("sub/../.git/config", 1), ("../.GIT", 1), ("a/git~1", 1), ("envtool.lock", 1), ("ci/part.yaml", 1),
     ("a/../ci/./part.yaml", 1), ("a/b", 0), ("../x", 0), (".gitignore", 0), ("part.yaml", 0)],
)  # fmt: skip
def test_where_links_lead(target, into):
    assert Protection(("ci/part.yaml",), ()).is_protected_target(target) == bool(into)


ALPHABET = st.text(st.sampled_from(".gGiItT ~1:\\\u200c\u200d\ufeff\u202ax"), min_size=1, max_size=8)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@settings(max_examples=examples(60, 3000), deadline=None)
@given(name=ALPHABET)
@example(name=".git")
@example(name="git~1")
@example(name=".g\u200cit")
def test_all_that_git_refuses(name):
    """What git takes for its own on some file system, we do too. (The reverse is not so: we know more file systems.)"""
    words = ["git", "-c", "core.protectHFS=true", "-c", "core.protectNTFS=true", "update-index", "--index-info"]
    row = f"100644 e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\t{name}\0".encode("utf-8", "surrogateescape")
    done = subprocess.run(
        [*words[:-1], "-z", words[-1]], input=row, cwd=_repository(), capture_output=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip
    # git refuses other names too, such as `.` and those of .gitmodules
    if (done.returncode or b"Invalid path" in done.stderr or b"Ignoring path" in done.stderr) and name not in (
        ".",
        "..",
    ):
        assert ALWAYS.refusal_reason(name, literal=True), (name, done.stderr)


_made: list[str] = []


def _repository() -> str:
    if not _made:
        import tempfile

        _made.append(tempfile.mkdtemp())
        subprocess.run(
            ["git", "init", "-q", _made[0]], check=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        )
    return _made[0]


# ---- the receiver, whatever a container sends -------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    top = tmp_path / "project"
    for name in (".git/hooks", "sub/.git", "way"):
        (top / name).mkdir(parents=True)
    (top / ".git/config").write_text("ours")
    (top / "envtool.yaml").write_text("ours")
    (top / "gitlink").symlink_to(".git")
    (top / "out").symlink_to("../elsewhere")
    (tmp_path / "elsewhere").mkdir()
    return top


def tree(top):
    return sorted(
        (str(path.relative_to(top)), path.is_symlink() or path.is_dir() or path.read_text()) for path in top.rglob("*")
    )


@pytest.mark.parametrize("kind", ["file", "directory", "link", "copy"])
@pytest.mark.parametrize(
    "path",
    [*GITS, *OURS, ".git/hooks/pre-commit", "sub/.git/config", "sub/.git", "new/deep/.git/x", "gitlink/config", "out/x", "ci/part.yaml"],
    ids=ascii,
)  # fmt: skip
def test_nothing_is_written(project, tmp_path, kind, path):
    (tmp_path / "source").write_text("evil")
    before = tree(tmp_path)
    receiver = OutputReceiver(str(project), owned=False, protected=("ci/part.yaml",), patterns=("**",))
    frames = {
        "file": [("file", path, 0o644, 0, 4), ("data", 0, 4), ("end",)],
        "directory": [("directory", path, 0o755)],
        "link": [("link", path, "way")],
        "copy": [],
    }[kind]
    for frame in frames:
        receiver._handle_frame(frame, b"evil" if frame[0] == "data" else b"")
    if kind == "copy":
        receiver.copy(str(tmp_path / "source"), path, 0o644, 0)
    paths, notes = receiver.finish()
    assert not paths
    assert notes or receiver.lost
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "target",
    [".git", ".git/config", "sub/../.GIT", "way/../.git", "envtool.yaml", ".envtool/runs", "git~1", "sub/.git"],
)
def test_no_link_leads_there(project, target):
    receiver = OutputReceiver(str(project), owned=False)
    receiver._handle_frame(("link", "l", target), b"")
    paths, notes = receiver.finish()
    assert not paths
    assert notes[0].startswith("l: a symlink ")
    assert not (project / "l").is_symlink()


def test_a_refusal_is_said_once_a_directory(project):
    receiver = OutputReceiver(str(project), owned=False)
    for number in range(1000):
        receiver._handle_frame(("file", f".git/objects/{number}", 0o644, 0, 0), b"")
        receiver._handle_frame(("end",), b"")
    assert receiver.finish() == ((), (".git: what git obeys is never an output, not copied",))


def test_what_a_kill_left_is_swept(project):
    left = project / "way/.envtool-0123456789abcdef.tmp"
    left.write_text("half")
    receiver = OutputReceiver(str(project), owned=False)
    for frame in (("file", "way/x", 0o644, 0, 0), ("end",)):
        receiver._handle_frame(frame, b"")
    assert receiver.finish() == (("way/x",), ())
    assert not left.exists()
