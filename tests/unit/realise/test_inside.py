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

from envtool.errors import BuildError
from envtool.realise import inside


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
    inside.prepare()
    inside.unpack(str(archive), str(target), **kwargs)
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


@pytest.mark.parametrize(
    "members",
    [
        [member("../out", b"x")],
        [member("a/../../out", b"x")],
        [member("/out", b"x")],
        [link("l", ".."), member("l/out", b"x")],
        [link("l", "/"), member("l/tmp/out", b"x")],
        [link("a", "."), link("a/b", ".."), member("b/out", b"x")],
        [member("d", type=tarfile.DIRTYPE), link("d", ".."), member("d/out", b"x")],
        [link("l", ".."), member("l", type=tarfile.DIRTYPE, mode=0o777)],
        [link("h", "../../secret", tarfile.LNKTYPE)],
        [link("l", ".."), link("h", "l/secret", tarfile.LNKTYPE)],
        [link("h", "/etc/passwd", tarfile.LNKTYPE)],
        [member("dev", type=tarfile.CHRTYPE)],
        [member("f", b"x"), member("f/below", b"x")],
    ],
    ids=lambda members: " ".join(info.name for info, _ in members).replace("/", "|"),
)
def test_hostile_members(tmp_path, members):
    (tmp_path / "target").mkdir()
    (tmp_path / "secret").write_text("s")
    before = os.stat(tmp_path / "target").st_mode
    with pytest.raises(BuildError) as caught:
        unpack(tmp_path, tar(*members))
    assert caught.value.code == "unpack-member"
    assert os.listdir(tmp_path / "target") == ["deep"]
    assert os.stat(tmp_path / "target").st_mode == before


def test_a_directory_that_became_a_link_keeps_its_hands_off(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    unpack(tmp_path, tar(member("d", type=tarfile.DIRTYPE, mode=0o777), link("d", str(victim))))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    assert victim.stat().st_mtime != 1000


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


def test_over_what_is_there(tmp_path):
    unpack(tmp_path, PLAIN)
    target = unpack(tmp_path, tar(member("d/a", b"new"), member("no", b"file")))
    assert (target / "d" / "a").read_bytes() == b"new"
    assert (target / "d" / "h").read_bytes() == b"hello"
    assert (target / "no").read_bytes() == b"file"


@pytest.mark.parametrize(
    "data", [b"junk", b"", b"\x1f\x8bjunk", gzip.compress(PLAIN)[:-30], PLAIN[:1027], b"PK\x03\x04x"]
)
def test_damaged(tmp_path, data):
    with pytest.raises(BuildError) as caught:
        unpack(tmp_path, data)
    assert caught.value.code in ("unpack-damaged", "unpack-format")
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


@pytest.mark.parametrize("names", [["../x"], ["/x"], ["l", "l/x"]])
def test_hostile_zip(tmp_path, names):
    data = zipped(*((name, "..", 0o120777 if name == "l" else 0o100644) for name in names))
    with pytest.raises(BuildError) as caught:
        unpack(tmp_path, data)
    assert caught.value.code == "unpack-member"


def test_place(tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "run").write_text("x")
    (source / "d" / "run").chmod(0o700)
    (source / "f").write_text("y")
    os.symlink("f", source / "l")
    old = os.umask(0o077)
    try:
        inside.place(str(source), str(tmp_path / "to" / "there"))
        inside.place(str(source / "f"), str(tmp_path / "to" / "f"), 0o640)
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
        inside.place(str(source / "gone"), str(tmp_path / "x"))
