"""COPY as it is done, without a container: what is matched, whose it is, which mode it gets."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container import userns
from envtool.kinds.dockerfile import copy_inside
from envtool.kinds.dockerfile.copy_inside import CopyError, apply_mode, copy
from tests.places import nest

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
    copy(spec | more, lambda *_: None)  # nothing here is an archive


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


def test_a_target_that_is_there_stays_as_it_is_and_what_is_below_does_not(root):
    (root / "to/deep").mkdir(mode=0o700)
    (root / "to").chmod(0o711)
    (root / "from/a/deep").chmod(0o755)
    run(root, "a")
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("to", "to/deep")] == [0o711, 0o755]


def test_what_is_the_containers_is_left_out(root, monkeypatch):
    for name in ("proc/self/x", "proc/version", "sys/y", "procs/z", "a/proc/deep"):
        place = root / "from" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    (root / "from/proc").chmod(0o700)
    (root / "to/proc").mkdir(mode=0o711)
    monkeypatch.setattr(
        copy_inside, "_KERNEL_DIRECTORIES", tuple(f"{root}/to/{name}" for name in ("proc", "sys", "dev"))
    )
    run(root, "")
    assert {each.split("/")[0] for each in listed(root)} == {"a", "b", "link", "[w]", "procs"}
    assert "a/proc/deep" in listed(root)
    assert stat.S_IMODE((root / "to/proc").stat().st_mode) == 0o711
    run(root, "proc", target="to/proc")
    run(root, "sys", target="to/elsewhere")  # what it is called there is nothing to go by
    assert [each for each in listed(root) if "proc/" in each or "else" in each] == ["a/proc/deep", "elsewhere/y"]


def test_a_directory_may_be_a_link_there(root):
    (root / "real").mkdir(mode=0o700)
    (root / "to/deep").symlink_to("../real")
    run(root, "a")
    assert (root / "real/z.txt").exists()
    assert stat.S_IMODE((root / "real").stat().st_mode) == 0o700


def test_a_pattern_may_match_nothing(root):
    run(root, "a/x.txt", "*.lock", "none?", "[xyz]*", "a/*/none*")
    assert listed(root) == ["x.txt"]
    run(root, "*.lock", target="to/never/")
    assert listed(root) == ["x.txt"]
    assert not (root / "to/never").exists()


def test_several_go_to_a_directory_however_it_is_written(root):
    run(root, "a/x.txt", "a/y.md", target="to")
    assert listed(root) == ["x.txt", "y.md"]
    run(root, "a", "b/x.txt", target="to/new")  # the first makes it
    assert listed(root) == ["new/deep/z.txt", "new/x.txt", "new/y.md", "x.txt", "y.md"]
    for several in (["a/x.txt", "a/y.md"], ["?/x.txt"]):
        with pytest.raises(CopyError, match="several sources cannot be copied to one file") as caught:
            run(root, *several, target="to/file")
        assert "to/file/`" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("l/gone", r"`/l/gone` is a link to `nowhere`, which does not exist"),
        ("l/*", r"`/l/gone` is a link to `nowhere`"),
        ("l/way/below", r"`/l/way` is a link to `/no/where`, which does not exist"),
        ("l/there/gone", r"`/l/gone` is a link to `nowhere`"),
        ("l/round", r"l/round: Too many levels of symbolic links"),
        ("l/none", r"there is no `/l/none`"),
    ],
)
def test_a_link_that_leads_nowhere_is_said(root, source, why):
    (root / "from/l").mkdir()
    for name, target in (("gone", "nowhere"), ("way", "/no/where"), ("round", "round"), ("there", ".")):
        (root / "from/l" / name).symlink_to(target)
    if source == "l/*":
        (root / "from/l/round").unlink()
    with pytest.raises(CopyError, match=why):
        run(root, source, keep=True)


@pytest.mark.parametrize(("target", "why"), [("gone", "is it ignored"), ("/a/gone", "an absolute link leads out")])
def test_a_link_of_the_context_that_leads_nowhere_is_said(root, target, why):
    (root / "from/l").symlink_to(target)
    with pytest.raises(CopyError, match=f"`l` is a link to `{target}`, which is not in the context") as caught:
        run(root, "l")
    assert why in caught.value.hint


def test_links_on_the_way_are_followed(root):
    (root / "from/soft").mkdir()
    (root / "from/soft/output").symlink_to("../a")
    run(root, "soft/output/x.txt", "soft/output/deep", "soft/output/*.md")
    assert listed(root) == ["x.txt", "y.md", "z.txt"]


def test_what_the_system_refuses_is_said_of_a_file_and_not_of_our_code(root, monkeypatch):
    name = "n" * 256
    with pytest.raises(CopyError, match="File name too long") as caught:
        run(root, "a/x.txt", target=f"to/{name}")
    assert caught.value.message.startswith(f"{root}/to/{name}: ")
    assert "255 bytes" in caught.value.hint
    monkeypatch.setattr(copy_inside, "_find", lambda *_: ["a/x.txt/below"])
    with pytest.raises(CopyError, match=r"there is no `a/x.txt/below`"):
        run(root, "a")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_a_directory_belongs_to_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr(
        copy_inside, "_read", {"/etc/passwd": b"app:x:7:8::/:\n", "/etc/group": b"web:x:9:\n"}.__getitem__
    )
    for user, owner in {"1000": (1000, 1000), "1000:50": (1000, 50), "app": (7, 8), "app:web": (7, 9), "7": (7, 7),
                        ":9": (0, 9), "": (0, 0)}.items():  # fmt: skip
        place = tmp_path / f"user {user}" / "w"
        copy_inside.make_workdir(str(place), user)
        info = place.stat()
        assert (info.st_uid, info.st_gid) == owner
        assert place.parent.stat().st_uid == owner[0]


def test_hard_links_stay_together(root):
    os.link(root / "from/a/x.txt", root / "from/a/twin")
    run(root, "a")
    assert os.path.samefile(root / "to/x.txt", root / "to/twin")


@pytest.mark.parametrize(
    ("sources", "target", "why"),
    [
        (["gone"], "to/", "there is no `gone`"),
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
    monkeypatch.setattr(copy_inside, "_read", texts.__getitem__)
    assert copy_inside.resolve_owner("", "") is None
    assert copy_inside.resolve_owner("app", "") == (7, 8)
    assert copy_inside.resolve_owner("app:web", "") == (7, 9)
    assert copy_inside.resolve_owner("5", "") == (5, 5)
    assert copy_inside.resolve_owner("5:6", "") == (5, 6)
    for wrong in ("ghost", "app:ghosts"):
        with pytest.raises(CopyError, match="ghost"):
            copy_inside.resolve_owner(wrong, "--chown")


_ONE = r"[-+=](?:[ugo]|[rwxX]{0,3})"
CLAUSES = st.from_regex(rf"[ugoa]{{0,3}}({_ONE}){{1,2}}(,[ugo]{{1,2}}{_ONE}){{0,2}}", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(CLAUSES, st.integers(0, 0o777))
def test_modes_are_changed_as_chmod_does(tmp_path_factory, wish, mode):
    place = tmp_path_factory.getbasetemp() / "mode"
    place.unlink(missing_ok=True)  # the one before may be writable for nobody
    place.write_bytes(b"")
    place.chmod(mode)
    subprocess.run(["/bin/sh", "-c", 'umask 0; chmod -- "$0" "$1"', wish, place], check=True)
    assert apply_mode(mode, wish, directory=False) == stat.S_IMODE(place.stat().st_mode)


def test_octal_modes():
    assert apply_mode(0o644, "4755", directory=False) == 0o4755
    assert apply_mode(0o644, "", directory=True) == 0o644


@pytest.mark.skipif(userns.caller_ids().mode == "single", reason="a single id has a single group")
@pytest.mark.parametrize(("owner", "group"), [("", 50), ("0:0", 0), ("7:9", 9)])
def test_in_a_setgid_directory_groups_and_modes_are_those_of_docker(tmp_path, monkeypatch, owner, group):
    """BuildKit gives copies the owner and mode of the source or of --chown, and leaves the directories on the way as
    mkdir(2) makes them (fsutil: copy.go, mkdir.go)."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1577836800")
    (tmp_path / "from/below").mkdir(parents=True)
    (tmp_path / "from/below/file").write_text("x")
    for path, mode in (("from", 0o755), ("from/below", 0o755), ("from/below/file", 0o644)):
        (tmp_path / path).chmod(mode)
    tmp_path.chmod(0o777)

    def copy_there():
        os.chroot(".")  # the directories above may be another user's
        os.mkdir("to")
        os.chown("to", 0, 50)
        os.chmod("to", 0o2775)
        copy({
            "root": "/from", "sources": ["below"], "documents": [], "files": [], "target": "/to/on/way",
            "owner": owner, "mode": "", "exclude": [], "parents": False, "keep": False, "archives": False, "fetched": False,
        }, lambda *_: None)  # fmt: skip
        copy({
            "root": "/from", "sources": ["below"], "documents": [], "files": [], "target": "/to/",
            "owner": owner, "mode": "", "exclude": [], "parents": True, "keep": False, "archives": False, "fetched": False,
        }, lambda *_: None)  # fmt: skip
        paths = ("to/on", "to/on/way", "to/on/way/file", "to/below", "to/below/file")
        return [[os.stat(path).st_gid, stat.S_IMODE(os.stat(path).st_mode)] for path in paths]

    entry = 0 if owner == "" else group
    assert [(gid, oct(mode)) for gid, mode in userns.run_as_root(copy_there, at=str(tmp_path))] == [
        (group, "0o2755"),
        (group, "0o2755"),
        (entry, "0o644"),
        (entry, "0o755"),
        (entry, "0o644"),
    ]


def test_a_thousand_nested_directories_are_copied(root):
    nest(f"{root}/from/a", 1000)
    nest(f"{root}/to", 0)
    run(root, "a")
    assert os.path.isfile(f"{root}/to/{'d/' * 1000}file")
