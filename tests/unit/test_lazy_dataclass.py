"""Classes of envtool.lazy_dataclass beside those of the standard library's decorator."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import itertools
import pickle
import sys
import threading
import types
import weakref
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool import api
from envtool.lazy_dataclass import KW_ONLY, LazyMethod, dataclass, field
from tests.depth import examples

ROOT = Path(__file__).parents[2]
NUMBER = itertools.count()
HEAD = """
from __future__ import annotations
import dataclasses, typing
from dataclasses import KW_ONLY, field
from typing import ClassVar
"""

# ---- declarations and values at random -------------------------------------------------------------------------------

NAMES = ("self", "other", "a", "b", "c", "cls", "name", "value", "object", "hash")
VALUES = st.one_of(st.integers(-2, 2), st.sampled_from(["", "x", None, (), (1, 2)]), st.just([1]))
DEFAULTS = ("1", "'x'", "None", "()", "[]")
METHODS = (
    "def __repr__(self): return 'mine'",
    "def __eq__(self, other): return True",
    "def __hash__(self): return 7",
    "__hash__ = None",
    "def __lt__(self, other): return False",
    "def __setattr__(self, name, value): object.__setattr__(self, name, value)",
    "def __init__(self): pass",
    "def __post_init__(self): object.__setattr__(self, 'a', 'after')",
    "__match_args__ = ()",
    "def __getstate__(self): return ['state']",
)


@st.composite
def declared_field(draw, name):
    annotation = draw(st.sampled_from(["int", "int", "int", "ClassVar[int]", "typing.ClassVar", "list[ClassVar]"]))
    form = draw(st.sampled_from(["required", "required", "default", "field"]))
    if form == "field" and annotation not in ("int", "list[ClassVar]"):  # refused here
        form = "default"
    if form == "required":
        return f"{name}: {annotation}"
    if form == "default":
        return f"{name}: {annotation} = {draw(st.sampled_from(DEFAULTS))}"
    words = []
    default = draw(st.sampled_from(["", "default=1", "default='x'", "default_factory=list", "default_factory=int"]))
    if default:
        words.append(default)
    for option in ("init", "repr", "compare", "hash", "kw_only"):
        words += draw(st.sampled_from([[], [], [], [f"{option}=False"], [f"{option}=True"]]))
    return f"{name}: {annotation} = field({', '.join(words)})"


@st.composite
def declared_class(draw, name, base=""):
    options = {option: draw(st.booleans()) for option in ("frozen", "slots", "kw_only")}
    options["order"] = draw(st.sampled_from([False, False, True]))
    options["eq"] = draw(st.sampled_from([True, True, True, False]))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    body = [draw(declared_field(each)) for each in names]
    if draw(st.sampled_from([False, False, True])):
        body.insert(draw(st.integers(0, len(body))), "_: KW_ONLY")
    body += draw(st.lists(st.sampled_from(METHODS), unique=True, max_size=1))
    if draw(st.booleans()):
        body.insert(0, "'''A docstring.'''")
    words = ", ".join(f"{option}={value}" for option, value in options.items())
    lines = "".join(f"    {line}\n" for line in [*body, "pass"])
    return f"@DECORATOR({words})\nclass {name}{base}:\n{lines}"


@st.composite
def declared_module(draw):
    """The source of a class `Value`, which may have a base, and a base's decorator may differ from its own."""
    if draw(st.booleans()):
        return draw(declared_class("Value"))
    base = draw(declared_class("Parent"))
    between = draw(
        st.sampled_from(["", "", "class Between(Parent): pass\n", "class Between(Parent): __slots__ = ()\n"])
    )
    derived = draw(declared_class("Value", f"({'Between' if between else 'Parent'})"))
    if draw(st.booleans()):
        derived = derived.replace(
            "@DECORATOR", "@dataclasses.dataclass"
        )  # as a plugin does with a class of envtool.api
    elif draw(st.sampled_from([False, False, True])):
        base = base.replace("@DECORATOR", "@dataclasses.dataclass")
    return f"{base}{between}{derived}"


CALLS = st.lists(
    st.tuples(st.lists(VALUES, max_size=4), st.dictionaries(st.sampled_from([*NAMES, "unknown"]), VALUES, max_size=5)),
    min_size=1,
    max_size=4,
)


def define(source, decorator):
    """The class of this source, in a module that `pickle` finds."""
    module = types.ModuleType(f"lazy_dataclass_{next(NUMBER)}")
    module.DECORATOR = decorator
    sys.modules[module.__name__] = module
    exec(HEAD + source, module.__dict__)
    return module.Value


def outcome(function, *arguments, **keywords):
    try:
        return "returned", function(*arguments, **keywords)
    except RecursionError:
        raise
    except Exception as error:
        return type(error).__name__, str(error)


