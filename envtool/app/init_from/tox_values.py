"""tox's substitutions in a value. Source: tox's documentation, "Substitutions"."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from envtool.app.init_from.python_env import VENV
from envtool.app.init_from.taken_spec import CannotTakeError, args_with_default
from envtool.app.init_from.tox_factors import lines_for
from envtool.lazy_dataclass import dataclass, field
from envtool.model import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from envtool.app.init_from.ini_lines import IniValue, Section

_MAX_DEPTH = 20  # of references to other sections
_MAX_REFERENCES = 50_000  # of one value, to others: each of them may have several
_MAX_LENGTH = 100_000  # characters of a value, with its references
_INNERMOST = re.compile(r"(?<!\\)\{((?:[^{}\\]|\\.)*)\}")
# Both spellings of tox 3 and 4 -> the value in a container.
_PATHS = {
    "toxinidir": PROJECT, "tox_root": PROJECT, "package_root": PROJECT, "change_dir": "", "changedir": "",
    "envdir": VENV, "env_dir": VENV, "envbindir": f"{VENV}/bin", "env_bin_dir": f"{VENV}/bin",
    "envpython": "python", "env_python": "python",
    "toxworkdir": "/tmp", "work_dir": "/tmp", "envtmpdir": "/tmp", "env_tmp_dir": "/tmp", "temp_dir": "/tmp",
    "envlogdir": "/tmp", "env_log_dir": "/tmp", "distdir": "/tmp", "dist_dir": "/tmp", "/": "/",
}  # fmt: skip
_DROPPED = frozenset({"toxworkdir", "work_dir", "envlogdir", "env_log_dir", "distdir", "dist_dir"})
_REFUSED = {
    "homedir": "the home of a task is a directory of its own",
    "envsitepackagesdir": "the directory of installed packages is known only when the environment exists",
    "env_site_packages_dir": "the directory of installed packages is known only when the environment exists",
    "base_python": "the path of the base's own Python is not that of the environment",
    "distshare": "there is no directory that projects share",
}


@dataclass(slots=True, kw_only=True)
class ToxValues:
    """The values of one environment of a tox.ini. `notes` gets what has another meaning: its name -> the message."""

    sections: Mapping[str, Section]
    name: str  # of the environment
    section: str  # the section in which a value stands
    notes: dict[str, str] = field(default_factory=dict)
    depth: int = 0
    references: Iterator[int] = field(default_factory=count)  # counts those that were followed

    def substitute(self, text: str) -> str:
        """Returns a text with its substitutions made. Raises CannotTakeError for one that a spec cannot express."""
        literal: list[str] = []

        def keep(value: str) -> str:
            literal.append(value)
            return f"\2{len(literal) - 1}\2"

        for _ in range(_MAX_DEPTH):
            replaced = _INNERMOST.sub(lambda match: self._replace(match[1], match[0], keep), text)
            if len(replaced) > _MAX_LENGTH:
                raise CannotTakeError("it is too long with what it refers to")
            if replaced == text:
                break
            text = replaced
        else:
            raise CannotTakeError("it refers to itself, or through too many values")
        while "\2" in text:
            text = re.sub("\2([0-9]+)\2", lambda match: literal[int(match[1])], text)
        return re.sub(r"\\([{}:])", r"\1", text)

    def _replace(self, inner: str, whole: str, keep: Callable[[str], str]) -> str:
        name, colon, default = _split(inner)
        if inner == ":":
            return ":"
        if inner.startswith("["):
            return self._reference(inner)
        if name == "posargs":
            return keep(args_with_default(self._restored(default)))
        if name == "env":
            return self._variable(default)
        if name == "tty":
            return _split(default)[2]
        if name == "glob":
            raise CannotTakeError("`{glob:…}` has no counterpart", "write a command of a shell, which expands patterns")
        if not inner or inner in ("envname", "env_name"):
            return self.name if inner else keep(whole)
        if not colon and inner in _REFUSED:
            raise CannotTakeError(f"`{whole}`: {_REFUSED[inner]}")
        if not colon and inner in _PATHS:
            if inner in _DROPPED:
                self.notes[whole] = "it is /tmp here, and what is written there is dropped with the container"
            return self._directory(inner) if inner in ("changedir", "change_dir") else _PATHS[inner]
        if not colon and (value := self._key(self.section, inner)) is not None:
            return self._text_of(value, self.section)
        return keep(whole)  # tox leaves it as it is, too

    def _restored(self, text: str) -> str:
        if "\2" in text:
            raise CannotTakeError("a substitution within the default of `{posargs}`")
        return text

    def _directory(self, name: str) -> str:
        value = self._key(self.section, "change_dir") or self._key(self.section, "changedir")
        if value is None:
            return PROJECT
        raise CannotTakeError(f"`{{{name}}}` where the environment has another directory", "write the directory")

    def _variable(self, rest: str) -> str:
        name, _, default = _split(rest)
        message = f"the caller's `{name}` is not read" + (f": its default `{default}`" if default else ": it is empty")
        self.notes[f"{{env:{name}}}"] = message
        return default

    def _reference(self, inner: str) -> str:
        match = re.fullmatch(r"\[([^\]]+)\]([\w.-]+)(?::(.*))?", inner, re.DOTALL)
        value = self._key(match[1], match[2]) if match else None
        if match is None or value is None:
            if match is not None and match[3] is not None:
                return match[3]
            raise CannotTakeError(f"`{{{inner[:60]}}}` refers to nothing in this file")
        return self._text_of(value, match[1])

    def _key(self, section: str, key: str) -> IniValue | None:
        found = self.sections.get(section, {})
        if key not in found and section.startswith("testenv:"):
            found = self.sections.get("testenv", {})
        return found.get(key)

    def _text_of(self, value: IniValue, section: str) -> str:
        if self.depth >= _MAX_DEPTH:
            raise CannotTakeError("it refers to itself")
        if next(self.references) >= _MAX_REFERENCES:
            raise CannotTakeError("it refers to too many values")
        inner = ToxValues(
            sections=self.sections,
            name=self.name,
            section=section,
            notes=self.notes,
            depth=self.depth + 1,
            references=self.references,
        )
        return "\n".join(inner.substitute(line.text) for line in lines_for(value, self.name))


def _split(text: str) -> tuple[str, str, str]:
    """Returns the part before the first colon that is not escaped, the colon, and the rest."""
    match = re.match(r"((?:[^:\\]|\\.)*)(:?)(.*)", text, re.DOTALL)
    return (match[1], match[2], match[3]) if match else (text, "", "")
