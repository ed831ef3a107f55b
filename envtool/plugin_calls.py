"""Calls plugins, and checks what they return: an error names the plugin that fails or breaks the API.

Each kind or language of a plugin is wrapped: the wrapper's class is derived from the plugin's class, and its methods
call the plugin's methods and check the results. So the wrapper has the same methods and base classes as the original.
Exceptions of errors.py pass through unchanged: with them a plugin reports what is wrong. So does an OSError that the
core raises while a plugin calls it (a full disk). Any other exception is the plugin's fault and becomes a PluginError.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Generic, SupportsIndex, TypeVar, get_args

from envtool import api
from envtool.api import pin_schemas
from envtool.errors import EnvtoolError, PluginError, in_words, is_of_core, place_of
from envtool.lazy_dataclass import dataclass
from envtool.model import InputUse

__all__ = [
    "Offer", "call", "plugin_error", "plugin_owner", "wrap_kind", "wrap_language", "wrap_plugin", "wrap_service_kind",
]  # fmt: skip

K = TypeVar("K", api.Kind, api.Base)
T = TypeVar("T", api.Kind, api.Base, api.Language, api.ServiceKind)
Offered_co = TypeVar("Offered_co", covariant=True)
Answer = TypeVar("Answer")
AnswerCheck = Callable[[Any], Any]  # a returned value -> the value for the core. Raises _WrongAnswer

USES = get_args(InputUse)


class _WrongAnswer(Exception):  # noqa: N818 - it becomes a PluginError
    """A method returned a value of the wrong type. The text says what it should have returned."""


# ---- checks of returned values -------------------------------------------------------------------------------------


def _expect(*types: type) -> AnswerCheck:
    def check(answer: Any) -> Any:
        if (type(answer) is bool and bool not in types) or not isinstance(answer, types):
            raise _WrongAnswer(" or ".join("None" if type_ is type(None) else type_.__name__ for type_ in types))
        return answer

    return check


def _expect_each(*types: type) -> AnswerCheck:
    names = " or ".join(type_.__name__ for type_ in types)

    def check(answer: Any) -> Any:
        if isinstance(answer, str | bytes | Mapping):  # iterable, but surely a mistake
            raise _WrongAnswer(f"several {names}")
        try:
            items = tuple(answer)
        except TypeError as error:
            if answer is None or not hasattr(answer, "__iter__"):
                raise _WrongAnswer(f"several {names}") from error
            raise
        if not all(isinstance(item, types) for item in items):
            raise _WrongAnswer(f"several {names}")
        return items

    return check


def _expect_string_mapping(answer: Any) -> Any:
    if not isinstance(answer, Mapping) or not all(isinstance(item, str) for pair in answer.items() for item in pair):
        raise _WrongAnswer("a mapping of str to str")
    return answer


def _expect_variables(answer: Any) -> Any:
    """Checks a mapping of variables, where None removes one. A name or value that no process can have is refused."""
    if not isinstance(answer, Mapping):
        return _expect_string_mapping(answer)
    values = _expect_string_mapping({name: value for name, value in answer.items() if value is not None})
    if any(not isinstance(name, str) or not name or "=" in name or "\0" in name for name in answer):
        raise _WrongAnswer("a mapping whose keys are names of variables")
    if any("\0" in value for value in values.values()):
        raise _WrongAnswer("a mapping whose values have no NUL")
    return answer


def _expect_json(answer: Any) -> Any:
    try:
        json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _WrongAnswer("JSON") from error
    return answer


def _expect_name_and_version(answer: Any) -> Any:
    if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(item, str) for item in answer):
        raise _WrongAnswer("a tuple of two str")
    return answer


# a command that builds nothing does not need the classes of recipes, so that no table here names them


def _expect_fetches(answer: Any) -> Any:
    return _expect_each(api.Fetch)(answer)


def _expect_image_source(answer: Any) -> Any:
    return _expect(api.ImageSource, type(None))(answer)


def _expect_original(answer: Any) -> Any:
    return _expect(api.Original, type(None))(answer)


def _expect_recipe(answer: Any) -> Any:
    _expect(api.Recipe)(answer)
    if not all(isinstance(step, api.Run | api.Unpack | api.Place | api.Call) for step in answer.steps):
        raise _WrongAnswer("a Recipe of Run, Unpack, Place and Call")
    for step in answer.steps:
        if isinstance(step, api.Call):
            _expect_call(step)
        elif isinstance(step, api.Run):
            _expect_command(step.command)
    return answer


def _expect_command(command: Any) -> None:
    if not isinstance(command, api.Command):
        raise _WrongAnswer(f"a Recipe whose Runs have a Command, and not {command!r:.40},")
    argv, shell = command.argv, command.shell
    if (
        not isinstance(argv, tuple | list)
        or not all(isinstance(word, str) for word in argv)
        or not isinstance(shell, str)
    ):
        raise _WrongAnswer(
            f"a Recipe whose Commands have a tuple of str as argv, or a str as shell, and not {command!r:.60},"
        )


def _expect_call(step: api.Call) -> None:
    from envtool import recipe

    for function in (step.function, step.prepare):
        if function is not None and not recipe.function_name(function):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise _WrongAnswer(f"a Recipe whose Calls have functions of modules, and not `{name}`,")
    try:
        json.dumps(step.arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _WrongAnswer(
            f"a Recipe whose Calls have JSON as arguments, as `{step.function.__name__}` has not,"
        ) from error


def _expect_service_draft(answer: Any) -> Any:
    """Checks the parts of a ServiceDraft: what the core cannot use is the plugin's fault."""
    draft = _expect(api.ServiceDraft)(answer)
    tuples: Mapping[str, type] = {
        "layers": api.LayerDraft, "ready": api.ReadyDraft, "ports": int, "before": api.Command, "run": api.Command,
        "inputs": str, "data": str,
    }  # fmt: skip
    values: Mapping[str, tuple[type, ...]] = {
        "base_kind": (str,), "command": (api.Command, type(None)), "user": (str,), "project": (bool,),
        "within": (int, float), "stop_signal": (str,), "grace": (int, float),
    }  # fmt: skip
    for name, expected in tuples.items():
        if not isinstance(getattr(draft, name), tuple) or not all(
            isinstance(item, expected) and not isinstance(item, bool) for item in getattr(draft, name)
        ):
            raise _WrongAnswer(f"a ServiceDraft whose `{name}` is a tuple of {expected.__name__}")
    for name, types in values.items():
        if not isinstance(getattr(draft, name), types):
            raise _WrongAnswer(f"a ServiceDraft whose `{name}` has its type")
    for name in ("variables", "provides"):
        _expect_variables(getattr(draft, name))
    for name in ("provides", "files"):
        _expect_string_mapping(getattr(draft, name))
    if not all(_is_check(check) for check in draft.ready):
        raise _WrongAnswer("a ServiceDraft whose checks in `ready` have what their `how` needs")
    if not all(0 < port < 65536 for port in draft.ports):
        raise _WrongAnswer("a ServiceDraft whose `ports` are from 1 to 65535")
    if not draft.within > 0 or not draft.grace >= 0:
        raise _WrongAnswer("a ServiceDraft whose `within` and `grace` are seconds")
    absolute = (*draft.data, *draft.files)
    if any(not path.startswith("/") or os.path.normpath(path) != path or path == "/" for path in absolute):
        raise _WrongAnswer("a ServiceDraft whose paths in `data` and `files` are absolute, without `.` and `..`,")
    return draft


