"""Archives that were made to do harm, or came to it: each is refused by a name of its own, and touches nothing else."""

from __future__ import annotations

import errno
import gzip
import os
import tarfile

import pytest
import zstandard

from envtool.errors import BuildError, StoreError
from envtool.store import extract, tar_read, unpack_layer
from tests.places import remove_at_end
from tests.unit.store.archives import digest, directory, gz, hard, link, member, tar, unpacked

zst = zstandard.ZstdCompressor().compress


def pax(records: dict[str, str], name: str = "f", content: bytes = b"x"):
    info, content = member(name, content)
    info.pax_headers = records
    return info, content


def field(data: bytes, start: int, value: bytes, *, block: int = 0, sums: bool = True) -> bytes:
    """A tar with other bytes in one header, its sum right again."""
    at = block * 512
    head = bytearray(data[at : at + 512])
    head[start : start + len(value)] = value
    if sums:
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
    return data[:at] + bytes(head) + data[at + 512 :]


def record(text: bytes) -> bytes:
    """A tar whose PAX header is `text`."""
    info, content = member("f", b"x")
    head = tarfile.TarInfo("pax")
    head.type, head.size = b"x", len(text)
    return head.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512) + tar((info, content))


ONE = tar(member("f", b"x" * 600))
SECRET = "../secret"

