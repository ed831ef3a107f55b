"""Explanations from documents alone: all that differs is named, equal documents differ in nothing, and the nearest
earlier build is the one that a person would mean."""

import copy
import dataclasses
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.kinds.debian.pins import package_of_deb
from envtool.model import Where
from envtool.plan import change_values, why
from envtool.plan.change_values import LocationLookup
from envtool.plan.compare_documents import compare, compare_question
from envtool.plan.why import NearestBuild, PastBuild, PastQuestion


def package(file):
    """A kind of debs and wheels."""
    return tuple(file.split("-")[:2]) if file.endswith(".whl") else package_of_deb(file)


ComparedDocument = functools.partial(change_values.ComparedDocument, package=package)
Parent = functools.partial(change_values.Parent, package=package)
CurrentNode = functools.partial(why.CurrentNode, package=package)
HERE = Where(file="envtool.yaml", line=3, column=3)
SHA = [digit * 64 for digit in "0123456789abcdef"]


def document(**changes):
    made = keys.layer_document(
        kind="layer:pip",
        version=1,
        material={"python": "python3", "told": {"files": [{"name": "attrs", "version": "24.2.0"}], "install": [0]}},
        files=[["attrs-24.2.0-py3-none-any.whl", SHA[1]], ["gcc_4%3a12.2.0-3_amd64.deb", SHA[2]]],
        inputs=[["requirements.txt", SHA[3], False, ""], ["tools/gen", SHA[4], True, ""]],
        variables={"PATH": "/opt/bin", "A": "1"},
        arch="x86_64",
        epoch=100,
        below=["sha256:b", "sha256:l"],
    )
    return {**made, **changes}


BASE = Parent(diff_id="sha256:b", name="bookworm", subject="base")
LAYER = Parent(diff_id="sha256:l", name="python", document={"kind": "layer:apt", "material": {"packages": ["python3"]}})


def facts(made, below=(BASE, LAYER), options=None):
    return ComparedDocument(document=made, below=below, options=options)


def told(old, new, **more):
    return [(one.part, one.name, one.how, one.old, one.new, one.follows) for one in compare(old, new, **more)]


# ---- properties ----------------------------------------------------------------------------------------------------

HEX = st.sampled_from(SHA)
NAMES = st.sampled_from(["a-1.0.tar.gz", "a-2.0.tar.gz", "b_1_all.deb", "c-1-py3-none-any.whl", "d", "a", "B-3.tgz"])
PATHS = st.sampled_from(["a", "b/c", "b/d", "setup.py"])
SMALL = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b-1.0.tgz", "name"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw):
    return keys.layer_document(
        kind=draw(st.sampled_from(["layer:pip", "layer:run"])),
        version=draw(st.integers(1, 2)),
        material=draw(SMALL),
        files=[[name, draw(HEX)] for name in sorted(draw(st.sets(NAMES)))],
        inputs=[
            [path, draw(HEX), draw(st.booleans()), draw(st.sampled_from(["", "t"]))]
            for path in sorted(draw(st.sets(PATHS)))
        ],
        variables=draw(st.dictionaries(st.sampled_from("AB"), st.sampled_from("12"))),
        arch=draw(st.sampled_from(["x86_64", "aarch64"])),
        epoch=draw(st.integers(1, 2)),
        below=draw(st.lists(st.sampled_from(["sha256:1", "sha256:2", "sha256:3"]), unique=True)),
    )


@given(documents(), documents(), st.booleans(), SMALL, SMALL)
def test_something_changed_exactly_when_the_keys_differ(old, new, pinned, one, other):
    changes = compare(
        ComparedDocument(document=old, options=one), ComparedDocument(document=new, options=other), pinned=pinned
    )
    assert bool(changes) == (keys.digest(old) != keys.digest(new))
    assert not changes or any(not change.follows for change in changes), "nothing follows from nothing"


@given(documents())
def test_of_equal_documents_nothing_is_said(made):
    assert compare(ComparedDocument(document=made), ComparedDocument(document=copy.deepcopy(made))) == ()


