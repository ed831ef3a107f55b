"""The sessions of a noxfile.py as envs. The file is parsed, never executed. Source: nox's documentation."""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose.notes import Note
from envtool.app.init_from.nox_session import SessionBody
from envtool.app.init_from.nox_values import Value, bounded, evaluate, new_names, text
from envtool.app.init_from.python_env import stack_keys, task_keys
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv, env_name
from envtool.errors import Problem, SpecError
from envtool.model import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool.api import Project
    from envtool.app.compose.notes import Effect
    from envtool.model import Json

MAX_ENVS = 200  # of one file
MAX_SESSIONS = 1000  # of one file, with those that are no env
MAX_BYTES = 1 << 20
MAX_DEPTH = 60  # of the syntax tree
_DECORATORS = frozenset({"nox.session", "session"})
_PARAMETRIZE = frozenset({"nox.parametrize", "parametrize"})
# Arguments of the decorator without an effect here.
_IGNORED = frozenset({"reuse_venv", "tags", "venv_params", "name", "py", "python", "default", "requires"})


class _Session(NamedTuple):
    """One run of a session's function: with one Python, and one value for each parameter."""

    name: str
    function: ast.FunctionDef
    python: str
    parameters: Mapping[str, Value]


def take_noxfile(project: Project, path: str, source: str) -> tuple[list[TakenEnv], list[Note]]:
    """Returns the envs of a noxfile.py, and what differs. Raises SpecError, with the place, for a text that is no
    Python, or of which no session can be taken over."""
    tree = _parse(path, source)
    notes: list[Note] = []

    def note(env: str, line: int, key: str, effect: Effect, message: str, hint: str = "") -> None:
        notes.append(Note(Where(file=path, line=line, column=1), env, key, effect, message, hint))

    names = _module_names(tree)
    chosen = _chosen_sessions(tree, names)
    envs: list[TakenEnv] = []
    seen = 0
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _decorator(node) is not None]
    for function in functions:
        try:
            sessions = [*itertools.islice(_sessions(function, names), MAX_ENVS + 1)]
        except CannotTakeError as error:
            note(function.name, error.line or function.lineno, function.name, "left-out", f"{error}", error.hint)
            continue
        seen += len(sessions)
        if seen > MAX_SESSIONS:
            raise _error(path, function.lineno, f"more than {MAX_SESSIONS:,} sessions")
        base = _base_name(function, names) if sessions else ""
        for session in sessions:
            if chosen is not None and not {session.name, base} & chosen:
                message = f"`{session.name}` is not in `nox.options.sessions`: nox runs it only if it is named"
                note("", function.lineno, session.name, "left-out", message)
                continue
            if len(envs) >= MAX_ENVS:
                raise _error(path, function.lineno, f"more than {MAX_ENVS} sessions")
            unused = env_name(session.name, [env.name for env in envs])
            try:
                envs.append(_take_session(project, session, unused, names, note))
            except CannotTakeError as error:
                line = error.line or function.lineno
                note(unused, line, session.name, "left-out", f"the env is left out: {error}", error.hint)
    if not envs:
        reasons = [entry for entry in notes if entry.effect == "left-out"]
        problems = tuple(
            Problem(where=entry.where, message=f"`{entry.key}`: {entry.message}", code="init-from", hint=entry.hint)
            for entry in reasons
        )
        raise SpecError(problems) if problems else _error(path, 1, f"`{path}` has no session")
    return envs, notes


