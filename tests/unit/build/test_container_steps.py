from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile

import pytest
import zstandard

from envtool.build import container_steps
from envtool.container import userns
from envtool.errors import BuildError
from envtool.store import unpack_archive


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = 1000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def link(name, target, kind=tarfile.SYMTYPE):
    return member(name, type=kind, linkname=target)


def tar(*members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def unpack(tmp_path, data, **kwargs):
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    target = tmp_path / "target" / "deep"
    unpack_archive.prepare()
    container_steps.unpack(str(archive), str(target), **kwargs)
    return target


PLAIN = tar(
    member("./d", type=tarfile.DIRTYPE, mode=0o500),
    member("./d/a", b"hello", mode=0o4755),
    member("./d/b", b"", mode=0o664),
    link("./d/l", "a"),
    link("./d/h", "./d/a", tarfile.LNKTYPE),
    member("no/entry/for/parents", b"x"),
)


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gz", "bz2", "xz", "zst"],
)
def test_all_compressions(tmp_path, pack):
    target = unpack(tmp_path, pack(PLAIN))
    assert (target / "d" / "a").read_bytes() == b"hello"
    assert os.readlink(target / "d" / "l") == "a"
    assert (target / "d" / "h").samefile(target / "d" / "a")
    assert (target / "no" / "entry" / "for" / "parents").read_bytes() == b"x"
    assert (target / "d" / "a").stat().st_mtime == (target / "d").stat().st_mtime == 1000
    assert stat.S_IMODE((target / "d" / "a").stat().st_mode) == 0o755  # no setuid without owners
    assert stat.S_IMODE((target / "d" / "b").stat().st_mode) == 0o644
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o755


def test_frames_one_after_the_other(tmp_path):
    half = len(PLAIN) // 2
    data = gzip.compress(PLAIN[:half]) + gzip.compress(PLAIN[half:])
    assert (unpack(tmp_path, data) / "d" / "a").exists()
    compress = zstandard.ZstdCompressor().compress
    assert (unpack(tmp_path, compress(PLAIN[:half]) + compress(PLAIN[half:])) / "no/entry/for/parents").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
def test_owners(tmp_path):
    info, content = member("f", b"x", mode=0o4711, uid=123, gid=456)
    info.pax_headers = {"SCHILY.xattr.user.mark": "y"}
    target = unpack(tmp_path, tar((info, content), member("dev", type=tarfile.CHRTYPE), member("p", type=tarfile.FIFOTYPE)),
                    owners=True)  # fmt: skip
    found = (target / "f").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (123, 456, 0o4711)
    assert os.getxattr(target / "f", "user.mark") == b"y"
    assert sorted(os.listdir(target)) == ["f", "p"]


def test_strip(tmp_path):
    target = unpack(
        tmp_path,
        tar(
            member("pkg-1", type=tarfile.DIRTYPE), member("pkg-1/a", b"x"), link("pkg-1/h", "pkg-1/a", tarfile.LNKTYPE)
        ),
        strip=1,
    )
    assert sorted(os.listdir(target)) == ["a", "h"]


def test_strip_counts_what_a_name_means(tmp_path):
    """Dots and slashes are no components, and a name with fewer than are dropped is no member."""
    members = (member("top", b"x"), member("./p//q/a", b"a"), member("p/./q/../r/b", b"b"), member("/p/q/c", b"c"),
               link("p/q/h", "/p/q/c", tarfile.LNKTYPE), member("p/q", type=tarfile.DIRTYPE, mode=0o700))  # fmt: skip
    target = unpack(tmp_path, tar(*members), strip=2)
    assert sorted(os.listdir(target)) == ["a", "b", "c", "h"]
    assert (target / "h").samefile(target / "c")
    with pytest.raises(BuildError, match="hard link to what is no file of this archive"):
        unpack(tmp_path, tar(member("top", b"x"), link("p/q/h", "top", tarfile.LNKTYPE)), strip=2)


def zipped(*names) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else b"x")
    return out.getvalue()


def plain(*names) -> bytes:
    return tar(*(member(name, **({"type": tarfile.DIRTYPE} if name.endswith("/") else {})) for name in names))


@pytest.mark.parametrize("make", [plain, zipped])
@pytest.mark.parametrize(
    ("names", "strip", "top"),
    [
        (("README", "tool"), 3, "'README', 'tool'"),
        (("README",), 1, "'README'"),
        (("pkg/", "pkg/bin/"), 2, "'pkg/'"),
        (("pkg/", "pkg/a", "pkg/b"), 2, "'pkg/'"),
        (("./", "./a", ".//b"), 1, "'a', 'b'"),
        (("p/q/a", "p/../r/b"), 4, "'p/', 'r/'"),
        (tuple("abcdefgh"), 1, "'a', 'b', 'c', 'd', 'e', 'f' and more"),
        (("ä\x1b[2J",), 1, "'ä\\x1b[2J'"),
    ],
)
def test_a_strip_that_leaves_nothing_is_an_error(tmp_path, make, names, strip, top):
    """And it says what the archive has at its top."""
    with pytest.raises(BuildError) as caught:
        unpack(tmp_path, make(*names), strip=strip)
    assert caught.value.code == "unpack-nothing"
    want = f"archive: `strip: {strip}` leaves nothing of it, since no name is deeper; at its top it has {top}"
    assert caught.value.message == want


