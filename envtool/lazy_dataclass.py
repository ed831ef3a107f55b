"""`dataclass` of the standard library, but each method is compiled when it is first used.

The standard library compiles six methods when it defines a frozen class: 0.4 ms on CPython 3.11. A verb of envtool
defines more than a hundred such classes, makes instances of half of them, and compares or hashes hardly any. A class
made here is a dataclass for `dataclasses.fields`, `replace`, `asdict` and `is_dataclass`, for `copy`, `pickle`,
`inspect` and `match`, and for a subclass that the standard library decorates (docs/decisions/0149).

What envtool does not use is refused when the class is defined: InitVar, annotations that are not text (the module needs
`from __future__ import annotations`) and, since `dataclass` has no such parameters, `init`, `repr`, `unsafe_hash`,
`match_args` and `weakref_slot`. A class without a docstring gets none.
"""

from __future__ import annotations

import abc
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import KW_ONLY, MISSING, Field, FrozenInstanceError, field
from reprlib import recursive_repr
from types import MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any

__all__ = ["KW_ONLY", "dataclass", "field"]

Fields = dict[str, Field[Any]]  # by name, bases' first

COMPARISONS = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}
# The marks of regular fields and of ClassVars in `__dataclass_fields__`; they have no public names.
REGULAR_FIELD: Any = dataclasses._FIELD  # type: ignore[attr-defined]  # noqa: SLF001
CLASS_VARIABLE: Any = dataclasses._FIELD_CLASSVAR  # type: ignore[attr-defined]  # noqa: SLF001


class _Factory:
    """Stands as the default of a parameter for a call of its `default_factory`."""

    def __repr__(self) -> str:
        return "<factory>"


FACTORY = _Factory()


class Declaration:
    """What the methods of one class are compiled from."""

    __slots__ = ("cls", "fields", "frozen", "slots")

    cls: Any  # the class that has the methods: with slots, not the one in the source

    def __init__(self, fields: Fields, *, frozen: bool, slots: bool) -> None:
        self.fields = fields
        self.frozen = frozen
        self.slots = slots


class LazyMethod:
    """Stands in a class for a method, which is compiled when it is first looked up, and then takes this object's place.

    Two threads may both compile it: either result serves both.
    """

    __slots__ = ("compiler", "declaration", "name")

    def __init__(self, name: str, compiler: Callable[[Declaration, str], Any], declaration: Declaration) -> None:
        self.name = name
        self.compiler = compiler
        self.declaration = declaration

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        cls = self.declaration.cls
        method = self.compiler(self.declaration, self.name)
        method.__qualname__ = f"{cls.__qualname__}.{self.name}"
        setattr(cls, self.name, method)
        return method.__get__(instance, owner)


# ---- compilers of methods --------------------------------------------------------------------------------------------


def compile_function(declaration: Declaration, name: str, text: str, outer: dict[str, Any]) -> Any:
    """Returns the function `name` that this text defines. Its globals are the module of the class, as for a method in
    the source, and it sees the names in `outer`."""
    module = sys.modules.get(declaration.cls.__module__)
    lines = text.replace("\n", "\n ")
    defined: dict[str, Any] = {}
    exec(  # noqa: S102 - the text has names of fields, which are identifiers in the source of the class
        f"def define({', '.join(outer)}):\n {lines}\n return {name}", module.__dict__ if module else {}, defined
    )
    return defined["define"](**outer)


