from __future__ import annotations

import hashlib
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.kinds.debian import unpack_debs
from envtool.kinds.debian.deb import ArchiveError, decompress, iter_members, read_control, read_deb_parts

from .conftest import make_deb, make_tar

NAMES = st.text(
    st.characters(blacklist_characters="\0/\n", blacklist_categories=["Cs"]), min_size=1, max_size=160
).filter(lambda name: name not in (".", ".."))
CONTROL = "Package: a\nVersion: 1\nArchitecture: amd64\n"


@given(
    st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=700), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_tarfile_writes_is_read_back(files, form):
    data = make_tar({f"./{name}": content for name, content in files.items()}, form=form)
    assert {item.path: data[item.start : item.start + item.size] for item in iter_members(data)} == files


@pytest.mark.parametrize(
    "files",
    [
        {"../evil": b"x"},
        {"a/../../evil": b"x"},
        {"dev": (tarfile.CHRTYPE, "")},
        {"pipe": (tarfile.FIFOTYPE, "")},
        {"link": (tarfile.LNKTYPE, "../../etc/shadow")},
    ],
)
def test_what_is_hostile_is_refused(files):
    with pytest.raises(ArchiveError):
        list(iter_members(make_tar(files)))


def test_absolute_names_stay_inside():
    assert [item.path for item in iter_members(make_tar({"/etc/x": b""}))] == ["etc/x"]


@given(st.integers(0, 1200), st.integers(1, 255))
def test_a_damaged_tar_raises_or_reads_the_same_names(at, flip):
    data = bytearray(make_tar({"a": b"1" * 600, "b": b"2"}))
    data[at] ^= flip
    try:
        found = [item.path for item in iter_members(bytes(data))]
    except ArchiveError:
        return
    assert set(found) <= {"a", "b"}  # data may differ: its hash was checked before


def test_a_deb_that_is_cut_short_or_none(tmp_path):
    whole = make_deb(CONTROL, {"./a": b"x" * 5000})
    for data in (b"", b"not a deb", whole[:-30], whole[:100], whole[:8]):
        (tmp_path / "x.deb").write_bytes(data)
        with pytest.raises(ArchiveError):
            read_deb_parts(str(tmp_path / "x.deb"))


def test_compressions(debs):
    for form in ("xz", "tar"):
        assert read_control(debs("a.deb", CONTROL, {}, form=form)) == CONTROL
    with pytest.raises(ArchiveError):
        decompress("data.tar.xz", b"nonsense")
    with pytest.raises(ArchiveError):
        decompress("data.tar.lzma", b"")


def test_extract_writes_files_links_modes_and_times(debs, tmp_path):
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    deb = debs(
        "a.deb",
        CONTROL,
        {
            "./": b"",
            "./lib/": b"",
            "./lib/x": b"content",
            "./lib/y": (tarfile.SYMTYPE, "x"),
            "./lib/z": (tarfile.LNKTYPE, "./lib/x"),
            "./etc/": b"",
            "./etc/a.conf": b"conf",
            "./deep/er/file": b"parents are missing",
        },
        scripts={"./conffiles": b"/etc/a.conf\n", "./postinst": b"#!/bin/sh\n"},
    )
    control, owned, conffiles = unpack_debs.extract_deb(deb, str(root))
    assert (root / "lib").is_symlink()
    assert (root / "usr/lib/x").read_bytes() == b"content"
    assert os.readlink(root / "usr/lib/y") == "x"
    assert (root / "usr/lib/z").stat().st_ino == (root / "usr/lib/x").stat().st_ino
    assert int((root / "usr/lib/x").stat().st_mtime) == 1_600_000_000
    assert conffiles == {"/etc/a.conf": hashlib.md5(b"conf").hexdigest()}
    assert owned[:3] == ["/.", "/lib", "/lib/x"]
    assert set(control) == {"control", "conffiles", "postinst"}
    unpack_debs.extract_deb(deb, str(root))  # again, over what is there


def test_a_file_is_never_written_through_a_link(debs, tmp_path):
    (tmp_path / "outside").write_text("before")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/a").symlink_to(tmp_path / "outside")
    unpack_debs.extract_deb(debs("a.deb", CONTROL, {"./etc/a": b"after"}), str(tmp_path / "root"))
    assert (tmp_path / "outside").read_text() == "before"
    assert not (tmp_path / "root/etc/a").is_symlink()


def test_the_database(debs, tmp_path):
    same = "Package: libb\nVersion: 2\nArchitecture: amd64\nMulti-Arch: same\n"
    records = [
        unpack_debs._DpkgRecord(
            unpack_debs.extract_deb(
                debs(
                    "a.deb",
                    CONTROL,
                    {"./etc/a": b"x"},
                    scripts={
                        "./conffiles": b"/etc/a\n",
                        "./postinst": b"#!/bin/sh\n",
                        "./triggers": b"# why\ninterest-noawait /usr/lib\ninterest reload-a\nactivate ldconfig\n",
                    },
                ),
                str(tmp_path / "root"),
            )
        ),
        unpack_debs._DpkgRecord(unpack_debs.extract_deb(debs("b.deb", same, {"./usr/b": b""}), str(tmp_path / "root"))),
    ]
    unpack_debs.write_database(records[::-1], str(tmp_path / "root"))
    top = tmp_path / "root/var/lib/dpkg"
    status = (top / "status").read_text()
    assert status.count("Status: install ok unpacked") == 2
    assert f"Conffiles:\n /etc/a {hashlib.md5(b'x').hexdigest()}\n" in status
    assert status.index("Package: a\n") < status.index("Package: libb\n")
    assert (top / "info/libb:amd64.list").read_text() == "/usr/b\n"
    assert os.access(top / "info/a.postinst", os.X_OK)
    assert (top / "triggers/File").read_text() == "/usr/lib a/noawait\n"
    assert (top / "triggers/reload-a").read_text() == "a\n"
    assert (top / "lock").stat().st_mode & 0o777 == 0o640


def test_workers_say_which_deb_is_bad(debs, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_debs, "BLOBS", str(tmp_path))
    debs("bad.deb", CONTROL, {"../evil": b""})
    with pytest.raises(ArchiveError, match=r"bad[.]deb: .*evil"):
        unpack_debs.extract_in_parallel(["bad.deb"], print)


def test_a_place_that_is_taken_is_said_without_python(tmp_path, monkeypatch, debs):
    monkeypatch.setattr(unpack_debs, "BLOBS", str(tmp_path))
    monkeypatch.setattr(
        unpack_debs, "extract_deb", lambda deb, _, extract=unpack_debs.extract_deb: extract(deb, f"{tmp_path}/root")
    )
    debs("a.deb", CONTROL, {"./etc/a": b"x"})
    (tmp_path / "root/etc/a/below").mkdir(parents=True)
    with pytest.raises(ArchiveError) as caught:
        unpack_debs.extract_in_parallel(["a.deb"], print)
    assert caught.value.message == (
        f"a.deb: {tmp_path}/root/etc/a: Is a directory (another package, or a layer below, has something else at this"
        " place: leave one of them out)"
    )