@pytest.mark.parametrize("make", [plain, zipped])
def test_what_is_deep_enough_is_unpacked_and_the_rest_is_not(tmp_path, make):
    """As `tar --strip-components` does, whatever comes first."""
    assert os.listdir(unpack(tmp_path, make("README", "pkg/", "pkg/a"), strip=1)) == ["a"]


@pytest.mark.parametrize("data", [plain(), plain("./"), zipped()], ids=["tar", "top", "zip"])
def test_an_archive_of_nothing_is_what_its_hash_says(tmp_path, data):
    assert os.listdir(unpack(tmp_path, data)) == []


def test_what_lies_where_a_container_has_its_own_is_nothing(tmp_path):
    archive = tmp_path / "archive"
    for strip, names in ((0, ("dev/", "dev/null", "proc/1")), (1, ("root/sys/", "root/dev/x"))):
        archive.write_bytes(plain(*names))
        with pytest.raises(BuildError, match="all of it lies in /dev, /proc and /sys") as caught:
            unpack_archive.extract_archive(str(archive), "/", strip=strip, root=str(tmp_path))
        assert caught.value.code == "unpack-nothing"


def test_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "secret").write_text("s")
    target = unpack(tmp_path, tar(link("l", str(tmp_path / "secret")), member("l", b"new")))
    assert (tmp_path / "secret").read_text() == "s"
    assert (target / "l").read_text() == "new"


def test_links_inside_may_be_on_the_way(tmp_path):
    target = unpack(tmp_path, tar(member("usr/lib", type=tarfile.DIRTYPE), link("lib", "usr/lib"), member("lib/x", b"x"),
                                  member("lib", type=tarfile.DIRTYPE)))  # fmt: skip
    assert (target / "usr" / "lib" / "x").exists()
    assert (target / "lib").is_symlink()


def test_a_directory_keeps_a_link_to_one(tmp_path):
    """`/lib` is a link where a system has its files in /usr: an archive that has `lib/` does not take its place."""
    target = tmp_path / "target/deep"
    (target / "usr/lib").mkdir(parents=True)
    (target / "file").write_text("x")
    os.symlink("usr/lib", target / "lib")
    os.symlink("file", target / "l")
    os.symlink("nowhere", target / "m")
    unpack(tmp_path, tar(member("lib", type=tarfile.DIRTYPE), member("lib/x", b"x"), member("l", type=tarfile.DIRTYPE),
                         member("m", type=tarfile.DIRTYPE)))  # fmt: skip
    assert (target / "lib").is_symlink()
    assert (target / "usr/lib/x").exists()
    assert not (target / "l").is_symlink()
    assert (target / "m").is_dir()
    assert not (target / "m").is_symlink()


def test_what_is_left_out_is_said(tmp_path, capsys):
    target = unpack(tmp_path, tar(*(member(f"d{n}", type=tarfile.BLKTYPE) for n in range(25)), member("/abs/x", b"x")))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "d0: left out: device"
    assert said[20:] == ["and 5 more"]
    assert (target / "abs/x").read_bytes() == b"x"


def test_over_what_is_there(tmp_path):
    unpack(tmp_path, PLAIN)
    target = unpack(tmp_path, tar(member("d/a", b"new"), member("no", b"file")))
    assert (target / "d" / "a").read_bytes() == b"new"
    assert (target / "d" / "h").read_bytes() == b"hello"
    assert (target / "no").read_bytes() == b"file"


@pytest.mark.parametrize(
    "data",
    [
        b"junk",
        b"",
        b"\0" * 300,
        b"\0" * 512 + b"x" * 512,
        b"\x1f\x8bjunk",
        gzip.compress(PLAIN)[:-30],
        PLAIN[:1027],
        b"PK\x03\x04x",
    ],
)
def test_damaged(tmp_path, data):
    with pytest.raises(BuildError) as caught:
        unpack(tmp_path, data)
    assert caught.value.code in ("unpack-damaged", "unpack-format", "unpack-truncated", "unpack-header")
    assert caught.value.message.startswith("archive: ")


def test_sparse(tmp_path):
    with open(tmp_path / "big", "wb") as file:
        file.truncate(8 << 20)
        file.seek(5 << 20)
        file.write(b"x")
    import subprocess

    subprocess.run(["tar", "--sparse", "-cf", tmp_path / "s.tar", "-C", tmp_path, "big"], check=True)
    target = unpack(tmp_path, (tmp_path / "s.tar").read_bytes())
    assert (target / "big").read_bytes() == (tmp_path / "big").read_bytes()
    assert (target / "big").stat().st_blocks * 512 < 4 << 20


def zipped(*members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6))
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return out.getvalue()