def compile_init(declaration: Declaration, name: str) -> Any:
    """Returns `__init__`."""
    fields = declaration.fields.values()
    instance = "__dataclass_self__" if "self" in declaration.cls.__dataclass_fields__ else "self"
    outer: dict[str, Any] = {"__assign__": object.__setattr__, "__factory__": FACTORY}
    lines = []
    for item in fields:
        value = item.name
        if item.default_factory is not MISSING:
            outer[f"__make_{item.name}__"] = item.default_factory
            value = f"__make_{item.name}__()"
            if item.init:
                value += f" if {item.name} is __factory__ else {item.name}"
        elif not item.init:
            if not declaration.slots or item.default is MISSING:
                continue  # the class has the default, or `__post_init__` sets the field
            outer[f"__default_{item.name}__"] = item.default
            value = f"__default_{item.name}__"
        assignment = f"__assign__({instance}, {item.name!r}, {value})" if declaration.frozen else ""
        lines.append(assignment or f"{instance}.{item.name} = {value}")
    if hasattr(declaration.cls, "__post_init__"):
        lines.append(f"{instance}.__post_init__()")
    positional, keywords = _split_parameters(declaration.fields)
    parameters = [instance, *positional, *(["*"] if keywords else []), *keywords]
    text = f"def {name}({', '.join(parameters)}):\n " + ("\n ".join(lines) or "pass")
    method = compile_function(declaration, name, text, outer)
    defaults = {item.name: _default(item) for item in fields if item.init}
    method.__defaults__ = tuple(defaults[key] for key in positional if defaults[key] is not MISSING)
    method.__kwdefaults__ = {key: defaults[key] for key in keywords if defaults[key] is not MISSING}
    method.__annotations__ = {**{item.name: item.type for item in fields if item.init}, "return": None}
    return method


def _split_parameters(fields: Fields) -> tuple[list[str], list[str]]:
    """Returns the names of the parameters of `__init__`: those by position, and those by name only."""
    return (
        [item.name for item in fields.values() if item.init and not item.kw_only],
        [item.name for item in fields.values() if item.init and item.kw_only],
    )


def _default(item: Field[Any]) -> Any:
    """Returns the default of a parameter of `__init__`; MISSING if it is required."""
    return item.default if item.default_factory is MISSING else FACTORY


def compile_hash(declaration: Declaration, name: str) -> Any:
    """Returns `__hash__`: the hash of the tuple of the fields that count."""
    names = [item.name for item in declaration.fields.values() if (item.compare if item.hash is None else item.hash)]
    return compile_function(declaration, name, f"def {name}(self): return hash({_tuple_text('self', names)})", {})


def compile_comparison(declaration: Declaration, name: str) -> Any:
    """Returns `__eq__` or a method of COMPARISONS: that of the tuples of the fields, for instances of one class."""
    names = [item.name for item in declaration.fields.values() if item.compare]
    operator = COMPARISONS.get(name, "==")
    compared = f"{_tuple_text('self', names)} {operator} {_tuple_text('other', names)}"
    text = f"def {name}(self, other):\n if other.__class__ is self.__class__: return {compared}\n return NotImplemented"
    return compile_function(declaration, name, text, {})


def _tuple_text(owner: str, names: list[str]) -> str:
    return f"({''.join(f'{owner}.{name},' for name in names)})"


def compile_repr(declaration: Declaration, name: str) -> Any:
    """Returns `__repr__`: an expression that makes an equal instance, as far as the fields' own `repr` does."""
    values = ", ".join(f"{item.name}={{self.{item.name}!r}}" for item in declaration.fields.values() if item.repr)
    text = f'def {name}(self): return self.__class__.__qualname__ + f"({values})"'
    return recursive_repr()(compile_function(declaration, name, text, {}))


def define_refusal(declaration: Declaration, name: str) -> Any:
    """Returns `__setattr__` or `__delattr__` of a frozen class, which raises FrozenInstanceError for fields and, unless
    the instance is of a subclass, for all other names."""
    cls, names = declaration.cls, declaration.fields
    verb = "assign to" if name == "__setattr__" else "delete"

    def refuse(self: object, attribute: str, *value: object) -> None:
        if type(self) is cls or attribute in names:
            raise FrozenInstanceError(f"cannot {verb} field {attribute!r}")
        getattr(super(cls, self), name)(attribute, *value)

    refuse.__name__ = name
    return refuse


# ---- the class -------------------------------------------------------------------------------------------------------


