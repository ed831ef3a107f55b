from __future__ import annotations

import gzip
import os
import select
import stat
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.errors import BuildError, Interrupted
from envtool.store import canonical, sparse, tar_read, unpack_archive
from tests.unit.store.archives import digest, directory, gz, hard, link, member, tar, unpacked
from tests.unit.store.test_canonical import EPOCH, trees, written
from tests.unit.store.test_canonical import grow as grow_tree

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="owners and device nodes need root")
zst = zstandard.ZstdCompressor().compress

PLAIN = tar(
    directory("./", mode=0o700, mtime=77),
    directory("d", mode=0o1777, mtime=500),
    member("d/a", b"hello" * 1000, mode=0o4755),
    member("d/b", b"", mode=0o640),
    link("d/l", "../../anywhere"),
    hard("h", "./d/a"),
    member("p", type=tarfile.FIFOTYPE, mode=0o600),
    member("no/entry/for/parents", b"x"),
)


@pytest.mark.parametrize("pack", [bytes, gz, zst], ids=["plain", "gzip", "zstd"])
def test_what_a_layer_may_hold(tmp_path, pack):
    found, tree, records = unpacked(tmp_path, PLAIN, packed=pack(PLAIN))
    assert found.captured == (digest(PLAIN), len(PLAIN), 10)
    assert found.left_out_count == 0
    assert (tree / "d/a").read_bytes() == b"hello" * 1000
    assert stat.S_IMODE((tree / "d/a").stat().st_mode) == 0o4755
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o1777
    assert stat.S_IMODE(tree.stat().st_mode) == 0o755  # as in every layer
    assert os.readlink(tree / "d/l") == "../../anywhere"
    assert (tree / "h").samefile(tree / "d/a")
    assert stat.S_ISFIFO((tree / "p").stat().st_mode)
    assert [path.lstat().st_mtime for path in (tree, tree / "d", tree / "d/a", tree / "d/l")] == [77, 500, 1000, 1000]
    assert (tree / "no/entry").stat().st_mtime == 1000
    crc = zlib.crc32(b"hello" * 1000)
    assert records[:3] == [b"d 1777 0 0 - d", b"f 4755 0 0 5000:%08x d/a" % crc, b"f 640 0 0 0:00000000 d/b"]
    assert records[4] == b"f 4755 0 0 5000:%08x h" % crc


def test_frames_one_after_the_other(tmp_path):
    half = len(PLAIN) // 2
    for number, packed in enumerate((
        gz(PLAIN[:half]) + gz(PLAIN[half:]),
        gz(PLAIN) + bytes(1000),
        gz(b"") + gz(PLAIN),
        zst(PLAIN[:half]) + struct.pack("<II", 0x184D2A50, 5) + b"hello" + zst(PLAIN[half:]),
        struct.pack("<II", 0x184D2A57, 0) + zst(PLAIN),
    )):  # fmt: skip
        _, tree, _ = unpacked(tmp_path / str(number), PLAIN, packed=packed)
        assert (tree / "no/entry/for/parents").exists()


def test_layers_of_nothing(tmp_path):
    for number, data in enumerate((b"", bytes(512), bytes(1024), bytes(10240))):
        found, tree, records = unpacked(tmp_path / str(number), data)
        assert found.captured == (digest(data), len(data), 0)
        assert not records
        assert not os.listdir(tree)


@root_only
def test_owners_attributes_and_what_is_left_out(tmp_path):
    info, content = member("f", b"x", mode=0o6711, uid=123, gid=70000)
    info.pax_headers = {
        "SCHILY.xattr.user.mark": "y",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "s0",
    }
    data = tar((info, content), member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), hard("n", "dev/null"))
    found, tree, records = unpacked(tmp_path / "kept", data)
    info = (tree / "f").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (123, 70000, 0o6711)
    assert os.listxattr(tree / "f") == ["user.mark"]
    assert sorted(os.listdir(tree)) == ["dev", "f"]
    assert found.left_out == (
        ("f", "xattr user.overlay.opaque"),
        ("f", "xattr security.selinux"),
        ("dev/null", "device"),
        ("n", "device"),
    )
    assert records[1].startswith(b"f 6711 123 70000 1:")
    _, tree, records = unpacked(tmp_path / "single", data, owners=False)
    assert (tree / "f").stat().st_uid == 0
    assert records[1].startswith(b"f 6711 0 0 1:")