LEAVES = {
    "format": (lambda d: d.update(format=99), ("format", "format")),
    "version": (lambda d: d.update(version=2), ("kind", "version")),
    "arch": (lambda d: d.update(arch="riscv64"), ("arch", "arch")),
    "epoch": (lambda d: d.update(epoch=101), ("epoch", "epoch")),
    "material": (lambda d: d["material"].update(python="python3.12"), ("spec", "python")),
    "told": (lambda d: d["material"]["told"]["files"][0].update(version="9"), ("spec", "told.files.attrs.version")),
    "pin": (lambda d: d["files"].__setitem__(0, ["attrs-25.3.0-py3-none-any.whl", SHA[5]]), ("pin", "attrs")),
    "pin's content": (lambda d: d["files"][1].__setitem__(1, SHA[6]), ("pin", "gcc")),
    "pin's platform": (lambda d: d["files"][0].__setitem__(0, "attrs-24.2.0-cp311-none-any.whl"), ("pin", "attrs")),
    "input": (lambda d: d["inputs"][0].__setitem__(1, SHA[7]), ("input", "requirements.txt")),
    "executable": (lambda d: d["inputs"][1].__setitem__(2, False), ("input", "tools/gen")),
    "link": (lambda d: d["inputs"][1].__setitem__(3, "elsewhere"), ("input", "tools/gen")),
    "path": (lambda d: d["inputs"][1].__setitem__(0, "tools/other"), ("input", "tools/other")),
    "variable": (lambda d: d["variables"].update(A="2"), ("variable", "A")),
    "path variable": (lambda d: d["variables"].update(PATH="/x"), ("variable", "PATH")),
    "base": (lambda d: d["below"].__setitem__(0, "sha256:x"), ("base", "")),
    "layer": (lambda d: d["below"].__setitem__(1, "sha256:x"), ("layer", "")),
    "a part of a later envtool": (lambda d: d.update(limits={"cpus": 1}), ("other", "limits")),
}


@pytest.mark.parametrize("leaf", LEAVES)
def test_one_changed_leaf_is_named(leaf):
    change, expected = LEAVES[leaf]
    new = document()
    new = copy.deepcopy(new)
    change(new)
    (one,) = compare(ComparedDocument(document=document()), ComparedDocument(document=new))
    assert (one.part, one.name) == expected
    assert not one.follows


# ---- one by one ----------------------------------------------------------------------------------------------------


def test_pins_are_versions():
    files = [["attrs-25.3.0-py3-none-any.whl", SHA[5]], ["gcc_4%3a13.0_amd64.deb", SHA[6]], ["new.bin", SHA[7]]]
    where = LocationLookup(pin=lambda name, version: f"envtool.lock:{len(name)}")
    found = compare(facts(document()), facts(document(files=files)), places=where)
    pins = [(one.name, one.how, one.old, one.new, one.where) for one in found if one.part == "pin"]
    assert pins == [
        ("attrs", "changed", "24.2.0", "25.3.0", "envtool.lock:5"),
        ("gcc", "changed", "4:12.2.0-3", "4:13.0", "envtool.lock:3"),
        ("new.bin", "added", "", "", "envtool.lock:7"),
    ]


def test_what_a_kind_repeats_of_its_pins_is_not_said_twice():
    material = {"python": "python3", "told": {"files": [{"name": "attrs", "version": "25.3.0"}], "install": [1]}}
    files = [["attrs-25.3.0-py3-none-any.whl", SHA[5]], document()["files"][1]]
    new = facts(document(material=material, files=files), options=["attrs"])
    assert told(facts(document(), options=["attrs"]), new) == [("pin", "attrs", "changed", "24.2.0", "25.3.0", False)]


def test_the_spec_comes_first_and_its_pins_follow():
    files = [*document()["files"], ["pytest-9.0-py3-none-any.whl", SHA[5]]]
    old, new = facts(document(), options=["attrs"]), facts(document(files=files), options=["attrs", "pytest"])
    assert told(old, new) == [
        ("spec", "pip", "added", "", "pytest", False),
        ("pin", "pytest", "added", "", "9.0", True),
    ]


def test_an_option_that_no_key_holds_is_no_cause():
    old = facts(document(), options={"url": "one"})
    assert told(old, facts(document(arch="x"), options={"url": "two"})) == [
        ("arch", "arch", "changed", "x86_64", "x", False)
    ]


def test_files_that_a_new_pattern_brings_follow_from_it():
    inputs = [*document()["inputs"], ["more/x", SHA[5], False, ""]]
    old = facts(document(), options={"inputs": ["tools"]})
    new = facts(document(inputs=inputs), options={"inputs": ["tools", "more/"]})
    assert told(old, new) == [
        ("spec", "inputs", "added", "", "more/", False),
        ("input", "more/x", "added", "", "", True),
    ]