def _is_check(check: api.ReadyDraft) -> bool:
    match check.how:
        case "tcp":
            return 0 < check.port < 65536
        case "http":
            return 0 < check.port < 65536 and check.text.startswith("/")
        case "command":
            return isinstance(check.command, api.Command)
        case "file":
            return check.text.startswith("/")
        case "log":
            re.compile(check.text)
            return bool(check.text)
    return False


_KIND: Mapping[str, AnswerCheck | None] = {
    "inputs": _expect_each(api.Input),
    "judge": _expect(type(None)),
    "check": _expect(type(None)),
    "question": _expect_json,
    "resolve": _expect_json,
    "package": _expect_name_and_version,
    "fetches": _expect_fetches,
    "locate": _expect_fetches,
    "material": _expect_json,
    "hint": _expect(str),
    "variables": _expect_variables,
    "in_project": _expect_string_mapping,
    "generated": _expect_string_mapping,
    "build": _expect_recipe,
    "summary": _expect(str),
}
_BASE: Mapping[str, AnswerCheck | None] = {
    **_KIND,
    "foreseen": _expect_each(api.Part),
    "fresh": None,
    "watches": _expect_each(str),
    "looked": None,
    "platform": _expect(str),
    "parts": _expect_each(api.Part),
    "image_config": _expect_json,
    "image_source": _expect_image_source,
    "original": _expect_original,
    "epoch": _expect(int, type(None)),
    "faketime": _expect(bytes, type(None)),
    "packages_with": _expect_string_mapping,
}
_LANGUAGE: Mapping[str, AnswerCheck | None] = {"layers": _expect_each(api.LayerDraft)}
_SERVICE_KIND: Mapping[str, AnswerCheck | None] = {"service": _expect_service_draft}
_HOOKS: Mapping[str, AnswerCheck | None] = {
    "envtool_detect": _expect_each(api.Detection),
    "envtool_event": None,
    "envtool_failure_hint": _expect(str),
    "envtool_packages": _expect_each(api.Package),
    "envtool_owners": _expect_each(api.Package),
}

