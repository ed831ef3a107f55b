"""What pid 1 reads of an image's tree is a regular file of a bounded size, whatever the image has in its place."""

import hashlib
import io
import os
import tarfile

import pytest

from envtool.container import copy_files, rootfs
from envtool.kinds.dockerfile import copy_inside


def member(name, kind=tarfile.REGTYPE, link="", content=b""):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size, found.mode = kind, link, len(content), 0o644
    return found, content


SHAPES = {
    "a link to a device": (tarfile.SYMTYPE, "/dev/zero"),
    "a relative link to a device": (tarfile.SYMTYPE, "../dev/zero"),
    "a link to the terminal": (tarfile.SYMTYPE, "/dev/tty"),
    "a fifo": (tarfile.FIFOTYPE, ""),
    "a link to a fifo": (tarfile.SYMTYPE, "wait"),
    "a link to what the kernel makes": (tarfile.SYMTYPE, "/proc/self/maps"),
    "a link to what never ends": (tarfile.SYMTYPE, "/proc/kmsg"),
    "a link in a circle": (tarfile.SYMTYPE, "passwd"),
    "a link to nothing": (tarfile.SYMTYPE, "/nothing"),
    "a directory": (tarfile.DIRTYPE, ""),
    "a link to a descriptor": (tarfile.SYMTYPE, "/proc/self/fd/0"),
}


def image(shape, *names):
    """A root file system with nothing but these names in /etc, as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for found, content in (
            member("etc/wait", tarfile.FIFOTYPE),
            *(member(f"etc/{name}", *SHAPES[shape]) for name in names),
        ):
            archive.addfile(found, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.e2e
@pytest.mark.sampled(3)
@pytest.mark.one_caller
@pytest.mark.parametrize("shape", SHAPES)
def test_a_container_starts_whatever_the_image_has_for_passwd(shape, common):
    """There is no program in this image: that is what is said, at once."""
    data = image(shape, "passwd", "group")
    common.write("root.tar", data)
    common.spec(
        f"bases: {{t: {{tarball: {{path: root.tar, sha256: {hashlib.sha256(data).hexdigest()}}}}}}}\nenvs: {{unit: {{base: t}}}}\n"
    )
    done = common.envtool("exec", "unit", "--", "/bin/true")
    assert done.status in (3, 127), done.said
    assert done.seconds < 20
    assert ".py:" not in done.said
    assert "internal" not in done.said


@pytest.mark.e2e
@pytest.mark.sampled(2)
@pytest.mark.one_caller
@pytest.mark.parametrize("shape", SHAPES)
def test_an_owner_is_looked_up_whatever_the_image_has_for_passwd(shape, common):
    common.write("root.tar", image(shape, "passwd", "group"))
    common.write("Dockerfile", "FROM scratch\nADD root.tar /\nCOPY --chown=app:app x /x\n")
    common.write("x", "")
    common.spec("bases: {d: {dockerfile: Dockerfile}}\nenvs: {unit: {base: d}}\n")
    done = common.envtool("exec", "unit", "--", "/bin/true")
    assert done.status == 3, done.said
    assert done.seconds < 20
    assert "`app`" in done.said
    assert ".py:" not in done.said


@pytest.mark.parametrize("read", [rootfs.read_etc_file, copy_inside._read])
def test_names_are_read_from_regular_files_alone(read, tmp_path):
    good = tmp_path / "good"
    good.write_bytes(b"app:x:5:5::/:\n")
    assert read(str(good)) == good.read_bytes()
    (tmp_path / "link").symlink_to("good")  # images with a store of their own have such
    assert read(str(tmp_path / "link")) == good.read_bytes()
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    for path in (tmp_path / "fifo", tmp_path / "sparse", tmp_path, "/dev/zero", "/proc/self/maps", tmp_path / "gone"):
        assert read(str(path)) == b""


def test_files_are_copied_with_their_holes_and_nothing_else_is(tmp_path):
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"x" * 5000)
    copy_files.copy_file(str(sparse), str(tmp_path / "copy"), 0o640)
    found = (tmp_path / "copy").stat()
    assert (found.st_size, found.st_mode & 0o777, found.st_blocks < 100_000) == (1 << 40, 0o640, True)
    with (tmp_path / "copy").open("rb") as file:
        file.seek((1 << 30) - 1)
        assert file.read(5002) == b"\0" + b"x" * 5000 + b"\0"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("sparse")
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match=r"."):
            copy_files.copy_file(str(tmp_path / name), str(tmp_path / f"{name}-copy"), 0o644)
    with pytest.raises(OSError, match=r"More than 0 MiB"):
        copy_files.copy_file(str(sparse), str(tmp_path / "more"), 0o644, most=4000)
