"""JSON documents of the store: what is not as it was written is a ValueError, never anything else."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool import keys
from envtool.errors import StoreError
from envtool.store import answer_cache, history, inventory, json_documents, layers, results, snapshots
from envtool.store.store import Store, open_store
from tests.depth import examples

RIGHT = {"diff_id": "sha256:" + "a" * 64, "size": 1, "entries": 1, "document": {"kind": "layer:run"}, "built": {}}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"1", b"null", b'"x"', b"\xff", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b'{"a": "\\ud800"}',
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}", b"\0" * 40, b'{"a": 1, "sum": 1}',
        b'{"a": 1, "sum": "' + b"0" * 64 + b'"}',
    ],
)  # fmt: skip
def test_what_is_none(data):
    with pytest.raises(ValueError):
        json_documents.loads(data)


@settings(max_examples=examples(100, 10_000), deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_noticed(data):
    right = json_documents.dumps(RIGHT)
    at = data.draw(st.integers(0, len(right) - 1))
    changed = bytearray(right)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = json_documents.loads(bytes(changed))
    except ValueError:
        return
    # in the name of the sum alone: then it is a document as an older envtool wrote it, and one more field
    assert {key: found[key] for key in RIGHT} == RIGHT


NAMES = st.binary(max_size=12).map(os.fsdecode) | st.text(st.sampled_from("\\udce9\udce9\udc80é"), max_size=12)


@settings(max_examples=examples(100, 10_000))
@example(one="\\ud9", other="\\\\udc80")
@given(one=NAMES, other=NAMES)
def test_a_name_that_is_no_text_comes_back_and_is_like_no_other(one, other):
    data = json_documents.dumps({"path": one})
    assert json_documents.loads(data) == {"path": one}
    data.decode("utf-8")
    assert (keys.digest({"path": one}) == keys.digest({"path": other})) == (one == other)


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=examples(60, 5000), deadline=None)
@given(data=st.data())
def test_documents_of_any_shape_are_misses_or_named(tmp_path_factory, data):
    """Without a sum, as an older envtool wrote them: then their shape alone decides."""
    store = open_store(environ={"ENVTOOL_STORE": str(tmp_path_factory.getbasetemp() / "odd")})
    decided = {"kind": "layer:run", "below": [], "files": []}
    key = keys.digest(decided)
    place = tmp_path_factory.getbasetemp() / "odd" / "layers" / key
    (place / "tree").mkdir(parents=True, exist_ok=True)
    (place / "manifest").write_bytes(b"")
    right = {**RIGHT, "document": decided, "built": {"time": 1.0, "name": "x", "project": "/p", "files": []}}
    name = data.draw(st.sampled_from([*right, "document", "built"]))
    value = data.draw(ODD)
    inner = data.draw(st.sampled_from(["", "time", "name", "files", "kind", "below"]))
    if inner and isinstance(right[name], dict):
        right[name] = {**right[name], inner: value}
    else:
        right[name] = value
    (place / "layer.json").write_text(json.dumps(right))
    found = refused = None
    try:
        found = layers.find(store, key)
    except StoreError as error:
        refused = error
    assert found is None or found.diff_id.startswith("sha256:")
    assert found or (refused.code == "layer-damaged" and "store verify --repair" in refused.hint)
    [*history.earlier_builds(store, kinds=["layer:run"], diff_ids=[RIGHT["diff_id"]])]
    inventory.take_inventory(store, lambda function, *arguments, at: 0)
    question = {"what": 1}
    with open(answer_cache.path(store, question), "w") as file:
        json.dump({"question": question if data.draw(st.booleans()) else value, "answer": value}, file)
    answer_cache.get(store, question)
    [*history.earlier_questions(store, ["layer:run"])]
    assert layers.find_known_output(store, key) == ""
    results.find(store, key)
    snapshots.get(store, "0" * 64)


def test_a_half_a_layer_and_one_that_is_a_file_are_named(store):
    path = store.path("layers", "a" * 64)
    with open(path, "w") as file:
        file.write("x")
    with pytest.raises(StoreError, match="is damaged"):
        layers.find(store, "a" * 64)
    os.unlink(path)
    os.mkdir(path)
    with pytest.raises(StoreError, match=r"layer.json is missing"):
        layers.find(store, "a" * 64)
    assert layers.find(store, "b" * 64) is None
