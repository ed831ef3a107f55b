"""Who a name is, as Docker looks it up."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.fs.passwd import UnknownUserError, explain_unmapped, find_group, find_user

PASSWD = (
    b"# remark\nroot:x:0:0:root:/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\n12:x:30:31::/odd:\nbroken:x:y:z\n+::::::\n"
)
GROUP = b"root:x:0:\napps:x:8:app\nweb:x:9:other,app\nold:x:10:app,\nodd:x:11:30\n"


@pytest.mark.parametrize(
    ("wanted", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, [0], "/root"),
        ("root", 0, 0, [0], "/root"),
        ("app", 7, 8, [8, 9, 10], "/home/app"),
        ("7", 7, 8, [8, 9, 10], "/home/app"),
        ("app:web", 7, 9, [9], "/home/app"),
        ("app:1", 7, 1, [1], "/home/app"),
        ("99", 99, 0, [0], "/"),
        ("99:web", 99, 9, [9], "/"),
        ("12", 30, 31, [31], "/odd"),  # a name first
        (":web", 0, 9, [9], "/root"),
    ],
)
def test_users(wanted, uid, gid, groups, home):
    user = find_user(wanted, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups, user.home) == (uid, gid, groups, home)


def test_who_is_not_there_is_named():
    with pytest.raises(UnknownUserError, match="`ghost`"):
        find_user("ghost", PASSWD, GROUP)
    with pytest.raises(UnknownUserError, match="`ghosts`"):
        find_user("app:ghosts", PASSWD, GROUP)
    with pytest.raises(UnknownUserError, match="`broken`"):
        find_user("broken", PASSWD, GROUP)
    assert find_user("0", b"", b"").home == "/"
    assert find_group("5", b"") == 5


@given(st.text(max_size=12), st.binary(max_size=80), st.binary(max_size=80))
def test_any_file_can_be_read(wanted, passwd, group):
    try:
        find_user(wanted, passwd, group)
    except UnknownUserError:
        return


@pytest.mark.parametrize(
    ("maps", "uid", "gid", "said"),
    [
        ("0 1000 1000\n1000 5 1\n1001 2000 64535\n", 65536, 0, "end at 65535; root has larger ones"),
        ("0 1000 65536\n", 0, 70000, "end at 65535; root"),
        ("0 1000 65536\n", 65535, 65535, ""),
        ("0 1 65536\n65536 9 2147418110\n", 4294967290, 0, "end at 2147483645"),
    ],
)
def test_ids_that_a_namespace_lacks(monkeypatch, maps, uid, gid, said):
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(maps))
    found = explain_unmapped(uid, gid)
    assert said in found
    assert bool(found) == bool(said)
    assert ("/etc/subuid" in found) == ("root" in said)
