"""One environment of tox as an env. Source: tox's documentation, "Configuration"."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.init_from.install_words import Installed, add_words
from envtool.app.init_from.python_env import stack_keys, task_keys
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv
from envtool.app.init_from.tox_factors import lines_for
from envtool.app.init_from.tox_values import ToxValues
from envtool.model import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.api import Project
    from envtool.app.init_from.ini_lines import IniLine, IniValue, Section
    from envtool.model import Json

_PYTHON_FACTOR = re.compile(r"py(?:py)?\d[\d.]*|(?:python)?\d\.\d+|jython.*|pypy.*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YES = frozenset({"true", "yes", "1", "on", "t", "y"})
# Both spellings of a key: tox 4's, tox 3's.
_SPELLINGS = {
    "set_env": "setenv", "pass_env": "passenv", "change_dir": "changedir", "base_python": "basepython",
    "allowlist_externals": "whitelist_externals", "use_develop": "usedevelop", "env_list": "envlist",
}  # fmt: skip
_READ = frozenset({
    "deps", "commands", "commands_pre", "commands_post", "set_env", "pass_env", "change_dir", "base_python", "extras",
    "dependency_groups", "skip_install", "use_develop", "package", "description", "allowlist_externals", "base",
})  # fmt: skip
# Keys without an effect here, and the reason.
_MEANINGLESS = {
    "recreate": "an env is rebuilt when what it is made of changes",
    "parallel_show_output": "`envtool test` keeps the output of each task",
    "labels": "an env has a name, and `-e` takes patterns",
    "download": "envtool.lock pins what is installed",
    "suicide_timeout": "a task is ended with all of its processes",
    "interrupt_timeout": "a task is ended with all of its processes",
    "terminate_timeout": "a task is ended with all of its processes",
    "depends": "no env sees what another one leaves",
    "constrain_package_deps": "all requirements are resolved together",
    "use_frozen_constraints": "all requirements are resolved together",
    "list_dependencies_command": "`envtool inspect` lists packages",
    "package_env": "the project is built in a layer of its own",
    "wheel_build_env": "the project is built in a layer of its own",
    "isolated_build": "the project is built in a layer of its own",
    "env_log_dir": "logs are in .envtool/last",
    "envlogdir": "logs are in .envtool/last",
    "env_dir": "a stack is in envtool's store",
    "envdir": "a stack is in envtool's store",
}
# Keys that an env cannot have: what they decide, and what to write.
_REFUSED = {
    "install_command": "envtool installs by its own call of pip",
    "pip_pre": "pre-releases are installed only where a requirement names one",
    "sitepackages": "an env has no packages of this machine",
    "system_site_packages": "an env has no packages of this machine",
    "runner": "another runner than virtualenv",
    "conda_deps": "packages of conda",
    "conda_env": "packages of conda",
    "conda_channels": "packages of conda",
}


class ToxFile(NamedTuple):
    """A tox.ini: its sections, the project whose files it names, and whether tox packages that project."""

    sections: Mapping[str, Section]
    project: Project
    packaged: bool


class _Environment:
    """The keys of one environment, each with tox's inheritance from [testenv]."""

    def __init__(self, file: ToxFile, name: str, note: Callable[..., None]) -> None:
        self.file, self.name, self.note = file, name, note
        self.section = f"testenv:{name}" if f"testenv:{name}" in file.sections else "testenv"

    def get(self, key: str) -> IniValue | None:
        for section in dict.fromkeys((self.section, "testenv")):
            for spelling in (key, _SPELLINGS.get(key, key)):
                value = self.file.sections.get(section, {}).get(spelling)
                if value is not None:
                    return value
        return None

    def is_referred_to(self, key: str) -> bool:
        """Returns whether a value of the file has `{key}` or `{[section]key}`: then the key is the project's own."""
        values = (value.text for section in self.file.sections.values() for value in section.values())
        return any(f"{{{key}}}" in text or f"]{key}}}" in text or f"]{key}:" in text for text in values)

    def lines(self, key: str) -> list[IniLine]:
        """Returns the lines of a key that hold for this environment, substituted. Raises CannotTakeError with the
        line."""
        lines: list[IniLine] = []
        for line in lines_for(self.get(key), self.name):
            values = ToxValues(sections=self.file.sections, name=self.name, section=self.section)
            try:
                text = values.substitute(line.text)
            except CannotTakeError as error:
                error.line = error.line or line.line
                raise
            for name, message in values.notes.items():
                self.note(line.line, name, "changed", message)
            parts = (part.strip() for part in text.split("\n"))  # a reference may bring several lines
            lines += [line._replace(text=part) for part in parts if part]
        return lines

    def text(self, key: str) -> str:
        return " ".join(line.text for line in self.lines(key))

    def is_set(self, key: str) -> bool:
        return self.text(key).strip().lower() in _YES


def take_environment(file: ToxFile, name: str, note: Callable[..., None]) -> TakenEnv:
    """Returns the env of the environment `name`. `note` is called with line, key, effect, message and hint. Raises
    CannotTakeError, with the line, for what an env cannot have."""
    environment = _Environment(file, name, note)
    _note_keys(environment)
    installed = _installed(environment)
    commands = [
        command for key in ("commands_pre", "commands", "commands_post") for command in _commands(environment, key)
    ]
    if not commands:
        raise CannotTakeError("it has no commands", "write a task of your own")
    if (post := environment.get("commands_post")) is not None and lines_for(post, name):
        note(post.line, "commands_post", "changed", "it runs only if the commands before it have passed")
    programs = [command[1] if command[0] in "-!" and len(command) > 1 else command[0] for command in commands]
    keys, reasons = stack_keys(file.project, installed, _python(environment), programs, f"`{name}`")
    if description := environment.text("description"):
        reasons["base"] = f"{reasons['base']}. tox describes `{name}` as: {description}"
    if (directory := _directory(environment)) != ".":
        keys["workdir"] = directory
    if variables := _variables(environment):
        keys["set"] = variables
    if passed := _passed(environment):
        keys["pass"] = passed
    keys |= task_keys(commands)
    return TakenEnv(name, keys, reasons)


