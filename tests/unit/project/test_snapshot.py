"""The view's digest against hashing everything that project.listed names, through random edits."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envtool.project import listing, snapshot, snapshot_diff, source_files


def git(directory, *words, check=True):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", str(directory), *identity, *words], check=check, capture_output=True)


def everything(root):
    """The digest by the definition: all listed files, each read."""
    rows = []
    for path in source_files.list_files(str(root)):
        found = os.lstat(os.path.join(root, path))
        content = b""
        if stat.S_ISLNK(found.st_mode):
            content = os.fsencode(os.readlink(os.path.join(root, path)))
        elif stat.S_ISREG(found.st_mode):
            with open(os.path.join(root, path), "rb") as file:
                content = file.read()
        known = stat.S_ISLNK(found.st_mode) or stat.S_ISREG(found.st_mode)
        digest = hashlib.sha256(content).hexdigest() if known else "0" * 64
        rows.append((os.fsencode(path), found.st_mode & 0o170111, digest))
    text = b"".join(b"%s\0%o\0%s\0" % (name, mode, digest.encode()) for name, mode, digest in sorted(rows))
    return hashlib.sha256(b"envtool view 1\n" + text).hexdigest()


@pytest.fixture
def tree(tmp_path):
    """(root of the project, a function that looks at it)."""
    root = tmp_path / "project"
    (root / "src/deep").mkdir(parents=True)
    for number in range(8):
        (root / f"src/f{number}.py").write_text(f"x = {number}\n")
    (root / "src/deep/a b\n.txt").write_text("odd name\n")
    os.symlink("f1.py", root / "src/link")
    os.symlink("/etc/passwd", root / "out")
    (root / ".gitignore").write_text("*.o\nbuilt/\n")
    (tmp_path / "plans").mkdir()
    place = str(tmp_path / "plans/view")
    return root, lambda: snapshot.take_snapshot(str(root), place)


def settled():
    """Wait until what was written can be trusted."""
    time.sleep(snapshot.CLOCK_GRAIN / 1e9 + 0.02)


EDITS = {}


def edit(function):
    EDITS[function.__name__] = function
    return function


def some(root, chance):
    files = [
        path
        for path in source_files.list_files(str(root))
        if os.path.isfile(root / path) and not os.path.islink(root / path)
    ]
    return root / chance.choice(files) if files else None


@edit
def same_size(root, chance):
    if path := some(root, chance):
        content = bytearray(path.read_bytes() or b"x")
        content[chance.randrange(len(content))] ^= 1
        with open(path, "r+b") as file:  # in place: no new inode
            file.write(content)


@edit
def same_size_and_mtime(root, chance):
    if path := some(root, chance):
        found = path.stat()
        path.write_bytes(bytes(byte ^ 2 for byte in path.read_bytes()))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@edit
def chmod(root, chance):
    if path := some(root, chance):
        path.chmod(chance.choice([0o644, 0o755, 0o600, 0o700, 0o654]))


@edit
def touch(root, chance):
    if path := some(root, chance):
        os.utime(path)


@edit
def rename(root, chance):
    if path := some(root, chance):
        path.rename(path.with_name(f"n{chance.randrange(20)}.py"))


@edit
def swap(root, chance):
    one, other = some(root, chance), some(root, chance)
    if one and other and one != other:
        between = root / "between.o"
        one.rename(between)
        other.rename(one)
        between.rename(other)


@edit
def retarget(root, chance):
    link = root / "src/link"
    link.unlink(missing_ok=True)
    os.symlink(f"f{chance.randrange(9)}.py", link)


@edit
def file_for_link(root, chance):
    link = root / "src/link"
    link.unlink(missing_ok=True)
    link.write_text("f1.py")


@edit
def delete(root, chance):
    if path := some(root, chance):
        path.unlink()


@edit
def create(root, chance):
    path = root / f"new{chance.randrange(4)}" / f"f{chance.randrange(9)}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(chance.random()))


@edit
def directory_for_file(root, chance):
    path = root / "src/f0.py"
    if path.is_file():
        path.unlink()
        path.mkdir()
        (path / "inner").write_text("x")


@edit
def ignored(root, chance):
    (root / "a.o").write_text(str(chance.random()))
    (root / "built").mkdir(exist_ok=True)
    (root / "built/x").write_text(str(chance.random()))
    (root / ".envtool").mkdir(exist_ok=True)
    (root / ".envtool/log").write_text(str(chance.random()))


@edit
def ignore_more(root, chance):
    (root / ".gitignore").write_text(chance.choice(["*.o\n", "*.o\nnew1/\n", "*.txt\n"]))


@edit
def add(root, chance):
    if (root / ".git").exists():
        git(
            root, "add", "-A", "--force" if chance.random() < 0.2 else "--ignore-errors", check=False
        )  # an empty repository cannot be added


@edit
def commit(root, chance):
    if (root / ".git").exists():
        git(root, "commit", "-q", "--allow-empty", "-m", "x")


@edit
def assume_unchanged(root, chance):
    if (root / ".git").exists():
        names = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=True).stdout.split(
            b"\0"
        )
        flag = chance.choice(["--assume-unchanged", "--skip-worktree", "--no-assume-unchanged"])
        if names[:-1]:
            git(root, "update-index", flag, os.fsdecode(chance.choice(names[:-1])))


@edit
def settings(root, chance):
    if (root / ".git").exists():
        git(root, "config", "core.fileMode", chance.choice(["true", "false"]))
        git(root, "config", "core.autocrlf", chance.choice(["true", "input", "false"]))
        git(root, "config", "core.trustctime", chance.choice(["true", "false"]))
        git(root, "config", "core.checkStat", chance.choice(["minimal", "default"]))


@edit
def line_ends(root, chance):
    if path := some(root, chance):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


@edit
def embedded(root, chance):
    inner = root / f"vendor{chance.randrange(2)}"
    if not inner.exists():
        inner.mkdir()
        git(inner, "init", "-q")
        (inner / ".gitignore").write_text("*.tmp\n")
    (inner / "y.tmp").write_text(str(chance.random()))
    (inner / "y.c").write_text(str(chance.random()))


@edit
def no_repository_any_more(root, chance):
    inner = root / f"vendor{chance.randrange(2)}" / ".git"
    if inner.exists():
        inner.rename(root / f"moved{chance.randrange(1 << 30)}.o")


@edit
def wait(root, chance):
    settled()


@edit
def fifo(root, chance):
    if not (root / "pipe").exists():
        os.mkfifo(root / "pipe")


@pytest.mark.parametrize("repository", [True, False], ids=["git", "plain"])
@pytest.mark.parametrize("seed", range(6))
def test_the_digest_is_that_of_hashing_everything(tree, seed, repository):
    root, see = tree
    chance = random.Random(seed)
    if repository:
        git(root, "init", "-q")
        git(root, "add", "-A")
    done = []
    for _ in range(25):
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice(sorted(EDITS))
            EDITS[name](root, chance)
            done.append(name)
        assert see().digest == everything(root), done
        assert see().digest == everything(root), [*done, "again"]


def test_same_size_in_the_same_tick(tree):
    """Edits faster than the file system's clock: no look may miss one."""
    root, see = tree
    path = root / "src/f1.py"
    for number in range(200):
        with open(path, "r+b") as file:
            file.write(b"%06d" % number)
        assert see().digest == everything(root), number