# what it is: the tar, what stands in the store if not the tar itself, the code
CASES: dict[str, tuple[bytes, bytes | None, str]] = {
    # names that lead out
    "parent": (tar(member("../out", b"x")), None, "unpack-name"),
    "parent in the middle": (tar(member("a/../../out", b"x")), None, "unpack-name"),
    "parent of a directory": (tar(directory("../tree2")), None, "unpack-name"),
    "parent in a pax path": (tar(pax({"path": "d/../../out"})), None, "unpack-name"),
    "parent in a long name": (tar(member("d/" * 60 + "../" * 70 + "out", b"x"), format=tarfile.GNU_FORMAT), None, "unpack-name"),
    "parent in the name of a sparse file": (
        tar(pax({"GNU.sparse.name": "../out", "GNU.sparse.size": "1", "GNU.sparse.map": "0,1"})), None, "unpack-name"),
    "no name": (field(tar(member("f")), 0, bytes(100)), None, "unpack-name"),
    "the root as a file": (tar(member("./", b"x")), None, "unpack-name"),
    "the root as a link": (tar(link("/", "/etc")), None, "unpack-name"),
    "a name longer than any": (tar(member("x" * 300, b"x")), None, "unpack-name"),
    "a path longer than any": (tar(member("xxxxxxxxx/" * 500, b"x")), None, "unpack-name"),
    "deeper than a path can name": (tar(member("d/" * 2100 + "f", b"x")), None, "unpack-name"),
    # parents that are none
    "through a circle": (tar(link("l", "m"), link("m", "l"), member("l/out", b"x")), None, "unpack-parent"),
    "through more links than the kernel follows": (
        tar(*(link(f"l{number}", f"l{number + 1}") for number in range(50)), directory("l50"), member("l0/x")), None, "unpack-parent"),
    "through a link to itself below": (tar(link("l", "l/l/l"), member("l/x", b"x")), None, "unpack-parent"),
    "deeper by links than a path can name": (
        tar(link("l", "d/" * 1500), link("d/" * 1500 + "m", "e/" * 1500), member("l/m/x")), None, "unpack-parent"),
    "a file by links in a path longer than any": (
        tar(link("l", "d/" * 1990), member("l/" + "x" * 200)), None, "unpack-parent"),
    "a directory by links in a path longer than any": (
        tar(link("l", "d/" * 1990), directory("l/" + "x" * 200)), None, "unpack-parent"),
    "through a link to a file": (tar(member("f"), link("l", "f"), member("l/x", b"x")), None, "unpack-parent"),
    "below a file": (tar(member("f", b"x"), member("f/below", b"x")), None, "unpack-parent"),
    "below a fifo": (tar(member("f", type=tarfile.FIFOTYPE), member("f/below", b"x")), None, "unpack-parent"),
    # hard links
    "hard link upward": (tar(hard("h", SECRET)), None, "unpack-name"),
    "hard link to the host's file": (tar(hard("h", "/etc/passwd")), None, "unpack-link"),
    "hard link through a link": (tar(link("l", ".."), hard("h", "l/secret")), None, "unpack-link"),
    "hard link to a directory": (tar(directory("d"), hard("h", "d")), None, "unpack-link"),
    "hard link to the root": (tar(hard("h", "./")), None, "unpack-link"),
    "hard link to nothing": (tar(hard("h", "")), None, "unpack-name"),
    "hard link to what comes later": (tar(hard("h", "f"), member("f", b"x")), None, "unpack-link"),
    "hard link to a deletion": (tar(member(".wh.f"), hard("h", "f")), None, "unpack-link"),
    "hard link over what it is in": (tar(member("d/f", b"x"), hard("d", "d/f")), None, "unpack-link"),
    "symlink to nothing": (tar(link("l", "")), None, "unpack-link"),
    # deletions
    "deletion of nothing": (tar(member("d/.wh.")), None, "unpack-whiteout"),
    "deletion of its directory": (tar(member("d/.wh..")), None, "unpack-whiteout"),
    "deletion of its parent": (tar(member("d/.wh...")), None, "unpack-whiteout"),
    "below a deletion": (tar(member(".wh.d/f", b"x")), None, "unpack-whiteout"),
    "deletion of everything": (tar(member(".wh..wh..opq")), None, "unpack-opaque"),
    # numbers and headers that lie
    "sum": (field(ONE, 100, b"0000777", sums=False), None, "unpack-header"),
    "no tar": (b"<html>Please log in</html>" * 40, None, "unpack-number"),
    "random": (bytes(range(256)) * 8, None, "unpack-header"),
    "zeros in the middle": (ONE[:1536] + bytes(512) + ONE, None, "unpack-header"),
    "size with a sign": (field(ONE, 124, b"-0000001130\0"), None, "unpack-number"),
    "size as python takes it": (field(ONE, 124, b"0o1_130    \0"), None, "unpack-number"),
    "size below zero": (field(ONE, 124, b"\xff" * 12), None, "unpack-number"),
    "size past all bounds": (field(ONE, 124, b"\x80" + b"\xff" * 11), None, "unpack-number"),
    "size that is more than there is": (field(ONE, 124, b"77777777777\0"), None, "unpack-truncated"),
    "size that is less than there is": (field(ONE, 124, b"00000000001\0"), None, "unpack-header"),
    "pax size that is more than there is": (tar(pax({"size": str(1 << 37)})), None, "unpack-truncated"),
    "pax size that no layer has": (tar(pax({"size": str(1 << 60)})), None, "unpack-bomb"),
    "pax size that is none": (tar(pax({"size": "many"})), None, "unpack-number"),
    "a kind that nobody knows": (field(ONE, 156, b"Z"), None, "unpack-kind"),
    "another volume": (field(ONE, 156, b"M"), None, "unpack-kind"),
    "an owner that nobody can be": (tar(pax({"uid": "4294967295"})), None, "unpack-owner"),
    # pax
    "pax record that is cut": (record(b"99 path=x\n"), None, "unpack-pax"),
    "pax record without end": (record(b"9 path=xx"), None, "unpack-pax"),
    "pax record of no length": (record(b"0 a=b\n"), None, "unpack-pax"),
    "pax record of no key": (record(b"5 =b\n"), None, "unpack-pax"),
    "pax record that is none": (record(b"hello world\n"), None, "unpack-pax"),
    "pax path with a zero byte": (record(b"12 path=a\0b\n"), None, "unpack-pax"),
    "pax header larger than any": (tar(pax({"comment": "x" * (2 << 20)})), None, "unpack-pax"),
    "pax header with nothing after it": (record(b"8 path=x\n"[:0] + b"9 path=x\n")[:1024] + bytes(1024), None, "unpack-truncated"),
    # holes
    "holes that overlap": (tar(pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,0,0"})), None, "unpack-sparse"),
    "holes past the end": (tar(pax({"GNU.sparse.size": "9", "GNU.sparse.map": "9,1"})), None, "unpack-sparse"),
    "holes of another size": (tar(pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,5"})), None, "unpack-sparse"),
    "half a hole": (tar(pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,5"})), None, "unpack-sparse"),
    "a hole larger than any disk": (
        tar(pax({"GNU.sparse.size": str(1 << 62), "GNU.sparse.map": "0,1"})), None, "unpack-sparse"),
    "holes in no format": (tar(pax({"GNU.sparse.major": "7", "GNU.sparse.minor": "0"})), None, "unpack-sparse"),
    "a map of holes without end": (
        tar(pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, content=b"9" * 512)),
        None, "unpack-sparse"),
    "a map of more holes than there is": (
        tar(pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
                content=b"99999999\n".ljust(512, b"\0"))), None, "unpack-sparse"),
    # the stream
    "cut in a header": (ONE[:300], None, "unpack-truncated"),
    "cut in the content": (ONE[:900], None, "unpack-truncated"),
    "cut in the padding": (ONE[:1200], None, "unpack-truncated"),
    "gzip that is cut": (ONE, gz(ONE)[:-9], "unpack-truncated"),
    "gzip that is cut in its trailer": (ONE, gz(ONE)[:-1], "unpack-truncated"),
    "gzip of another sum": (ONE, gz(ONE)[:-8] + b"\0\0\0\0" + gz(ONE)[-4:], "unpack-damaged"),
    "gzip of another length": (ONE, gz(ONE)[:-4] + b"\0\0\0\1", "unpack-damaged"),
    "gzip with a flipped bit": (ONE, gz(ONE)[:30] + bytes([gz(ONE)[30] ^ 64]) + gz(ONE)[31:], "unpack-damaged"),
    "gzip with something behind": (ONE, gz(ONE) + b"more", "unpack-trailing"),
    "gzip header alone": (ONE, gz(ONE)[:8], "unpack-truncated"),
    "zstd that is cut": (ONE, zst(ONE)[:-4], "unpack-truncated unpack-diff-id"),  # Python's own module says, zstandard does not
    "zstd with something behind": (ONE, zst(ONE) + b"something else", "unpack-damaged"),
    "zstd of noise": (ONE, zst(ONE)[:4] + b"\xff" * 100, "unpack-damaged"),
    "zstd with a window larger than any": (ONE, b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100), "unpack-damaged"),
    "xz": (ONE, b"\xfd7zXZ\0" + bytes(100), "unpack-format"),
    "bzip2": (ONE, b"BZh9" + bytes(100), "unpack-format"),
    # bombs
    "gzip bomb": (b"", gzip.compress(bytes(4 << 20)), "unpack-bomb"),
    "zstd bomb": (b"", zst(bytes(4 << 20)), "unpack-bomb"),
    "bomb of bombs": (b"", zst(tar(member("f"))[:512] + bytes(0)) + zst(bytes(4 << 20)), "unpack-bomb"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(tmp_path, monkeypatch, name):
    data, packed, code = CASES[name]
    monkeypatch.setattr(unpack_layer, "MIN_UNPACKED_LIMIT", 3 << 20)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "top").mkdir()
    remove_at_end(tmp_path / "top/tree")
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path / "top", data, packed=packed)
    assert caught.value.code in code.split(), caught.value.message
    assert caught.value.message == caught.value.message.strip()
    assert "\n" not in caught.value.message
    assert sorted(os.listdir(tmp_path)) == ["secret", "top"]
    assert sorted(os.listdir(tmp_path / "top")) == ["blob", "manifest", "tree"]
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not (tmp_path / "top/manifest").stat().st_size


def test_there_are_enough_of_them():
    assert len(CASES) > 80
    assert len({code for _, _, code in CASES.values()}) >= 16


def test_another_diff_id(tmp_path):
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, ONE, diff_id=digest(b"another"))
    assert caught.value.code == "unpack-diff-id"
    assert digest(ONE) in caught.value.message


def test_more_than_the_disk_holds(tmp_path, monkeypatch):
    class Full:
        f_bavail, f_frsize = 1, 1024

    monkeypatch.setattr(unpack_layer.os, "statvfs", lambda _: Full)
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, ONE)
    assert caught.value.code == "unpack-room"


def test_more_members_than_any_layer_has(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "MAX_MEMBERS", 3)
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, tar(*(member(f"f{number}") for number in range(4))))
    assert caught.value.code == "unpack-many"


