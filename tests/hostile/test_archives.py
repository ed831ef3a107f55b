"""Archives that were made to do harm, through every way in: a layer of an image, ADD, `fetch: {unpack: true}` and a
`tarball:` base. One extractor is behind all four; nothing may change around the tree, whatever is in the archive.
"""

from __future__ import annotations

import copy
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from envtool.build import container_steps
from envtool.errors import BuildError
from envtool.store import unpack_archive
from tests.unit.store.archives import directory, hard, link, member, tar, unpacked
from tests.unit.store.test_hostile import field, pax, record

ME = (os.geteuid(), os.getegid())
root = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
WAYS = ["image", "add", "fetch", "base"]


@pytest.fixture
def around(tmp_path) -> Path:
    """What is around the tree, which is `t`."""
    (tmp_path / "around/dir").mkdir(parents=True)
    (tmp_path / "around/victim").write_text("mine")
    (tmp_path / "around/dir/victim").write_text("mine")
    (tmp_path / "around/dir").chmod(0o700)
    return tmp_path / "around"


def put(way: str, top: Path, data: bytes) -> Path:
    """Unpack an archive by one of the ways in; the tree. Raises BuildError."""
    if way == "image":
        return unpacked(top / "t", data)[1]
    (top / "archive").write_bytes(data)
    tree = top / "t"
    if way == "add":
        tree.mkdir()
        assert unpack_archive.unpack_if_archive(str(top / "archive"), str(tree), ME, lambda: None) is not None
    else:
        container_steps.unpack(str(top / "archive"), str(tree), owners=way == "base")
    return tree


def seen(top: Path) -> dict[str, tuple]:
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        state = path.lstat()
        text = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (state.st_mode, state.st_uid, state.st_ino, state.st_mtime_ns, text)
    return found


def to(name: str) -> str:
    return f"@{name}"  # in place of what is around: it is known when the test runs


LEAD = "unpack-parent"
# what it is: members, and by which code each way in refuses it; one that is not named takes it, and leaves all in its tree
CASES: dict[str, tuple[list, dict[str, str]]] = {
    "upward": ([member("../around/victim", b"x")], dict.fromkeys(WAYS, "unpack-name")),
    "upward in the middle": ([member("a/../../around/victim", b"x")], dict.fromkeys(WAYS, "unpack-name")),
    "upward by a directory": ([directory("../around/dir", mode=0o777)], dict.fromkeys(WAYS, "unpack-name")),
    "absolute": ([member(to("victim"), b"x")], {}),
    "absolute directory": ([directory(to("dir"), mode=0o777)], {}),
    "through an absolute link": ([link("l", to("dir")), member("l/victim", b"x")], dict.fromkeys(WAYS[1:], LEAD)),
    "what an absolute link has not": ([link("l", to("dir")), member("l/new/x", b"x")], dict.fromkeys(WAYS[1:], LEAD)),
    "a directory below an absolute link": ([link("l", to("")), directory("l/made")], dict.fromkeys(WAYS[1:], LEAD)),
    "through a link upward": ([link("l", "../around"), member("l/victim", b"x")], dict.fromkeys(WAYS[1:], LEAD)),
    "through links in a row": (
        [link("l", to("dir")), link("m", "l"), link("n", "m"), member("n/victim", b"x")], dict.fromkeys(WAYS[1:], LEAD)),
    "out and in again": ([directory("d"), link("l", "../t/d"), member("l/x", b"x")], {}),
    "round in a circle": ([link("l", "m"), link("m", "l"), member("l/x", b"x")], dict.fromkeys(WAYS, LEAD)),
    "a link that became a directory": ([link("l", to("dir")), directory("l", mode=0o777)], {"fetch": LEAD, "base": LEAD}),
    "a directory that became a link": ([directory("d", mode=0o777), link("d", to("dir")), member("e", b"")], {}),
    "a link that became a file": ([link("l", to("victim")), member("l", b"new")], {}),
    "a link that became a hard link": ([member("f", b"f"), link("l", to("victim")), hard("l", "f")], {}),
    "a hard link upward": ([hard("h", "../around/victim")], dict.fromkeys(WAYS, "unpack-name")),
    "an absolute hard link": ([hard("h", to("victim"))], dict.fromkeys(WAYS, "unpack-link")),
    "a hard link through a link": (
        [link("l", to("dir")), hard("h", "l/victim"), member("h", b"x")], {"image": "unpack-link", **dict.fromkeys(WAYS[1:], LEAD)}),
    "a hard link to a directory": ([directory("d"), hard("h", "d")], dict.fromkeys(WAYS, "unpack-link")),
    "a hard link to itself": ([hard("h", "h")], dict.fromkeys(WAYS, "unpack-link")),
    "below a file": ([member("f", b"x"), member("f/x", b"x")], dict.fromkeys(WAYS, LEAD)),
    "below a fifo": ([member("f", type=tarfile.FIFOTYPE), member("f/x", b"x")], dict.fromkeys(WAYS, LEAD)),
    "a directory that became a file": ([directory("d"), member("d/x", b"x"), member("d", b"file")], {}),
    "a file that became a directory": ([member("d", b"x"), directory("d"), member("d/x", b"x")], {}),
    "a device": ([member("d", type=tarfile.CHRTYPE), member("b", type=tarfile.BLKTYPE), hard("h", "d")], {}),
    "a name longer than any": ([member("x" * 300, b"x")], dict.fromkeys(WAYS, "unpack-name")),
    "deeper than can be removed": ([member("d/" * 2100 + "f", b"x")], dict.fromkeys(WAYS, "unpack-name")),
    "the root as a link": ([link("./", to("dir")), member("victim", b"x")], dict.fromkeys(WAYS, "unpack-name")),
    "a deletion": ([directory("d"), member("d/.wh.x")], dict.fromkeys(WAYS[1:], "unpack-whiteout")),
    "a kind that nobody knows": ([member("x", type=b"Z")], {**dict.fromkeys(WAYS, "unpack-kind"), "add": "none"}),
    "a size past all bounds": ([member("a"), pax({"size": "9" * 30})], dict.fromkeys(WAYS, "unpack-number")),
    "a negative owner": ([member("a"), pax({"uid": "-7"})], dict.fromkeys(WAYS, "unpack-number")),
    "a moment that is none": ([member("a"), pax({"mtime": "nan"})], dict.fromkeys(WAYS, "unpack-number")),
    "a moment far away": ([member("a"), pax({"mtime": "999999999999999999"})], {}),
    "holes that overlap": (
        [member("a"), pax({"GNU.sparse.size": "9", "GNU.sparse.map": "4,1,2,0"})], dict.fromkeys(WAYS, "unpack-sparse")),
    "more holes than a disk has": (
        [member("a"), pax({"GNU.sparse.size": str(1 << 42), "GNU.sparse.map": "0,1"})], dict.fromkeys(WAYS, "unpack-bomb")),
}  # fmt: skip


