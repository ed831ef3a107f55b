"""COPY as it is done, without a container: what is matched, whose it is, which mode it gets."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.kinds.dockerfile import copying
from envtool.kinds.dockerfile.copying import CopyError, changed, copy

ME = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1577836800")
    for name in ("a/x.txt", "a/y.md", "a/deep/z.txt", "b/x.txt", "[w]"):
        place = tmp_path / "from" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    (tmp_path / "from/link").symlink_to("/a/x.txt")  # means the tree it is in
    (tmp_path / "from/d").symlink_to("a/../b")
    (tmp_path / "to").mkdir()
    return tmp_path


def run(root, *sources: str, target: str = "to/", **more) -> None:
    spec = {
        "root": str(root / "from"), "sources": [*sources], "documents": [], "files": [], "target": f"{root}/{target}",
        "owner": ME, "mode": "", "exclude": [], "parents": False, "keep": False, "archives": False, "fetched": False,
    }  # fmt: skip
    copy(spec | more)


def listed(root) -> list[str]:
    return sorted(str(path.relative_to(root / "to")) for path in (root / "to").rglob("*") if not path.is_dir())


def test_of_a_directory_its_content(root):
    run(root, "a")
    assert listed(root) == ["deep/z.txt", "x.txt", "y.md"]
    assert (root / "to/x.txt").stat().st_mtime == 1577836800


def test_patterns_and_names(root):
    run(root, "?/*.txt", "\\[w]", "link")
    assert listed(root) == ["[w]", "link", "x.txt"]
    assert (root / "to/x.txt").read_text() == "b/x.txt"  # the later one
    assert (root / "to/link").read_text() == "a/x.txt"


def test_a_file_under_another_name_and_into_what_is_not_there(root):
    run(root, "a/x.txt", target="to/new/name")
    run(root, "d/x.txt", target="to/new/other/")
    assert listed(root) == ["new/name", "new/other/x.txt"]


def test_what_is_excluded_and_what_keeps_its_path(root):
    run(root, "a", exclude=["**/*.md", "deep"])
    assert listed(root) == ["x.txt"]
    run(root, "a/deep/z.txt", "./a/./deep", target="to/p", parents=True)
    assert listed(root) == ["p/a/deep/z.txt", "p/deep/z.txt", "x.txt"]


def test_a_directory_that_is_there_stays_as_it_is(root):
    (root / "to/deep").mkdir(mode=0o700)
    (root / "from/a/deep").chmod(0o755)
    run(root, "a")
    assert stat.S_IMODE((root / "to/deep").stat().st_mode) == 0o700


def test_hard_links_stay_together(root):
    os.link(root / "from/a/x.txt", root / "from/a/twin")
    run(root, "a")
    assert os.path.samefile(root / "to/x.txt", root / "to/twin")


@pytest.mark.parametrize(
    ("sources", "target", "why"),
    [
        (["gone"], "to/", "there is no `gone`"),
        (["*.gone"], "to/", "there is no"),
        (["../../etc/passwd"], "to/", "there is no"),
        (["a"], "to/file", "is no directory"),
        (["a/x.txt"], "to/file/", "is no directory"),
        (["with"], "to/", "a file cannot take its place"),
    ],
)
def test_what_cannot_be_copied_is_said(root, sources, target, why):
    (root / "to/file").write_text("")
    (root / "from/with").mkdir()
    (root / "from/with/clash").write_text("")
    (root / "to/clash").mkdir()
    with pytest.raises(CopyError, match=why):
        run(root, *sources, target=target)


def test_owners_by_name_are_looked_up(monkeypatch):
    texts = {"/etc/passwd": b"app:x:7:8::/:\n", "/etc/group": b"web:x:9:\n"}
    monkeypatch.setattr(copying, "_read", texts.__getitem__)
    assert copying.owner_of("") is None
    assert copying.owner_of("app") == (7, 8)
    assert copying.owner_of("app:web") == (7, 9)
    assert copying.owner_of("5") == (5, 5)
    assert copying.owner_of("5:6") == (5, 6)
    for wrong in ("ghost", "app:ghosts"):
        with pytest.raises(CopyError, match="ghost"):
            copying.owner_of(wrong)


CLAUSES = st.from_regex(r"[ugoa]{0,3}([-+=][rwxX]{0,3}){1,2}(,[ugo]{1,2}[-+=][rwx]{0,2}){0,2}", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(CLAUSES, st.integers(0, 0o777))
def test_modes_are_changed_as_chmod_does(tmp_path_factory, wish, mode):
    place = tmp_path_factory.getbasetemp() / "mode"
    place.unlink(missing_ok=True)  # the one before may be writable for nobody
    place.write_bytes(b"")
    place.chmod(mode)
    subprocess.run(["/bin/sh", "-c", 'umask 0; chmod -- "$0" "$1"', wish, place], check=True)
    assert changed(mode, wish, directory=False) == stat.S_IMODE(place.stat().st_mode)


def test_octal_modes():
    assert changed(0o644, "4755", directory=False) == 0o4755
    assert changed(0o644, "", directory=True) == 0o644
