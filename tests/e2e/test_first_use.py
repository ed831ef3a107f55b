"""What somebody reads who meets envtool for the first time, and does something wrong: whole, against committed files
(tests/golden/messages/first-*.txt; ENVTOOL_UPDATE=1 writes them)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.test_interrupts import ask

pytestmark = pytest.mark.e2e

GOLDEN = Path(__file__).parents[1] / "golden" / "messages"
NONE = "0" * 64
PLUGIN = """
import os
from envtool import api

HOW = os.environ["BAD"]


def crash(*_):
    raise KeyError("gems")


class Bad(api.Kind):
    name = "bad"
    schema = {"type": "string"}

    def resolve(self, request, site):
        return crash() if HOW == "resolve" else {1, 2} if HOW == "pins" else {}

    def build(self, request, pins):
        step = api.Call(function=crash)
        return api.Recipe(steps=(step,) if HOW == "step" else ())


@api.hook
def envtool_layer_kinds():
    return [Bad()]


@api.hook
def envtool_event(event):
    if HOW == "event":
        crash()
"""


def compare(name, place, done, *more, last=0):
    """`last`: lines from the end, where those before them are another program's; 0: all."""
    text = f"-- exit {done.status}\n" + "".join(done.err.splitlines(keepends=True)[-last:])
    for found, said in ((str(place.project), "PROJECT"), (str(place.top), "TOP"), *more):
        text = text.replace(found, said)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\b\d+(\.\d+s|m\d\ds)", "TIME", text)
    text = "".join(sorted(re.findall(r"^ (?:base|layer|✗|✓).*\n", text, re.MULTILINE))) + re.sub(
        r"^ (?:base|layer|✗|✓).*\n", "", text, flags=re.MULTILINE
    )
    text = re.sub(r"^ (base   host|layer  \S+ +\S+ …).*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d+(\.\d+)? ([kKMG]i?)?B\b", "SIZE", text)
    path = GOLDEN / f"first-{name}.txt"
    if os.environ.get("ENVTOOL_UPDATE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.any_caller
def test_files_and_commands_that_are_not_there(place, server):
    server.files["/tool"] = b"hello\n"
    place.spec(
        f"""
layers:
  other: {{fetch: {{url: "{server.url}/tool", sha256: "{NONE}", to: /opt/x}}}}
  gone: {{fetch: {{url: "{server.url}/gone", sha256: "{NONE[:-1]}1", to: /opt/y}}}}
envs:
  a: {{layers: [other], tasks: {{test: "true"}}}}
  b: {{layers: [gone], tasks: {{test: "true"}}}}
  c: {{tasks: {{test: pyhton3 -V}}}}
  d: {{tasks: {{test: no-such-command-anywhere}}}}
  e: {{tasks: {{test: ./run.sh}}}}
"""
    )
    place.write("run.sh", "#!/opt/nowhere/sh\n", mode=0o755)
    compare("absent", place, place.envtool("test", "--jobs", "1"))


@pytest.mark.any_caller
def test_a_python_that_the_project_does_not_want(place):
    place.write("pyproject.toml", '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=99"\n')
    place.spec("envs: {unit: {language: python, install: none, tasks: {test: 'true'}}}\n")
    here = (f"{sys.version_info.major}.{sys.version_info.minor}", "HERE")
    for verb in ("plan", "test"):
        compare("python", place, place.envtool(verb), here)


@pytest.mark.any_caller
def test_a_plugin_that_fails(place):
    top = place.top / "plugin"
    place.write("envtool_bad.py", PLUGIN, at=top)
    info = top / "envtool_bad-1.0.dist-info"
    place.write("METADATA", "Metadata-Version: 2.1\nName: envtool-bad\nVersion: 1.0\n", at=info)
    place.write("entry_points.txt", "[envtool]\nbad = envtool_bad\n", at=info)
    place.environ["PYTHONPATH"] = f"{place.caller.path}:{top}"
    place.spec("layers:\n  crashy: {bad: x}\nenvs: {unit: {layers: [crashy], tasks: {test: 'true'}}}\n")
    for how in ("resolve", "pins", "step", "event"):
        place.environ["BAD"] = how
        compare(f"plugin-{how}", place, place.envtool("test", "--refresh"))
    assert "envtool-bad 1.0" in place.envtool("version").out


@pytest.mark.any_caller
def test_a_project_of_which_nothing_is_known(place):
    compare("init-nothing", place, place.envtool("init"))
    place.write("go.mod", "module a\n\nrequire b v1\n")
    place.write("Makefile", "all:\n\ttrue\n")
    compare("init-some", place, place.envtool("init"))
    for name in ("api", "web"):
        place.write(
            "pyproject.toml", f'[project]\nname = "{name}"\nversion = "1"\n', at=place.project / "services" / name
        )
    compare("init-below", place, place.envtool("init"))
    assert not (place.project / "envtool.yaml").exists()
    compare("init-said", place, place.envtool("init", "--test", "true"))
    assert place.envtool("list").status == 0
    compare("init-twice", place, place.envtool("init"))
    top = "version: 1\ninclude: {api: services/api/envtool.yaml, web: services/web/envtool.yaml}\n"
    place.write("envtool.yaml", top)
    for name in ("api", "web"):
        assert place.envtool("-C", f"services/{name}", "init", "--test", "true").status == 0
    found = place.envtool("list", "--json").events
    assert [env["name"] for env in found[0]["envs"]] == ["api/unit", "web/unit"]


A = "[project]\nname = 'pa'\nversion = '1'\n[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
B = "[project]\nname = 'pb'\nversion = '1'\ndependencies = ['pa']\n"
POETRY = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '>=3.9'\npa = {path = '../a'}\n"
MONOREPOS = {
    "by name": {"a/pyproject.toml": A, "b/pyproject.toml": B},
    "uv": {
        "pyproject.toml": "[project]\nname = 'top'\nversion = '1'\n[tool.uv.workspace]\nmembers = ['a', 'b']\n",
        "a/pyproject.toml": A,
        "b/pyproject.toml": B + "[tool.uv.sources]\npa = {workspace = true}\n",
    },
    "poetry": {"a/pyproject.toml": A, "b/pyproject.toml": POETRY},
}  # fmt: skip


@pytest.mark.dear
@pytest.mark.network
@pytest.mark.sampled(1)
@pytest.mark.parametrize("layout", MONOREPOS)
def test_what_init_writes_for_a_monorepo_passes(layout, common):
    """Also the tests of what is no package, and so is not installed."""
    files = MONOREPOS[layout] | {
        "a/pa/__init__.py": "V = 1\n",
        "a/tests/test_a.py": "import pa\n\ndef test():\n    assert pa.V == 1\n",
        "b/pb.py": "import pa\n\nV = pa.V\n",
        "b/tests/test_b.py": "import pb\n\ndef test():\n    assert pb.V == 1\n",
    }
    for name, text in files.items():
        common.write(name, text)
    assert common.envtool("init").status == 0
    done = common.envtool("test")
    assert done.status == 0, done.said
    assert "── 2 passed in " in done.err


@pytest.mark.any_caller
def test_two_envs_that_want_one_file_ask_for_it_once(place, server):
    """None of them says that it waits for another envtool, which is itself."""
    server.files["/tool"], server.pause = b"x" * (3 << 16), 0.3
    fetch = f'fetch: {{url: "{server.url}/tool", sha256: "{NONE}", to: /opt/'
    place.spec(
        f"envs:\n  a: {{layers: [{{{fetch}x}}}}], tasks: {{test: 'true'}}}}\n"
        f"  b: {{layers: [{{{fetch}y}}}}], tasks: {{test: 'true'}}}}\n"
    )
    done = place.envtool("test", "--jobs", "2")
    compare("same-file", place, done)
    assert "another envtool" not in done.said
    assert len(server.asked) == 1


RULE = "-" * 70
# What runners print at their end, language by language
ENDS = {
    "python": f"..s\n{RULE}\nRan 3 tests in 0.001s\n\nOK (skipped=1)\n",
    "pytest": "...                                                    [100%]\n3 passed in 0.01s\n",
    "tap": "1..3\nok 1 - a\nok 2 - b\nok 3 - c # SKIP no\n",
    "automake": f"Testsuite summary for x 1.0\n{'=' * 76}\n# TOTAL: 4\n# PASS:  3\n# SKIP:  1\n# XFAIL: 0\n# FAIL:  0\n"
    f"# XPASS: 0\n# ERROR: 0\n{'=' * 76}\n",
    "cargo": "running 6 tests\n\ntest result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s\n",
    "go": "--- PASS: TestA (0.00s)\n--- PASS: TestB (0.00s)\nPASS\nok  \texample.org/m\t0.002s\n",
    "node": "# tests 2\n# suites 0\n# pass 2\n# fail 0\n# cancelled 0\n# skipped 0\n# todo 0\n# duration_ms 40.1\n",
    "none": "all is well\n",
}


@pytest.mark.any_caller
def test_the_counts_of_every_language_stand_in_its_line(place):
    for name, end in ENDS.items():
        place.write(f"ends/{name}", end)
    envs = "".join(f"  {name}: {{tasks: {{test: cat ends/{name}}}}}\n" for name in ENDS)
    place.spec(f"envs:\n{envs}")
    compare("counts", place, place.envtool("test"))


@pytest.mark.any_caller
def test_what_failed_has_its_title_once_and_what_to_type_at_its_end(place):
    place.spec(
        "layers:\n  files: {run: 'echo kept > /opt/kept'}\n"
        "envs:\n  unit: {layers: [files], tasks: {test: 'echo one; echo two; exit 3'}}\n"
        "  lint: {tasks: {test: 'true'}}\n"
    )
    done = place.envtool("test")
    compare("red", place, done)
    assert done.err.count("── unit test ──") == 1
    assert place.envtool("diff", "unit", "unit").out == "unit and unit: the same\n"


@pytest.mark.any_caller
def test_what_a_stop_leaves_is_said(place):
    place.spec(f"envs:\n  unit: {{tasks: {{test: sleep {place.nap}}}}}\n  lint: {{tasks: {{test: 'true'}}}}\n")
    process = place.start("test", "--jobs", "1")
    place.until(place.asleep, "it is under way", 30)
    ask(process, "group")
    compare("interrupted", place, place.finish(process))


def test_init_names_all_specs_below_that_are_there_already(place):
    """The spec is gone, those that it included are there: the error says how they come into a new one."""
    for name in ("api", "web"):
        place.write(f"{name}/go.mod", "module a\n\ngo 1.19\n")
    assert place.envtool("init").status == 0
    (place.project / "envtool.yaml").unlink()
    done = place.envtool("init")
    assert done.status == 2
    included = "include: {api: api/envtool.package.yaml, web: web/envtool.package.yaml}"
    assert "`./api/envtool.package.yaml`, `./web/envtool.package.yaml` exist, and no spec" in done.err
    assert f"hint: write `{included}` in an envtool.yaml; or remove them, then `envtool init`" in " ".join(
        done.err.split()
    )
    assert not (place.project / "envtool.yaml").exists()
    place.write("envtool.yaml", f"version: 1\n{included}\n")
    assert [env["name"] for env in place.envtool("list", "--json").events[0]["envs"]] == ["api/unit", "web/unit"]


def test_init_says_what_writes_the_sums_of_a_go_module(place):
    place.write("go.mod", "module a\n\ngo 1.19\n\nrequire example.org/b v1.0.0\n")
    done = place.envtool("init")
    assert done.status == 2
    assert "  go: go.mod requires modules, and there is no go.sum\nhint: `go mod tidy` writes it\n" in done.err
