"""git on a git directory of ours: the names are those of plain git, and nothing of the repository but data counts."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time

import pytest

from envtool.errors import EnvtoolError, Interrupted
from envtool.project import git, source_files
from tests.indexes import index, v4
from tests.leftovers import nothing_left, processes
from tests.load import allowed

PLAIN = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")


def plain(where, *words, check=True, data=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    argv = ["git", "-C", os.fsdecode(where), *PLAIN, *words]
    return subprocess.run(argv, check=check, capture_output=True, env=clean, input=data).stdout


def listed(where, words):
    """The names that plain git lists; None where it cannot read the split index that it has written: "position for
    replacement exceeds base index size" (git 2.39)."""
    done = subprocess.run(["git", "-C", os.fsdecode(where), *PLAIN, *words], check=False, capture_output=True)
    if done.returncode and b"base index" in done.stderr:
        return None
    done.check_returncode()
    return done.stdout.split(b"\0")


@pytest.fixture
def home(tmp_path, monkeypatch):
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return place


@pytest.fixture
def root(tmp_path, home):
    place = tmp_path / "project"
    place.mkdir()
    plain(place, "init", "-q")
    (place / ".gitignore").write_text("*.o\n")
    (place / "a").write_text("a")
    (place / "x.o").write_text("x")
    plain(place, "add", "-A")
    plain(place, "commit", "-qm", "x")
    return place


def asked(root, words=git.LISTED):
    found = git.find_repository(str(root))
    return git.start_git(found, os.path.realpath(root), words).end()


# ---- the same names as plain git --------------------------------------------------------------------------------------

NAMES = [b"a", b"b.o", b"B.O", b"c d", b"-x", b"\xff\xfe", "ä".encode(), b"n\nl", b"*", b"[a]", b"!n", b"#h", b"dir", b"Dir", b".x", b"e ", b"t\tt", b"\\", b"deep"]  # fmt: skip
PATTERNS = ["*.o", "!b.o", "dir/", "/a", "*", "!*/", "deep/**", "**/a", "\\!n", "\\#h", "[a-c]*", "Dir", "!/dir/", "e\\ ", "?", "deep/dir", "#c", "", "/*/a", "!a", "*.O", "c d"]  # fmt: skip


def rules(chance):
    return "".join(chance.choice(PATTERNS) + "\n" for _ in range(chance.randrange(1, 5)))


def path(chance):
    return b"/".join(chance.choice(NAMES) for _ in range(chance.randrange(1, 4)))


def fill(root, chance, count=14):
    top = os.fsencode(root)
    for _ in range(count):
        place = top + b"/" + path(chance)
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if chance.random() < 0.1:
                os.symlink(chance.choice([b"a", b"..", b"/etc", b"dir"]), place)
            else:
                with open(place, "xb") as file:
                    file.write(bytes(str(chance.random()), "ascii"))
        except OSError:
            continue
    for directory, _, _ in list(os.walk(top)):
        if (
            b".git" not in directory.split(b"/")
            and chance.random() < 0.3
            and not os.path.lexists(directory + b"/.gitignore")
        ):
            with open(directory + b"/.gitignore", "w") as file:
                file.write(rules(chance))


def tracked(root):
    return plain(root, "ls-files", "-z").split(b"\0")[:-1]


def step_add(root, chance, more):
    names = sorted({*os.listdir(os.fsencode(root))} - {b".git"})  # a sparse checkout may leave none
    for name in chance.sample(names, k=min(2, len(names))):
        plain(root, "add", *(["-f"] if chance.random() < 0.3 else []), "--", b":(literal)" + name, check=False)


def step_commit(root, chance, more):
    plain(root, "add", "-A", check=False)
    plain(root, "commit", "-qm", "x", check=False)


def step_version(root, chance, more):
    plain(root, "update-index", "--index-version", str(chance.choice([2, 3, 4])), check=False)


def step_split(root, chance, more):
    plain(root, "update-index", "--split-index", check=False)
    step_add(root, chance, more)


def step_untracked_cache(root, chance, more):
    plain(root, "update-index", "--force-untracked-cache")
    plain(root, "status")


def step_flags(root, chance, more):
    for name in tracked(root)[:6]:
        flag = chance.choice(["--assume-unchanged", "--skip-worktree", "--chmod=+x"])
        plain(root, "update-index", flag, "--", name, check=False)
        if chance.random() < 0.4 and (path := os.fsencode(root) + b"/" + name) and os.path.isfile(path):
            os.unlink(path)


def step_intent(root, chance, more):
    plain(root, "add", "-N", "-A", check=False)


def step_unmerged(root, chance, more):
    blob = plain(root, "hash-object", "-w", "--stdin", data=b"x").strip()
    lines = b"".join(b"100644 %s %d\t%s\0" % (blob, stage, name) for stage in (1, 2, 3) for name in (b"u/m", b"dir.u"))
    plain(root, "update-index", "-z", "--index-info", data=lines)


