"""Reads the configuration of this machine's pip as `pip config list` prints it, without starting pip.

The files and their order are those of pip's documentation ("Configuration": global, user, site, PIP_CONFIG_FILE,
variables). Returns None, and so leaves it to pip, wherever pip may print something else: for an option that is not in
the list below, an unusual value, text that is not ASCII, a file with an error.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LARGEST = 1 << 20  # bytes of a file
_FILE = "pip.conf"
_NO_OPTIONS = ("version", "help")  # PIP_VERSION and PIP_HELP, which pip ignores
_SECTIONS = ("global", "config", ":env:")  # what `pip config` itself obeys
_NUMBER, _SWITCH, _ANY = r"[0-9]{1,6}(\.[0-9]{1,6})?", r"(?i)1|0|true|false|yes|no|on|off", r"(?s).*"
_VALUES = {
    "break-system-packages": _SWITCH,
    "cache-dir": _ANY,
    "cert": _ANY,
    "client-cert": _ANY,
    "config-file": _ANY,
    "constraint": _ANY,
    "default-timeout": _NUMBER,
    "disable-pip-version-check": _SWITCH,
    "extra-index-url": _ANY,
    "find-links": _ANY,
    "index-url": _ANY,
    "no-cache-dir": _SWITCH,
    "no-color": _SWITCH,
    "no-index": _SWITCH,
    "prefer-binary": _SWITCH,
    "progress-bar": _ANY,
    "proxy": _ANY,
    "require-virtualenv": _SWITCH,
    "retries": r"[0-9]{1,6}",
    "root-user-action": _ANY,
    "timeout": _NUMBER,
    "trusted-host": _ANY,
}  # options by which `pip config list` prints no more, no less and nothing else; with the values that it takes


class _OtherAnswerError(Exception):
    """pip may print something else than the files and variables have."""


def config_listing(prefix: str, variables: Mapping[str, str]) -> bytes | None:
    """Returns what the pip of the Python whose sys.prefix is `prefix` prints for `config list` with these environment
    variables; None if only pip knows."""
    options: dict[str, str] = {}
    try:
        for path in _config_files(prefix, variables):
            options |= _read_file(path)
        options |= _variable_options(variables)
        for name, value in options.items():
            _check(name, value)
    except _OtherAnswerError:
        return None
    return "".join(f"{name}={value!r}\n" for name, value in sorted(options.items())).encode("ascii")


def _config_files(prefix: str, variables: Mapping[str, str]) -> Iterable[str]:
    """Returns the paths of pip's files; a later one wins. Raises _OtherAnswerError."""
    chosen = variables.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return ()
    home = variables.get("HOME", os.path.expanduser("~"))
    user = variables.get("XDG_CONFIG_HOME", "") or os.path.join(home, ".config")
    shared = (variables.get("XDG_CONFIG_DIRS", "") or "/etc/xdg").split(":")
    absolute = (home, user, *shared, *([chosen] if chosen else []))
    if not all(place.startswith("/") and place == place.strip() for place in absolute):
        raise _OtherAnswerError
    paths = [*(os.path.join(place, "pip", _FILE) for place in shared), f"/etc/{_FILE}"]
    if not (chosen and os.path.exists(chosen)):
        paths += [os.path.join(home, ".pip", _FILE), os.path.join(user, "pip", _FILE)]
    return [*paths, os.path.join(prefix, _FILE), *([chosen] if chosen else [])]


def _read_file(path: str) -> dict[str, str]:
    """Returns "section.option" -> value. Raises _OtherAnswerError."""
    try:
        if not os.path.isfile(path):
            if os.path.exists(path):
                raise _OtherAnswerError
            return {}
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise _OtherAnswerError
        text = content.decode("ascii")
    except (OSError, ValueError):
        raise _OtherAnswerError from None
    return _parse(text)


def _parse(text: str) -> dict[str, str]:
    import configparser  # most machines have no file

    class Parser(configparser.RawConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return _normalise(optionstr)

    parser = Parser()
    try:
        parser.read_string(text)
        return {f"{section}.{name}": value for section in parser.sections() for name, value in parser.items(section)}
    except configparser.Error:
        raise _OtherAnswerError from None


def _variable_options(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the options of the variables PIP_*. Raises _OtherAnswerError."""
    options: dict[str, str] = {}
    for name, value in variables.items():
        if name.startswith("PIP_") and (option := name[4:].lower()) not in _NO_OPTIONS:
            key = f":env:.{_normalise(option)}"
            if key in options:  # the order of the variables decides
                raise _OtherAnswerError
            options[key] = value
    return options


def _normalise(name: str) -> str:
    """Returns the name of an option as pip's configuration has it."""
    return name.lower().replace("_", "-").removeprefix("--")


def _check(name: str, value: str) -> None:
    """Raises _OtherAnswerError for an option by which `pip config list` may fail, or print something else."""
    section, _, option = name.partition(".")
    known = section not in _SECTIONS or option in _VALUES
    if not known or not name.isascii() or not value.isascii():
        raise _OtherAnswerError
    if value and section in _SECTIONS and not re.fullmatch(_VALUES[option], value):
        raise _OtherAnswerError


# ---- which pip -----------------------------------------------------------------------------------------------------

_SCRIPT = re.compile(
    r"""\#!(?P<python>(?P<prefix>/\S*)/bin/python[0-9.]*)\n
    (?:\#.*\n|import\ (?:re|sys)\n|from\ pip\._internal[\w.]*\ import\ \w+\n|if\ __name__\ ==\ .__main__.:\n
    |\ +sys\.argv\[0\]\ =\ re\.sub\(.*\n|\ +sys\.exit\(\w+\(\)\)\n)+""",
    re.VERBOSE,
)


def prefix_of_script(program: str) -> str:
    """Returns the sys.prefix with which a `pip` runs that an installer of packages wrote; "" for any other program,
    such as a wrapper."""
    try:
        with open(program, "rb") as file:
            match = _SCRIPT.fullmatch(file.read(4096).decode("ascii"))
        if match is None:
            return ""
        real = os.path.realpath(match["python"], strict=True)
    except (OSError, ValueError):
        return ""
    prefix = match["prefix"]
    if os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
        return prefix
    directory, name = os.path.split(real)
    is_its_own = directory == os.path.realpath(os.path.join(prefix, "bin"))
    return prefix if is_its_own and os.path.isfile(os.path.join(prefix, "lib", name, "os.py")) else ""
