"""What envs cost: own, shared, fetched, and what is left of it."""

from __future__ import annotations

from envtool.inspect.costs import EnvLayers, compute_costs, list_env_layers
from envtool.store.inventory import Inventory, LastUse, LayerSheet, StoredItem


def sheet(key: str, project: str = "/p", files=()) -> LayerSheet:
    return LayerSheet(
        key=key, kind="layer:run", name=key, project=project, diff_id=key, below=(), files=tuple(files), time=1.0
    )


def item(name: str, size: int, sort="layer", used=5.0) -> StoredItem:
    return StoredItem(sort=sort, name=name, size=size, used=used)


SURVEY = Inventory(
    items=(
        item("base", 100),
        item("a", 10, used=7.0),
        item("b", 20),
        item("c", 40, used=2.0),
        item("old", 80),
        item("f1", 1000, "file"),
        item("f2", 2000, "file"),
    ),
    sheets={
        "base": sheet("base", files=["f1"]),
        "a": sheet("a", files=["f1", "f2", "gone"]),
        "b": sheet("b"),
        "c": sheet("c", "/q"),
        "old": sheet("old"),
    },
    uses=(
        LastUse(path="1", spec="/q/envtool.yaml", env="other", layers=frozenset(["base", "b", "gone"]), time=1.0),
        LastUse(path="2", spec="/q/envtool.yaml", env="other", layers=frozenset(["base", "c"]), time=2.0),
        LastUse(path="3", spec="/p/envtool.yaml", env="unit", layers=frozenset(["base", "old"]), time=3.0),
        LastUse(path="4", spec="/r/envtool.yaml", env="", layers=frozenset(["base"]), time=3.0),
    ),
    halves=(),
    rest=0,
)
HERE = [EnvLayers(project="/p", env="unit", layers=frozenset(["base", "a", "b"]))]


def test_envs_are_those_of_here_as_they_are_and_of_others_as_they_were():
    assert [(each.project, each.env, {*each.layers}) for each in list_env_layers(SURVEY, HERE)] == [
        ("/p", "unit", {"base", "a", "b"}),
        ("/p", "", {"old"}),
        ("/q", "other", {"base", "c"}),
    ]
    assert [each.env for each in list_env_layers(SURVEY, [])] == ["unit", "", "other"]


def test_costs():
    found = {
        (each.project, each.env): each
        for each in compute_costs(SURVEY, list_env_layers(SURVEY, HERE), [item("a", 10), item("f2", 2000, "file")])
    }
    unit = found["/p", "unit"]
    assert (unit.layers, unit.own, unit.shared, unit.files) == (3, 30, 100, 3000)
    assert (unit.after, unit.after_files) == (120, 1000)
    assert unit.used == 7.0
    other = found["/q", "other"]
    assert (other.own, other.shared, other.files, other.after, other.after_files) == (40, 100, 1000, 140, 1000)
    assert found["/p", ""].own == 80