_OFFERS = ("envtool_output_readers", "envtool_report_formats")

# ---- wrappers ------------------------------------------------------------------------------------------------------


def wrap_kind(value: K, owner: str) -> K:
    """Returns a wrapper of a plugin's kind that checks what it returns. `owner` names the plugin in errors."""
    return _wrap(value, owner, api.Base if isinstance(value, api.Base) else api.Kind)


def wrap_language(value: api.Language, owner: str) -> api.Language:
    """Like `wrap_kind`, for a language."""
    return _wrap(value, owner, api.Language)


def wrap_service_kind(value: api.ServiceKind, owner: str) -> api.ServiceKind:
    """Like `wrap_kind`, for a kind of service."""
    return _wrap(value, owner, api.ServiceKind)


def plugin_owner(value: object) -> str:
    """Returns the plugin that a kind (of services too) or language belongs to, in words; "" for envtool's own."""
    return str(getattr(value, "_envtool_owner", ""))


@dataclass(frozen=True, slots=True)
class Offer(Generic[Offered_co]):
    """A frozen value that a plugin's hook returned. `owner` names the plugin in errors."""

    value: Offered_co
    owner: str


def call(owner: str, function: Callable[..., Answer], name: str, *arguments: Any, expected: type[Answer]) -> Answer:
    """Calls a function of an Offer, which returns an instance of `expected`. `name` is its name in errors. Raises
    PluginError."""
    answer: Answer = _checked(function, name, owner, _expect(expected))(*arguments)
    return answer


def call_env_key(offer: Offer[api.EnvKey], env: api.EnvDraft, value: api.Json, project: api.Project) -> api.Additions:
    """Returns what a key adds to an env. Raises PluginError, and what the key raises on purpose."""
    ask = _checked(offer.value.add, f"the key `{offer.value.name}`", offer.owner, _expect_additions)
    additions: api.Additions = ask(env, value, project)
    return additions