def _note_keys(environment: _Environment) -> None:
    """Notes the keys without an effect, and the unknown ones. Raises CannotTakeError for one that an env cannot
    have."""
    known = {*_READ, *(spelling for key, spelling in _SPELLINGS.items() if key in _READ)}
    for section in dict.fromkeys(("testenv", environment.section)):
        for key, value in environment.file.sections.get(section, {}).items():
            if key in known:
                continue
            texts = lines_for(value, environment.name)
            text = " ".join(line.text for line in texts).lower()
            if key in _REFUSED and texts and text not in ("false", "no", "0", "virtualenv"):
                raise CannotTakeError(f"`{key}`: {_REFUSED[key]}", "write layers of your own", value.line)
            if key == "platform":
                if texts and not re.search(rf"(?:^|[|(:\s]){'linux'}", text):
                    raise CannotTakeError("`platform`: it is for another system than Linux", "", value.line)
            elif key in ("ignore_errors", "ignore_outcome") and text in _YES:
                message = "a task ends at the first command that fails, and has then failed"
                environment.note(value.line, key, "changed", message)
            elif key in _MEANINGLESS:
                environment.note(value.line, key, "meaningless", _MEANINGLESS[key])
            elif key in _REFUSED or key in ("ignore_errors", "ignore_outcome"):
                continue
            elif not environment.is_referred_to(key):
                environment.note(value.line, key, "left-out", "it is no key of tox that envtool knows")


def _installed(environment: _Environment) -> Installed:
    installed = Installed()
    for line in environment.lines("deps"):
        text = line.text
        try:
            add_words(installed, shlex.split(text) if text.startswith("-") else [text])
        except (CannotTakeError, ValueError) as error:
            raise CannotTakeError(f"`deps`: {error}", getattr(error, "hint", ""), line.line) from None
    for key, names in (("extras", installed.extras), ("dependency_groups", installed.groups)):
        names += [word for line in environment.lines(key) for word in re.split(r"[,\s]+", line.text) if word]
    package = environment.text("package")
    if environment.is_set("skip_install") or not environment.file.packaged or package == "skip":
        installed.install = ""
        installed.extras = []
    elif package == "external":
        raise CannotTakeError("`package`: the project is packaged by another environment")
    elif environment.is_set("use_develop") or package in ("editable", "editable-legacy"):
        installed.install = "editable"
    else:
        installed.install = "wheel"
    return installed


def _commands(environment: _Environment, key: str) -> list[list[str]]:
    commands: list[list[str]] = []
    for line in environment.lines(key):
        try:
            words = shlex.split(line.text.replace("[]", "\0args\0"))
        except ValueError as error:
            raise CannotTakeError(f"`{key}`: {error}", "", line.line) from None
        if not words:
            continue
        for prefix in "-!":
            if words[0].startswith(prefix) and words[0] != prefix and not words[0].startswith("--"):
                words[:1] = [prefix, words[0][1:]]
        if words[0] in ("-", "!") and len(words) == 1:
            raise CannotTakeError(f"`{key}`: a command without a program", "", line.line)
        commands.append(words)
    return commands


def _python(environment: _Environment) -> str:
    """Returns the name of the Python; "" for any."""
    if base := environment.text("base_python").split():
        return posixpath.basename(base[0])
    factors = [factor for factor in environment.name.split("-") if _PYTHON_FACTOR.fullmatch(factor)]
    return factors[0] if factors and factors[0] not in ("py", "py3") else ""


def _directory(environment: _Environment) -> str:
    text = environment.text("change_dir")
    if not text:
        return "."
    directory = posixpath.normpath(posixpath.join(PROJECT, text))
    if directory != PROJECT and not directory.startswith(f"{PROJECT}/"):
        line = environment.get("change_dir")
        raise CannotTakeError(
            f"`change_dir`: `{text[:60]}` is not in the project", "", line.line if line is not None else 0
        )
    return posixpath.relpath(directory, PROJECT)


def _variables(environment: _Environment) -> dict[str, Json]:
    variables: dict[str, Json] = {}
    for line in environment.lines("set_env"):
        name, equals, value = line.text.partition("=")
        if not equals or not _VARIABLE.fullmatch(name.strip()):
            message = f"`set_env`: `{line.text[:60]}` is no `NAME = value`"
            raise CannotTakeError(message, "write its variables below `set:`", line.line)
        if "\0" in value:
            raise CannotTakeError("`set_env`: only a command has the arguments", "", line.line)
        variables[name.strip()] = value.strip()
    return variables


def _passed(environment: _Environment) -> list[Json]:
    """Returns the names of variables that pass. Patterns are left out: the caller would have to allow them."""
    names: dict[str, None] = {}
    for line in environment.lines("pass_env"):
        for name in re.split(r"[,\s]+", line.text):
            if _VARIABLE.fullmatch(name):
                names[name] = None
            elif name:
                hint = f'write `pass: ["{name}"]` into the env, and call it with `--allow-pass`'
                message = f"the pattern `{name[:40]}` is left out: a caller has to allow it"
                environment.note(line.line, "pass_env", "left-out", message, hint)
    return [*names]
