"""`toolchain: {cmake: …}` and its neighbours by the kit: which wheel is taken, from which index, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import stat

import pytest
from envtool_cc import wheel_layouts
from envtool_cc.kinds import (
    TOOLCHAIN_KINDS,
    TOOLCHAINS,
)
from envtool_cc.wheel_releases import read_wheel

from envtool import api, testing
from envtool.api.pip_indexes import Link

INDEX = "https://index.invalid/simple/"
FILES = "https://files.invalid/"
LINUX = "manylinux_2_17_x86_64.manylinux2014_x86_64"
CMAKES = (
    f"cmake-3.29.1-py3-none-{LINUX}.whl",
    f"cmake-3.31.6-py3-none-{LINUX}.whl",
    f"cmake-3.31.10-py3-none-{LINUX}.whl",
    "cmake-3.31.10-py3-none-musllinux_1_2_x86_64.whl",
    "cmake-3.31.11-py3-none-macosx_10_10_universal2.whl",
    f"cmake-4.0.0rc1-py3-none-{LINUX}.whl",
    "cmake-4.1.0-py3-none-manylinux_2_28_x86_64.whl",
    f"cmake-4.1.0-py3-none-{LINUX}.whl",
    "cmake-4.1.0-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl",
    "cmake-4.1.0.tar.gz",
    "cmake-0.2.0-cp35-cp35m-manylinux1_x86_64.whl",
)

CMAKE, MESON, NINJA, ZIG = TOOLCHAIN_KINDS


def page(*names, yanked=(), unhashed=(), wrong=()):
    """URL -> content of the files, and the page that names them."""
    files = {FILES + name: name.encode() for name in names}
    rows = []
    for name in names:
        digest = hashlib.sha256(b"another" if name in wrong else name.encode()).hexdigest()
        fragment = "" if name in unhashed else f"#sha256={digest}"
        mark = ' data-yanked="broken"' if name in yanked else ""
        rows.append(f'<a href="{FILES}{name}{fragment}"{mark}>{name}</a><br/>')
    return files, "\n".join(["<!DOCTYPE html><html><body>", *rows]).encode()


def site(*names, package="cmake", arch="x86_64", **named):
    files, content = page(*(names or CMAKES), **named)
    return site_of({**files, f"{INDEX}{package}/": content}, arch=arch)


def site_of(urls, config=f"global.index-url={INDEX!r}\n", arch="x86_64"):
    """`config` is what this machine's pip prints."""
    memory = testing.MemorySite(urls=urls, arch=arch)
    memory.pip = {"config": config}
    return memory


def resolve(wanted, at=None, kind=CMAKE):
    return kind.resolve(testing.request({"version": wanted}), at or site())


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("3", "3.31.10"), ("3.31", "3.31.10"), ("3.31.6", "3.31.6"), ("4", "4.1.0"), ("4.0.0rc1", None)],
)
def test_the_newest_version_that_fits_is_pinned(wanted, version):
    if version is None:  # a pre-release
        with pytest.raises(
            api.ResolveError, match=r"no CMake 4\.0\.0rc1 can be had for x86_64; Python package index has"
        ):
            resolve(wanted)
        return
    pins = testing.check_kind(CMAKE, {"version": wanted}, site=site(), wrong=[{}, {"version": 3}])
    assert [(row["name"], row["version"]) for row in pins["archives"]] == [("cmake", version)]
    assert pins["archives"][0]["path"] == f"cmake-{version}-py3-none-{LINUX}.whl"
    assert "invalid" not in json.dumps(pins)
    request = testing.request({"version": wanted})
    assert CMAKE.summary(request, pins) == f"{version} from Python package index"