def test_a_submodule_counts_file_by_file(tree, tmp_path):
    root, see = tree
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "lib.c").write_text("1\n")
    git(other, "add", "-A")
    git(other, "commit", "-qm", "x")
    git(root, "init", "-q")
    git(root, "submodule", "add", "-q", str(other), "lib")
    before = see().digest
    assert before == everything(root)
    (root / "lib/lib.c").write_text("2\n")
    assert see().digest == everything(root) != before
    (root / "lib/more.c").write_text("3\n")
    assert see().digest == everything(root)


def test_a_project_below_a_repository(tree):
    root, see = tree
    git(root.parent, "init", "-q")
    assert see().digest == everything(root)
    (root / "x.o").write_text("1")  # ignored by the project's own file
    assert see().digest == everything(root)
    (root.parent / ".gitignore").write_text("project/\n")  # now it is a project of its own, without git
    assert see().digest == everything(root)
    assert b"x.o" in snapshot_diff.snapshot_manifest(see())
    (root / "x.o").write_text("2")
    assert see().digest == everything(root)


def test_a_broken_repository_is_none(tree):
    root, see = tree
    (root / ".git").mkdir()
    assert see().digest == everything(root)


def test_without_git_everything_belongs_to_it(tree, monkeypatch):
    root, see = tree
    git(root, "init", "-q")
    (root / "x.o").write_text("1")
    with_git = see().digest
    monkeypatch.setenv("PATH", "/nonexistent")
    assert see().digest == everything(root) != with_git


