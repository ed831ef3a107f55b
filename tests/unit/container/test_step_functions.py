"""A function that a step calls travels as its name, with the distribution that has it."""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys

import pytest

from envtool import __version__, api, plugin_calls
from envtool.build import container_steps
from envtool.build.recipe_steps import to_container_steps
from envtool.container import step_functions
from envtool.container.step_functions import load_function, reference
from envtool.errors import BuildError, PluginError, SandboxError
from envtool.kinds import host, in_place_steps
from envtool.recipe import function_name
from envtool.store import unpack_archive
from envtool.testing import request


def at_the_top(*_):
    pass


class Holder:
    @staticmethod
    def inside(*_):
        pass

    def bound(self, *_):
        pass


def local():
    def inner(*_):
        pass

    return inner


@functools.wraps(at_the_top)
def disguised(*_):
    pass


FINE = [at_the_top, Holder.inside, container_steps.unpack, json.dumps]
NAMELESS = [lambda: None, local(), Holder().bound, functools.partial(at_the_top), disguised, "".join, Holder()]


@pytest.mark.parametrize("function", FINE, ids=lambda function: function.__qualname__)
def test_a_function_is_found_by_its_name(function):
    name = function_name(function)
    assert name == f"{function.__module__}:{function.__qualname__}"
    assert load_function(reference(name)) is function


@pytest.mark.parametrize("function", NAMELESS, ids=lambda function: type(function).__name__)
def test_what_has_no_name_is_refused(function):
    assert function_name(function) == ""
    with pytest.raises(BuildError) as found:
        to_container_steps((api.Call(function=function),))
    assert found.value.code == "step-function"
    with pytest.raises(BuildError):
        to_container_steps((api.Call(function=at_the_top, prepare=function),))


@pytest.mark.parametrize(
    ("call", "words"),
    [(api.Call(function=function), "functions of modules") for function in NAMELESS]
    + [
        (api.Call(function=at_the_top, prepare=lambda: None), "<lambda>"),
        (api.Call(function=at_the_top, arguments=(b"bytes",)), "JSON"),
        (api.Call(function=at_the_top, arguments=({1, 2},)), "JSON"),
        (api.Call(function=at_the_top, arguments=([math.nan],)), "JSON"),
        (api.Call(function=at_the_top, arguments=(at_the_top,)), "JSON"),
    ],
)
def test_the_plugin_is_named(call, words):
    class Odd(api.Kind):
        name, schema = "odd", True

        def build(self, request, pins):
            return api.Recipe(steps=(call,))

    with pytest.raises(PluginError) as found:
        plugin_calls.wrap_kind(Odd(), "the plugin `odd` 1.0").build(request({}), None)
    assert (
        found.value.message.startswith("the plugin `odd` 1.0 failed in `build`") or "`odd` 1.0" in found.value.message
    )
    assert words in found.value.message
    with pytest.raises(BuildError):  # our own kinds are not wrapped
        to_container_steps((call,))


def test_whose_it_is_travels_with_it():
    ours = f"envtool {__version__}"
    for function in (
        container_steps.copy_to,
        unpack_archive.prepare,
        host._create_layout,
        in_place_steps.after_commands,
    ):
        assert reference(function_name(function)).endswith(f" {ours}")
    assert reference("envtool_node.building:prepare_install").partition(" ")[2].startswith("envtool-node ")
    assert reference(function_name(at_the_top)) == function_name(at_the_top), "no installed distribution has it"


OURS = f"envtool {__version__}"


@pytest.mark.parametrize(
    "given",
    [
        "os:system",  # loaded, but of nobody who says so: see below
        f"os:system {OURS}",
        f"envtool.container.userns:run_as_root {OURS}",
        f"envtool.kinds_of_others:x {OURS}",
        "envtool.build.container_steps:unpack envtool 0.0",
        "envtool.build.container_steps:unpack",
        "envtool_node.building:prepare_install envtool-node 99",
        "envtool_node.building:prepare_install another-plugin 1.0",
        "not_installed.building:run not-installed 1.0",
        "antigravity:fly",
        f"envtool.build.container_steps:no_such {OURS}",
        f"envtool.kinds.no_such:x {OURS}",
        f"envtool.build.container_steps {OURS}",
        "",
    ],
)
def test_another_function_than_was_meant(given):
    if given == "os:system":
        assert load_function(given).__name__ == "system", "in this process, whoever has it loaded"
        return
    before = "antigravity" in sys.modules
    with pytest.raises(SandboxError) as found:
        load_function(given)
    assert found.value.code == "step-function"
    assert ("antigravity" in sys.modules) == before, "nothing is imported for it"


def test_another_process_finds_ours_and_not_a_tests():
    code = (
        "import sys\nfrom envtool.container.step_functions import load_function\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    try:\n        print(load_function(line).__name__)\n"
        "    except Exception as error:\n        print(type(error).__name__)"
    )
    names = [function_name(function) for function in (container_steps.unpack, host._create_layout, at_the_top)]
    asked = "\n".join([*map(reference, names), reference("envtool_node.building:open_node_modules")])
    done = subprocess.run([sys.executable, "-c", code], input=asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["unpack", "_create_layout", "SandboxError", "open_node_modules"]


def test_what_a_function_gets_is_what_json_keeps():
    (step,) = to_container_steps((api.Call(function=at_the_top, arguments=((1, ("a",)), {"k": (None,)}), counts=2),))
    assert step.arguments == ([1, ["a"]], {"k": [None]})
    loaded = step_functions.load_steps(
        ({"call": step.call, "arguments": step.arguments, "functions": (), "prepare": (), "counts": 2},), [bytearray(2)]
    )
    assert loaded[0]["arguments"][:2] == step.arguments
    assert loaded[0]["call"] is at_the_top


prepared = []


def prepare():
    prepared.append("own")


def test_what_prepares_is_called_before_and_what_unpacks_is_the_last_argument():
    (step,) = to_container_steps((api.Call(function=at_the_top, arguments=("x",), unpacks=True, prepare=prepare),))
    assert [name.partition(" ")[0] for name in step.prepare] == [
        "envtool.store.unpack_archive:prepare",
        f"{__name__}:prepare",
    ]
    fields = ("call", "arguments", "functions", "prepare", "counts")
    (loaded,) = step_functions.load_steps(({name: getattr(step, name) for name in fields},), [])
    assert loaded["arguments"] == ("x", unpack_archive.unpack_if_archive)
    assert prepared == ["own"]