def test_each_tool_has_a_kind_and_a_wheel_of_its_name():
    assert {kind.tool: kind.distribution for kind in TOOLCHAIN_KINDS} == {
        "cmake": "cmake", "meson": "meson", "ninja": "ninja", "zig": "ziglang",
    }  # fmt: skip
    assert [toolchain.kind for toolchain in TOOLCHAINS] == [kind.name for kind in TOOLCHAIN_KINDS]
    pins = resolve("1.5", site("meson-1.5.2-py3-none-any.whl", package="meson"), MESON)
    assert pins["archives"][0]["version"] == "1.5.2"
    names = ("ninja-1.11.1-py2.py3-none-manylinux1_x86_64.whl", "ninja-1.11.1.4-py3-none-manylinux_2_12_x86_64.whl")
    assert resolve("1.11.1", site(*names, package="ninja"), NINJA)["archives"][0]["version"] == "1.11.1.4"
    assert NINJA.package(names[0]) == ("ninja", "1.11.1")


def test_what_the_packaging_adds_to_a_version():
    names = [f"ziglang-{version}-py3-none-{LINUX}.whl" for version in ("0.16.0", "0.17.0.post0")]
    at = site(*names, package="ziglang")
    assert resolve("0.17", at, ZIG)["archives"][0]["version"] == "0.17.0.post0"
    assert resolve("0.17.0", at, ZIG)["archives"][0]["version"] == "0.17.0.post0"


def test_each_architecture_has_its_wheel():
    pins = resolve("4", site(arch="aarch64"))
    assert pins["archives"][0]["path"] == "cmake-4.1.0-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
    with pytest.raises(api.ResolveError, match="no CMake 4 can be had for s390x; Python package index has none for"):
        resolve("4", site(arch="s390x"))


def test_a_version_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(api.ResolveError) as refused:
        resolve("3.99")
    wanted = "no CMake 3.99 can be had for x86_64; Python package index has 3.31.10, 3.31.6, 3.29.1 and 1 more"
    assert refused.value.message == wanted


def test_a_yanked_file_is_found_only_by_a_lock():
    name = f"cmake-3.31.10-py3-none-{LINUX}.whl"
    pins = resolve("3.31")
    at = site(yanked=[name])
    assert resolve("3.31", at)["archives"][0]["version"] == "3.31.6"
    kind, request = CMAKE, testing.request({"version": "3.31"})
    (fetch,) = kind.locate(request, pins, kind.fetches(request, pins), at)
    assert fetch.url == FILES + name


def test_a_file_that_is_on_no_page_any_more():
    kind, request, pins = CMAKE, testing.request({"version": "3.31"}), resolve("3.31")
    with pytest.raises(api.ResolveError, match=r"no index of this machine's pip has cmake-3\.31\.10-py3"):
        kind.locate(request, pins, kind.fetches(request, pins), site(CMAKES[0]))


def test_files_without_a_hash_or_with_another():
    with pytest.raises(api.ResolveError, match=r"the index has no hash of cmake-3\.29\.1"):
        resolve("3.29", site(unhashed=CMAKES[:1]))
    with pytest.raises(api.FetchError, match="sha256"):
        resolve("3.29", site(wrong=CMAKES[:1]))


def test_indexes_beside_the_usual_one():
    config = "global.extra-index-url='https://u:secret@own.invalid/simple https://down.invalid/simple'\n"
    files, content = page(*CMAKES[:1])
    at = site(CMAKES[1])
    at.pip["config"] += config
    at.urls |= files | {"https://u:secret@own.invalid/simple/cmake/": content.replace(b"files.invalid", b"own.invalid")}
    at.urls["https://u:secret@own.invalid/" + CMAKES[0]] = CMAKES[0].encode()
    pins = resolve("3.29", at)
    assert pins["archives"][0]["version"] == "3.29.1"
    assert "secret" not in json.dumps(pins)


def test_a_directory_of_this_machine(tmp_path):
    (tmp_path / CMAKES[0]).write_bytes(b"wheel")
    config = f"global.find-links={str(tmp_path)!r}\nglobal.no-index='true'\n"
    at = site_of({f"file://{tmp_path / CMAKES[0]}": b"wheel"}, config)
    assert resolve("3.29", at)["archives"][0]["sha256"] == hashlib.sha256(b"wheel").hexdigest()
    assert {*at.owned} == {str(tmp_path)}