def placed(members: list, around: Path) -> bytes:
    """The tar, with what is around by its name."""
    made = []
    for info, content in members:
        parts = {part: getattr(info, part) for part in ("name", "linkname")}
        parts = {part: os.path.join(around, value[1:]) for part, value in parts.items() if value.startswith("@")}
        given = copy.copy(info)  # TarInfo.replace is of Python 3.11.4
        for part, value in parts.items():
            setattr(given, part, value)
        made.append((given, content))
    return tar(*made)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_nothing_leaves_the_tree(tmp_path, around, case, way):
    members, codes = CASES[case]
    before = seen(around)
    if way == "base" and os.geteuid():
        pytest.skip("owners need root")
    refused = ""
    try:
        put(way, tmp_path, placed(members, around))
    except BuildError as error:
        refused = error.code
    except AssertionError:
        refused = "none"  # ADD takes what is no archive from its first member on for a file
    assert refused == codes.get(way, "")
    assert seen(around) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"around", "archive", "t"}


DAMAGED = {
    "cut in a member": tar(member("a", b"x" * 9000), member("b", b"x" * 9000))[:12000],
    "cut in a header": tar(member("a"), member("b", b"x"))[:800],
    "a sum that is wrong": field(tar(member("a"), member("b", b"x")), 100, b"0000777", block=1, sums=False),
    "a pax record that is cut": tar(member("a"))[:512] + record(b"99 path=x\n"),
    "zeros in the middle": tar(member("a"))[:512] + bytes(512) + tar(member("b", b"x")),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_cut_or_changed_is_refused(tmp_path, case, way):
    if way == "base" and os.geteuid():
        pytest.skip("owners need root")
    with pytest.raises(BuildError) as caught:
        put(way, tmp_path, DAMAGED[case])
    assert caught.value.code in ("unpack-truncated", "unpack-header", "unpack-pax")


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
MARKS = {
    "SCHILY.xattr.user.note": "n",
    "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"),
    "SCHILY.xattr.trusted.overlay.opaque": "y",
    "SCHILY.xattr.user.overlay.redirect": "/etc",
    "SCHILY.xattr.system.posix_acl_access": "x",
}