def test_a_lower_layer_says_why_it_came_out_otherwise():
    now = dataclasses.replace(
        LAYER, diff_id="sha256:new", document={"kind": "layer:apt", "material": {"packages": ["python3", "gcc"]}}
    )
    new = facts(document(below=["sha256:b", "sha256:new"]), below=(BASE, now))
    (one,) = compare(facts(document()), new)
    assert (one.part, one.name, one.how) == ("layer", "python", "changed")
    assert [(why.part, why.how, why.new) for why in one.because] == [("spec", "added", "gcc")]


def test_the_same_recipe_that_came_out_otherwise_is_said_to_be_just_that():
    now = dataclasses.replace(LAYER, diff_id="sha256:new")
    (one,) = compare(facts(document()), facts(document(below=["sha256:b", "sha256:new"]), below=(BASE, now)))
    assert one.note == "the same recipe came out otherwise"


def test_another_base_is_one_change_and_the_rest_follows():
    other = dataclasses.replace(BASE, diff_id="sha256:t", name="trixie")
    files = [["attrs-24.2.0-py3-none-any.whl", SHA[1]], ["gcc_4%3a14_amd64.deb", SHA[9]]]
    new = facts(document(below=["sha256:t", "sha256:l"], epoch=200, files=files), below=(other, LAYER))
    found = told(facts(document()), new)
    assert found[0] == ("base", "trixie", "changed", "bookworm", "trixie", False)
    assert {row[:2] for row in found[1:]} == {("epoch", "epoch"), ("pin", "gcc")}
    assert all(row[-1] for row in found[1:])


def test_order_and_coming_and_going_of_what_is_below():
    more = Parent(diff_id="sha256:m", name="more")
    three = facts(document(below=["sha256:b", "sha256:l", "sha256:m"]), below=(BASE, LAYER, more))
    turned = facts(document(below=["sha256:b", "sha256:m", "sha256:l"]), below=(BASE, more, LAYER))
    assert told(three, turned) == [("layer", "", "order", "bookworm, python, more", "bookworm, more, python", False)]
    assert told(facts(document()), three) == [("layer", "more", "added", "", "m", False)]
    assert told(three, facts(document())) == [("layer", "more", "removed", "m", "", False)]


def test_what_is_below_and_gone_from_the_store_is_paired_by_its_place():
    new = facts(
        document(below=["sha256:b", "sha256:new"]), below=(BASE, dataclasses.replace(LAYER, diff_id="sha256:new"))
    )
    (one,) = compare(facts(document(), below=(BASE,)), new)
    assert (one.name, one.how, one.note) == ("python", "changed", "what it was is no longer in the store")


def test_a_machine_is_no_spec():
    old, new = ({"installed": {"/var/lib/dpkg/status": sha}} for sha in SHA[:2])
    found = compare(
        ComparedDocument(document=document(material=old)),
        ComparedDocument(document=document(material=new)),
        pinned=False,
    )
    assert [(one.part, one.name) for one in found] == [("machine", "/var/lib/dpkg/status")]


# ---- questions -----------------------------------------------------------------------------------------------------


def question(options, inputs, **more):
    return {"kind": "layer:pip", "version": 1, "question": [options, ".", inputs], "arch": "x86_64", "below": []} | more


def test_a_question_says_options_inputs_and_what_else():
    old = question({"packages": ["attrs"]}, [["r.txt", SHA[1], ""], ["s.txt", SHA[1], ""]])
    new = question({"packages": ["attrs<25"]}, [["r.txt", SHA[2], ""], ["t.txt", SHA[1], ""]], arch="riscv64")
    options = ComparedDocument(document=new, options={"packages": ["attrs<25"]})
    found = compare_question(ComparedDocument(document=old), options, inputs=["r.txt", "t.txt"])
    assert [(one.part, one.name, one.how) for one in found] == [
        ("arch", "arch", "changed"),
        ("spec", "packages", "changed"),
        ("input", "r.txt", "changed"),
        ("input", "t.txt", "added"),
        ("input", "s.txt", "removed"),
    ]


