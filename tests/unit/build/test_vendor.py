from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from envtool.api import Fetch
from envtool.build import vendor
from envtool.build.fetch_all import WantedFile
from envtool.errors import Interrupted, StoreError, UsageError
from envtool.store import blobs
from envtool.store.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


def wanted(store, *bodies):
    found = []
    for body in bodies:
        sha256 = hashlib.sha256(body).hexdigest()
        source = Path(store.path("tmp", sha256))
        source.write_bytes(body)
        blobs.put(store, str(source), sha256)
        fetch = Fetch(url="", sha256=sha256, name=f"{body.decode()}.whl")
        found.append(WantedFile(fetch=fetch, names=(fetch.name,), needed_by=("layer deps", "base b"), size=len(body)))
    return sorted(found, key=lambda item: item.fetch.sha256)


def nothing():
    pass


def tree(top):
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def write(files, store, top, *, prune=False):
    return vendor.write_folder(files, store, str(top), prune=prune, check=nothing)


def test_a_folder_is_laid_out_by_content_and_its_index_is_one_for_sha256sum(store, tmp_path):
    top = tmp_path / "v"
    done = write(wanted(store, b"one", b"two"), store, top)
    assert (done.written, done.kept, done.removed, done.size) == (2, 0, 0, 6)
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert (top / sha256[:2] / sha256).read_bytes() == b"one"
    assert "# one.whl (layer deps, base b; 3 bytes)\n" in (top / "SHA256SUMS").read_text()
    assert (top / "SHA256SUMS").read_text().startswith("# 2 files, 6 bytes: ")
    write(wanted(store, b"one"), store, tmp_path / "w")
    assert (tmp_path / "w/SHA256SUMS").read_text().startswith("# 1 file, 3 bytes: ")
    subprocess.run(["sha256sum", "--check", "--strict", "--status", "SHA256SUMS"], cwd=top, check=True)
    assert "ENVTOOL_BLOBS" in (top / "README").read_text()


def test_only_what_is_missing_or_wrong_is_written(store, tmp_path):
    top = tmp_path / "v"
    files = wanted(store, b"one", b"two")
    write(files, store, top)
    first = tree(top)
    paths = [top / item.fetch.sha256[:2] / item.fetch.sha256 for item in files]
    inode = paths[0].stat().st_ino
    paths[1].write_bytes(b"???")
    done = write(files, store, top)
    assert (done.written, done.kept) == (1, 1)
    assert paths[0].stat().st_ino == inode
    assert tree(top) == first


def test_what_is_no_longer_pinned_is_told_and_pruned_on_request(store, tmp_path):
    top = tmp_path / "v"
    write(wanted(store, b"one", b"two"), store, top)
    left = wanted(store, b"one")
    write(left, store, top)
    assert "no longer pinned" in (top / "SHA256SUMS").read_text()
    subprocess.run(["sha256sum", "--check", "--strict", "--status", "SHA256SUMS"], cwd=top, check=True)
    (top / ".envtool-0123456789abcdef.tmp").write_text("killed")
    done = write(left, store, top, prune=True)
    assert done.removed == 1
    assert {*tree(top)} == {"README", "SHA256SUMS", f"{left[0].fetch.sha256[:2]}/{left[0].fetch.sha256}"}
    assert len(list(top.iterdir())) == 3


def test_a_folder_with_other_things_is_left_alone(store, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match=r"holds other things: thesis\.txt"):
        write(wanted(store, b"one"), store, tmp_path / "v", prune=True)
    assert {*tree(tmp_path / "v")} == {"thesis.txt"}


def test_a_damaged_blob_is_not_passed_on(store, tmp_path):
    files = wanted(store, b"one")
    Path(blobs.path(store, files[0].fetch.sha256)).write_bytes(b"eno")
    with pytest.raises(StoreError) as caught:
        write(files, store, tmp_path / "v")
    assert caught.value.code == "blob-damaged"
    assert not [path for path in (tmp_path / "v").rglob("*") if path.is_file()]
    assert not blobs.has(store, files[0].fetch.sha256)


@pytest.mark.parametrize("name", ["v.tar", "v.tar.zst"])
def test_an_archive_is_the_same_wherever_it_is_made_and_unpacks_to_the_folder(store, tmp_path, name):
    files = wanted(store, b"one", b"two")
    write(files, store, tmp_path / "folder")
    vendor.write_archive(files, store, str(tmp_path / name), check=nothing)
    first = (tmp_path / name).read_bytes()
    mask = os.umask(0o077)
    vendor.write_archive(files, store, str(tmp_path / name), check=nothing)
    os.umask(mask)
    assert (tmp_path / name).read_bytes() == first
    plain = tmp_path / "plain.tar"
    vendor.write_archive(files, store, str(plain), check=nothing)
    if name.endswith(".zst"):
        zstandard = pytest.importorskip("zstandard", reason="Python 3.14 has a module of its own")
        assert zstandard.ZstdDecompressor().stream_reader(first).read() == plain.read_bytes()
    with tarfile.open(plain) as tar:
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in tar} == {(0, 0, "", 0o644)}
        tar.extractall(tmp_path / "out", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    assert tree(tmp_path / "out" / "envtool.vendor") == tree(tmp_path / "folder")


def test_an_interrupted_write_leaves_nothing_half(store, tmp_path):
    files = wanted(store, b"one", b"two")
    turns = iter([None, Interrupted()])

    def check():
        stop = next(turns)
        if stop:
            raise stop

    with pytest.raises(Interrupted):
        vendor.write_archive(files, store, str(tmp_path / "v.tar"), check=check)
    assert {path.name for path in tmp_path.iterdir()} == {"store"}