def refusal(*words):
    """What becomes of a change. For names that are no fields, the standard library of 3.11 raises TypeError in frozen
    classes with slots, where it means FrozenInstanceError (python/cpython#90562)."""
    kind, message = outcome(*words)
    return "FrozenInstanceError" if kind == "TypeError" and message.startswith("super(") else kind


def state(value):
    """All that an instance holds, in a form that can be compared with that of another class."""
    return {name: repr(getattr(value, name)) for name in dir(value) if name in NAMES and hasattr(value, name)}


def state_of(function, *arguments, **keywords):
    kind, result = outcome(function, *arguments, **keywords)
    return kind, state(result) if kind == "returned" else result


def behaviour(cls, calls, changes):
    """What an instance of each call does, as values that do not name the class's module."""
    yield cls.__doc__ if "docstring" in (cls.__doc__ or "") else ""
    yield getattr(cls, "__match_args__", None), cls.__dict__.get("__slots__")
    yield [
        (item.name, item.type, item.default, repr(item.default_factory), item.init, item.repr, item.compare, item.hash,
         item.kw_only) for item in dataclasses.fields(cls)
    ]  # fmt: skip
    made = []
    required = [item.name for item in inspect.signature(cls).parameters.values() if item.default is item.empty]
    valid = [([], dict.fromkeys(required, value)) for value in (1, (), [])]
    for arguments, keywords in [*calls, *valid]:
        kind, value = outcome(cls, *arguments, **keywords)
        if kind == "returned":
            made.append(value)
            yield state(value)
        else:
            yield kind, value
    for value in made:
        yield outcome(repr, value), dataclasses.is_dataclass(value)
        yield "identity" if outcome(hash, value) == ("returned", object.__hash__(value)) else outcome(hash, value)
        yield outcome(dataclasses.asdict, value), state_of(dataclasses.replace, value, **changes)
        yield refusal(setattr, value, "a", 1), refusal(setattr, value, "other_name", 1), refusal(delattr, value, "b")
        yield state(value)
        yield state_of(copy.copy, value), state_of(copy.deepcopy, value)
        yield state_of(lambda value: pickle.loads(pickle.dumps(value)), value)
        yield outcome(weakref.ref, value)[0]
    for one, other in itertools.product(made, repeat=2):
        yield outcome(lambda one, other: one == other, one, other), outcome(lambda one, other: one != other, one, other)
        yield outcome(lambda one, other: one < other, one, other), outcome(lambda one, other: one >= other, one, other)
        yield (one == 1), outcome(lambda one: one < 1, one)
    yield str(inspect.signature(cls))


@settings(max_examples=examples(100, 5000), deadline=None)
@given(declared_module(), CALLS, st.dictionaries(st.sampled_from([*NAMES, "unknown"]), VALUES, max_size=2))
def test_it_is_as_the_standard_librarys(source, calls, changes):
    modules = {*sys.modules}
    try:
        kinds = [outcome(define, source, decorator) for decorator in (dataclasses.dataclass, dataclass)]
        if kinds[0][0] != "returned":  # where there are several errors, the first may be another
            assert kinds[1][0] in ("TypeError", "ValueError"), kinds
            return
        assert kinds[1][0] == "returned", kinds
        expected, found = [[*behaviour(cls, calls, changes)] for _, cls in kinds]
        assert found == expected
    finally:
        for name in {*sys.modules} - modules:
            del sys.modules[name]


# ---- what is refused, and what is only in the order of events --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """A value with all methods."""

    x: int
    y: int = 0
    names: tuple[str, ...] = field(default=(), repr=False)