def test_what_a_question_asks_beside_that_is_shown_as_it_is():
    old, new = ({"question": {"options": ["gcc"], "lists": [sha]}} for sha in SHA[:2])
    (one,) = compare_question(
        ComparedDocument(document=old), ComparedDocument(document=new, options=["gcc"]), inputs=["lists.txt"]
    )
    assert (one.part, one.name) == ("question", "lists")
    lock = {**new, "ground": "1"}
    (one,) = compare_question(ComparedDocument(document=lock), ComparedDocument(document=new))
    assert one.part == "lock"


def test_the_nearest_question_is_the_least_different_then_the_newest():
    subject = dataclasses.replace(SUBJECT, question=question(["a"], []), document=None)
    asked = [
        PastQuestion(question=question(["b"], []), time=1),
        PastQuestion(question=question(["c"], []), time=2),
        PastQuestion(question=question(["c"], [["x", SHA[0], ""]], arch="y"), time=3),
        PastQuestion(question=question(["a"], [], kind="layer:apt"), time=4),
    ]
    assert why.nearest_question(subject, asked).time == 2
    assert why.nearest_question(subject, asked[3:]) is None


# ---- the nearest build ---------------------------------------------------------------------------------------------

SUBJECT = CurrentNode(
    name="deps",
    subject="layer",
    kind="pip",
    where=HERE,
    project="/home/ann/app",
    document=document(),
    options=["attrs"],
)


def past(time=1.0, name="deps", project="/home/ann/app", options=("attrs",), **changes):
    return PastBuild(
        key=str(time), document=document(**changes), time=time, name=name, project=project, options=[*options]
    )


def nearest(*pasts, subject=SUBJECT):
    seeker = NearestBuild(subject)
    for one in pasts:
        seeker.offer(one)
    return seeker.best and seeker.best.time


def test_another_kind_is_never_near():
    assert nearest(past(kind="layer:apt")) is None
    assert nearest(past(kind="base:pip")) is None


def test_the_least_different_wins_and_of_equals_the_newest():
    pin = [document()["files"][0], ["gcc_4%3a13_amd64.deb", SHA[9]]]
    assert nearest(past(1.0, files=pin), past(2.0, files=[], arch="x")) == 1.0
    assert nearest(past(1.0, files=pin), past(3.0, files=pin), past(2.0, files=pin)) == 3.0


def test_the_same_env_is_nearer_than_another_point_of_a_matrix():
    elsewhere = {"below": ["sha256:t", "sha256:u"], "epoch": 7}
    pin = [document()["files"][0], ["gcc_4%3a13_amd64.deb", SHA[9]]]
    assert nearest(past(1.0, files=pin), past(2.0, **elsewhere)) == 1.0


def test_the_same_name_is_nearer_than_another():
    pin = [document()["files"][0], ["gcc_4%3a13_amd64.deb", SHA[9]]]
    assert nearest(past(1.0, name="deps", files=pin, epoch=1), past(2.0, name="others", files=pin)) == 1.0


def test_a_stranger_of_the_kind_is_no_earlier_build():
    """A `run` layer of another project has nothing to do with ours, though both are called `run`."""
    strange = {"files": [], "inputs": [], "material": {"run": ["other"]}}
    assert nearest(past(name="deps", project="/srv/other", options=["x"], **strange)) is None
    assert nearest(past(name="others", options=["x"], **strange)) is None
    assert nearest(past(name="deps", project="/builds/77/app", options=["x"], **strange)) == 1.0  # another checkout


def test_who_waits_is_compared_by_what_is_known():
    waiting = dataclasses.replace(SUBJECT, document=None, waits=("python",), inputs=tuple(document()["inputs"]))
    assert nearest(past(1.0), past(2.0, options=["attrs", "x"]), subject=waiting) == 1.0
    told = why.explain_node(waiting, past=past(1.0))
    assert (told.state, told.changes) == ("wait", ())
    edited = dataclasses.replace(waiting, options=["attrs<25"])
    told = why.explain_node(edited, past=past(1.0))
    assert [(one.part, one.old, one.new) for one in told.changes] == [("spec", "attrs", "attrs<25")]


def test_what_stayed_is_said_in_a_few_words():
    inputs = [document()["inputs"][0], ["tools/gen", SHA[9], True, ""]]
    subject = dataclasses.replace(SUBJECT, document=document(inputs=inputs), below=(BASE, LAYER))
    told = why.explain_node(subject, past=past(), ground=(BASE, LAYER))
    assert told.same == ("the base", "layer python", "2 pins", "1 input", "the spec", "variables")