def step_replace(root, chance, more):
    """A tracked file becomes a directory, a directory a link."""
    for name in tracked(root):
        place = os.fsencode(root) + b"/" + name
        if chance.random() < 0.2 and os.path.isfile(place) and not os.path.islink(place):
            os.unlink(place)
            os.mkdir(place)
            with open(place + b"/inner", "wb"):
                pass
        parent = os.path.dirname(place)
        if (
            chance.random() < 0.1
            and parent != os.fsencode(root)
            and os.path.isdir(parent)
            and not os.path.islink(parent)
        ):
            os.rename(parent, parent + b".moved")
            os.symlink(parent + b".moved", parent)


def step_case(root, chance, more):
    plain(root, "config", "core.ignoreCase", chance.choice(["true", "false", "yes", "1"]))


def step_sparse(root, chance, more):
    step_commit(root, chance, more)
    words = chance.choice([["--cone", "--sparse-index"], ["--cone", "--no-sparse-index"], ["--no-cone"]])
    plain(root, "sparse-checkout", "set", *words, chance.choice(["dir", "deep", "a"]), check=False)


def step_embedded(root, chance, more):
    inner = os.fsencode(root) + b"/" + chance.choice([b"dir/emb", b"emb", b"deep/emb"])
    parent = os.path.dirname(inner)
    if not os.path.lexists(inner) and (os.path.isdir(parent) or not os.path.lexists(parent)):
        os.makedirs(inner)
        plain(inner, "init", "-q")
        fill(inner, chance, 5)
        step_commit(inner, chance, more)


def step_submodule(root, chance, more):
    other = more / f"other{chance.random()}"
    other.mkdir()
    plain(other, "init", "-q", f"--object-format={more.format}")
    fill(other, chance, 5)
    step_commit(other, chance, more)
    plain(root, "submodule", "add", "-q", "-f", str(other), chance.choice(["sub", "dir/sub"]), check=False)


def step_fill(root, chance, more):
    fill(root, chance, 5)


STEPS = [function for name, function in sorted(globals().items()) if name.startswith("step_")]


class More:
    """Where other repositories may be made."""

    def __init__(self, place, form):
        self.place, self.format = place, form

    def __truediv__(self, name):
        return self.place / name


def model(root, prefix=b""):
    """What project.listed says, by plain git."""
    top = os.fsencode(root)
    found = set()
    for name in plain(root, *git.LISTED).split(b"\0")[:-1]:
        place = top + b"/" + name.rstrip(b"/")
        if os.path.realpath(os.path.dirname(place)) != os.path.dirname(place) or not os.path.lexists(place):
            continue
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            found.add(prefix + name)
        elif os.path.lexists(place + b"/.git"):
            found |= model(place, prefix + name.rstrip(b"/") + b"/")
    return found


def test_the_names_are_those_of_plain_git(tmp_path, home, depth):
    for number in depth.times(12, 400):
        chance = depth.random
        place = tmp_path / str(number)
        place.mkdir()
        form = chance.choice(["sha1", "sha1", "sha256"])
        root, more = place / "project", More(place, form)
        root.mkdir()
        plain(root, "init", "-q", f"--object-format={form}")
        fill(root, chance)
        (root / ".git/info").mkdir(exist_ok=True)
        (root / ".git/info/exclude").write_text(rules(chance))
        (home / ".gitconfig").write_text(chance.choice(["", "[core]\nexcludesFile = ~/ignored\n"]))
        (home / "ignored").write_text(rules(chance))
        (home / ".config/git").mkdir(parents=True, exist_ok=True)
        (home / ".config/git/ignore").write_text(rules(chance))
        done = []
        for _ in range(chance.randrange(1, 6)):
            step = chance.choice(STEPS)
            if {step_case.__name__, step_sparse.__name__} <= {step.__name__, *done}:
                continue  # plain git does not find a name of another case in a directory that its index has collapsed
            step(root, chance, more)
            done.append(step.__name__)
        seen = [root]
        if chance.random() < 0.3:
            plain(root, "worktree", "add", "-q", "-f", str(place / "tree"), check=False)
            seen += [place / "tree"] if (place / "tree/.git").exists() else []
        seen += [each for each in (root / "dir", root / "deep") if each.is_dir() and not each.is_symlink()]
        for each in seen:
            what = (form, done, str(each.relative_to(place)))
            expected = [listed(each, words) for words in (git.LISTED, git.IGNORED)]
            if None in expected:
                continue
            for words, names in zip((git.LISTED, git.IGNORED), expected, strict=True):
                assert asked(each, words).split(b"\0") == names, what
            if each in (root, place / "tree"):
                assert {os.fsencode(name) for name in source_files.list_files(str(each))} == model(
                    os.path.realpath(each)
                ), what


# ---- what a checkout can be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index", "info/exclude", "config", "commondir"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "huge", "link"])
def test_files_of_the_git_directory_that_are_none(root, name, kind):
    place = root / ".git" / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    elif kind == "huge":
        with open(place, "wb") as file:
            file.truncate(git.MAX_INDEX_SIZE + 1)
    else:
        if name in ("config", "commondir"):
            return  # two words are looked for in it, and a directory is what it names
        place.symlink_to("/etc/passwd")
    since = time.monotonic()
    with pytest.raises(EnvtoolError) as caught:
        source_files.list_files(str(root))
    assert time.monotonic() - since < allowed(5)
    assert caught.value.code == "project-git"
    assert str(place) in caught.value.message
    assert "root:" not in caught.value.message


