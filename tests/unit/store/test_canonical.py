from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.errors import StoreError
from envtool.store import canonical, tar_write

EPOCH = 1_577_836_800
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and owners need root")


def written(tree) -> bytes:
    out = io.BytesIO()
    assert canonical.write_tar(str(tree), out) == len(out.getvalue())
    return out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        listing = archive.getmembers()
    assert len({member.name for member in listing}) == len(listing)
    return {member.name: member for member in listing}


names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"\n"))
    .filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
) | st.sampled_from(["é".encode(), b"a\nb", b"x" * 255, "文件".encode(), b"a b", b"-"])
files = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["file", "link", "hard", "fifo"]),
        "content": st.binary(max_size=1500),
        "mode": st.sampled_from([0o644, 0o755, 0o600, 0o4755, 0o000]),
        "mtime": st.integers(0, EPOCH * 2),
        "xattr": st.none() | st.binary(max_size=200),
    }
)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), files, max_size=8)


def grow(top: bytes, tree) -> None:
    first = None
    for path, what in tree.items():
        parent = os.path.join(top, *path[:-1])
        try:
            os.makedirs(parent, exist_ok=True)
        except OSError:  # a link or file is in the way
            continue
        place = os.path.join(parent, path[-1])
        if os.path.lexists(place):
            continue
        if what["type"] == "hard" and first:
            os.link(first, place)
        elif what["type"] == "link":
            os.symlink(what["content"].replace(b"\0", b"/") or b"x", place)
        elif what["type"] == "fifo":
            os.mkfifo(place)
        else:
            with open(place, "wb") as file:
                file.write(what["content"])
            if what["xattr"] is not None:
                os.setxattr(place, "user.mark", what["xattr"])
            os.chmod(place, what["mode"])
            first = first or place
        os.utime(place, (what["mtime"], what["mtime"]), follow_symlinks=False)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees)
@root_only
def test_tarfile_reads_back_what_is_on_disk(tmp_path_factory, tree):
    top = os.fsencode(tmp_path_factory.mktemp("tree"))
    grow(top, tree)
    diff_id, size, entries = canonical.capture(os.fsdecode(top), EPOCH)
    data = written(os.fsdecode(top))
    assert diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert size == len(data)
    archive = tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8")
    seen = 0
    for member in archive:
        seen += 1
        path = os.path.join(top, os.fsencode(member.name))
        info = os.lstat(path)
        assert member.mtime == info.st_mtime <= EPOCH
        assert (member.uid, member.gid) == (info.st_uid, info.st_gid)
        assert member.mode == stat.S_IMODE(info.st_mode)
        if member.isdir():
            assert stat.S_ISDIR(info.st_mode)
            assert member.mtime == EPOCH
        elif member.issym():
            assert os.fsencode(member.linkname) == os.readlink(path)
        elif member.islnk():
            assert os.path.samefile(os.path.join(top, os.fsencode(member.linkname)), path)
        elif member.isfifo():
            assert stat.S_ISFIFO(info.st_mode)
        else:
            with open(path, "rb") as file:
                assert archive.extractfile(member).read() == file.read()
            held = {name: os.getxattr(path, name) for name in os.listxattr(path)}
            said = member.pax_headers.get("SCHILY.xattr.user.mark")
            assert held.get("user.mark") == (None if said is None else said.encode("utf-8", "surrogateescape"))
    assert seen == entries == sum(len(d) + len(f) for _, d, f in os.walk(top))


@root_only
def test_the_digest_does_not_depend_on_order_time_or_umask(tmp_path):
    ids = set()
    for number, order in enumerate((["b", "a", "c"], ["c", "a", "b"])):
        top = tmp_path / str(number)
        top.mkdir(mode=0o700)
        for name in order:
            (top / name).mkdir()
            (top / name / "file").write_text(name)
        os.utime(top / "a", (number, number))
        ids.add(canonical.capture(str(top), EPOCH)[0])
        ids.add(canonical.capture(str(top), EPOCH)[0])  # capturing twice changes nothing
    assert len(ids) == 1


def test_an_old_time_stays_and_a_new_one_is_clamped(tmp_path):
    (tmp_path / "old").write_text("")
    (tmp_path / "new").write_text("")
    os.utime(tmp_path / "old", ns=(7_500_000_000, 7_500_000_000))
    canonical.capture(str(tmp_path), EPOCH)
    assert (tmp_path / "old").stat().st_mtime_ns == 7_000_000_000
    assert (tmp_path / "new").stat().st_mtime == EPOCH
    assert members(written(tmp_path))["old"].mtime == 7