@root_only
@pytest.mark.parametrize("value", [b"\1\0\0\2" + b"\0\4" + bytes(14), b"\1\0\0\3" + b"\0\4" + bytes(14) + b"\0\0\1\0"])
def test_file_capabilities_of_either_revision(tmp_path, value):
    info, content = member("ping", b"x")
    info.pax_headers = {"SCHILY.xattr.security.capability": value.decode("latin-1")}
    data = tar((info, content))
    _, tree, records = unpacked(tmp_path, data)
    assert os.getxattr(tree / "ping", "security.capability")[:6] == b"\1\0\0\2\0\4"
    canonical.capture(str(tree), EPOCH, manifest=str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes().split(b"\0")[:-1] == records


# ---- deletions -----------------------------------------------------------------------------------------------------


def kinds(tree: Path) -> dict[str, str]:
    found = {}
    for path in sorted(tree.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(tree))
        opaque = stat.S_ISDIR(mode) and "user.overlay.opaque" in os.listxattr(path)
        found[name] = "gone" if stat.S_ISCHR(mode) else "opaque" if opaque else "dir" if stat.S_ISDIR(mode) else "file"
    return found


@pytest.mark.parametrize("backwards", [False, True])
def test_deletions_mean_the_same_in_any_order(tmp_path, backwards):
    members = [
        directory("d"),
        member("d/.wh.gone"),
        member("d/.wh.file"),
        member("d/file", b"new"),
        member("d/.wh.dir"),
        directory("d/dir"),
        member("d/dir/x"),
        directory("o"),
        member("o/.wh..wh..opq"),
        member("o/.wh.nothing-to-hide"),
        member("o/new", b"x"),
    ]
    _, tree, records = unpacked(tmp_path, tar(*(reversed(members) if backwards else members)))
    assert kinds(tree) == {
        "d": "dir", "d/gone": "gone", "d/file": "file", "d/dir": "opaque", "d/dir/x": "file", "o": "opaque", "o/new": "file",
    }  # fmt: skip
    letters = {record.split(b" ")[5].decode(): record[:1] for record in records}
    assert letters == {
        "d": b"d", "d/dir": b"o", "d/dir/x": b"f", "d/file": b"f", "d/gone": b"w", "o": b"o", "o/new": b"f",
    }  # fmt: skip


def test_a_deletion_implies_its_directory(tmp_path):
    _, tree, _ = unpacked(
        tmp_path, tar(member("a/b/.wh.c"), member("x/.wh..wh..opq"), member("y/.wh.d"), member("y/d/e"))
    )
    assert kinds(tree) == {
        "a": "dir", "a/b": "dir", "a/b/c": "gone", "x": "opaque", "y": "dir", "y/d": "opaque", "y/d/e": "file",
    }  # fmt: skip


@pytest.mark.parametrize("backwards", [False, True])
def test_deletions_below_what_is_no_directory_any_more(tmp_path, backwards):
    """umoci tells of each."""
    (tmp_path / "secret").touch()
    members = [
        member("f", b"x"),
        member("f/.wh.gone"),
        link("l", ".."),
        member("l/.wh.secret"),
        member("l/.wh..wh..opq"),
    ]
    _, tree, _ = unpacked(tmp_path, tar(*(reversed(members) if backwards else members)))
    assert kinds(tree) == {"f": "file", "l": "file"}
    assert (tmp_path / "secret").exists()


def test_aufs_has_left_its_own_files_in_old_images(tmp_path):
    found, tree, _ = unpacked(tmp_path, tar(member(".wh..wh.aufs"), member(".wh..wh.plnk/1.2", b"x"), member("f")))
    assert os.listdir(tree) == ["f"]
    assert found.left_out_count == 2


# ---- what comes twice ----------------------------------------------------------------------------------------------


def test_what_comes_later_counts(tmp_path):
    data = tar(
        member("a", b"old"),
        hard("b", "a"),
        member("a", b"new"),
        directory("d", mode=0o700),
        member("d/x", b"1"),
        directory("d", mode=0o711),
        directory("was/deep/er"),
        member("was", b"a file"),
        member("l", b"x"),
        directory("l"),
        member("l/below"),
    )
    _, tree, records = unpacked(tmp_path, data)
    assert [(tree / name).read_bytes() for name in ("a", "b", "d/x", "was")] == [b"new", b"old", b"1", b"a file"]
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o711
    assert (tree / "l/below").exists()
    assert len(records) == 7


# ---- against those who wrote it ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees)
@root_only
def test_our_own_layers_come_back_as_they_were(tmp_path_factory, tree):
    top = tmp_path_factory.mktemp("tree")
    (top / "made").mkdir()
    grow_tree(os.fsencode(top / "made"), tree)
    captured = canonical.capture(str(top / "made"), EPOCH, manifest=str(top / "manifest"))
    data = written(top / "made")
    found, back, records = unpacked(top / "back", data, packed=zst(data))
    assert found.captured == captured
    assert (top / "manifest").read_bytes().split(b"\0")[:-1] == records
    assert written(back) == data


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.booleans())
@root_only
def test_every_way_in_makes_the_same_tree(tmp_path_factory, tree, twice):
    """Of what is no deletion and lies not in /dev: a layer, a `tarball:` base and ADD, also over what they made before."""
    tree = {path: entry for path, entry in tree.items() if path[0] != b"dev"}  # Hypothesis tries words of our modules
    top = tmp_path_factory.mktemp("tree")
    (top / "made").mkdir()
    grow_tree(os.fsencode(top / "made"), tree)
    (top / "tar").write_bytes(written(top / "made"))
    _, layer, _ = unpacked(top / "layer", (top / "tar").read_bytes())
    for name in ("base", "add"):
        (top / name).mkdir()
        for _ in range(1 + twice):
            if name == "base":
                unpack_archive.extract_archive(str(top / "tar"), "/", owners=True, root=str(top / name))
            elif any(layer.iterdir()):
                made = unpack_archive.unpack_if_archive(str(top / "tar"), "/", None, lambda: None, root=str(top / name))
                assert made == []
        same(layer, top / name, attributes=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
@root_only
def test_what_pythons_tarfile_writes(tmp_path_factory, tree, form):
    top = tmp_path_factory.mktemp("tree")
    (top / "made").mkdir()
    grow_tree(os.fsencode(top / "made"), tree)
    with tarfile.open(top / "tar", "w", format=form) as archive:
        archive.add(top / "made", arcname="./")
    _, back, _ = unpacked(top / "back", (top / "tar").read_bytes())
    same(top / "made", back, attributes=False)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.sampled_from(["v7", "oldgnu", "gnu", "ustar", "posix"]))
