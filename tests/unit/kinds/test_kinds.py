from __future__ import annotations

from dataclasses import replace

import pytest
from jsonschema_rs import validator_for

from envtool.api import Command, InputFile, Place, Request, Run, Unpack, Where
from envtool.kinds import in_place_steps
from envtool.kinds.copy import Copy
from envtool.kinds.fetch import FetchLayer, file_name
from envtool.kinds.run import RunLayer

SHA = "ab" * 32


def request(options, *paths):
    inputs = tuple(InputFile(path=path, sha256=SHA) for path in paths)
    where = Where(file="envtool.yaml", line=1, column=1)
    return Request(name="x", options=options, inputs=inputs, where=where, arch="x86_64", epoch=0)


def valid(kind, value) -> bool:
    return validator_for(kind.schema).is_valid(value)


def test_run_commands():
    kind = RunLayer()
    asked = request({"run": ["make", ["echo", "a b"]], "inputs": ["tools/"], "network": True}, "tools/Makefile")
    recipe = kind.build(asked, None)
    assert recipe.steps == (
        Run(command=Command(shell="make"), cwd="/project"),
        Run(command=Command(argv=("echo", "a b")), cwd="/project"),
    )
    assert recipe.network
    assert [item.pattern for item in kind.inputs(asked.options)] == ["tools/"]
    assert kind.summary(asked, None) == "2 commands, network"
    alone = kind.build(request({"run": "make"}), None)
    assert alone.steps == (Run(command=Command(shell="make"), cwd="/"),)
    assert not alone.network


def test_run_in_place():
    kind = RunLayer()
    asked = request({"run": "make", "inputs": ["a"], "in_place": True}, "a")
    recipe = kind.build(replace(asked, epoch=1_700_000_000), None)
    begin, command, finish = recipe.steps
    assert command == Run(command=Command(shell="make"), cwd="/project")
    assert (begin.function, finish.function) == (in_place_steps.before_commands, in_place_steps.after_commands)
    assert begin.arguments == finish.arguments == (recipe.project, 1_700_000_000 - 86400)
    assert recipe.project != "/project"
    assert kind.in_project(asked, None) == {".": "/project"}
    assert kind.in_project(request({"run": "make", "inputs": ["a"]}, "a"), None) == {}
    assert kind.summary(asked, None) == "1 command, in place"
    assert kind.build(request({"run": "make", "in_place": True}), None).steps[1].cwd == "/project"
    plain = kind.material(request({"run": "make", "inputs": ["a"], "in_place": False}, "a"), None)
    assert plain == kind.material(request({"run": "make", "inputs": ["a"]}, "a"), None)
    assert plain != kind.material(asked, None)


def test_run_material_is_what_is_executed():
    kind = RunLayer()
    one = kind.material(request({"run": "a", "inputs": ["x/"]}, "x/y"), None)
    two = kind.material(request({"run": ["a"], "inputs": ["x/**"], "network": False}, "x/y"), None)
    assert one == two
    assert one != kind.material(request({"run": ["a"], "network": True}, "x/y"), None)
    assert one != kind.material(request({"run": [["a"]]}, "x/y"), None)
    assert one != kind.material(request({"run": "a"}), None)  # it runs elsewhere


@pytest.mark.parametrize(
    ("value", "right"), [("make", True), (["a", ["b", "c"]], True), ("", False), ([], False), ([[]], False), (3, False)]
)
def test_run_schema(value, right):
    assert valid(RunLayer, value) is right


@pytest.mark.parametrize(
    ("source", "to", "paths", "expected"),
    [
        ("a.conf", "/etc/b.conf", ["a.conf"], {"a.conf": "/etc/b.conf"}),
        ("d/a.conf", "/etc/", ["d/a.conf"], {"d/a.conf": "/etc/a.conf"}),
        ("conf/", "/etc/x", ["conf/a", "conf/b/c"], {"conf/a": "/etc/x/a", "conf/b/c": "/etc/x/b/c"}),
        (".", "/srv", ["a", "b/c"], {"a": "/srv/a", "b/c": "/srv/b/c"}),
        ("dist/*.whl", "/w", ["dist/a.whl", "dist/b.whl"], {"dist/a.whl": "/w/a.whl", "dist/b.whl": "/w/b.whl"}),
        ("src/**/*.h", "/i", ["src/a.h", "src/x/b.h"], {"src/a.h": "/i/a.h", "src/x/b.h": "/i/x/b.h"}),
        (["a", "b.d"], "/o", ["a", "b.d/c"], {"a": "/o/a", "b.d/c": "/o/c"}),
        (["*.a", "x/*.b"], "/o", ["1.a", "x/2.b"], {"1.a": "/o/1.a", "x/2.b": "/o/2.b"}),
    ],
)
def test_copy_targets(source, to, paths, expected):
    options = {"from": source, "to": to, "mode": "0600"}
    assert valid(Copy, options)
    steps = Copy().build(request(options, *paths), None).steps
    assert {step.source.removeprefix("/project/"): step.target for step in steps} == expected
    assert all(isinstance(step, Place) and step.mode == 0o600 for step in steps)


@pytest.mark.parametrize("bad", [{"from": "a"}, {"from": "a", "to": "b"}, {"from": "a", "to": "/../b"},
                                 {"from": "a", "to": "/b", "mode": "9"}, {"from": "a", "to": "/b", "x": 1}])  # fmt: skip
def test_copy_schema(bad):
    assert not valid(Copy, bad)


def test_fetch_places_a_file():
    options = {"url": "https://h/p/tool-1.0?token=x", "sha256": SHA.upper(), "to": "/usr/local/bin/", "mode": "0755"}
    assert valid(FetchLayer, options)
    kind, asked = FetchLayer(), request(options)
    (file,) = kind.fetches(asked, None)
    assert (file.name, file.sha256) == ("tool-1.0", SHA)
    place = Place(source="/run/envtool/blobs/tool-1.0", target="/usr/local/bin/tool-1.0", mode=0o755)
    assert kind.build(asked, None).steps == (place,)
    moved = request(options | {"url": "https://mirror/q/tool-1.0"})
    assert kind.material(asked, None) == kind.material(moved, None)


def test_fetch_unpacks():
    options = {"url": "file:///x/n.tar.xz", "sha256": SHA, "to": "/opt/n", "unpack": True, "strip": 1}
    assert valid(FetchLayer, options)
    assert FetchLayer().build(request(options), None).steps == (Unpack(name="n.tar.xz", target="/opt/n", strip=1),)


@pytest.mark.parametrize("change", [{"sha256": "x"}, {"url": "ftp://x"}, {"to": "x"}, {"strip": 1}])
def test_fetch_schema(change):
    assert not valid(FetchLayer, {"url": "https://x/y", "sha256": SHA, "to": "/x"} | change)


def test_file_names_are_safe():
    assert file_name("https://h/a%2F..%2Fb?x") == "b"
    assert file_name("https://h/") == "file"
    assert file_name("https://h/..") == "file"
    assert file_name("https://h/a%0Ab") == "a_b"
