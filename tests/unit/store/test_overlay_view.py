"""Layers laid over each other by their manifests, against a slow model of overlayfs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.store.overlay_view import merge_layers, parse_record, path_history

NAMES = st.sampled_from([b"a", b"b", b"c"])
TREES = st.recursive(
    st.sampled_from([b"f", b"l", b"w"]),
    lambda below: st.tuples(st.sampled_from([b"d", b"o"]), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(NAMES, TREES, max_size=3), max_size=5)


def entries(tree, prefix=b""):
    for name, node in tree.items():
        letter = node[0] if isinstance(node, tuple) else node
        yield prefix + name, letter + b" 644 0 0 -"
        if isinstance(node, tuple):
            yield from entries(node[1], prefix + name + b"/")


def look(path, layers):
    """What an overlay shows at a path, asked as the kernel does: component by component, from the top down. The layers
    that it is made of (top first) and the letter of the topmost; () and nothing where there is none."""
    trees = [{b"": (b"d", layer)} for layer in layers]
    here = [(index, tree[b""]) for index, tree in reversed([*enumerate(trees)])]
    for part in path.split(b"/"):
        below = []
        for index, node in here:
            found = node[1].get(part)
            if found is None:
                continue
            if found == b"w":
                break
            if not isinstance(found, tuple):
                if not below:
                    below.append((index, found))
                break
            below.append((index, found))
            if found[0] == b"o":
                break
        if below and not isinstance(below[0][1], tuple):
            here = []
            last = below
        else:
            here = last = below
        if not last:
            return (), b""
    return tuple(index for index, _ in last), last[0][1][0] if isinstance(last[0][1], tuple) else last[0][1]


def paths(layers):
    return {path for layer in layers for path, _ in entries(layer)}


@given(LAYERS)
def test_it_is_what_an_overlay_shows(layers):
    seen = merge_layers([entries(layer) for layer in layers])
    shown = {path: look(path, layers) for path in paths(layers)}
    expected = {path: (letter, made[0]) for path, (made, letter) in shown.items() if made}
    assert {path: (fields[:1], index) for path, (fields, index) in seen.items()} == expected


@given(LAYERS)
def test_history_says_what_each_layer_says_and_what_of_it_is_seen(layers):
    for path in paths(layers):
        told = path_history(path, [entries(layer) for layer in layers])
        own = {index for index, layer in enumerate(layers) if dict(entries(layer)).get(path, b"w")[:1] != b"w"}
        assert {index for index, fields, _ in told if fields[:1] != b"w"} == own
        assert {index for index, _, seen in told if seen} == {*look(path, layers)[0]}
        assert [index for index, _, _ in told] == sorted(index for index, _, _ in told)


def test_a_record():
    assert parse_record(b"f 4755 0 1000 12:0badcafe") == ("f", 0o4755, 0, 1000, "12:0badcafe")
    assert parse_record(b"f 644 0 0 12:0badcafe:1").size == 12
    assert parse_record(b"f 644 0 0 0:00000000").size == 0
    assert parse_record(b"l 777 0 0 ab").size == 0
    with pytest.raises(ValueError, match="not enough"):
        parse_record(b"f 644")
