"""What plugins are asked, and what they answer: whoever fails, or answers what api.py does not have, is named.

A kind or language of a plugin is stood in for by an object of a class derived from its own, whose methods ask the
plugin's, and look at what comes: so everything that the core knows of it (which methods it has, whose child it is) is
as it was. An error of ours (errors.py) that comes out of a plugin passes, for that is how a plugin says what is wrong;
so does what the system refuses to our own code on its behalf (a full disk). All else is the plugin's fault.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, SupportsIndex, TypeVar

from envtool import api, pin_schemas
from envtool.errors import EnvtoolError, PluginError
from envtool.model import Where

__all__ = ["plugin_owner", "with_location", "wrap_kind", "wrap_language", "wrap_plugin"]

T = TypeVar("T", api.Kind, api.Language)
AnswerCheck = Callable[[Any], Any]  # an answer -> the same as the core takes it. Raises _Wrong

_CORE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _WrongAnswer(Exception):  # noqa: N818 - it is what was answered
    """An answer that is none: what it should have been."""


# ---- what may be answered ------------------------------------------------------------------------------------------


def _expect(*types: type) -> AnswerCheck:
    def taken(answer: Any) -> Any:
        if (type(answer) is bool and bool not in types) or not isinstance(answer, types):
            raise _WrongAnswer(" or ".join("None" if each is type(None) else each.__name__ for each in types))
        return answer

    return taken


def _expect_each(*types: type) -> AnswerCheck:
    names = " or ".join(each.__name__ for each in types)

    def taken(answer: Any) -> Any:
        if isinstance(answer, str | bytes | Mapping):  # can be iterated over, and is never meant to be
            raise _WrongAnswer(f"several {names}")
        try:
            found = tuple(answer)
        except TypeError as error:
            if answer is None or not hasattr(answer, "__iter__"):
                raise _WrongAnswer(f"several {names}") from error
            raise
        if not all(isinstance(item, types) for item in found):
            raise _WrongAnswer(f"several {names}")
        return found

    return taken


def _expect_string_mapping(answer: Any) -> Any:
    if not isinstance(answer, Mapping) or not all(isinstance(item, str) for pair in answer.items() for item in pair):
        raise _WrongAnswer("a mapping of str to str")
    return answer


def _expect_variables(answer: Any) -> Any:
    """Variables: None takes one away."""
    if isinstance(answer, Mapping):
        _expect_string_mapping({name: value for name, value in answer.items() if value is not None})
        return answer
    return _expect_string_mapping(answer)


def _expect_json(answer: Any) -> Any:
    try:
        json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _WrongAnswer("JSON") from error
    return answer


def _expect_recipe(answer: Any) -> Any:
    _expect(api.Recipe)(answer)
    if not all(isinstance(step, api.Run | api.Unpack | api.Place | api.Call) for step in answer.steps):
        raise _WrongAnswer("a Recipe of Run, Unpack, Place and Call")
    return answer


_KIND: Mapping[str, AnswerCheck | None] = {
    "inputs": _expect_each(str),
    "optional_inputs": _expect_each(str),
    "named_inputs": _expect_each(str),
    "asked_inputs": _expect_each(str),
    "texts": _expect_each(str),
    "keeps": None,
    "follows": None,
    "judge": _expect(type(None)),
    "check": _expect(type(None)),
    "foreseen": _expect_each(api.Part),
    "question": _expect_json,
    "resolve": _expect_json,
    "fresh": None,
    "watches": _expect_each(str),
    "looked": None,
    "fetches": _expect_each(api.Fetch),
    "locate": _expect_each(api.Fetch),
    "material": _expect_json,
    "platform": _expect(str),
    "parts": _expect_each(api.Part),
    "image_config": _expect_json,
    "image_source": _expect(api.ImageSource, type(None)),
    "original": _expect(api.Original, type(None)),
    "epoch": _expect(int, type(None)),
    "faketime": _expect(bytes, type(None)),
    "packages_with": _expect_string_mapping,
    "hint": _expect(str),
    "variables": _expect_variables,
    "in_project": _expect_string_mapping,
    "generated": _expect_string_mapping,
    "build": _expect_recipe,
    "summary": _expect(str),
}
_LANGUAGE: Mapping[str, AnswerCheck | None] = {"layers": _expect_each(api.LayerDraft)}
_HOOKS: Mapping[str, AnswerCheck | None] = {
    "envtool_detect": _expect_each(api.Detection),
    "envtool_event": None,
    "envtool_packages": _expect_each(api.Package),
    "envtool_owners": _expect_each(api.Package),
}

# ---- who asks ------------------------------------------------------------------------------------------------------


def wrap_kind(value: api.Kind, whose: str) -> api.Kind:
    """A kind of a plugin, as the core is to ask it."""
    return _wrap(value, whose, api.Kind)


def wrap_language(value: api.Language, whose: str) -> api.Language:
    """The same for a language."""
    return _wrap(value, whose, api.Language)


def plugin_owner(value: object) -> str:
    """Which plugin a kind or language is of; empty for ours."""
    return str(getattr(value, "_envtool_owner", ""))


def wrap_plugin(value: object, owner: str) -> object:
    """The hooks of a plugin that are called later than once, as the core is to call them."""
    hooks = {
        name: _checked(getattr(value, name), name, owner, taken)
        for name, taken in _HOOKS.items()
        if getattr(value, name, None) is not None
    }
    return SimpleNamespace(__name__=getattr(value, "__name__", type(value).__module__), **hooks)


def _wrap(value: T, owner: str, base: type[T]) -> T:
    if getattr(value, "_envtool_owner", "") == owner:
        return value
    found = copy.copy(value)
    object.__setattr__(found, "__class__", _wrapper_class(type(value), owner, base))  # type: ignore[arg-type]  # types have a hash
    return found


@functools.cache
def _wrapper_class(own: type, owner: str, base: type) -> type:
    methods = _KIND if base is api.Kind else _LANGUAGE
    special = {"parts": _expect_parts, "resolve": _expect_pins}

    def method(name: str, taken: AnswerCheck | None) -> Callable[..., Any]:
        def ask(self: Any, *arguments: Any, **named: Any) -> Any:
            return getattr(super(found, self), name)(*arguments, **named)  # however it is one: of the class, static

        return _checked(ask, name, owner, special[name](own, owner) if name in special else taken)

    asked = {
        name: method(name, taken) for name, taken in methods.items() if getattr(own, name) is not getattr(base, name)
    }

    def reduced(self: Any, protocol: SupportsIndex) -> Any:
        parts: Any = super(found, self).__reduce_ex__(protocol)  # type: ignore[arg-type]  # it is one
        make, given, *state = parts
        plain = tuple(own if each is found else each for each in given)  # a class of this moment is in no module
        return _unpickle_wrapper, (make, plain, state[0] if state else None, owner, base)

    marks = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__slots__": (), "_envtool_owner": owner}
    found = type(own.__name__, (own,), {**asked, **marks, "__reduce_ex__": reduced})
    return found


def _unpickle_wrapper(make: Callable[..., T], given: tuple[Any, ...], state: Any, owner: str, base: type[T]) -> T:
    """What pickle makes of a stand-in, in another process: the plugin's object by its own rules, stood in for."""
    plain = make(*given)
    if hasattr(plain, "__setstate__"):
        plain.__setstate__(state)
    elif state:
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in (part or {}).items():
                object.__setattr__(plain, name, value)
    return _wrap(plain, owner, base)