def call_wants(offer: Offer[api.Toolchain], project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what a toolchain's own files say, as its plugin yields it. Raises PluginError, and what the plugin raises
    on purpose."""
    from envtool.api.version_choice import own_versions

    end, versions = api.WantedVersion(wanted="", file=""), own_versions(offer.value, project)
    title = f"the toolchain `{offer.value.name}`"
    step = functools.partial(call, offer.owner, next, title, versions, end, expected=api.WantedVersion)
    while (version := step()) is not end:
        yield version


def call_accepts(offer: Offer[api.Toolchain], kind: Any, wanted: str, version: str) -> bool:
    """Returns what the kind of a toolchain says. Raises PluginError."""
    return call(offer.owner, kind.accepts, f"the toolchain `{offer.value.name}`", wanted, version, expected=bool)


def call_verb(offer: Offer[api.PluginVerb], call: api.VerbCall) -> api.Answer:
    """Calls a verb. Raises PluginError, and what the verb raises on purpose."""
    answer: api.Answer = _checked(offer.value.run, f"the verb `{offer.value.name}`", offer.owner, _expect_answer)(call)
    return answer


def _expect_answer(answer: Any) -> Any:
    if not isinstance(_expect(api.Answer)(answer).text, str):
        raise _WrongAnswer("an Answer whose `text` is a str")
    if type(answer.status) is not int or answer.status not in (0, 1):
        raise _WrongAnswer("an Answer whose `status` is 0 or 1")
    _expect_json(answer.document)
    return answer


def _expect_additions(answer: Any) -> Any:
    additions = _expect(api.Additions)(answer)
    return api.Additions(
        layers=_expect_each(api.LayerDraft)(additions.layers), variables=_expect_variables(additions.variables)
    )


def plugin_error(owner: str, name: str, error: Exception) -> PluginError:
    """Returns the error of the plugin that raised `error` in `name`."""
    return PluginError(owner, name, in_words(error), error, place_of(error))


def wrap_plugin(value: object, owner: str) -> object:
    """Returns an object with those hooks of a plugin that are called during a run, each with its check. The hooks that
    return offers are unchanged: `PluginRegistry.offers` checks what they return."""
    offers = {name: getattr(value, name) for name in _OFFERS if getattr(value, name, None) is not None}
    hooks = {
        name: _checked(getattr(value, name), name, owner, check)
        for name, check in _HOOKS.items()
        if getattr(value, name, None) is not None
    }
    return SimpleNamespace(__name__=getattr(value, "__name__", type(value).__module__), **hooks, **offers)


def _wrap(value: T, owner: str, base: type[T]) -> T:
    if getattr(value, "_envtool_owner", "") == owner:
        return value
    wrapper = copy.copy(value)
    object.__setattr__(wrapper, "__class__", _wrapper_class(type(value), owner, base))  # type: ignore[arg-type]  # types have a hash
    return wrapper


@functools.cache
def _wrapper_class(own: type, owner: str, base: type[object]) -> type:
    methods = {api.Kind: _KIND, api.Base: _BASE, api.Language: _LANGUAGE, api.ServiceKind: _SERVICE_KIND}[base]
    special = {"inputs": _expect_inputs, "foreseen": _expect_parts, "parts": _expect_parts, "resolve": _expect_pins}

    def method(name: str, check: AnswerCheck | None) -> Callable[..., Any]:
        def ask(self: Any, *arguments: Any, **named: Any) -> Any:
            return getattr(super(class_, self), name)(*arguments, **named)  # also a class method or a static method

        ask.__wrapped__ = getattr(own, name)  # type: ignore[attr-defined]  # for the place in an error
        return _checked(ask, name, owner, special[name](own, owner) if name in special else check)

    wrapped = {
        name: method(name, check) for name, check in methods.items() if getattr(own, name) is not getattr(base, name)
    }

    def reduce(self: Any, protocol: SupportsIndex) -> Any:
        reduction: Any = super(class_, self).__reduce_ex__(protocol)  # type: ignore[arg-type]  # self is a class_
        make, constructor_arguments, *state = reduction
        plain = tuple(
            own if argument is class_ else argument for argument in constructor_arguments
        )  # class_ is in no module
        return _unpickle_wrapper, (make, plain, state[0] if state else None, owner, base)

    marks = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__slots__": (), "_envtool_owner": owner}
    class_ = type(own.__name__, (own,), {**wrapped, **marks, "__reduce_ex__": reduce})
    return class_


def _unpickle_wrapper(make: Callable[..., T], arguments: tuple[Any, ...], state: Any, owner: str, base: type[T]) -> T:
    """Unpickles a wrapper in another process: unpickles the plugin's object by its own rules, and wraps it."""
    plain = make(*arguments)
    if hasattr(plain, "__setstate__"):
        plain.__setstate__(state)
    elif state:
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in (part or {}).items():
                object.__setattr__(plain, name, value)
    return _wrap(plain, owner, base)


def _expect_inputs(own: Any, owner: str) -> AnswerCheck:
    """Checks inputs, and wraps their filters, which are called later; inputs with one filter keep one."""
    del own

    @functools.cache
    def wrap(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        return _checked(function, name, owner, None)

    def check(answer: Any) -> Any:
        items = _expect_each(api.Input)(answer)
        if not all(isinstance(item.pattern, str) and item.use in USES for item in items):
            raise _WrongAnswer(f"several Input, each with a str, for {', '.join(USES[:-1])} or {USES[-1]}")
        return tuple(
            replace(
                item,
                keeps=item.keeps and wrap(item.keeps, "keeps"),
                follows=item.follows and wrap(item.follows, "follows"),
            )
            for item in items
        )

    return check


def _expect_pins(own: Any, owner: str) -> AnswerCheck:
    """Checks pins against the kind's own schema of them."""
    del owner

    def check(answer: Any) -> Any:
        if fault := pin_schemas.fault(_expect_json(answer), own.pins):
            raise _WrongAnswer(f"what its own `pins` has ({fault})")
        return answer

    return check


def _expect_parts(own: type, owner: str) -> AnswerCheck:
    """Checks sublayers and wraps their kinds, which are in no registry."""
    del own

    def check(answer: Any) -> Any:
        return tuple(replace(part, kind=wrap_kind(part.kind, owner)) for part in _expect_each(api.Part)(answer))

    return check


def _checked(function: Callable[..., Any], name: str, owner: str, check: AnswerCheck | None) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        answer = None
        try:
            answer = function(*arguments, **named)
            return answer if check is None else check(answer)
        except EnvtoolError:
            raise
        except _WrongAnswer as wrong_answer:
            text = f"answered {type(answer).__name__} where {wrong_answer} is wanted"
            raise _error(owner, name, arguments, text, wrong_answer, function) from wrong_answer
        except (Exception, SystemExit) as error:
            if isinstance(error, OSError) and _in_core(error):
                raise
            raise _error(owner, name, arguments, in_words(error), error, function) from error

    return call


def _error(
    owner: str, name: str, arguments: tuple[Any, ...], text: str, cause: BaseException, function: Callable[..., Any]
) -> PluginError:
    error = PluginError(owner, name, text, cause, place_of(cause, function))
    for argument in arguments:
        if (
            isinstance(argument, api.Request) and name != "check"
        ):  # the request of `check` is alike for bases and layers
            noun = "layer" if argument.base_kind or argument.below else "base"
            error.locate(f"{noun} `{argument.name}`", argument.where)
        elif isinstance(argument, api.EnvDraft):
            error.locate(f"env `{argument.name}`", argument.where)
        elif name == "service" and isinstance(argument, api.ServiceDeclaration):
            error.locate(f"service `{argument.name}`", argument.where)
    return error


def _in_core(error: BaseException) -> bool:
    """Returns whether the core, called by the plugin, raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename if trace else ""
    return is_of_core(file) and file != __file__
