"""What stands on this machine beside its packages: each change of it is another digest."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envtool.kinds import host_files
from envtool.kinds.host import Host


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A small /usr with a /usr/local, Python's directory and alternatives, and what `look` says of it."""
    usr, etc = tmp_path / "usr", tmp_path / "etc"
    for name in ("local/bin", "local/lib/rt/bin", "lib/python3/dist-packages/pkg", "lib/other/deep", "bin"):
        (usr / name).mkdir(parents=True)
    for name in ("alternatives", "ssl", "private"):
        (etc / name).mkdir(parents=True)
    (etc / "private").chmod(0o700)
    for place in ("local/lib/rt/bin/tool", "lib/python3/dist-packages/pkg/a.py", "lib/other/deep/tool", "bin/own"):
        (usr / place).write_text("one\n")
    for place in ("ssl/conf", "private/key"):
        (etc / place).write_text("one\n")
    os.symlink("../lib/rt/bin/tool", usr / "local/bin/tool")
    os.symlink(usr / "lib/other/deep/tool", etc / "alternatives/tool")
    monkeypatch.setattr(host_files, "SYSTEM_TOPS", (str(usr),))
    monkeypatch.setattr(host_files, "DEEP_DIRECTORIES", (f"{usr}/local", f"{usr}/lib/python3/dist-packages"))
    monkeypatch.setattr(host_files, "COMMANDS", (f"{usr}/bin",))
    monkeypatch.setattr(host_files, "ETC", str(etc))
    monkeypatch.setattr(host_files, "ALTERNATIVES", f"{etc}/alternatives")
    return tmp_path


def said():
    found = host_files.scan_host(frozenset(["hosts"]))
    return found.digest, found.etc, found.unseen


def _again(path):
    """The same size and mtime, written in place."""
    before = path.stat()
    path.write_text(path.read_text().replace("one", "two"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(path):
    before = path.stat()
    new = path.with_name("new")
    new.write_text("two\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


def _link(path, target):
    path.unlink()
    os.symlink(target, path)


CHANGES = {
    "in place": lambda top: _again(top / "usr/local/lib/rt/bin/tool"),
    "replaced": lambda top: _replaced(top / "usr/local/lib/rt/bin/tool"),
    "mode": lambda top: (top / "usr/local/lib/rt/bin/tool").chmod(0o700),
    "gone": lambda top: (top / "usr/local/lib/rt/bin/tool").unlink(),
    "a whole runtime": lambda top: shutil.rmtree(top / "usr/local/lib/rt"),
    "new": lambda top: (top / "usr/local/lib/rt/bin/.hidden").write_text(""),
    "an empty directory": lambda top: (top / "usr/local/lib/rt/lib").mkdir(),
    "another link": lambda top: _link(top / "usr/local/bin/tool", "../lib/rt/bin/other"),
    "a module": lambda top: _again(top / "usr/lib/python3/dist-packages/pkg/a.py"),
    "a module is gone": lambda top: (top / "usr/lib/python3/dist-packages/pkg/a.py").unlink(),
    "where an alternative leads": lambda top: _again(top / "usr/lib/other/deep/tool"),
    "a command": lambda top: _again(top / "usr/bin/own"),
    "a new directory of a package's": lambda top: (top / "usr/lib/jvm").mkdir(),
    "a file among a package's": lambda top: (top / "usr/lib/other/lib.so").write_text(""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_another_digest(system, change):
    before = said()
    assert said() == before
    CHANGES[change](system)
    after = said()
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_etc_has_a_digest_of_its_own(system):
    before = said()
    (system / "etc/hosts").write_text("")  # the machine's
    (system / "etc/private/key").write_text("two\n")
    assert said() == before
    _again(system / "etc/ssl/conf")
    after = said()
    assert (after[0], after[1] == before[1]) == (before[0], False)


def test_a_link_to_a_tree_elsewhere_is_followed(system):
    os.symlink(system / "usr/lib/other/deep", system / "usr/local/lib/linked")
    before = said()
    _again(system / "usr/lib/other/deep/tool")
    assert said() != before
    os.symlink("../lib", system / "usr/local/lib/loop")
    os.symlink("/proc/self/root", system / "usr/local/lib/out")
    assert said()[2] == ""


def test_byte_code_is_left_out(system):
    before = said()
    cache = system / "usr/local/lib/rt/__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_text("")
    assert said() == before


def test_what_cannot_be_looked_at_is_said(system, monkeypatch):
    monkeypatch.setattr(host_files, "MAX_ENTRIES", 3)
    assert "more than 3 files" in said()[2]
    monkeypatch.undo()


def test_a_directory_that_can_be_passed_and_not_read_is_said(system, monkeypatch):
    """A task that knows a name in it can have that."""
    closed = str(system / "usr/local/lib/rt/bin")
    opened = os.open

    def refusing(place, flags, **more):
        if place == closed:
            raise PermissionError(13, "Permission denied", place)
        return opened(place, flags, **more)

    monkeypatch.setattr(os, "open", refusing)
    assert said()[2] == f"{closed}: Permission denied"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert said()[2] == ""


@given(
    links=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a/c", "a/d", "b/c", "a/e/f"]),
            st.sampled_from(["../b", "b", "/missing/x", "c", ".", "..", "../a/c", "d/../c", "../../b/c", "a/", "{top}/a/d", "c/g"]),
        ),
        max_size=6,
    )
)  # fmt: skip
@example([("a/c", "d"), ("a/d", "c")])
@example([("b", "a/"), ("a/c", "../b/d"), ("a/d", "file")])
def test_the_target_of_a_link_is_what_realpath_says(tmp_path_factory, links):
    top = tmp_path_factory.mktemp("links")
    (top / "a" / "e").mkdir(parents=True)
    for name, target in links:
        path = top / name
        inside = os.path.realpath(path.parent).startswith(str(top))  # a link made before may lead out
        if inside and path.parent.is_dir() and not os.path.lexists(path):
            os.symlink(target.format(top=top), path)
    scan = host_files._HostScan(frozenset())
    found = [path for path in top.rglob("*") if path.is_symlink()]
    assert [scan._real_path(str(path)) for path in found] == [os.path.realpath(path) for path in found]


def test_a_changed_machine_is_scanned_once(monkeypatch):
    """`fresh` found it, and `resolve` answers with that; the next `resolve` looks again."""
    scans = []
    monkeypatch.setattr(host_files, "scan_host", lambda private: scans.append(private) or host_files.HostFiles())
    kind = Host()
    assert not kind.fresh(None, {"system": "another"})
    pins = kind.resolve(None, None)
    assert len(scans) == 1
    assert kind.fresh(None, pins)
    assert kind.resolve(None, None) == pins
    assert len(scans) == 3


def test_what_runs_in_the_container_imports_nothing_there():
    """The functions of a Call run after the root has changed: an import in one of them is made in `prepare` too."""
    script = (
        "import ast, importlib, inspect, sys\n"
        "from envtool.kinds import host\n"
        "inner = {alias.name for node in ast.walk(ast.parse(inspect.getsource(host._copy_public)))"
        " if isinstance(node, ast.Import) for alias in node.names}\n"
        "assert inner\n"
        "for name in inner: sys.modules.pop(name, None)\n"
        "host._import_for_layout()\n"
        "print(*(name for name in inner if name not in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert "prepare=_import_for_layout" in inspect.getsource(Host.build)