def _expect_pins(own: Any, owner: str) -> AnswerCheck:
    """Pins are what the kind itself says that they are."""
    del owner

    def taken(answer: Any) -> Any:
        if wrong := pin_schemas.fault(_expect_json(answer), own.pins):
            raise _WrongAnswer(f"what its own `pins` has ({wrong})")
        return answer

    return taken


def _expect_parts(own: type, owner: str) -> AnswerCheck:
    """Parts bring kinds that are in no registry."""
    del own

    def taken(answer: Any) -> Any:
        return tuple(replace(part, kind=wrap_kind(part.kind, owner)) for part in _expect_each(api.Part)(answer))

    return taken


def _checked(function: Callable[..., Any], name: str, owner: str, taken: AnswerCheck | None) -> Callable[..., Any]:
    @functools.wraps(function)
    def asked(*arguments: Any, **named: Any) -> Any:
        answer = None
        try:
            answer = function(*arguments, **named)
            return answer if taken is None else taken(answer)
        except EnvtoolError:
            raise
        except _WrongAnswer as wrong:
            text = f"answered {type(answer).__name__} where {wrong} is wanted"
            raise _error(owner, name, arguments, text, wrong) from wrong
        except (Exception, SystemExit) as error:
            if isinstance(error, OSError) and _in_core(error):
                raise
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise _error(owner, name, arguments, text, error) from error

    return asked


def _error(owner: str, name: str, arguments: tuple[Any, ...], text: str, cause: BaseException) -> PluginError:
    error = PluginError(owner, name, text, cause)
    for each in arguments:
        if isinstance(each, api.Request) and name != "check":  # that request does not tell a base from a layer
            error.place(f"{'layer' if each.base_kind or each.below else 'base'} `{each.name}`", each.where)
        elif isinstance(each, api.EnvDraft):
            error.place(f"env `{each.name}`", each.where)
    return error


def _in_core(error: BaseException) -> bool:
    """Whether it was raised by our own code, which the plugin called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename if trace else ""
    return file.startswith(_CORE) and file != __file__


@contextmanager
def with_location(what: str, where: Where) -> Iterator[None]:
    """Where a plugin fails that was told nothing of the place in the spec, it is said all the same."""
    try:
        yield
    except PluginError as error:
        error.place(what, where)
        raise