def test_zip(tmp_path):
    data = zipped(("p/d/", "", 0o40755), ("p/d/x", "x", 0o100755), ("p/y", "y", 0), ("p/l", "d/x", 0o120777))
    target = unpack(tmp_path, data, strip=1)
    assert (target / "d" / "x").stat().st_mode & 0o777 == 0o755
    assert (target / "y").stat().st_mode & 0o777 == 0o644
    assert (target / "l").read_text() == "x"
    assert (target / "y").stat().st_mtime == 1577934246


def test_place(tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "run").write_text("x")
    (source / "d" / "run").chmod(0o700)
    (source / "f").write_text("y")
    os.symlink("f", source / "l")
    old = os.umask(0o077)
    try:
        container_steps.copy_to(str(source), str(tmp_path / "to" / "there"))
        container_steps.copy_to(str(source / "f"), str(tmp_path / "to" / "f"), 0o640)
    finally:
        os.umask(old)
    there = tmp_path / "to" / "there"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (there, there / "d" / "run", there / "f")] == [
        0o755,
        0o755,
        0o644,
    ]
    assert os.readlink(there / "l") == "f"
    assert stat.S_IMODE((tmp_path / "to" / "f").stat().st_mode) == 0o640
    with pytest.raises(BuildError, match="gone could not be copied"):
        container_steps.copy_to(str(source / "gone"), str(tmp_path / "x"))


# ---- setgid directories ---------------------------------------------------------------------------------------------

GROUP = 50
NEEDS_GROUPS = pytest.mark.skipif(userns.caller_ids().mode == "single", reason="a single id has a single group")


def in_setgid_directory(tmp_path, function):
    """Runs a function as container root in a directory `t` of another group whose setgid bit is set; returns group and
    mode of each entry that it made there."""

    def run():
        os.chroot(".")  # the directories above may be another user's
        for directory in ("t", "t/old"):
            os.mkdir(directory)
            os.chown(directory, 0, GROUP)
            os.chmod(directory, 0o2775)
        function()
        paths = [os.path.join(top, name) for top, directories, names in os.walk("t") for name in (*directories, *names)]
        return {path[2:]: [os.lstat(path).st_gid, stat.S_IMODE(os.lstat(path).st_mode)] for path in paths}

    tmp_path.chmod(0o777)
    entries = userns.run_as_root(run, at=str(tmp_path))
    assert entries.pop("old")[0] in (0, GROUP)
    return {path: (gid, oct(mode)) for path, (gid, mode) in entries.items() if mode != 0o777 or gid}


MEMBERS = (
    member("old/file", b"x", mode=0o644),
    link("old/link", "file"),
    member("old/fifo", type=tarfile.FIFOTYPE, mode=0o640),
    member("old/named", type=tarfile.DIRTYPE, mode=0o755),
    member("old/named/file", b"x", mode=0o600),
    member("old/bit", type=tarfile.DIRTYPE, mode=0o2755),
    member("old/implied/file", b"x", mode=0o644),
    member("old/other", b"x", mode=0o644, gid=7),
)


@NEEDS_GROUPS
@pytest.mark.parametrize("way", ["ADD", "fetch with owners", "fetch"])
def test_what_is_unpacked_in_a_setgid_directory_has_the_group_and_mode_of_the_archive(tmp_path, way):
    (tmp_path / "archive").write_bytes(tar(*MEMBERS))

    def extract():
        target = "/t"
        if way == "ADD":
            unpack_archive.unpack_if_archive("archive", target, None, lambda: None)
        else:
            unpack_archive.extract_archive("archive", target, owners=way == "fetch with owners")

    other, fifo, bit = (0, "0o644"), (0, "0o640"), (0, "0o2755")
    if way == "fetch":
        bit = (0, "0o755")
    else:
        other = (7, "0o644")
    assert in_setgid_directory(tmp_path, extract) == {
        "old/file": (0, "0o644"),
        "old/fifo": fifo,
        "old/named": (0, "0o755"),
        "old/named/file": (0, "0o600"),
        "old/bit": bit,
        "old/implied": (0, "0o2755"),
        "old/implied/file": (0, "0o644"),
        "old/other": other,
    }


@NEEDS_GROUPS
def test_what_is_copied_to_a_setgid_directory_belongs_to_root(tmp_path):
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/file").write_text("x")
    (tmp_path / "tree/below/file").write_text("x")
    (tmp_path / "tree/link").symlink_to("file")
    (tmp_path / "tree/file").chmod(0o755)
    for path in (tmp_path / "tree", tmp_path / "tree/below"):
        path.chmod(0o755)
    (tmp_path / "tree/below/file").chmod(0o644)
    assert in_setgid_directory(tmp_path, lambda: container_steps.copy_to("tree", "/t/old/new/a")) == {
        "old/new": (0, "0o755"),
        "old/new/a": (0, "0o755"),
        "old/new/a/file": (0, "0o755"),
        "old/new/a/below": (0, "0o755"),
        "old/new/a/below/file": (0, "0o644"),
    }
