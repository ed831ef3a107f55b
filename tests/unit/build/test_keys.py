"""A key is decided by what is asked and by nothing of who asks: same inputs in any order, at any path, of any user, at
any time; and any one input that is changed makes another."""

import dataclasses
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.api import Base, Fetch, Input
from envtool.build import resolution
from envtool.build.context import Cancel, Context
from envtool.model import LayerSpec, Where
from envtool.plan.graph import Node
from envtool.store.store import Store


class Box(Base):
    name = "box"
    schema = {}

    def inputs(self, options):
        return (Input("tree"),)

    def fetches(self, request, pins):
        return tuple(Fetch(url=url, sha256=sha, name=name) for name, sha, url in pins)


FILES = st.dictionaries(
    st.sampled_from(["a", "b c", "d/e", "d/f", "ü", "link"]),
    st.tuples(st.sampled_from(["", "one", "two\n"]), st.booleans()),
    min_size=1,
)
PINS = st.lists(st.sampled_from("pqrs"), unique=True, min_size=1)
OPTIONS = st.dictionaries(st.sampled_from("uvw"), st.lists(st.sampled_from([1, "x", None]), max_size=2), max_size=3)


def checkout(top, files, *, mode, when, reverse, owner):
    """The same project as another user has it: elsewhere, made in another order, at another time, with another umask."""
    for name in sorted(files, reverse=reverse):
        content, executable = files[name]
        path = Path(top, "tree", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "link":
            path.symlink_to(content or "nowhere")
        else:
            path.write_text(content)
            path.chmod(mode | (0o100 if executable else 0))
            os.utime(path, (when, when))
        if os.geteuid() == 0:
            os.chown(path, owner, owner, follow_symlinks=False)
    return str(top)


CANCEL = Cancel.make()


def key(root, options, pins, variables, **changes):
    setting = Context(store=Store(root="/none"), root=root, arch="x86_64", emit=lambda _: None, cancel=CANCEL)
    spec = LayerSpec(name="l", kind="box", options=options, where=Where(file="e", line=1, column=1))
    node = Node(id="n", subject="layer", spec=spec, kind=changes.pop("kind", Box()), below=())
    request = resolution.request_for(node, (), setting)
    request = dataclasses.replace(request, **({"variables": variables, "below": ("sha256:1", "sha256:2")} | changes))
    return resolution.apply_pins(node, request, pins).key


def pinned(names, host):
    return [[f"{name}-1.whl", name.encode().hex().zfill(64), f"{host}/{name}"] for name in names]


@settings(max_examples=40, deadline=None)
@given(FILES, PINS, OPTIONS, st.data())
def test_the_same_for_everybody(files, pins, options, data):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory(suffix=" elsewhere") as other:
        checkout(one, files, mode=0o644, when=1, reverse=False, owner=0)
        checkout(other, files, mode=0o600, when=2_000_000_000, reverse=True, owner=4711)
        shuffled = data.draw(st.permutations(pins))
        turned = dict(reversed(options.items()))
        ours = key(one, options, pinned(pins, "http://a"), {"A": "1", "B": "2"})
        theirs = key(
            other, turned, pinned(shuffled, "http://b"), {"B": "2", "A": "1"}, where=Where(file="x", line=9, column=9)
        )
        assert ours == theirs


@settings(max_examples=40, deadline=None)
@given(FILES, PINS, OPTIONS, st.data())
def test_another_for_any_one_change(files, pins, options, data):
    name = data.draw(st.sampled_from(sorted(files)))
    content, executable = files[name]
    variables = {"A": "1"}

    class Newer(Box):
        version = 2

    changed_files = [
        {**files, name: (content + "more", executable)},
        {**files, "new": ("", False)},
        {other: files[other] for other in files if other != name} | {"d/moved": (content, executable)},
    ]
    if name != "link":
        changed_files.append({**files, name: (content, not executable)})
    with tempfile.TemporaryDirectory() as top:
        roots = []
        for number, each in enumerate([files, *changed_files]):
            root = Path(top, str(number))
            root.mkdir()
            roots.append(checkout(root, each, mode=0o644, when=1, reverse=False, owner=0))
        root, files_pinned = roots[0], pinned(pins, "http://a")
        keys = [key(each, options, files_pinned, variables) for each in roots]
        keys += [
            key(root, {**options, "u": ["another"]}, files_pinned, variables),
            key(root, options, files_pinned[1:], variables),
            key(root, options, [["p-2.whl", *files_pinned[0][1:]], *files_pinned[1:]], variables),
            key(root, options, [[files_pinned[0][0], "e" * 64, ""], *files_pinned[1:]], variables),
            key(root, options, files_pinned, {"A": "2"}),
            key(root, options, files_pinned, {}),
            key(root, options, files_pinned, variables, below=("sha256:2", "sha256:1")),
            key(root, options, files_pinned, variables, below=("sha256:1",)),
            key(root, options, files_pinned, variables, arch="aarch64"),
            key(root, options, files_pinned, variables, epoch=7),
            key(root, options, files_pinned, variables, kind=Newer()),
        ]
        assert len(set(keys)) == len(keys)