def test_what_is_dropped_and_cleaned(tmp_path):
    for path in ("var/cache/apt/x", "var/cache/keep", "var/log/a.log", "run/deep/er/y", "tmp"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "sock"))
    listener.close()
    os.setxattr(tmp_path / "var", "user.overlay.origin", b"z")
    os.setxattr(tmp_path / "var", "user.overlay.opaque", b"y")
    canonical.capture(str(tmp_path), EPOCH, ("/var/cache/apt", "/var/log/*.log", "/run/**"))
    got = members(written(tmp_path))
    assert sorted(got) == ["run", "tmp", "var", "var/.wh..wh..opq", "var/cache", "var/cache/keep", "var/log"]
    assert os.listxattr(tmp_path / "var") == ["user.overlay.opaque"]
    assert not got["var"].pax_headers
    assert not (tmp_path / "sock").exists()


@root_only
def test_whiteouts_and_devices(tmp_path):
    (tmp_path / "d").mkdir()
    os.mknod(tmp_path / "d" / "gone", stat.S_IFCHR, 0)
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(tmp_path / "null", 3_000_000_000, 9)
    canonical.capture(str(tmp_path), EPOCH)
    got = members(written(tmp_path))
    assert got["d/.wh.gone"].isreg()
    assert got["d/.wh.gone"].size == 0
    assert (got["null"].devmajor, got["null"].devminor) == (1, 3)
    assert (got["null"].uid, got["null"].gid) == (3_000_000_000, 9)


def test_holes_read_as_zeros(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(3_000_001)
        file.seek(1 << 20)
        file.write(b"x")
    canonical.capture(str(tmp_path), EPOCH)
    with tarfile.open(fileobj=io.BytesIO(written(tmp_path))) as archive:
        assert archive.extractfile("sparse").read() == (tmp_path / "sparse").read_bytes()


def test_a_name_that_oci_would_misread_is_refused(tmp_path):
    (tmp_path / ".wh.x").write_text("")
    with pytest.raises(StoreError) as caught:
        canonical.capture(str(tmp_path), EPOCH)
    assert caught.value.code == "capture-name"


def test_capabilities_lose_the_namespace_they_were_set_in():
    v3 = bytes.fromhex("0100000300040000000000000000000000000000a0860100")
    assert canonical.normalize_capability(v3) == bytes.fromhex("0100000200040000000000000000000000000000")


def test_an_open_descriptor_is_as_good_as_a_path(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("a")
    descriptor = os.open(tmp_path / "tree", os.O_RDONLY)
    sheet = os.open(tmp_path / "manifest", os.O_RDWR | os.O_CREAT)
    by_fd = canonical.capture(descriptor, EPOCH, (), sheet)
    os.close(descriptor)
    os.close(sheet)
    assert by_fd == canonical.capture(str(tmp_path / "tree"), EPOCH)
    assert (tmp_path / "manifest").read_bytes().endswith(b" a\0")


def manifest(tmp_path, name, tree) -> str:
    top = tmp_path / name
    top.mkdir()
    for path, content in tree.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            (top / path).mkdir()
        elif content.startswith("->"):
            os.symlink(content[2:], top / path)
        else:
            (top / path).write_text(content)
    sheet = str(tmp_path / f"{name}.manifest")
    canonical.capture(str(top), EPOCH, (), sheet)
    return sheet


def test_conflicts(tmp_path):
    one = manifest(
        tmp_path, "one", {"same": "1", "other": "1", "d/a": "x", "link": "->a", "kind": "x", "sp ace\n": "1"}
    )
    two = manifest(
        tmp_path, "two", {"same": "1", "other": "2", "d/b": "x", "link": "->b", "kind/x": "", "sp ace\n": "2"}
    )
    assert canonical.find_conflicts(canonical.read_manifest(one), canonical.read_manifest(two)) == [
        "kind",
        "link",
        "other",
        "sp ace\n",
    ]
    assert canonical.find_conflicts(canonical.read_manifest(one), canonical.read_manifest(one)) == []


@pytest.mark.parametrize("length", [1, 80, 95, 98, 99, 100, 101, 988, 990, 1000])
def test_record_lengths_count_themselves(length):
    record = tar_write._record(b"path", b"x" * length)
    assert int(record.split(b" ")[0]) == len(record)


def test_huge_sizes_go_into_pax():
    size = 1 << 40
    assert b"size=%d" % size in tar_write.header(b"f", tar_write.REGULAR, mode=0o644, size=size)