@dataclass(slots=True, eq=False)
class Chain:
    """A value that may contain itself."""

    name: str
    _: KW_ONLY
    next: list[object] = field(default_factory=list)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@DECORATOR()\nclass Value:\n x: dataclasses.InitVar[int]", r"Value\.x is an InitVar, which is not supported"),
        ("@DECORATOR()\nclass Value:\n x: ClassVar[int] = field(default=1)", r"Value\.x is a ClassVar with field\(\)"),
        ("@dataclasses.dataclass\nclass P:\n x: dataclasses.InitVar[int]\n@DECORATOR()\nclass Value(P): pass", "P has an InitVar"),
        ("@DECORATOR(init=False)\nclass Value: pass", "unexpected keyword argument 'init'"),
        ("@DECORATOR(unsafe_hash=True)\nclass Value: pass", "unexpected keyword argument 'unsafe_hash'"),
        ("@DECORATOR(weakref_slot=True)\nclass Value: pass", "unexpected keyword argument 'weakref_slot'"),
        ("class Value: pass\nValue.__annotations__ = {'x': int}\nDECORATOR(Value)", "from __future__ import annotations"),
        ("@DECORATOR()\nclass Value:\n x: int = 1\n y: int", "'y' has no default and follows 'x', which has one"),
        ("@DECORATOR()\nclass Value:\n x: int = []", r"Value\.x has a mutable default: use default_factory"),
        ("@DECORATOR()\nclass Value:\n x = field()", r"Value\.x is a field\(\) without an annotation"),
        ("@DECORATOR(slots=True)\nclass Value:\n __slots__ = ()", "Value already specifies __slots__"),
        ("@DECORATOR()\nclass P: pass\n@DECORATOR(frozen=True)\nclass Value(P): pass", "frozen and inherits from one that is not: P"),
        ("@DECORATOR(frozen=True)\nclass P: pass\n@DECORATOR()\nclass Value(P): pass", "not frozen and inherits from a frozen one: P"),
        ("@DECORATOR(order=True)\nclass Value:\n def __lt__(self, other): pass", "Value has __lt__ of its own"),
        ("@DECORATOR(order=True, eq=False)\nclass Value: pass", "eq must be true if order is true"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_when_the_class_is_defined(source, message):
    with pytest.raises((TypeError, ValueError), match=message):
        define(source, dataclass)


def test_a_method_is_compiled_when_it_is_first_used():
    cls = define("@DECORATOR(frozen=True, slots=True, order=True)\nclass Value:\n x: int = 1\n", dataclass)
    lazy = {name for name, method in vars(cls).items() if isinstance(method, LazyMethod)}
    assert {"__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__ge__", "__setattr__", "__delattr__"} <= lazy
    for use, name in ((cls, "__init__"), (lambda: repr(cls()), "__repr__"), (lambda: hash(cls()), "__hash__"), (lambda: cls() < cls(), "__lt__")):  # fmt: skip
        use()
        lazy.discard(name)
        assert {key for key, method in vars(cls).items() if isinstance(method, LazyMethod)} == lazy


def test_errors_of_frozen_values():
    point = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'other'"):
        del point.other
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required keyword-only argument: 'x'"):
        Point()
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        Point(1)


def test_values_in_the_places_of_others():
    point = Point(x=1, y=2, names=("a",))
    match point:
        case Point(x=1, y=other):
            assert other == 2
    assert {point: 1}[Point(x=1, y=2, names=("a",))] == 1
    assert sorted([Point(x=2), point, Point(x=1)]) == [Point(x=1), point, Point(x=2)]
    assert pickle.loads(pickle.dumps(point)) == point == copy.deepcopy(point) == copy.copy(point)
    assert dataclasses.replace(point, y=0, names=()) == Point(x=1) == point.__replace__(y=0, names=())
    chain = Chain("a")
    chain.next.append(chain)
    assert repr(chain) == "Chain(name='a', next=[...])"
    assert chain != Chain("a")
    assert Chain.__init__.__annotations__ == {"name": "str", "next": "list[object]", "return": None}


def test_a_plugins_own_dataclass_inherits_from_ours():
    """Others subclass what `envtool.api` has, with the decorator of the standard library."""

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class NamedPoint(Point):
        name: str

    @dataclasses.dataclass(frozen=True)
    class MyCase(api.Case):
        line: int = 0

    assert NamedPoint(x=1, name="n") == NamedPoint(x=1, y=0, name="n") != Point(x=1)
    assert repr(NamedPoint(x=1, name="n")).endswith("NamedPoint(x=1, y=0, name='n')")
    assert NamedPoint.__slots__ == ("name",)
    assert MyCase(id="t", outcome="failed", line=3).line == 3
    assert [item.name for item in dataclasses.fields(MyCase)] == [
        *(f.name for f in dataclasses.fields(api.Case)),
        "line",
    ]
    assert dataclasses.asdict(api.Input("a", required=False))["pattern"] == "a"


def test_threads_that_use_a_class_for_the_first_time():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            cls = define("@DECORATOR(frozen=True, slots=True)\nclass Value:\n x: int\n y: int = 2\n", dataclass)
            barrier, wrong = threading.Barrier(4), []

            def use(cls=cls, barrier=barrier, wrong=wrong):
                barrier.wait()
                try:
                    values = {cls(1), cls(1, 2), cls(x=1)}
                    assert len(values) == 1, values
                    assert repr(values) == "{Value(x=1, y=2)}"
                except BaseException as error:
                    wrong.append(error)

            threads = [threading.Thread(target=use) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not wrong
    finally:
        sys.setswitchinterval(interval)


def test_every_class_of_envtool_is_made_so():
    """A class that the standard library's decorator makes costs every verb that imports it 0.4 ms."""
    eager = [
        path.relative_to(ROOT)
        for path in (ROOT / "envtool").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses" and path.stem != "lazy_dataclass"
        and {alias.name for alias in node.names} & {"dataclass", "field", "KW_ONLY"}
    ]  # fmt: skip
    assert not eager
