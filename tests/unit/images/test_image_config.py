"""Which paths merged layers have, without looking at any of them."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from envtool.build import stack_files
from envtool.images.image_config import VisiblePaths

names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
layers = st.lists(st.dictionaries(names, st.sampled_from("fdlow"), max_size=6), max_size=4)


def whole(entries):
    """A layer as captures are: the parents of everything are directories in it."""
    found = {}
    for path in sorted(entries):
        parents = [path[:at] for at in range(len(path)) if path[at] == "/"]
        if all(found.get(parent, "d") in "do" for parent in parents):
            found |= {parent: "d" for parent in parents if parent not in found}
            found[path] = entries[path]
    return found


@given(layers)
def test_it_is_what_an_overlay_of_them_shows(tmp_path_factory, stack):
    stack = [whole(entries) for entries in stack]
    top = tmp_path_factory.mktemp("manifests")
    made = []
    for number, entries in enumerate(stack):
        text = b"".join(b"%s 644 0 0 0:0 %s\0" % (letter.encode(), path.encode()) for path, letter in entries.items())
        (top / str(number)).write_bytes(text)
        made.append(SimpleNamespace(manifest=str(top / str(number)), key=str(number), listed=""))
    standing = VisiblePaths(made)
    # merged() knows regular files: with every other thing made one, it knows all that are no directories
    records = [[(path.encode(), letter.encode() + b" 644 0 0 -") for path, letter in each.items()] for each in stack]
    files = stack_files.visible_files(records)
    for path in {path for entries in stack for path in entries}:
        if path in files:
            assert standing.has(path)
    for path, seen in shown(stack).items():
        assert standing.has(path) == seen, path


def shown(stack):
    """By playing the layers one over the other."""
    found = {}
    every = {path for entries in stack for path in entries}
    for entries in stack:
        for path, letter in entries.items():
            if letter != "d" or found.get(path, "d") not in "do":
                for below in [each for each in found if each.startswith(path + "/")]:
                    if below not in entries:
                        del found[below]
        for path, letter in entries.items():
            if letter == "w":
                found.pop(path, None)
            else:
                found[path] = letter
    return {path: path in found for path in every}