@pytest.mark.parametrize("more", [b"#!/bin/sh\n", ONE, b"\n", bytes(700) + b"x", b"x" * (3 << 20)], ids=len)
def test_what_follows_the_end_means_nothing_and_is_hashed(tmp_path, more):
    """As Go's archive/tar has it, that is in every tool; the diff ID is of all the bytes."""
    found, tree, _ = unpacked(tmp_path, ONE + more)
    assert (found.captured[0], found.captured[1]) == (digest(ONE + more), len(ONE + more))
    assert os.listdir(tree) == ["f"]


LINKED = {  # members below symlinks of the same layer: where they are, as containerd has them
    "to a directory": (tar(directory("usr/lib"), link("lib", "usr/lib"), member("lib/x", b"x")), ["usr/lib/x"]),
    "to what is not there yet": (tar(link("lib", "usr/lib"), member("lib/a/x", b"x")), ["usr/lib/a/x"]),
    "absolute": (tar(link("lib", "/usr/lib"), member("lib/x", b"x")), ["usr/lib/x"]),
    "upward stays in the tree": (tar(link("l", "../.."), member("l/out", b"x")), ["out"]),
    "the root": (tar(link("l", "/"), member("l/tmp/out", b"x")), ["tmp/out"]),
    "links of links": (tar(link("a", "."), link("a/b", ".."), member("b/out", b"x"), member("a/a/in", b"x")), ["in", "out"]),
    "one that was a directory": (tar(directory("d"), member("d/x"), link("d", "e"), member("d/out", b"x")), ["e/out"]),
    "one that is none any more": (tar(link("d", "e"), member("d/x", b"x"), directory("d"), member("d/y", b"x")), ["d/y", "e/x"]),
    "a directory": (tar(link("l", "t"), directory("l/d", mode=0o700), member("t/d/x", b"x")), ["t/d/x"]),
    "hard": (tar(member("t/f", b"x"), link("l", "t"), hard("l/h", "l/f")), ["t/f", "t/h"]),
    "a file over a file": (tar(member("t/f", b"old"), link("l", "t"), member("l/f", b"x")), ["t/f"]),
    "names with ..": (tar(member("a/../b", b"x"), member("./c/.././d/../e", b"x"), hard("f", "a/../b")), ["b", "e", "f"]),
    "names with .. that a link is before": (tar(link("l", "t/u"), member("l/../x", b"x")), ["x"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_member_below_a_symlink_of_its_layer(tmp_path, name):
    data, wanted = LINKED[name]
    (tmp_path / "secret").write_text("s")
    _, tree, records = unpacked(tmp_path / "top", data)
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sorted(str(path.relative_to(tree)) for path in files) == wanted
    assert all(path.read_bytes() == b"x" for path in files)
    assert sorted(os.fsdecode(record.split(b" ", 5)[-1]) for record in records if record[:1] == b"f") == wanted
    assert os.listdir(tmp_path) == ["secret", "top"] or os.listdir(tmp_path) == ["top", "secret"]


def test_absolute_names_start_at_the_tree(tmp_path):
    _, tree, _ = unpacked(tmp_path, tar(member("/etc/x", b"x"), hard("//h", "/etc/x")))
    assert (tree / "h").read_bytes() == b"x"


def test_attributes_that_no_file_system_keeps(tmp_path):
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, tar(pax({"SCHILY.xattr.user.large": "x" * 70_000})))
    assert caught.value.code == "unpack-xattr"
    assert "'f'" in caught.value.message


def refusing(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])
def test_owners_that_this_caller_has_no_ids_for(tmp_path, monkeypatch, kind):
    for name in ("chown", "fchown"):
        monkeypatch.setattr(extract.os, name, refusing(errno.EINVAL))
    info, content = member("d/f", type=kind, uid=70000, linkname="x" if kind == tarfile.SYMTYPE else "")
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, tar((info, content)), owners=True)
    assert caught.value.code == "unpack-owner"
    assert "d/f" in caught.value.message
    assert "70000:0" in caught.value.message


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "store-space"), (errno.EIO, "store-write")])
def test_a_disk_that_fails(tmp_path, monkeypatch, number, code):
    monkeypatch.setattr(extract.os, "symlink", refusing(number))
    with pytest.raises(StoreError) as caught:
        unpacked(tmp_path, tar(link("l", "x")))
    assert caught.value.code == code
    assert ("is full" if number == errno.ENOSPC else os.strerror(number)) in caught.value.message


def test_names_are_quoted_on_one_line(tmp_path):
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, tar(member("../a\nb\x1b[31m" + "x" * 400, b"x")))
    assert "\\n" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 400


def test_old_sparse_headers_without_end(tmp_path):
    head = bytearray(512)
    head[0:1], head[156:157], head[257:265] = b"f", b"S", b"ustar  \0"
    head[100:108] = head[108:116] = head[116:124] = b"0000644\0"
    head[124:136] = head[136:148] = b"00000000000\0"
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    more = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    with pytest.raises(BuildError) as caught:
        unpacked(tmp_path, bytes(head) + more * (tar_read.EXTENTS // 20), packed=None)
    assert caught.value.code == "unpack-sparse"
