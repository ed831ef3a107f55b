"""docs/plugin-tutorial.md: its plugin for Lua is built as a distribution, checked by the kit, and tests a project of Lua."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]

PAGE = (Path(__file__).parents[2] / "docs/plugin-tutorial.md").read_text()
FILES = {
    path.replace("\\", ""): text
    for path, text in re.findall(r"^\*\*(\S+)\*\*\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
PLUGIN = {path.removeprefix("envtool-lua/"): text for path, text in FILES.items() if path.startswith("envtool-lua/")}
PROJECT = {path.removeprefix("words/"): text for path, text in FILES.items() if path.startswith("words/")}
SPEC = re.findall(r"^```text\n(envs:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
ROCKSPEC = "words-1.0-1.rockspec"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that the page's own build backend makes."""
    pytest.importorskip("hatchling")
    top = tmp_path_factory.mktemp("envtool-lua")
    for path, text in PLUGIN.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    code = f"import hatchling.build; hatchling.build.build_wheel({str(top / 'dist')!r})"
    (top / "dist").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=top, check=True, capture_output=True, timeout=120)
    return next((top / "dist").glob("envtool_lua-1.0-*.whl"))


def install(place, wheel: Path) -> None:
    """Lays the files of the wheel where an installer would, and the project's files where the spec is to be."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            place.write(name, archive.read(name), at=place.top / "site")
    place.environ["PYTHONPATH"] = f"{place.caller.path}:{place.top / 'site'}"
    for path, text in PROJECT.items():
        place.write(path, text)


def actions(place) -> dict[str, str]:
    (env,) = json.loads(place.envtool("plan", "--json").out)["envs"]
    return {step["name"]: step["action"] for step in env["steps"]}


def test_the_files_of_the_page():
    """Each file that the page writes is complete, and the plugin imports the public API alone."""
    assert len(PROJECT) == 3
    assert {"pyproject.toml", "tests/test_lua.py", "src/envtool_lua/plugin.py"} < PLUGIN.keys()
    assert len(re.findall(r"^```(?:python|toml|lua)$", PAGE, re.MULTILINE)) == len(FILES)
    for path, text in PLUGIN.items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in (name for name in names if name.partition(".")[0] == "envtool"):
                public = ("envtool.api", "envtool.testing") if path.startswith("tests/") else ("envtool.api",)
                assert name.startswith(public), f"{path}: {name}"
    modules = {Path(path).stem for path in PLUGIN if path.startswith("src/")} - {"__init__"}
    listed = re.findall(r"^(\w+)  ", PLUGIN["src/envtool_lua/__init__.py"], re.MULTILINE)
    assert modules == {*listed}


def test_the_plugin_passes_its_own_tests(wheel, tmp_path):
    """Those of the page, with the conformance kit, from the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "test_lua.py").write_text(PLUGIN["tests/test_lua.py"])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", tmp_path]
    words += ["-c", os.devnull, tmp_path / "test_lua.py"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = PLUGIN["tests/test_lua.py"].count("\ndef test_")
    passed = re.search(r"^(\d+) passed in ", done.stdout, re.MULTILINE)
    assert passed, done.stdout
    assert int(passed[1]) > tests


def test_init_and_plan(place, wheel):
    install(place, wheel)
    plugins = place.envtool("plugins").out
    assert re.search(r"envtool-lua +1\.0\b", plugins), plugins
    done = place.envtool("init")
    assert done.status == 0, done.err
    assert f"{ROCKSPEC} with busted's tests" in done.err
    written = (place.project / "envtool.yaml").read_text()
    assert [line for line in SPEC.splitlines() if line not in written] == [], written
    assert list(actions(place)) == ["debian:bookworm", "rocks", "lua"]
    place.write(ROCKSPEC, PROJECT[ROCKSPEC].replace('"lpeg >= 1.0"', '"lrandom"'))
    done = place.envtool("plan")
    assert (done.status, f"{ROCKSPEC}:6:1" in done.err) == (2, True), done.err
    assert "no Debian package is known for the rock `lrandom`" in done.err
    assert "`rocks: {lrandom: lua-…}`" in done.err
    place.write(ROCKSPEC, PROJECT[ROCKSPEC])
    place.spec("envs: {unit: {base: host, language: lua, tasks: {test: busted}}}\n")
    done = place.envtool("plan")
    assert (done.status, "write `base: {debian: bookworm}`" in done.err) == (2, True), done.err
    place.spec("envs: {unit: {base: {debian: bookworm}, language: lua, lua: 5.4, tasks: {test: busted}}}\n")
    assert 'write it in quotes: "5.4"' in place.envtool("plan").err
    place.spec('envs: {unit: {base: {debian: bookworm}, language: lua, lua: "54", tasks: {test: busted}}}\n')
    assert 'a version of Lua, as in "5.4"' in place.envtool("plan").err


@pytest.mark.network
@pytest.mark.dear
def test_the_tests_of_a_lua_project(common, wheel):
    place = common
    install(place, wheel)
    place.spec(SPEC)
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert re.search(r"✓ unit +test +2 passed, 1 skipped", done.err), done.said
    # edits that matter to no layer, and one that does
    rockspec = PROJECT[ROCKSPEC].replace('version = "1.0-1"', 'version = "1.1-1"')
    place.write(ROCKSPEC, rockspec)
    assert {*actions(place).values()} == {"reuse"}
    place.write(ROCKSPEC, rockspec.replace('"lpeg >= 1.0"', '"lpeg", "penlight"'))
    assert actions(place)["rocks"] != "reuse"
    place.write(ROCKSPEC, rockspec)
    # a test that fails is named, and a module that is missing has a hint
    report = place.project / "report.xml"
    place.write("spec/words_spec.lua", PROJECT["spec/words_spec.lua"].replace('{ "one", "two" }', '{ "one" }'))
    assert {*actions(place).values()} == {"reuse"}
    done = place.envtool("test", "--junit", str(report))
    assert done.status == 1, done.said
    assert re.search(r"✗ unit +test .*1 failed, 1 passed, 1 skipped", done.err), done.said
    assert re.search(r'name="[^"]*words_spec\.lua:4"', report.read_text()), report.read_text()
    place.write("src/words.lua", 'require("cjson")\n' + PROJECT["src/words.lua"])
    done = place.envtool("test")
    assert done.status == 1, done.said
    (hint,) = re.findall(r"^```text\n(the module .*?)\n```$", PAGE, re.MULTILINE)
    assert hint in " ".join(done.err.split()), done.said
    # the Lua that the rockspec allows is the one that `lua` means, and modules of src/ are found
    place.write("src/words.lua", PROJECT["src/words.lua"])
    script = 'print(_VERSION, #require("words").split("one two"))'
    done = place.envtool("exec", "unit", "--", "lua", "-e", script)
    assert done.out == "Lua 5.4\t2\n", done.said
