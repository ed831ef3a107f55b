from __future__ import annotations

import pytest

from envtool.errors import UsageError
from envtool.model import Command

FULL = """\
version: 1
bases:
  bookworm: {debian: bookworm}
  suite: {debian: "{{ matrix.suite }}"}
layers:
  python: {apt: [python3]}
  deps: {pip: {requirements: [requirements.txt]}, needs: [python], set: {WHO: "{{ env.name }}"}}
  tool: {run: make, inputs: [tools/], network: false}
defaults:
  timeout: 5m
  set: {A: "1", B: default}
envs:
  unit:
    base: suite
    layers: [python, deps, tool, {apt: [gcc]}, {apt: [g++]}]
    matrix: {suite: [bookworm, trixie]}
    set: {B: own}
    pass: [CI, "GITHUB_*"]
    scratch: disk
    workdir: src/./x
    tasks:
      test: pytest -q {{ args }}
      build:
        run: [python -m build, [echo, "{{ args }}", "<{{ matrix.suite }}>", 3]]
        outputs: [dist/*]
        timeout: 1h30m
        user: root
  plain: {}
"""


def test_the_whole_format(read):
    spec = read(FULL, args=["-k", "a b"])
    assert [env.name for env in spec.envs] == ["unit[bookworm]", "unit[trixie]", "plain"]
    unit = spec.envs[1]
    assert unit.group == "unit"
    assert unit.point == {"suite": "trixie"}
    assert (unit.base.name, unit.base.kind, unit.base.options) == ("suite", "debian", "trixie")
    assert [layer.name for layer in unit.layers] == ["python", "deps", "tool", "apt", "apt-2"]
    assert unit.layers[1].needs == ("python",)
    assert unit.layers[1].set == {"WHO": "unit[trixie]"}
    assert unit.layers[0].needs is None
    assert unit.layers[2].options == {"run": "make", "inputs": ["tools/"], "network": False}
    assert unit.set == {"A": "1", "B": "own"}
    assert unit.passed == ("CI", "GITHUB_*")
    assert (unit.scratch, unit.workdir) == ("disk", "src/x")
    test, build = unit.tasks
    assert test.commands == (Command(shell="pytest -q -k 'a b'"),)
    assert (test.timeout, test.user, test.uses_args) == (300.0, "user", True)
    assert build.commands == (
        Command(shell="python -m build"),
        Command(argv=("echo", "-k", "a b", "<trixie>", "3")),
    )
    assert (build.timeout, build.user, build.outputs) == (5400.0, "root", ("dist/*",))
    assert str(unit.where) == "envtool.yaml:13:3"
    plain = spec.envs[2]
    assert (plain.base.kind, plain.base.options, plain.layers, plain.tasks) == ("host", {}, (), ())
    assert spec.read == ("/r/envtool.yaml",)
    assert spec.layers["deps"].set == {"WHO": "{{ env.name }}"}, "declared layers belong to no env"


def test_base_in_place(read):
    spec = read("version: 1\nenvs: {a: {base: {debian: sid}}, b: {base: host}}")
    assert (spec.envs[0].base.name, spec.envs[0].base.options) == ("debian:sid", "sid")
    assert spec.envs[1].base.name == "host"


def test_extends_merges_mappings_and_replaces_the_rest(read):
    spec = read("""\
version: 1
envs:
  a: {base: {debian: sid}, layers: [{apt: [x]}], set: {A: a, B: a}, tasks: {test: t, lint: l}, timeout: 3}
  b: {extends: a, base: host, layers: [{apt: [y]}], set: {B: b}, tasks: {test: {run: u, timeout: 9}}}
  c: {extends: [b, d]}
  d: {set: {C: d, B: d}}
""")
    b, c = spec.envs[1:3]
    assert b.base.kind == "host"
    assert [layer.options for layer in b.layers] == [["y"]]
    assert b.set == {"A": "a", "B": "b"}
    assert [(task.name, task.timeout) for task in b.tasks] == [("test", 9.0), ("lint", 3.0)]
    assert c.set == {"A": "a", "B": "d", "C": "d"}


def test_matrix_include_and_exclude(read):
    spec = read("""\
version: 1
envs:
  e:
    matrix:
      os: [a, b]
      py: ["3.9", "3.10", 3]
      exclude: [{os: b, py: "3.9"}, {py: 3}]
      include: [{os: a, extra: yes!}, {os: z, py: "4"}]
    tasks: {t: "echo {{ matrix.extra | default('none') }}"}
""")
    assert [env.name for env in spec.envs] == ["e[a,3.9]", "e[a,3.10]", "e[b,3.10]", "e[z,4]"]
    assert [env.tasks[0].commands[0].shell for env in spec.envs] == ["echo yes!", "echo yes!", "echo none", "echo none"]


def test_language_adds_layers_around(read):
    spec = read(
        "version: 1\nenvs: {unit: {language: python, requirements: [r.txt], layers: [{apt: [x]}], tasks: {test: t}}}"
    )
    unit = spec.envs[0]
    assert [(layer.name, layer.kind) for layer in unit.layers] == [
        ("interpreter", "apt"),
        ("apt", "apt"),
        ("venv", "pip"),
    ]
    assert unit.layers[2].options == {"requirements": ["r.txt"]}
    assert "/r/pyproject.toml" in spec.read, "what was looked for and is not there decided too"


