"""Keys: the same for the same, another for any one input changed."""

import dataclasses
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from envtool.api import Base, Fetch, Input, InputFile, Request
from envtool.build import resolution
from envtool.build.builder import build_environment
from envtool.build.context import Cancel
from envtool.build.resolution import apply_pins
from envtool.build.stack import stack_variables
from envtool.model import BaseSpec, LayerSpec, Where
from envtool.plan.graph import Node
from envtool.project.host_access import HostPermissions

HERE = Where(file="envtool.yaml", line=3, column=5)


class Box(Base):
    name = "box"
    schema = {}

    def fetches(self, request, pins):
        return tuple(Fetch(url=pin["url"], sha256=pin["sha256"], name=pin["name"]) for pin in pins or [])


def node(subject="layer"):
    made = LayerSpec if subject == "layer" else BaseSpec
    return Node(id="n", subject=subject, spec=made(name="l", kind="box", options=1, where=HERE), kind=Box(), below=())


REQUEST = Request(
    name="l",
    options={"a": [1, "x"]},
    inputs=(InputFile(path="f", sha256="0" * 64),),
    where=HERE,
    arch="x86_64",
    epoch=100,
    below=("sha256:1",),
    variables={"A": "1"},
)
PINS = [{"url": "http://one/f.whl", "sha256": "1" * 64, "name": "f.whl"}]


def key(pins=PINS, subject="layer", **changes):
    return apply_pins(node(subject), dataclasses.replace(REQUEST, **changes), pins).key


def test_what_cannot_matter_is_not_in_the_key():
    assert key() == key(name="other", where=Where(file="elsewhere", line=9, column=9), directory="sub")
    assert key() == key([{**PINS[0], "url": "http://two/f.whl"}])  # another mirror


def test_every_one_thing_that_decides_is_in_the_key():
    changed = [
        key(options={"a": [1, "y"]}),
        key(options={"a": ["x", 1]}),
        key(inputs=()),
        key(inputs=(InputFile(path="g", sha256="0" * 64),)),
        key(inputs=(InputFile(path="f", sha256="1" * 64),)),
        key(inputs=(InputFile(path="f", sha256="0" * 64, executable=True),)),
        key(inputs=(InputFile(path="f", sha256="0" * 64, link="g"),)),
        key(arch="aarch64"),
        key(epoch=101),
        key(below=("sha256:2",)),
        key(below=()),
        key(variables={"A": "2"}),
        key(variables={}),
        key([{**PINS[0], "sha256": "2" * 64}]),
        key([{**PINS[0], "name": "g.whl"}]),
        key([]),
        key(subject="base"),
    ]
    assert len({key(), *changed}) == len(changed) + 1


@given(st.permutations([("a", "1"), ("b", "2"), ("c", "3")]), st.permutations([*range(3)]))
def test_order_of_variables_and_files_does_not_matter(variables, order):
    pins = [{"url": f"u{i}", "sha256": str(i) * 64, "name": f"f{i}"} for i in range(3)]
    assert key([pins[i] for i in order], variables=dict(variables)) == key(
        pins, variables={"a": "1", "b": "2", "c": "3"}
    )


def test_a_base_brings_its_own_date():
    class Dated(Box):
        def epoch(self, pins):
            return 7

    dated = dataclasses.replace(node("base"), kind=Dated())
    assert apply_pins(dated, REQUEST, None).epoch == 7
    assert apply_pins(dataclasses.replace(node("layer"), kind=Dated()), REQUEST, None).epoch == 100


def test_what_is_set_below_reaches_a_build_and_its_key():
    below = Box()
    below.variables = lambda request, pins: {"PATH": "/opt/venv/bin", "X": "1", "CPATH": "/a", "LANG": "C"}
    base = apply_pins(dataclasses.replace(node("base"), kind=below), REQUEST, None)
    spec = dataclasses.replace(node("layer").spec, set={"X": "2", "CPATH": "/b", "LANG": None})
    layer = apply_pins(dataclasses.replace(node("layer"), spec=spec), REQUEST, None)
    merged = stack_variables([base, layer])
    assert merged == {"PATH": "/opt/venv/bin", "X": "2", "CPATH": "/b:/a", "LANG": None}
    request = resolution.request_from_resolved(node("layer"), [base, layer], (), SimpleNamespace(arch="x86_64"))
    assert request.variables == {"PATH": "/opt/venv/bin", "X": "2", "CPATH": "/b:/a"}
    assert request.unset == ("LANG",)
    environment = build_environment(5, request)
    assert environment["PATH"].startswith("/opt/venv/bin:/usr/local/sbin:")
    assert environment["SOURCE_DATE_EPOCH"] == "5"
    assert "LANG" not in environment
    document = apply_pins(node("layer"), request, None).document
    assert document["variables"] == merged


def test_what_only_resolve_looks_at_is_in_no_key(tmp_path):
    class Asking(Box):
        def inputs(self, options):
            return (Input("setup.py", use="resolve", required=False),)

        def resolve(self, request, site):
            return None

    (tmp_path / "setup.py").write_text("1")
    spec = LayerSpec(name="l", kind="box", options=1, where=HERE)
    node = Node(id="n", subject="layer", spec=spec, kind=Asking(), below=())

    def now():
        setting = SimpleNamespace(
            root=str(tmp_path),
            arch="x86_64",
            cancel=Cancel.make(),
            files=(),
            logs=(),
            allowed=HostPermissions(),
            listed=None,
        )
        request = resolution.request_for(node, (), setting)
        return resolution.apply_pins(node, request, None), resolution.pins_question(node, request)

    before, asked = now()
    assert [item.path for item in before.request.inputs] == ["setup.py"]
    assert before.inputs == ()
    (tmp_path / "setup.py").write_text("2")
    after, again = now()
    assert after.key == before.key
    assert again != asked
