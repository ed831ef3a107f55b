"""The words of `pip install` as requirements, files of them, and extras of the project."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROJECT = re.compile(r"(?:\.|/project)/?(?:\[([\w.,\s-]*)\])?")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[\w.,\s-]*\])?\s*(?:[<>=!~;@(].*)?", re.DOTALL)
_FILES = {"-r": "requirements", "--requirement": "requirements", "-c": "constraints", "--constraint": "constraints"}
_EDITABLE = frozenset({"-e", "--editable"})
# Options that change nothing about what is installed here: an env is always made anew.
_NOTHING = frozenset({
    "-U", "--upgrade", "-q", "-qq", "--quiet", "-v", "--verbose", "--no-cache-dir", "--disable-pip-version-check",
    "--progress-bar=off", "--no-input", "--force-reinstall", "--prefer-binary", "--user", "--no-warn-script-location",
    "--use-pep517",
})  # fmt: skip
# Installers, which every virtual environment of envtool has or does not need.
_INSTALLERS = frozenset({"pip", "setuptools", "wheel"})


@dataclass(slots=True, kw_only=True)
class Installed:
    """What an environment installs. `install` says how the project itself is: "" is not at all."""

    packages: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    install: str = ""


def add_words(installed: Installed, words: Sequence[str], *, directory: str = ".") -> None:
    """Adds the words of one `pip install` in a directory of the project. Raises CannotTakeError for what a spec cannot
    say."""
    pending = [*words]
    while pending:
        word = pending.pop(0).strip()
        option, equals, value = word.partition("=")
        if word in _NOTHING or not word:
            continue
        if word == "--upgrade-strategy":
            pending[:1] = []
        elif match := re.fullmatch(r"(-[rc])(?=[^-\s])\s*(.+)", word, re.DOTALL):
            pending[:0] = [match[1], match[2]]
        elif option in _FILES:
            path = value if equals else (pending.pop(0) if pending else "")
            getattr(installed, _FILES[option]).append(_project_file(path, directory))
        elif option in _EDITABLE:
            path = value if equals else (pending.pop(0) if pending else "")
            _add_project(installed, path.strip(), "editable")
        elif word == "--group":
            installed.groups.append(pending.pop(0) if pending else "")
        elif word.startswith("-"):
            raise CannotTakeError(f"the option `{option[:40]}` of pip has no counterpart")
        elif word.startswith((".", "/")):
            _add_project(installed, word, "wheel")
        else:
            _add_requirement(installed, word)


def _add_requirement(installed: Installed, word: str) -> None:
    if not _REQUIREMENT.fullmatch(word):
        raise CannotTakeError(f"`{word[:60]}` is no requirement by name")
    name = re.split(r"[^A-Za-z0-9._-]", word, maxsplit=1)[0].lower()
    if name not in _INSTALLERS or word.lower() != name:
        installed.packages.append(word)


def _add_project(installed: Installed, path: str, install: str) -> None:
    match = _PROJECT.fullmatch(path)
    if match is None:
        raise CannotTakeError(f"`{path[:60]}` is another project than that of the spec")
    installed.install = "editable" if "editable" in (install, installed.install) else install
    installed.extras += [name.strip() for name in (match[1] or "").split(",") if name.strip()]


def _project_file(path: str, directory: str) -> str:
    """Returns the path of a requirement file in the project. Raises CannotTakeError if it is not in it."""
    path = path.strip().removeprefix("/project/")
    whole = posixpath.normpath(posixpath.join(directory, path))
    if not path or path.startswith("/") or whole.startswith("..") or "://" in path:
        raise CannotTakeError(f"the requirement file `{path[:60]}` is not in the project")
    return whole