def test_what_cannot_be_read_is_not_known(tree, monkeypatch):
    root, see = tree
    monkeypatch.setattr(snapshot, "MAX_NEW_BYTES", 3)
    with pytest.raises(snapshot.SnapshotError):
        see()
    git(root, "init", "-q")
    (root / ".git/index").write_bytes(b"junk")
    monkeypatch.undo()
    with pytest.raises(snapshot.SnapshotError):
        see()


def test_an_unchanged_project_is_only_looked_at(tree, monkeypatch):
    root, see = tree
    git(root, "init", "-q")
    settled()
    first = see()
    monkeypatch.setattr(snapshot, "_hash", None)
    assert see().digest == first.digest
    place = first.place
    same = snapshot.finish_query(snapshot.start_query(str(root), place), unchanged=True)
    assert same is not None
    (root / "src/f2.py").write_text("y")
    assert snapshot.finish_query(snapshot.start_query(str(root), place), unchanged=True) is None


@pytest.mark.parametrize("name", ["", ".hashes"])
@pytest.mark.parametrize("content", [b"", b"junk", b"\xdb\x00"])
def test_a_damaged_record_is_no_record(tree, name, content):
    root, see = tree
    settled()
    place = see().place
    with open(place + name, "wb") as file:
        file.write(content)
    (root / "src/f2.py").write_text("y")
    assert see().digest == everything(root)


def test_two_records_that_do_not_belong_together_are_none(tree):
    root, see = tree
    settled()
    place = see().place
    with open(place + ".hashes", "rb") as file:
        old = file.read()
    (root / "src/f2.py").write_text("y")
    settled()
    see()
    with open(place + ".hashes", "wb") as file:
        file.write(old)
    (root / "src/f3.py").write_text("z")
    assert see().digest == everything(root)


def test_half_of_many_names_is_looked_at_by_another_process(tree, monkeypatch):
    root, see = tree
    expected = everything(root)
    monkeypatch.setattr(listing, "FORK_THRESHOLD", 2)
    assert see().digest == expected
    settled()
    see()
    assert see().digest == expected


def test_the_manifest_is_what_the_digest_is_of(tree):
    root, see = tree
    settled()
    for view in (see(), see()):
        text = snapshot_diff.snapshot_manifest(view)
        assert snapshot.snapshot_digest(text) == view.digest
        fields = text.split(b"\0")
        assert fields[0::3][:-1] == sorted(os.fsencode(path) for path in source_files.list_files(str(root)))
    old = see()
    (root / "src/f2.py").write_text("y")
    see()
    with pytest.raises(snapshot.SnapshotError):
        snapshot_diff.snapshot_manifest(old)


def test_what_was_touched_between_two_looks(tree):
    root, see = tree
    settled()
    see()
    before = see()
    assert snapshot_diff.changed_paths(before, see()) == set()
    os.utime(root / "src/f2.py")
    assert snapshot_diff.changed_paths(before, see()) == {"src/f2.py"}
    (root / "report.xml").write_text("x")
    (root / "src/f3.py").unlink()
    assert snapshot_diff.changed_paths(before, see()) == {"src/f2.py", "report.xml", "src/f3.py"}


