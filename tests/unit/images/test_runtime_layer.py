"""The layer on top: what it adds, and what it leaves as it is."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from envtool.images import runtime_layer
from envtool.project import host_access

EPOCH = 1_600_000_000
LINE = b"envtool:x:1000:1000::/home/envtool:/bin/sh\n"


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: (member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar}


def layer(exists=(), files=None, links=()):
    return runtime_layer.make_layer(
        lambda path: path in exists, files or {}, dict(links), project="/project", epoch=EPOCH
    )


def test_an_empty_stack_gets_all_of_it():
    found = members(layer())
    assert [*found] == ["etc", "etc/group", "etc/passwd", "home", "home/envtool", "project", "run", "tmp"]
    assert {name for name, (member, _) in found.items() if member.uid == member.gid == 1000} == {
        "home/envtool",
        "project",
    }
    assert found["tmp"][0].mode == 0o1777
    assert found["etc/passwd"][1] == LINE
    assert {member.mtime for member, _ in found.values()} == {EPOCH}


def test_what_is_there_stays():
    there = {"etc", "etc/passwd", "etc/group", "home", "project", "run", "tmp"}
    passwd = b"root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n"
    found = members(layer(there, {"etc/passwd": passwd, "etc/group": b"root:x:0:"}))
    assert [*found] == ["etc/group", "home/envtool"]
    assert found["etc/group"][1] == b"root:x:0:\nenvtool:x:1000:\n"


def test_a_passwd_that_is_no_file_is_left_alone():
    assert "etc/passwd" not in members(layer({"etc", "etc/passwd"}))


def test_links_have_directories_around_them():
    found = members(layer(links={"/project/web/node_modules": "/opt/web", "/node_modules/a": "/opt/a"}))
    assert found["project/web/node_modules"][0].linkname == "/opt/web"
    assert found["project/web"][0].uid == 1000
    assert found["node_modules/a"][0].linkname == "/opt/a"
    assert found["node_modules"][0].uid == 0


def test_a_project_is_owned_by_whoever_runs_tasks(tmp_path):
    for path, mode in (("a/b", 0o700), ("c", 0o440)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
        (tmp_path / path).chmod(mode)
    (tmp_path / "l").symlink_to("a/b")
    with host_access.EntryOpener(str(tmp_path)) as entries:
        items = runtime_layer.project_items(["a/b", "c", "l"], entries, {"/project/a/made": b"made"}, "/project")
        found = members(b"".join(runtime_layer.stream_tar(items, EPOCH, entries)))
    assert [*found] == ["project", "project/a", "project/a/b", "project/a/made", "project/c", "project/l"]
    assert {(member.uid, member.mtime) for member, _ in found.values()} == {(1000, EPOCH)}
    assert [found[f"project/{name}"][0].mode for name in ("a", "a/b", "c", "a/made")] == [0o755, 0o755, 0o644, 0o644]
    assert found["project/a/b"][1] == b"a/b"
    assert found["project/l"][0].linkname == "a/b"


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=130).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=8))
def test_any_tar_is_read_back(files):
    items = {path: runtime_layer.RuntimeFile(mode=0o640, owner=7, content=text) for path, text in files.items()}
    data = runtime_layer.make_tar(items, EPOCH)
    assert data == runtime_layer.make_tar(dict(reversed(items.items())), EPOCH)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = {member.name: tar.extractfile(member).read() for member in tar}
    assert read == files
