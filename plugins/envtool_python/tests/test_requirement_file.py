"""`envtool requirements ENV`, and the key `coverage`."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from envtool_python.language import COVERAGE
from envtool_python.requirement_file import requirements

from envtool import api, testing

WHERE = api.Where(file="envtool.yaml", line=1, column=1)


def entry(name, version="1.0", **more):
    return {"name": name, "version": version, "sha256": (name + version).encode().hex(), "use": "install", **more}


def layer(name, *entries, kind="pip"):
    files = [{"file": f"{each['name']}.whl", "size": 1, **each} for each in entries]
    return api.LayerPins(subject="layer", name=name, kind=kind, options=None, pins={"files": files})


@dataclass
class Project:
    layers: tuple[api.LayerPins, ...]

    def pinned(self, env):
        return (api.LayerPins(subject="base", name="host", kind="host", options={}, pins=None), *self.layers)


def call(*layers, only=()):
    return requirements(api.VerbCall(values={"env": "unit", "layer": only}, project=Project(layers)))


def test_a_file_with_hashes():
    tools = layer("tools", entry("b"), entry("a", use="build"), entry("c", url="https://e.invalid/c.whl"))
    project = layer("project", entry("A", path="dist/a.whl"), entry("b"), kind="python-project")
    answer = call(tools, project, layer("other", entry("z"), kind="npm"))
    assert answer.text == (
        f"./dist/a.whl \\\n    --hash=sha256:{b'A1.0'.hex()}\n"
        f"b==1.0 \\\n    --hash=sha256:{b'b1.0'.hex()}\n"
        f"c @ https://e.invalid/c.whl \\\n    --hash=sha256:{b'c1.0'.hex()}\n"
    )
    assert [each["name"] for each in answer.document] == ["A", "b", "c"]
    assert call(tools, project, only=("project",)).text.count("--hash") == 2


def test_what_cannot_be_one_file():
    old, new = layer("old", entry("a", "1.0")), layer("new", entry("a", "2.0"))
    with pytest.raises(api.UsageError, match=r"two layers have `a`: 1\.0, and 2\.0 in `new`"):
        call(old, new)
    assert call(old, new, only=("new",)).text.startswith("a==2.0 ")
    with pytest.raises(api.UsageError, match="has no layer `nwe` with Python packages"):
        call(old, new, only=("nwe",))
    for layers in ((), (layer("deps", kind="npm"),), (layer("tools", entry("a", use="build")),)):
        with pytest.raises(api.UsageError, match="env `unit` has no Python packages"):
            call(*layers)


@pytest.mark.parametrize(
    ("env", "directory", "path"),
    [
        ("unit", ".", "/project/.coverage.unit"),
        ("unit[3.12,x y]", ".", "/project/.coverage.unit-3.12-x-y"),
        ("api/unit", "services/api", "/project/services/api/.coverage.api-unit"),
        ("é", ".", "/project/.coverage."),
    ],
)
def test_each_env_has_a_data_file_of_coverage(env, directory, path):
    draft = api.EnvDraft(
        name=env, base_kind="host", options={"coverage": True}, layer_names=(), where=WHERE, directory=directory
    )
    added = COVERAGE.add(draft, True, testing.MemoryProject())
    assert added == api.Additions(variables={"COVERAGE_FILE": path.replace("/project", api.PROJECT)})
    assert COVERAGE.add(draft, False, testing.MemoryProject()) == api.Additions()
