"""The body of a session of nox: what it installs and runs, without executing it."""

from __future__ import annotations

import ast
import posixpath
from typing import TYPE_CHECKING

from envtool.app.init_from.install_words import Installed, add_words
from envtool.app.init_from.nox_values import Value, evaluate, text, words
from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable

# Calls without an effect on what is tested.
_MESSAGES = frozenset({"log", "debug", "warn"})
_RUNS = frozenset({"run", "run_always", "run_install"})
_RUN_OPTIONS = frozenset({"external", "silent", "log", "env", "stdout", "stderr"})


@dataclass(slots=True, kw_only=True)
class SessionBody:
    """What a session does, in order. `read` fills it. `note` is called with line, key, effect, message and hint."""

    session: str  # the name of the function's first argument
    names: dict[str, Value]
    note: Callable[..., None]
    installed: Installed = field(default_factory=Installed)
    commands: list[list[str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    directory: str = "."

    def read(self, function: ast.FunctionDef) -> None:
        """Reads all statements. Raises CannotTakeError, with the line, for one whose effect is not certain."""
        for statement in function.body:
            if isinstance(statement, ast.Pass):
                continue
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # the docstring
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                self._call(statement.value)
            elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                self._assign(statement.targets[0], statement.value)
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                self._assign(statement.target, statement.value)
            else:
                kind = type(statement).__name__.lower()
                raise CannotTakeError(f"what its `{kind}` does is known only when nox runs", "", statement.lineno)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            try:
                self.names[target.id] = evaluate(value, self.names, self.session)
            except CannotTakeError:
                # Where the name is used, the error names it. A value that calls a function could have an effect.
                self.names.pop(target.id, None)
                if any(isinstance(node, ast.Call) for node in ast.walk(value)):
                    raise
        elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == f"{self.session}.env":
            name = text(target.slice, self.names, self.session)
            self._set(name, text(value, self.names, self.session), target.lineno)
        else:
            raise CannotTakeError(f"`{ast.unparse(target)[:60]} = …` has no counterpart", "", target.lineno)

    def _set(self, name: str, value: str, line: int) -> None:
        if self.commands:
            raise CannotTakeError(f"`{name}` is set between two commands", "", line)
        if "\0" in value:
            raise CannotTakeError(f"`{name}`: only a command has the arguments", "", line)
        self.variables[name] = value

    def _call(self, call: ast.Call) -> None:
        if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) != self.session:
            raise CannotTakeError(f"what `{ast.unparse(call.func)[:60]}()` does is not known", "", call.lineno)
        name = call.func.attr
        if name in _MESSAGES:
            return
        if name == "install":
            self._install(call)
        elif name in _RUNS:
            self._run(call)
        elif name in ("chdir", "cd"):
            self._change_directory(call)
        elif name == "notify":
            message = "it starts another session after it"
            self.note(call.lineno, "session.notify", "left-out", message, "write `needs: [test@ENV]` at that task")
        else:
            raise CannotTakeError(f"`session.{name[:40]}` has no counterpart", "", call.lineno)

    def _install(self, call: ast.Call) -> None:
        for keyword in call.keywords:
            if keyword.arg not in ("silent", "log"):
                raise CannotTakeError(f"`install` with `{keyword.arg}`", "", call.lineno)
        if self.commands:
            message = "it is installed before the first command: nox installs it between two"
            self.note(call.lineno, "session.install", "changed", message)
        try:
            add_words(self.installed, words(call.args, self.names, self.session), directory=self.directory)
        except CannotTakeError as error:
            error.line = error.line or call.lineno
            raise
        if any("\0" in word for word in self.installed.packages):
            raise CannotTakeError("it installs the arguments of the caller", "", call.lineno)

    def _run(self, call: ast.Call) -> None:
        own: dict[str, str] = {}
        for keyword in call.keywords:
            if keyword.arg not in _RUN_OPTIONS:
                raise CannotTakeError(f"`run` with `{keyword.arg}` has no counterpart", "", call.lineno)
            if keyword.arg == "env":
                value = evaluate(keyword.value, self.names, self.session)
                if not isinstance(value, dict):
                    raise CannotTakeError("`env` is no mapping", "", call.lineno)
                own = {name: str(member) for name, member in value.items()}
        command = words(call.args, self.names, self.session)
        if not command:
            raise CannotTakeError("`run` without a command", "", call.lineno)
        if own:
            command = ["env", *(f"{name}={value}" for name, value in own.items()), *command]
        if command[:4] == ["python", "-m", "pip", "install"] or command[:2] == ["pip", "install"]:
            add_words(self.installed, command[command.index("install") + 1 :], directory=self.directory)
            return
        self.commands.append(command)

    def _change_directory(self, call: ast.Call) -> None:
        if self.commands or len(call.args) != 1:
            raise CannotTakeError("it changes its directory between two commands", "", call.lineno)
        path = posixpath.normpath(text(call.args[0], self.names, self.session))
        if path.startswith(("..", "/")):
            raise CannotTakeError(f"the directory `{path[:60]}` is not in the project", "", call.lineno)
        self.directory = path