def _parse(path: str, source: str) -> ast.Module:
    if len(source) > MAX_BYTES:
        raise _error(path, 1, f"`{path}` is larger than 1 MiB")
    try:
        with warnings.catch_warnings():  # of invalid escapes: nox prints them
            warnings.simplefilter("ignore")
            tree = ast.parse(source, path)
    except SyntaxError as error:
        raise _error(path, error.lineno or 1, f"this is no Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise _error(path, 1, f"`{path}` cannot be parsed") from None
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    while pending:  # without recursion: what follows recurs as deep as the tree
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _error(path, getattr(node, "lineno", 1), f"`{path}` is nested more than {MAX_DEPTH} deep")
        if isinstance(node, ast.Constant) and not _is_writable(node.value):
            message = "a number too large, or a text with half of a surrogate pair"
            raise _error(path, node.lineno, message)
        pending += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    return tree


def _is_writable(value: object) -> bool:
    """Returns whether a constant can be written as text: numbers of any length and lone surrogates cannot."""
    if isinstance(value, int):
        return value.bit_length() <= 256
    return not isinstance(value, str) or re.search("[\ud800-\udfff]", value) is None


def _error(path: str, line: int, message: str) -> SpecError:
    return SpecError((Problem(where=Where(file=path, line=line, column=1), message=message, code="init-from"),))


def _module_names(tree: ast.Module) -> dict[str, Value]:
    """Returns the names of the module with a value that is known. A name that is assigned twice, or in a block, is
    unknown."""
    assigned: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            assigned.setdefault(node.id, []).append(None)
    names = new_names()
    for statement in tree.body:
        target, value = _assignment(statement)
        if target and value is not None and len(assigned.get(target, ())) == 1:
            try:
                names[target] = evaluate(value, names)
            except CannotTakeError:  # where it is used, an error names it
                continue
    return names


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return (ast.unparse(statement.targets[0]), statement.value)
    if isinstance(statement, ast.AnnAssign):
        return (ast.unparse(statement.target), statement.value)
    return "", None


def _chosen_sessions(tree: ast.Module, names: Mapping[str, Value]) -> frozenset[str] | None:
    """Returns the sessions that nox runs without `-s`; None for all. Raises CannotTakeError for an expression."""
    chosen: frozenset[str] | None = None
    for statement in tree.body:
        target, value = _assignment(statement)
        if target == "nox.options.sessions" and value is not None:
            try:
                listed = evaluate(value, names)
            except CannotTakeError:
                return None
            chosen = frozenset(str(name) for name in listed) if isinstance(listed, list) else None
    return chosen


def _decorator(function: ast.FunctionDef) -> ast.expr | None:
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(called) in _DECORATORS and function.args.args:
            return decorator
    return None


def _keywords(function: ast.FunctionDef) -> dict[str, ast.expr]:
    decorator = _decorator(function)
    if not isinstance(decorator, ast.Call):
        return {}
    keywords = {keyword.arg or "**": keyword.value for keyword in decorator.keywords}
    if decorator.args:
        keywords.setdefault("python", decorator.args[0])
    return keywords


def _base_name(function: ast.FunctionDef, names: Mapping[str, Value]) -> str:
    keywords = _keywords(function)
    return text(keywords["name"], names) if "name" in keywords else function.name


def _sessions(function: ast.FunctionDef, names: Mapping[str, Value]) -> Iterator[_Session]:
    """Yields the runs of a session's function. Raises CannotTakeError."""
    keywords = _keywords(function)
    if "venv_backend" in keywords:
        backend = str(evaluate(keywords["venv_backend"], names))
        if not set(backend.split("|")) & {"virtualenv", "venv", "uv"}:
            raise CannotTakeError(f"`venv_backend`: `{backend[:40]}` is no virtual environment of Python")
    for key, value in keywords.items():
        if key not in _IGNORED and key != "venv_backend":
            raise CannotTakeError(f"the argument `{key}` of the decorator has no counterpart", "", value.lineno)
    if "default" in keywords and evaluate(keywords["default"], names) is False:
        raise CannotTakeError("it is not run by default")
    base, pythons = _base_name(function, names), _pythons(keywords, names)
    for python in pythons or [""]:
        for suffix, parameters in _parameters(function, names):
            name = f"{base}-{python}" if pythons and len(pythons) >= 1 and python else base
            yield _Session(f"{name}{suffix}", function, python, parameters)


def _pythons(keywords: Mapping[str, ast.expr], names: Mapping[str, Value]) -> list[str]:
    node = keywords.get("python") or keywords.get("py")
    value = evaluate(node, names) if node is not None else None
    if value is False:
        raise CannotTakeError("`python=False`: it runs with what is installed on this machine")
    if value is None or value == []:
        return []
    return [str(python) for python in value] if isinstance(value, list) else [str(value)]


def _parameters(function: ast.FunctionDef, names: Mapping[str, Value]) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """Yields the end of the name, and the values of the parameters, for each combination."""
    choices: list[list[tuple[str, dict[str, Value]]]] = []
    for decorator in function.decorator_list:
        if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) not in _PARAMETRIZE:
            continue
        if len(decorator.args) != 2 or decorator.keywords:
            raise CannotTakeError("`parametrize` with other arguments than names and values", "", decorator.lineno)
        parameters = [name.strip() for name in text(decorator.args[0], names).split(",")]
        values = bounded(evaluate(decorator.args[1], names), names, decorator)
        if not isinstance(values, list):
            raise CannotTakeError("`parametrize` without a list of values", "", decorator.lineno)
        needed = values[: MAX_ENVS + 1]  # `_sessions` takes no more combinations
        choices.append([_combination(parameters, value, decorator.lineno) for value in needed])
    for combination in itertools.product(*reversed(choices)):
        suffix = "".join(f"-{part}" for part, _ in combination)
        yield suffix, {name: value for _, values in combination for name, value in values.items()}


def _combination(parameters: list[str], value: Value, line: int) -> tuple[str, dict[str, Value]]:
    members = value if isinstance(value, list) and len(parameters) > 1 else [value]
    if len(members) != len(parameters):
        raise CannotTakeError("`parametrize` with another number of values than names", "", line)
    shown = "-".join(re.sub(r"[^\w.]+", "-", str(member)) for member in members)
    return shown, dict(zip(parameters, members, strict=True))


def _take_session(
    project: Project, session: _Session, unused: str, names: Mapping[str, Value], note: object
) -> TakenEnv:
    own = {"\0python": session.python or None, "\0name": session.name}
    body = SessionBody(
        session=session.function.args.args[0].arg,
        names={**names, **session.parameters, **own},
        note=lambda *entry: note(unused, *entry),  # type: ignore[operator]
    )
    body.read(session.function)
    if not body.commands:
        raise CannotTakeError("it runs no command", "write a task of your own")
    programs = [command[0] for command in body.commands]
    keys, reasons = stack_keys(project, body.installed, session.python, programs, f"`{session.name}`")
    if description := (ast.get_docstring(session.function) or "").partition("\n")[0]:
        reasons["base"] = f"{reasons['base']}. nox describes `{session.name}` as: {description}"
    variables: dict[str, Json] = {**body.variables}
    keys |= {"workdir": body.directory} if body.directory != "." else {}
    keys |= {"set": variables} if variables else {}
    keys |= task_keys(body.commands)
    return TakenEnv(unused, keys, reasons)