def test_a_git_that_hangs_is_given_up(root, monkeypatch):
    (root / "sub").mkdir()
    os.mkfifo(root / "sub/.gitignore")
    reader, writer = os.pipe()
    timer = threading.Timer(0.2, os.write, (writer, b"x"))
    timer.start()
    with nothing_left(processes):
        with pytest.raises(Interrupted):
            source_files.list_hidden(str(root), reader)
        monkeypatch.setattr(git, "TIMEOUT_SECONDS", 0.2)
        with pytest.raises(EnvtoolError, match="did not end"):
            source_files.list_hidden(str(root))
    timer.join()
    os.close(reader)
    os.close(writer)


def test_an_interrupt_kills_git(root):
    os.mkfifo(root / "fifo")
    (root / ".gitignore").unlink()
    os.rename(root / "fifo", root / ".gitignore")
    asked = git.start_git(git.find_repository(str(root)), str(root), git.LISTED)
    child = asked._child
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        asked.end()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


HOSTILE = [b"../x", b"/etc/passwd", b"a/../../x", b"..", b".git/config", b"a/.GiT/x", b"a//b", b"./a", b"a/.", b"a/..", b"/", b"//"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_out_are_refused(root, name, tmp_path):
    from envtool.project import snapshot

    (root / ".git/index").write_bytes(index(name))
    with pytest.raises(EnvtoolError, match="git would never check out"):
        source_files.list_files(str(root))
    with pytest.raises(snapshot.SnapshotError, match="git would never check out"):
        snapshot.take_snapshot(str(root), str(tmp_path / "record"))
    git.check_names(b"a.git\0..a/b\0.gitignore\0a/b/\0...\0", git.find_repository(str(root)))


def test_names_behind_a_link_are_not_there(root, tmp_path):
    from envtool.project import snapshot

    os.symlink("/etc", root / "out")
    os.symlink("sub", root / "in")
    (root / "sub").mkdir()
    (root / "sub/f").write_text("f")
    (root / ".git/index").write_bytes(index(b"in/f", b"out/passwd", b"sub/f"))
    listed = source_files.list_files(str(root))
    assert listed == [".gitignore", "a", "in", "out", "sub/f"]
    for _ in range(2):  # without a record, and with one
        view = snapshot.take_snapshot(str(root), str(tmp_path / "record"))
        text = snapshot.format_manifest(view.names, view.stats, view.hashes) if view.hashes else b""
        assert b"passwd" not in text
        assert b"in/f" not in text


def test_a_small_index_with_names_without_end(root, monkeypatch):
    """Version 4: each name is the one before with a few letters more, so that a few bytes mean thousands."""
    monkeypatch.setattr(git, "MAX_OUTPUT", 1 << 20)
    (root / ".git/index").write_bytes(v4(3_000, 2_000))
    with pytest.raises(EnvtoolError, match="git cannot read"):
        source_files.list_files(str(root))


@pytest.mark.parametrize("cut", [0, 7, 12, 40, 90])
def test_a_damaged_index(root, cut):
    data = (root / ".git/index").read_bytes()
    (root / ".git/index").write_bytes(data[:cut])
    with pytest.raises(EnvtoolError) as caught:
        source_files.list_files(str(root))
    assert caught.value.code == "project-git"


def test_a_sparse_index_whose_trees_are_gone_loses_no_names(root):
    for name in ("kept", "left"):
        (root / name).mkdir()
        (root / name / "f").write_text(name)
    plain(root, "add", "-A")
    plain(root, "commit", "-qm", "x")
    tree = plain(root, "rev-parse", "HEAD:left").decode().strip()
    plain(root, "sparse-checkout", "set", "--cone", "--sparse-index", "kept")
    assert b"left/f" in asked(root)
    os.unlink(root / ".git/objects" / tree[:2] / tree[2:])
    with pytest.raises(EnvtoolError, match="git cannot read"):
        source_files.list_files(str(root))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_a_repository_above_that_is_somebody_elses(tmp_path):
    (tmp_path / "project").mkdir()
    plain(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("project/x\n")
    (tmp_path / "project/x").write_text("x")
    (tmp_path / "project/y").write_text("y")
    assert source_files.list_files(str(tmp_path / "project")) == ["y"]
    os.chown(tmp_path / ".git", 4711, 4711)
    assert source_files.list_files(str(tmp_path / "project")) == ["x", "y"]


def test_what_git_sees_of_our_variables(root):
    os.environ["GIT_EXTERNAL_DIFF"] = "x"
    try:
        found = git.find_repository(str(root))
        environ = git._environment(found, "/void", configured=True)
    finally:
        del os.environ["GIT_EXTERNAL_DIFF"]
    assert {name for name in environ if name.startswith("GIT_")} == {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_OPTIONAL_LOCKS", "GIT_NO_LAZY_FETCH",
    }  # fmt: skip
    assert os.path.isabs(found.caller.program)
