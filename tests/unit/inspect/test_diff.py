"""Where two trees differ, and in which packages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envtool.api import Package
from envtool.inspect import diff

MARKS = st.sampled_from([b"1:00000001", b"1:00000002", b"2:00000001:0000000a", b"1:00000001:0000000b"])
FIELDS = st.one_of(
    st.builds(lambda mode, uid, mark: b"f %o %d 0 %s" % (mode, uid, mark), st.sampled_from([0o644, 0o755]), st.integers(0, 1), MARKS),
    st.builds(lambda mode: b"d %o 0 0 -" % mode, st.sampled_from([0o755, 0o700])),
    st.builds(lambda mark: b"l 777 0 0 %s" % mark, st.sampled_from([b"aa", b"bb"])),
    st.just(b"c 600 0 0 1:3"),
)  # fmt: skip
TREES = st.dictionaries(st.sampled_from([b"a", b"a/b", b"usr/lib/x/y", b"\xff"]), FIELDS)


def package(name: str, version: str, kind: str = "deb", namespace: str = "") -> Package:
    return Package(
        type=kind,
        name=name,
        version=version,
        namespace=namespace,
        path="/status",
        full_name=f"{namespace}/{name}" if kind == "npm" and namespace else "",
    )


@given(TREES, TREES)
def test_what_is_not_the_same_is_named_and_nothing_else(old, new):
    found = diff.diff_trees(old, new, [], [])
    assert found.same == (old == new)
    assert len(found.files) == sum(old.get(path) != new.get(path) for path in old.keys() | new.keys())
    back = diff.diff_trees(new, old, [], [])
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert [(each.path, turned[each.how], each.kinds) for each in back.files] == [
        (each.path, each.how, each.kinds) for each in found.files
    ]
    for each in found.files:
        assert bool(each.kinds) == (each.how == "changed")
        assert {*each.kinds} <= {*diff.KINDS}
    for index, how in enumerate(("added", "removed", "changed")):
        counts = [(place.added, place.removed, place.changed)[index] for place in found.places]
        assert sum(counts) == sum(each.how == how for each in found.files)
    sizes = [sum(diff.parse_record(fields).size for fields in tree.values()) for tree in (new, old)]
    assert sum(place.size for place in found.places) == sizes[0] - sizes[1]


def test_kinds():
    def kinds(old, new):
        return diff.diff_files({b"x": old}, {b"x": new})[0].kinds

    assert kinds(b"f 644 0 0 1:a", b"f 644 0 0 1:b") == ("content",)
    assert kinds(b"f 644 0 0 1:a", b"f 755 1 0 1:a") == ("mode", "owner")
    assert kinds(b"f 644 0 0 1:a", b"f 644 0 0 1:a:c") == ("xattr",)
    assert kinds(b"f 644 0 0 1:a", b"l 777 0 0 ab") == ("type",)
    assert kinds(b"l 777 0 0 aa", b"l 777 0 0 ab") == ("link",)
    assert kinds(b"c 600 0 0 1:3", b"c 600 0 0 1:5") == ("device",)
    assert kinds(b"d 755 0 0 -", b"o 755 0 0 -") == ("type",)  # of layers as they are


def test_a_stack_is_compared_as_it_is_seen():
    first = [[(b"a", b"d 755 0 0 -"), (b"a/x", b"f 644 0 0 1:a")]]
    second = [*first, [(b"a", b"o 755 0 0 -"), (b"a/x", b"f 644 0 0 1:a")]]
    assert diff.diff_files(diff.visible_tree(first), diff.visible_tree(second)) == ()
    gone = [*first, [(b"a/x", b"w 0 0 0 -")]]
    assert [(each.path, each.how) for each in diff.diff_files(diff.visible_tree(first), diff.visible_tree(gone))] == [
        ("/a/x", "removed")
    ]


def test_packages():
    old = [package("a", "1"), package("b", "1"), package("left", "1", "npm", "@x"), package("left", "1", "npm")]
    new = [package("a", "2"), package("c", "1"), package("left", "1", "npm", "@x"), package("left", "2", "npm"),
           package("left", "1", "npm")]  # fmt: skip
    assert [(each.type, each.name, each.how, each.old, each.new) for each in diff.diff_packages(old, new)] == [
        ("deb", "a", "changed", ("1",), ("2",)),
        ("deb", "b", "removed", ("1",), ()),
        ("deb", "c", "added", (), ("1",)),
        ("npm", "left", "changed", ("1",), ("1", "2")),
    ]
    assert diff.diff_packages(old, old) == ()
