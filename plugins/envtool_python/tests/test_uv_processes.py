"""How many processes a build by uv starts: venv in the agent's own, one question which Python it is, links where they
save more than they take."""

from __future__ import annotations

import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from envtool_python import calls, inside, with_uv

HERE = "{}.{}".format(*sys.version_info)


def tree(top):
    """Paths of a directory with their modes and contents."""
    return {
        str(path.relative_to(top)): (path.lstat().st_mode, (path.is_symlink() and os.readlink(path))
                                     or (path.is_file() and path.read_bytes()))
        for path in sorted(top.rglob("*"))
    }  # fmt: skip


def test_an_environment_of_this_process_is_that_of_python_m_venv(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    place = tmp_path / "env"
    assert inside.make_venv(str(place)) == f"{place}/bin/python"
    expected = tree(place)
    shutil.rmtree(place)
    assert with_uv.make_venv(str(place)) == f"{place}/bin/python"
    assert tree(place) == expected
    assert "pyvenv.cfg" in expected
    assert sys.dont_write_bytecode, "what the agent imports from now on would come into a layer"


def test_a_python_without_venv_makes_no_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setitem(sys.modules, "venv", None)
    with pytest.raises(inside.FailedError, match="add python3-venv"):
        with_uv.make_venv(str(tmp_path / "env"))
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(inside.FailedError, match="add python3-venv"):
        with_uv.make_venv(str(tmp_path / "file/env"))


@pytest.mark.parametrize(
    ("pips", "build", "count"), [({}, ["b"], 4), ({}, [], 3), ({HERE: "/pip"}, ["b"], 3), ({HERE: "/pip"}, [], 1)]
)
def test_uv_starts_python_once_where_several_resolve_at_once(tmp_path, monkeypatch, pips, build, count):
    """By what a uv is asked that only notes it: the first question is which Python it is, if others follow at once."""
    (tmp_path / "uv").write_text(f'#!/bin/sh\necho "$1 $2" >>{tmp_path}/asked\n')
    (tmp_path / "uv").chmod(0o755)
    for module in (with_uv, calls):
        monkeypatch.setattr(module, "WORK", str(tmp_path))
    monkeypatch.setattr(with_uv, "UV", str(tmp_path / "uv"))
    monkeypatch.setattr(with_uv, "said", list)
    monkeypatch.setattr(sys, "path", [*sys.path])
    unpacking = SimpleNamespace(wait=lambda: None)
    with_uv.resolve({"venv": "/none", "variables": {}, "pips": pips, "build": build, "calls": [["a"]],
                     "constraints": [], "unpacking": unpacking})  # fmt: skip
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == (["python find"] if count > 1 else []) + ["pip compile"] * (count - 1 if count > 1 else 1)


@pytest.mark.parametrize(
    ("document", "links"),
    [({"files": [{"file": "a-1-py3-none-any.whl"}]}, False), ({"files": [{"file": "a-1.tar.gz"}]}, True),
     ({"files": [], "project": {"root": "/project"}}, True)],
)  # fmt: skip
def test_only_a_build_with_a_backend_has_links_to_what_is_compiled(monkeypatch, document, links):
    linked = []
    monkeypatch.setattr(with_uv, "link_compiled", lambda: linked.append(True))
    for name in ("install", "unpack_pip", "make_venv"):  # which `build` replaces
        monkeypatch.setattr(inside, name, getattr(inside, name))
    monkeypatch.setattr(inside, "build", lambda _: {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert with_uv.build({**document, "unpacking": None, "pip": "pip.whl"}) == {}
    assert bool(linked) is links