@root
@pytest.mark.parametrize("way", WAYS)
def test_attributes_and_rights_that_are_kept(tmp_path, around, way):
    """Capabilities and setuid bits go where the archive's owners count, and nowhere else; overlayfs's marks never."""
    info, content = member("f", b"x", mode=0o6755, uid=12, gid=34)
    info.pax_headers = MARKS
    closed, _ = directory("d", mode=0o7777, uid=12)
    closed.pax_headers = MARKS
    tree = put(way, tmp_path, tar((closed, b""), (info, content)))
    kept = [] if way == "fetch" else ["security.capability", "user.note"]
    state = (tree / "f").stat()
    assert sorted(os.listxattr(tree / "f")) == kept
    assert stat.S_IMODE(state.st_mode) == (0o755 if way == "fetch" else 0o6755)
    assert (state.st_uid, state.st_gid) == {"fetch": (0, 0), "add": ME}.get(way, (12, 34))
    assert sorted(os.listxattr(tree / "d")) == kept[1:]
    assert stat.S_IMODE((tree / "d").stat().st_mode) == (0o755 if way == "fetch" else 0o7777)


@pytest.mark.parametrize("way", WAYS[:3])
def test_an_owner_that_nobody_can_be(tmp_path, around, way):
    data = tar(member("a"), pax({"uid": "4294967295"}))
    if way == "image":
        with pytest.raises(BuildError, match="no user has such an id"):
            put(way, tmp_path, data)
    else:
        assert (put(way, tmp_path, data) / "f").exists()


@pytest.mark.parametrize("way", WAYS[:3])
def test_holes_stay_holes(tmp_path, around, way):
    data = tar(pax({"GNU.sparse.size": str(8 << 20), "GNU.sparse.map": f"{5 << 20},1"}, content=b"x"))
    found = put(way, tmp_path, data) / "f"
    assert found.stat().st_size == 8 << 20
    assert found.stat().st_blocks * 512 < 1 << 20
    with found.open("rb") as file:
        file.seek(5 << 20)
        assert file.read(2) == b"x\0"


# ---- zips ------------------------------------------------------------------------------------------------------------


def zipped(*members: tuple, way: int = zipfile.ZIP_STORED) -> bytes:
    """Members: (name, content, mode)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", way) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6))
            info.external_attr, info.compress_type = mode << 16, way
            archive.writestr(info, content)
    return out.getvalue()


LINK, FILE = 0o120777, 0o100644
ZIPS = {
    "upward": ([("../around/victim", "x", FILE)], "unpack-name"),
    "upward in the middle": ([("a/../../around/victim", "x", FILE)], "unpack-name"),
    "absolute": ([("@victim", "x", FILE)], ""),
    "through a link": ([("l", "@dir", LINK), ("l/victim", "x", FILE)], LEAD),
    "through a link upward": ([("l", "..", LINK), ("l/around/victim", "x", FILE)], LEAD),
    "what a link has not": ([("l", "@dir", LINK), ("l/new/x", "x", FILE)], LEAD),
    "a directory over a link": ([("l", "@dir", LINK), ("l/", "", 0o40777)], LEAD),
    "a file over a link": ([("l", "@victim", LINK), ("l", "new", FILE)], ""),
    "a link longer than any": ([("l", "x" * 5000, LINK)], "unpack-link"),
    "below a file": ([("f", "x", FILE), ("f/x", "x", FILE)], LEAD),
    "a deletion": ([(".wh.x", "x", FILE)], "unpack-whiteout"),
    "too deep": ([("d/" * 2100 + "f", "x", FILE)], "unpack-name"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", ZIPS)
def test_nothing_of_a_zip_leaves_the_tree(tmp_path, around, case):
    members, code = ZIPS[case]
    before = seen(around)
    given = [
        tuple(os.path.join(around, each[1:]) if str(each).startswith("@") else each for each in row) for row in members
    ]
    refused = ""
    try:
        put("fetch", tmp_path, zipped(*given))
    except BuildError as error:
        refused = error.code
    assert refused == code
    assert seen(around) == before


def test_zips_that_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_archive, "MIN_UNPACKED_LIMIT", 1 << 20)
    one = zipped(("f", "hello", FILE))
    at = one.index(b"PK\1\2")
    bomb = zipped(("f", bytes(4 << 20), FILE), way=zipfile.ZIP_DEFLATED)
    encrypted = one[:6] + b"\1" + one[7 : at + 8] + b"\1" + one[at + 9 :]
    unknown = one[:8] + b"\x63" + one[9 : at + 10] + b"\x63" + one[at + 11 :]
    for number, (data, code) in enumerate({
        one[:35] + b"j" + one[36:]: "unpack-damaged", one[:-30]: "unpack-damaged", bomb: "unpack-bomb",
        encrypted: "unpack-format", unknown: "unpack-format", b"PK\x03\x04" + bytes(600): "unpack-damaged",
    }.items()):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        with pytest.raises(BuildError) as caught:
            put("fetch", tmp_path / str(number), data)
        assert caught.value.code == code, number