def test_an_index_that_does_not_answer_is_named():
    with pytest.raises(api.ResolveError, match=r"no versions from Python package index \(.*index\.invalid"):
        resolve("3.29", site_of({}))


@pytest.mark.parametrize(
    "name",
    [
        "cmake-" + "9" * 5000 + "-py3-none-any.whl",
        "cmake-9999999999999-py3-none-any.whl",
        "../cmake-9.0-py3-none-any.whl",
        "cmake-9.0-py3-none-any.whl\n",
        "cmake-9.0-py3-none-manylinux_2_99999_x86_64.whl",
        "other-9.0-py3-none-any.whl",
        "cmake-9.0-cp39-cp39-any.whl",
    ],
)
def test_names_that_are_no_wheel_of_ours(name):
    assert read_wheel(Link(name, FILES, "", False), "cmake", "x86_64") is None


def test_an_index_that_may_not_be_asked(monkeypatch):
    at = site()
    at.pip["config"] += "global.extra-index-url='https://other.invalid/'\n"
    get = at.get

    def offline(url):
        if "other" in url:
            raise api.FetchError("--offline: not asked", code="offline")
        return get(url)

    monkeypatch.setattr(at, "get", offline)
    with pytest.raises(api.FetchError, match="--offline"):
        resolve("3.29", at)


# ---- what a wheel becomes -------------------------------------------------------------------------------------------

WHEELS = {
    "cmake": ["cmake/data/bin/cmake", "cmake/data/bin/ctest", "cmake/data/bin/cpack", "cmake/data/share/cmake-4/M.cmake"],
    "meson": ["mesonbuild/mesonmain.py", "meson-1.5.data/data/share/man1/meson.1"],
    "ninja": ["ninja-1.13.data/scripts/ninja", "ninja/__init__.py"],
    "ninja 1.10": ["ninja/data/bin/ninja", "ninja/ninja_syntax.py"],
    "zig": ["ziglang/zig", "ziglang/lib/std/std.zig", "ziglang/doc/x"],
}  # fmt: skip
TREES = {
    "cmake": ["bin/cmake", "bin/cpack", "bin/ctest", "share/cmake-4/M.cmake"],
    "meson": ["bin/meson", "lib/mesonbuild/mesonmain.py"],
    "ninja": ["bin/ninja"],
    "ninja 1.10": ["bin/ninja"],
    "zig": ["bin/zig", "lib/std/std.zig"],
}


def unpacked(top, names):
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("def main(): return 7\n")


@pytest.mark.parametrize("case", [*WHEELS])
def test_programs_are_in_bin_and_nothing_else_is_left(case, tmp_path):
    tool = case.split()[0]
    top = tmp_path / tool
    unpacked(top, [*WHEELS[case], f"{tool}-1.dist-info/RECORD"])
    wheel_layouts.finish(tool, str(top))
    assert sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()) == TREES[case]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in (top / "bin").iterdir())
    assert os.listdir(tmp_path) == [tool]
    if tool == "meson":
        assert os.waitstatus_to_exitcode(os.system(f"{top}/bin/meson")) == 7


@pytest.mark.parametrize("tool", [*wheel_layouts.PROGRAMS])
def test_a_wheel_of_something_else(tool, tmp_path):
    unpacked(tmp_path / tool, ["other/x"])
    with pytest.raises(ValueError, match=f"the wheel has no .*, where {tool} is expected"):
        wheel_layouts.finish(tool, str(tmp_path / tool))


def test_a_program_that_is_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("")
    victim.chmod(0o600)
    top = tmp_path / "zig"
    unpacked(top, ["ziglang/lib/x"])
    (top / "ziglang/zig").symlink_to(victim)
    with pytest.raises(ValueError, match="the wheel has no program zig"):
        wheel_layouts.finish("zig", str(top))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
