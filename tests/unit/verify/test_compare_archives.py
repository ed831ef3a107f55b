from __future__ import annotations

import io
import tarfile
import zipfile

from envtool.verify.compare_archives import compare_archives
from envtool.verify.outputs import compare_outputs


def wheel(path, files, *, date=(2020, 1, 1, 0, 0, 0), mode=0o644, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            item = zipfile.ZipInfo(name, date)
            item.external_attr = mode << 16
            item.compress_type = compression
            archive.writestr(item, content)
    return str(path)


def tarball(path, files, *, mtime=0, mode="w:gz", uname=""):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mtime, item.uname = len(content), mtime, uname
            archive.addfile(item, io.BytesIO(content))
    return str(path)


def test_the_members_of_a_wheel(tmp_path):
    one = wheel(tmp_path / "1.whl", {"a": "1", "b": "2", "only": ""})
    assert compare_archives(one, wheel(tmp_path / "2.whl", {"a": "1", "b": "3", "more": ""})) == [
        "member b: content",
        "member more: only in the second",
        "member only: only in the first",
    ]
    later = wheel(tmp_path / "3.whl", {"a": "1", "b": "2", "only": ""}, date=(2021, 1, 1, 0, 0, 0), mode=0o600)
    assert compare_archives(one, later)[0] == "member a: time, mode"
    assert compare_archives(one, wheel(tmp_path / "4.whl", {"b": "2", "a": "1", "only": ""})) == [
        "the order of the members"
    ]


def test_the_members_of_a_tar(tmp_path):
    one = tarball(tmp_path / "1.tar.gz", {"a": b"1", "b": b"2"})
    two = tarball(tmp_path / "2.tar.gz", {"a": b"1", "b": b"3"}, mtime=1, uname="ann")
    assert compare_archives(one, two) == ["member a: time, owner", "member b: content, time, owner"]
    same = tarball(tmp_path / "3.tar", {"a": b"1", "b": b"2"}, mode="w")
    assert compare_archives(one, same) == ["the members are the same, packed differently"]


def test_what_is_no_archive(tmp_path):
    for name in "12":
        (tmp_path / name).write_text(name * 600)
    assert compare_archives(str(tmp_path / "1"), str(tmp_path / "2")) == []


def test_outputs_name_the_members_and_not_when_they_were_made(tmp_path):
    for side, content in (("one", "1"), ("two", "2")):
        (tmp_path / side).mkdir()
        wheel(tmp_path / side / "x.whl", {"m.py": content})
        (tmp_path / side / "same").write_text("same")
        (tmp_path / side / "text").write_text(content + "\n")
    found = compare_outputs(str(tmp_path / "one"), str(tmp_path / "two"))
    assert [(each.path, each.kinds, each.shown) for each in found] == [
        ("/text", ("content",), "line 1:\n- 1\n+ 2"),
        ("/x.whl", ("content",), "member m.py: content"),
    ]