@root_only
def test_what_gnu_tar_writes(tmp_path_factory, tree, form):
    top = tmp_path_factory.mktemp("tree")
    (top / "made").mkdir()
    grow_tree(os.fsencode(top / "made"), tree)
    options = ["--xattrs", "--xattrs-include=*"] if form == "posix" else []
    done = subprocess.run(
        ["tar", "-C", str(top / "made"), f"--format={form}", *options, "-cf", str(top / "tar"), "."],
        capture_output=True,
        check=False,
    )
    if done.returncode:  # v7 and ustar cannot say every name
        assert form in ("v7", "ustar"), done.stderr
        return
    _, back, _ = unpacked(top / "back", (top / "tar").read_bytes())
    if form == "v7":  # it has no fifos
        return
    same(top / "made", back, attributes=form == "posix")


def same(made: Path, back: Path, *, attributes: bool) -> None:
    one, other = (sorted(os.fsencode(str(path.relative_to(top))) for path in top.rglob("*")) for top in (made, back))
    assert one == other
    for name in one:
        left, right = os.path.join(os.fsencode(made), name), os.path.join(os.fsencode(back), name)
        a, b = os.lstat(left), os.lstat(right)
        assert (a.st_mode, a.st_uid, a.st_gid, int(a.st_mtime), a.st_nlink if not stat.S_ISDIR(a.st_mode) else 0) == (
            b.st_mode, b.st_uid, b.st_gid, int(b.st_mtime), b.st_nlink if not stat.S_ISDIR(b.st_mode) else 0,
        )  # fmt: skip
        if stat.S_ISREG(a.st_mode):
            with open(left, "rb") as first, open(right, "rb") as second:
                assert first.read() == second.read()
            if attributes:
                assert os.listxattr(left) == os.listxattr(right)
        elif stat.S_ISLNK(a.st_mode):
            assert os.readlink(left) == os.readlink(right)


