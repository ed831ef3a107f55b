"""Where what `why` names stands in the project's files."""

import pytest

from envtool import api
from envtool.api import Base, InputFile, Kind, Request
from envtool.build import source_lines as module
from envtool.build.assess import NodeState
from envtool.build.context import Cancel, Context
from envtool.model import LayerSpec, Where
from envtool.plan.graph import Node
from envtool.store.store import Store

SPEC = """\
layers:
  deps:
    # what we need
    pip:
      packages:
        - attrs>=24
        - "pytest-cov[all]"   # not pytest
      requirements: [req.txt]
  next: {pip: [idna, attrs]}
  tool:
    run: |
      make
      make install
envs:
  unit:
    layers:
      - run: ls
        inputs: [src]
      - run: src
"""


class Box(Base):
    name = "box"
    schema = {}


@pytest.fixture
def places(tmp_path):
    (tmp_path / "envtool.yaml").write_text(SPEC)
    (tmp_path / "req.txt").write_text(
        "# comment on idna\nsix\nRuamel.Yaml==1  # x\n-e .\nidna-ssl\nidna ; python_version>'3'\n"
    )
    (tmp_path / "blob").write_bytes(b"\xff\x00attrs")
    cancel = Cancel.make()
    setting = Context(store=Store(root="/none"), root=str(tmp_path), arch="x", emit=lambda _: None, cancel=cancel)
    cancel.close()

    def of(line, *inputs, lock=None, column=3):
        where = Where(file="envtool.yaml", line=line, column=column)
        spec = LayerSpec(name="l", kind="box", options={}, where=where)
        node = Node(id="n", subject="layer", spec=spec, kind=Box(), below=())
        files = tuple(InputFile(path=path, sha256="0" * 64) for path in inputs)
        request = Request(name="l", options={}, inputs=files, where=where, arch="x", epoch=1)
        return module.locate_items(NodeState(node=node, in_stack=True, request=request), (), setting, lock)

    return of


def test_a_pin_stands_where_it_is_asked_for(places):
    deps = places(2, "blob", "req.txt")
    assert deps.pin("attrs", "25.3.0") == "envtool.yaml:6"
    assert deps.pin("pytest_cov", "1") == "envtool.yaml:7"
    assert deps.pin("ruamel.yaml", "1") == "req.txt:3"
    assert deps.pin("idna", "3") == "req.txt:6"
    assert deps.pin("wheel", "1") == ""  # nobody asked for it by name
    assert places(9).pin("idna", "3") == "envtool.yaml:9"


def test_the_locks_line_comes_first(places):
    deps = places(2, "req.txt", lock=lambda name, version: f"envtool.lock:{len(name + version)}")
    assert deps.pin("six", "1.0") == "envtool.lock:6, from req.txt:2"
    assert deps.pin("wheel", "1") == "envtool.lock:6"


def test_an_option_stands_on_its_own_line(places):
    assert places(10).option("make install") == "envtool.yaml:13"
    assert places(10).option("gone") == "envtool.yaml:10"
    assert places(2).option("idna") == "envtool.yaml:2"  # of the next layer: not ours
    assert places(17, column=9).option("src") == "envtool.yaml:18"
    assert places(17, column=9).option("nothing") == "envtool.yaml:17"


def test_files_that_are_gone_or_odd_are_no_trouble(places, tmp_path):
    (tmp_path / "envtool.yaml").unlink()
    assert places(2, "blob", "missing").pin("attrs", "1") == ""
    assert places(2).option("x") == "envtool.yaml:2"


def test_a_variable_is_set_by_the_layer_nearest_below():
    class Sets(Kind):
        name = "sets"
        schema = {}

        def variables(self, request, pins):
            return {"A": "1"}

    def made(line, **more):
        where = Where(file="envtool.yaml", line=line, column=3)
        spec = LayerSpec(name="l", kind="sets", options={}, where=where, **more)
        node = Node(id="n", subject="layer", spec=spec, kind=Sets(), below=())
        request = api.Request(name="l", options={}, inputs=(), where=where, arch="x", epoch=1)
        return type("Made", (), {"resolved": type("Resolved", (), {"node": node, "request": request, "pins": None})})

    found = module._setters([made(3), made(7, set={"B": "2"})])
    assert found == {"A": "envtool.yaml:7", "B": "envtool.yaml:7"}