def test_a_change_that_the_clock_does_not_show_is_seen(tree):
    root, see = tree
    path = root / "src/f1.py"
    found = 0
    for number in range(20):
        path.write_bytes(b"%06d" % number)
        before = see()
        with open(path, "r+b") as file:
            file.write(b"x%05d" % number)
        (root / "report.xml").write_text(str(number))
        after = see()
        assert snapshot_diff.changed_paths(before, after) > {"report.xml"}
        found += before.stats == after.stats
    assert snapshot.RECORD_FORMAT == 3


def test_what_was_just_written_is_not_trusted(tree):
    """Kernels since 6.13 hand out finer times to who looks; older ones have ticks, in which two edits look alike."""
    root, see = tree

    def trusted(name):
        view = see()
        kept = snapshot.load_record(view.place, str(root))
        rows = dict(zip(kept["listing"].names, array("q", kept["listing"].stats)[::5], strict=True))
        return rows[name] != -1

    settled()
    see()
    (root / "src/f1.py").write_text("fresh")
    assert not trusted(b"src/f1.py")
    assert trusted(b"src/f2.py")
    settled()
    assert trusted(b"src/f1.py")


def test_looks_that_are_under_way_at_once_all_know_what_they_saw(tree):
    """Right after an edit everybody hashes, and writes the record; whose two files are written one after the other."""
    root, looked = tree
    looked()
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            (root / "src/f1.py").write_text(f"edit {number}\n")
            views = [*pool.map(lambda _: looked(), range(16))]
            assert len({view.digest for view in views}) == 1
            texts = {*pool.map(snapshot_diff.snapshot_manifest, [*views, *pool.map(lambda _: looked(), range(16))])}
            assert len(texts) == 1


def test_a_record_whose_halves_are_not_of_one_look(tree):
    root, looked = tree
    place = looked().place
    settled()
    looked()
    old = Path(f"{place}.hashes").read_bytes()
    (root / "src/f1.py").write_text("edited\n")
    settled()
    text = snapshot_diff.snapshot_manifest(looked())
    Path(f"{place}.hashes").write_bytes(old)
    again = looked()
    assert not again.hashes, "nothing changed: the hashes are not read"
    assert snapshot_diff.snapshot_manifest(again) == text
    Path(f"{place}.hashes").write_bytes(old)
    (root / "src/f1.py").write_text("edited again\n")
    with pytest.raises(snapshot.SnapshotError):
        snapshot_diff.snapshot_manifest(again)


def test_logs_are_as_if_they_were_not_there(tree):
    root, looked = tree
    before = looked()
    (root / "log.txt").write_text("a line\n")
    place = before.place
    seen = snapshot.take_snapshot(str(root), place, logs=("log.txt",))
    assert seen.digest == before.digest
    assert snapshot_diff.changed_paths(before, seen) == set()
    (root / "log.txt").write_text("another\n")
    assert snapshot.take_snapshot(str(root), place, logs=("log.txt",)).digest == before.digest
    assert looked().digest != before.digest
    assert looked().digest == everything(root)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{} > in/log; cat in/log", ("in/log",)),
        ("{} 2> in/err > other; cat other", ("in/err", "other")),
        ("{} >> in/log 2>&1; cat in/log", ("in/log",)),
        ("{} | tee in/a in/b", ("in/a", "in/b")),
        ("{} | cat | tee in/c | cat > in/d; cat in/d", ("in/c", "in/d")),
        ("{} 2>&1 > >(tee in/e | cat)", ("in/e",)),
        ("{} < read | cat 3< read", ()),
        ("{} | cat 3> in/other", ("in/other",)),
        ("{} > in/gone; cat in/gone", ()),
    ],
)
def test_logs_are_found_by_who_writes_them(tmp_path, line, found):
    (tmp_path / "in").mkdir()
    (tmp_path / "read").write_text("")
    unlink = "os.unlink('in/gone'); open('in/gone', 'w').write('()'); " if "gone" in line else ""
    code = f"import os, time; from envtool.project import own_logs; time.sleep(0.1); {unlink}print(own_logs.find('.'))"
    script = line.format(f'{sys.executable} -c "{code}"')
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(found)
