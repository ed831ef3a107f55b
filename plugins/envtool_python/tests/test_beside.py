"""What belongs beside the sources, and what runs in containers: tried on directories of this machine."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from envtool_python import beside, inside


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "SOURCE", str(tmp_path / "source"))
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write(top, **files):
    for name, text in files.items():
        path = top / name.replace("_S_", "/").replace("_D_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def below(top):
    return {str(path.relative_to(top)) for path in Path(top).rglob("*") if not path.is_dir() or path.is_symlink()}


def wheel(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, "me-1_D_dist-info_S_RECORD": ""}.items():
            archive.writestr(name.replace("_S_", "/").replace("_D_", "."), text)
    return str(path)


def test_what_a_build_wrote_is_kept_but_what_only_builds_need(source, tmp_path):
    write(source, setup_D_py="", me_S_core_D_py="old", src_S_build_S_api_D_py="")
    before = {path for path, _ in beside.files_below(str(source))}
    assert before == {"setup.py", "me/core.py", "src/build/api.py"}
    write(source, me_S_fast_D_so="\0", me_S_fast_D_c="int", x__mypyc_D_so="\0", me_S_po_S_de_S_a_D_mo="\0")
    write(source, src_S_build_S__version_D_py=f"at = '{source}'", me_S_core_D_py="new")
    write(
        source, build_S_temp_S_a_D_o="", build_S_b_D_txt="", me_D_egg_DASH_info_S_PKG="", me_S___pycache___S_a_D_pyc=""
    )
    write(source, target_S_CACHEDIR_D_TAG="", target_S_big="", config_D_log="", me_S_a_D_o="", dist_S_x="")
    os.rename(source / "me.egg_DASH_info", source / "me.egg-info")
    os.symlink("fast.so", source / "me/link.so")
    os.symlink("me", source / "linked")
    keep = tmp_path / "keep"
    beside.keep_written(before, str(keep))
    assert below(keep) == {
        "me/fast.so", "me/fast.c", "me/link.so", "linked", "x__mypyc.so", "me/po/de/a.mo", "src/build/_version.py",
    }  # fmt: skip
    assert (keep / "src/build/_version.py").read_text() == "at = '/project'"


def test_of_a_wheel_the_checkout_gets_what_it_lacks(source, tmp_path):
    write(source, lib_S_me_S___init___D_py="")
    before = {path for path, _ in beside.files_below(str(source))}
    made = wheel(tmp_path / "me-1-py3-none-any.whl", me_S___init___D_py="", me_S_fast_D_so="\0", other_D_py="")
    assert not beside.keep_members(made, ".", before, str(tmp_path / "keep"), editable=False), "nothing comes first"
    assert not (tmp_path / "keep").exists()
    assert beside.keep_members(made, "lib", before, str(tmp_path / "keep"), editable=False)
    assert below(tmp_path / "keep") == {"lib/me/fast.so"}
    assert "me/fast.so" in zipfile.ZipFile(made).namelist(), "the wheel is what it was"


def test_a_backend_without_editable_installs_gets_one_of_its_wheel(source, tmp_path):
    write(source, sub_S_src_S_me_S___init___D_py="")
    before = {path for path, _ in beside.files_below(str(source))}
    files = {"me_S___init___D_py": "", "me_S_fast_D_so": "\0" + str(source), "other_D_py": f"at = '{source}'"}
    made = wheel(tmp_path / "me-1-py3-none-any.whl", **files)
    assert beside.keep_members(made, "sub", before, str(tmp_path / "keep"), editable=True)
    beside.point_to_project(made, "/project/sub")
    assert below(tmp_path / "keep") == {"sub/src/me/fast.so"}
    with zipfile.ZipFile(made) as archive:
        assert {*archive.namelist()} == {
            "__editable__.me.pth", "other.py", "me-1.dist-info/RECORD", "me-1.dist-info/direct_url.json",
        }  # fmt: skip
        assert archive.read("__editable__.me.pth") == b"/project/sub/src\n"
        assert archive.read("other.py") == b"at = '/project'"
        rows = archive.read("me-1.dist-info/RECORD").decode().splitlines()
    assert sorted(row.partition(",")[0] for row in rows) == [
        "__editable__.me.pth", "me-1.dist-info/RECORD", "me-1.dist-info/direct_url.json", "other.py",
    ]  # fmt: skip
    assert (tmp_path / "keep/sub/src/me/fast.so").read_bytes() == b"\0" + str(source).encode(), "no text: lengths count"


def test_pip_does_not_take_itself_for_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(inside, "WORK", str(tmp_path))
    path = tmp_path / "pip-26-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("pip/__init__.py", "pip/_vendor/distlib/x.py", "pip-26.dist-info/METADATA"):
            archive.writestr(name, "")
    assert inside.unpack_pip(str(path)) == f"{tmp_path}/pip/pip"
    assert below(tmp_path / "pip") == {"pip/__init__.py", "pip/_vendor/distlib/x.py"}