def test_include_runs_in_its_own_directory(read):
    files = {
        "pkg/one/spec.yaml": """\
version: 1
layers: {mine: {pip: {requirements: [../requirements.txt]}}}
defaults: {set: {B: one}}
envs:
  one: {layers: [shared, mine], language: python, tasks: {test: {run: x, outputs: [out, ../o]}}}
""",
    }
    spec = read(
        "version: 1\ninclude: [pkg/one/spec.yaml]\nlayers: {shared: {apt: [x]}}\ndefaults: {set: {A: top, B: top}}\n",
        files=files,
    )
    one = spec.envs[0]
    assert (one.directory, one.workdir) == ("pkg/one", "pkg/one")
    assert [layer.directory for layer in one.layers] == ["pkg/one", ".", "pkg/one", "pkg/one"]
    assert one.tasks[0].outputs == ("pkg/one/out", "pkg/o")
    assert one.set == {"A": "top", "B": "one"}
    assert one.where.file == "pkg/one/spec.yaml"
    assert spec.read == ("/r/envtool.yaml", "/r/pkg/one/spec.yaml", "/r/pkg/one/pyproject.toml")


def test_no_file(registry):
    from envtool.spec import load

    class Nothing:
        def read(self, path):
            return None

        def glob(self, pattern):
            return []

    with pytest.raises(UsageError, match="there is no envtool"):
        load(Nothing(), "envtool.yaml", root="/r", registry=registry)


SERVICE = """\
version: 1
bases: {dev: {debian: bookworm}}
layers:
  tools: {apt: [make]}
  deps: {pip: [attrs], needs: [tools]}
envs:
  common: {base: dev, layers: [tools, deps, shared]}
  unit: {extends: common, tasks: {test: pytest}}
"""
TOP = """\
version: 1
include: {api: services/api/envtool.yaml, web: services/web/envtool.yaml}
layers: {shared: {apt: [git]}, tools: {apt: [cmake]}}
envs: {unit: {layers: [tools], tasks: {test: 'true'}}}
"""


def test_specs_that_are_included_by_a_name_keep_their_names_apart(read):
    files = {"services/api/envtool.yaml": SERVICE, "services/web/envtool.yaml": SERVICE}
    spec = read(TOP, files=files)
    assert [env.name for env in spec.envs] == ["unit", "api/common", "api/unit", "web/common", "web/unit"]
    unit = next(env for env in spec.envs if env.name == "api/unit")
    assert unit.base.name == "api/dev"
    assert [layer.name for layer in unit.layers] == ["api/tools", "api/deps", "shared"]
    assert unit.layers[0].options == ["make"], "its own comes before that of whoever includes it"
    assert unit.layers[1].needs == ("api/tools",)
    assert (unit.directory, unit.workdir) == ("services/api", "services/api")
    assert {"api/deps", "web/deps", "shared", "tools"} <= {*spec.layers}


def test_names_are_apart_at_every_depth(read):
    files = {
        "a/x.yaml": "version: 1\ninclude: {b: b/x.yaml}\nlayers: {l: {apt: [a]}}\nenvs: {e: {layers: [l]}}\n",
        "a/b/x.yaml": "version: 1\ninclude: [y.yaml]\nenvs: {e: {layers: [l, m]}}\n",
        "a/b/y.yaml": "version: 1\nlayers: {m: {apt: [m]}}\nenvs: {f: {extends: e}}\n",
    }
    spec = read("version: 1\ninclude: {a: a/x.yaml}\nlayers: {m: {apt: [top]}}\n", files=files)
    assert [env.name for env in spec.envs] == ["a/e", "a/b/e", "a/b/f"]
    assert [layer.name for layer in spec.envs[1].layers] == ["a/l", "a/b/m"]
    assert [layer.name for layer in spec.envs[2].layers] == ["a/l", "a/b/m"]


def test_what_is_wrong_in_a_file_that_is_included_by_a_name(wrong):
    files = {"a.yaml": "version: 1\nenvs: {e: {layers: [no], base: nowhere, extends: f}}\n"}
    found = wrong("version: 1\ninclude: {a: a.yaml}\nenvs: {f: {}}\n", files=files)
    assert [(code, hint) for _, code, hint in found if code == "unknown-layer"]
    found = wrong("version: 1\ninclude: {a: a.yaml, b: a.yaml}\n", files={"a.yaml": "version: 1\n"})
    assert [code for _, code, _ in found] == ["duplicate"]
    found = wrong("version: 1\ninclude: {'a b': a.yaml}\n", files={"a.yaml": "version: 1\n"})
    assert found
    assert wrong("version: 1\ninclude: {a: [x]}\n")
    assert wrong("version: 1\ninclude: a.yaml\n")
    assert wrong("version: 1\ninclude: {a: gone.yaml}\n")