# ---- holes, and large files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["oldgnu", "gnu", "0.0", "0.1", "1.0"])
def test_holes_stay_holes(tmp_path, form):
    made = tmp_path / "made"
    made.mkdir()
    with open(made / "holes", "wb") as file:
        for number in range(60):  # more than an old header has room for
            file.seek(number * 1_000_000)
            file.write(b"%d" % number * 3000)
        file.truncate(3 << 30)
    (made / "hollow").touch()
    os.truncate(made / "hollow", 20 << 30)  # past what an octal field can say
    options = [f"--format={form}"] if "gnu" in form else ["--format=posix", f"--sparse-version={form}"]
    subprocess.run(["tar", "-C", str(made), "-S", *options, "-cf", str(tmp_path / "tar"), "."], check=True)
    _, tree, records = unpacked(tmp_path / "back", (tmp_path / "tar").read_bytes())
    for name in ("holes", "hollow"):
        assert (tree / name).stat().st_size == (made / name).stat().st_size
        assert (tree / name).stat().st_blocks <= (made / name).stat().st_blocks
    with open(made / "holes", "rb") as one, open(tree / "holes", "rb") as other:
        for _ in range(61):
            assert one.read(1_000_000) == other.read(1_000_000)
    assert records[1].split(b" ")[4] == b"%d:%08x" % (20 << 30, sparse.crc_with_zeros(0, 20 << 30))


@given(st.binary(max_size=50), st.integers(0, 3_000_000))
@settings(max_examples=60, deadline=None)
def test_the_sum_of_zeros_needs_no_zeros(data, count):
    assert sparse.crc_with_zeros(zlib.crc32(data), count) == zlib.crc32(data + bytes(count))


# ---- the reader alone ----------------------------------------------------------------------------------------------


def read(data: bytes, piece: int) -> list[tuple]:
    at = 0

    def pull() -> bytes:
        nonlocal at
        at += piece
        return data[at - piece : at]

    reader = tar_read.TarReader(pull)
    return [
        (
            m.name,
            m.kind,
            m.mode,
            m.uid,
            m.gid,
            m.size,
            m.mtime,
            m.link,
            m.xattrs,
            b"".join(map(bytes, reader.content())),
        )
        for m in reader
    ]


@given(st.integers(1, 3000))
@settings(max_examples=30, deadline=None)
def test_pieces_may_be_cut_anywhere(piece):
    assert read(PLAIN, piece) == read(PLAIN, 1 << 20)


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_broken_is_refused_and_nothing_else_happens(tmp_path_factory, data):
    """Whatever is done to a tar: the reader says so in its own words, or reads it."""
    whole = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 600))] = data.draw(st.binary(max_size=600))
    mended = bytearray(whole)
    for start in range(0, len(mended) - 511, 512):  # right sums, so that what lies behind them is reached
        block = mended[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            mended[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    for tried in (bytes(whole), bytes(mended)):
        code = "unpack-"
        try:
            read(tried, 700)
        except BuildError as error:
            code = error.code
        assert code.startswith("unpack-")


def test_fractions_of_a_second_and_times_before_1970(tmp_path):
    for text, moment in (("1.5", 1_500_000_000), ("-1.5", -1_500_000_000), ("12", 12_000_000_000), ("0.000000001", 1)):
        info, content = member("f")
        info.pax_headers = {"mtime": text}
        (found,) = read(tar((info, content)), 512)
        assert found[6] == moment
        assert not content


# ---- and when it is told to stop -----------------------------------------------------------------------------------


def test_a_cancel_ends_it(tmp_path):
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        assert select.select([reader], [], [], 0)[0]
        with pytest.raises(Interrupted):
            unpacked(tmp_path, PLAIN, cancel=reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_gzip_of_many_members_is_one_stream(tmp_path):
    packed = b"".join(gzip.compress(PLAIN[at : at + 100]) for at in range(0, len(PLAIN), 100))
    assert unpacked(tmp_path, PLAIN, packed=packed)[0].captured[0] == digest(PLAIN)