def _get_state(self: Any) -> list[Any]:
    """`__getstate__` for `pickle` and `copy`, which could not assign the fields of a frozen class with slots."""
    return [getattr(self, item.name) for item in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for item, value in zip(dataclasses.fields(self), state, strict=False):
        object.__setattr__(self, item.name, value)


def _mark(item: Field[Any]) -> Any:
    return item._field_type  # type: ignore[attr-defined]  # noqa: SLF001


def _inherited_fields(cls: type, *, frozen: bool) -> Fields:
    fields: Fields = {}
    for base in cls.__mro__[-1:0:-1]:
        if not dataclasses.is_dataclass(base):
            continue
        if base.__dataclass_params__.frozen != frozen:  # type: ignore[attr-defined]
            kinds = ("frozen", "one that is not") if frozen else ("not frozen", "a frozen one")
            raise TypeError(f"{cls.__qualname__} is {kinds[0]} and inherits from {kinds[1]}: {base.__qualname__}")
        inherited: Fields = base.__dataclass_fields__
        if not {_mark(item) for item in inherited.values()} <= {REGULAR_FIELD, CLASS_VARIABLE}:
            raise TypeError(f"{cls.__qualname__}: {base.__qualname__} has an InitVar, which is not supported")
        fields |= inherited
    return fields


def _own_field(cls: type, name: str, annotation: str, mark: Any, *, kw_only: bool) -> Field[Any]:
    default: Any = getattr(cls, name, MISSING)
    if isinstance(default, MemberDescriptorType):  # a slot of a base
        default = MISSING
    item: Field[Any] = default if isinstance(default, Field) else field(default=default)
    item.name = name
    item.type = annotation
    item._field_type = mark  # type: ignore[attr-defined]  # noqa: SLF001
    if mark is CLASS_VARIABLE:
        if item is default:
            raise TypeError(f"{cls.__qualname__}.{name} is a ClassVar with field(), which is not supported")
        return item
    if item.kw_only is MISSING:
        item.kw_only = kw_only
    if item.default.__class__.__hash__ is None:
        raise ValueError(f"{cls.__qualname__}.{name} has a mutable default: use default_factory")
    return item


def _collect_fields(cls: type, *, frozen: bool, kw_only: bool) -> Fields:
    """Returns the fields of a class with its ClassVars, as in `__dataclass_fields__`.

    Raises TypeError or ValueError where the standard library does, and for what is not supported here.
    """
    fields = _inherited_fields(cls, frozen=frozen)
    annotations = cls.__annotations__
    for name, annotation in annotations.items():
        if not isinstance(annotation, str):
            raise TypeError(f"{cls.__qualname__}: its module needs `from __future__ import annotations`")
        outermost = annotation.partition("[")[0].rpartition(".")[2].strip()
        if outermost == "KW_ONLY":
            kw_only = True
        elif outermost == "InitVar":
            raise TypeError(f"{cls.__qualname__}.{name} is an InitVar, which is not supported")
        else:
            mark = CLASS_VARIABLE if outermost == "ClassVar" else REGULAR_FIELD
            fields[name] = _own_field(cls, name, annotation, mark, kw_only=kw_only)
    for name, value in cls.__dict__.items():
        if isinstance(value, Field) and name not in annotations:
            raise TypeError(f"{cls.__qualname__}.{name} is a field() without an annotation")
    return fields


def _check_defaults(cls: type, fields: Fields) -> None:
    """Raises TypeError for a required parameter by position after one that has a default."""
    with_default = ""
    for name in _split_parameters(fields)[0]:
        if _default(fields[name]) is not MISSING:
            with_default = name
        elif with_default:
            raise TypeError(f"{cls.__qualname__}: {name!r} has no default and follows {with_default!r}, which has one")


def _methods(cls: type, declaration: Declaration, *, eq: bool, order: bool) -> dict[str, Any]:
    """Returns the methods that the class gets. Raises TypeError for a method of the class that would be lost."""
    own = cls.__dict__
    lazy: dict[str, Callable[[Declaration, str], Any]] = {"__init__": compile_init, "__repr__": compile_repr}
    if eq:
        lazy["__eq__"] = compile_comparison
    given: dict[str, Any] = {
        name: LazyMethod(name, compiler, declaration) for name, compiler in lazy.items() if name not in own
    }
    required = dict.fromkeys(COMPARISONS, compile_comparison) if order else {}
    if declaration.frozen:
        required |= {"__setattr__": define_refusal, "__delattr__": define_refusal}
    for name, compiler in required.items():
        if name in own:
            raise TypeError(f"{cls.__qualname__} has {name} of its own, which its options would replace")
        given[name] = LazyMethod(name, compiler, declaration)
    # A class that defines `__eq__` alone has the `__hash__` None from the interpreter, which is none of its own.
    if eq and (own.get("__hash__") is None and ("__hash__" not in own or "__eq__" in own)):
        given["__hash__"] = LazyMethod("__hash__", compile_hash, declaration) if declaration.frozen else None
    return given


def _recreate_with_slots(cls: type, fields: Fields, added: dict[str, Any]) -> type:
    """Returns the class again with `__slots__`, which a class cannot get later, and with what is added."""
    if "__slots__" in cls.__dict__:
        raise TypeError(f"{cls.__qualname__} already specifies __slots__")
    inherited: set[str] = set()
    for base in cls.__mro__[1:-1]:
        slots = base.__dict__.get("__slots__", ())
        inherited.update([slots] if isinstance(slots, str) else slots)
    namespace = {name: value for name, value in cls.__dict__.items() if name not in fields}
    namespace.pop("__dict__", None)
    namespace.pop("__weakref__", None)
    namespace |= added
    namespace["__slots__"] = tuple(name for name in fields if name not in inherited)
    recreated = type(cls)(cls.__name__, cls.__bases__, namespace)
    recreated.__qualname__ = cls.__qualname__
    return recreated


def define_dataclass(cls: type, *, frozen: bool, slots: bool, kw_only: bool, order: bool, eq: bool) -> type:
    """Returns the class, or with slots another one in its place, with fields and methods."""
    if order and not eq:
        raise ValueError("eq must be true if order is true")
    declared = _collect_fields(cls, frozen=frozen, kw_only=kw_only)
    fields = {name: item for name, item in declared.items() if _mark(item) is REGULAR_FIELD}
    _check_defaults(cls, fields)
    declaration = Declaration(fields, frozen=frozen, slots=slots)
    added: dict[str, Any] = {
        "__dataclass_fields__": declared,
        "__dataclass_params__": SimpleNamespace(
            init=True, repr=True, eq=eq, order=order, unsafe_hash=False, frozen=frozen, match_args=True,
            kw_only=kw_only, slots=slots, weakref_slot=False,
        ),
        **_methods(cls, declaration, eq=eq, order=order),
    }  # fmt: skip
    optional = {"__match_args__": tuple(_split_parameters(fields)[0]), "__replace__": dataclasses.replace}
    if frozen and slots:
        optional |= {"__getstate__": _get_state, "__setstate__": _set_state}
    added.update((name, value) for name, value in optional.items() if name not in cls.__dict__)
    if slots:
        recreated = declaration.cls = _recreate_with_slots(cls, fields, added)
        return recreated
    declaration.cls = cls
    for name, item in fields.items():
        if cls.__dict__.get(name) is item:
            if item.default is MISSING:
                delattr(cls, name)
            else:
                added[name] = item.default
    for name, value in added.items():
        setattr(cls, name, value)
    abc.update_abstractmethods(cls)
    return cls


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None,
        /,
        *,
        frozen: bool = False,
        slots: bool = False,
        kw_only: bool = False,
        order: bool = False,
        eq: bool = True,
    ) -> Any:
        """Makes a class a dataclass. The options are those of the standard library, at which type checkers look."""

        def decorate(cls: type) -> type:
            return define_dataclass(cls, frozen=frozen, slots=slots, kw_only=kw_only, order=order, eq=eq)

        return decorate if cls is None else decorate(cls)
