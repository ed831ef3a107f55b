"""Layers merged by their manifests, against overlayfs's own rules and a slow model of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.build.stack_files import StackTree, visible_files
from envtool.store import canonical
from envtool.store.layers import Layer

NAMES = st.sampled_from([b"a", b"b", b"c"])
TREES = st.recursive(
    st.sampled_from([b"f", b"l", b"w"]),
    lambda below: st.tuples(st.sampled_from([b"d", b"o"]), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(NAMES, TREES, max_size=3), max_size=4)


def entries(tree, prefix=b""):
    for name, node in tree.items():
        letter = node[0] if isinstance(node, tuple) else node
        yield prefix + name, letter + b" 644 0 0 -"
        if isinstance(node, tuple):
            yield from entries(node[1], prefix + name + b"/")


def laid(lower, upper, index):
    """One layer on what is there: a dict of names to dicts (directories) and (letter, layer)."""
    seen = dict(lower)
    for name, node in upper.items():
        if node == b"w":
            seen.pop(name, None)
        elif isinstance(node, tuple):
            below = seen.get(name)
            kept = below if isinstance(below, dict) and node[0] == b"d" else {}
            seen[name] = laid(kept, node[1], index)
        else:
            seen[name] = (node, index)
    return seen


def files(tree, prefix=""):
    found = {}
    for name, node in tree.items():
        path = prefix + name.decode()
        if isinstance(node, dict):
            found |= files(node, path + "/")
        elif node[0] == b"f":
            found[path] = node[1]
    return found


@given(layers=LAYERS)
def test_it_is_what_an_overlay_shows(layers):
    model = {}
    for index, layer in enumerate(layers):
        model = laid(model, layer, index)
    assert visible_files([list(entries(layer)) for layer in layers]) == files(model)


@pytest.mark.e2e  # reads as container root
def test_contents_come_from_the_layer_that_shows_them(tmp_path):
    layers = []
    for number, content in enumerate(({"etc/a": "old", "etc/b": "b", "x/METADATA": "m"}, {"etc/a": "new"})):
        tree = tmp_path / f"{number}" / "tree"
        for name, text in content.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        os.symlink("/etc/passwd", tree / "etc" / f"link{number}")
        manifest = tmp_path / f"{number}" / "manifest"
        diff_id, size, count = canonical.capture(str(tree), 1, (), str(manifest))
        layers.append(
            Layer(
                key="k", tree=str(tree), manifest=str(manifest), diff_id=diff_id, size=size, entries=count, document={}
            )
        )
    tree = StackTree(layers)
    assert tree.find("/etc/*") == ["/etc/a", "/etc/b"]
    assert tree.find("/**/METADATA") == ["/x/METADATA"]
    read = tree.read(["/etc/b", "/etc/a", "/etc/link0", "/nothing", "/etc"])
    assert read == {"/etc/a": b"new", "/etc/b": b"b"}
