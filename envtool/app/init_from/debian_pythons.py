"""Which Debian release has which Python, for environments that name one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.api.toml_reader import read_toml
from envtool.app.init_from.taken_spec import CannotTakeError

if TYPE_CHECKING:
    from envtool.api import Project

# Python of each release, oldest first: https://packages.debian.org/python3-minimal. It keeps its patch version.
RELEASES = {"bullseye": "3.9.2", "bookworm": "3.11.2", "trixie": "3.13.5"}
DEFAULT = "bookworm"
_VERSION = re.compile(r"(?:python|cpython)?-?(\d)[.]?(\d+)?(?:\.\d+|\.x)?(?:-dev)?")


def suite_of_python(wanted: str) -> str:
    """Returns the Debian release with the Python of a name as other tools have it: `3.11`, `py311`, `python3.11`.
    Raises CannotTakeError if none has it."""
    text = re.sub(r"^py(?=\d)", "", wanted.strip().lower())
    match = _VERSION.fullmatch(text)
    if match is None or match[1] != "3":
        raise CannotTakeError(f"`{wanted[:40]}` is no Python of a Debian release", _image_hint("NAME"))
    if match[2] is None:
        return DEFAULT
    for suite, version in RELEASES.items():
        if version.split(".")[1] == match[2]:
            return suite
    named = ", ".join(f"{version.rpartition('.')[0]} ({suite})" for suite, version in RELEASES.items())
    message = f"no Debian release has Python 3.{match[2]}: they have {named}"
    raise CannotTakeError(message, _image_hint(f'"python:3.{match[2]}"', f"3.{match[2]}" if int(match[2]) > 7 else ""))


def suite_for_project(project: Project) -> str:
    """Returns the Debian release for an environment that names no Python: bookworm, or another one where the project
    supports no Python of bookworm. Raises CannotTakeError if no release has one that it supports."""
    from packaging.specifiers import SpecifierSet

    text = project.read("pyproject.toml") or ""
    try:
        table = read_toml(text).get("project", {})
        specifier = SpecifierSet(str(table.get("requires-python", "")) if isinstance(table, dict) else "")
    except ValueError:  # the build of the project reports it
        return DEFAULT
    for suite in (DEFAULT, *RELEASES):
        if specifier.contains(RELEASES[suite], prereleases=True):
            return suite
    minors = (f"3.{minor}" for minor in range(8, 30))
    allowed = next((minor for minor in minors if specifier.contains(f"{minor}.99", prereleases=True)), "")
    raise CannotTakeError(
        f"the project wants Python {specifier}, which no Debian release has", _image_hint("NAME", allowed)
    )


def _image_hint(name: str, toolchain: str = "") -> str:
    """Returns the hint for an image of this name, or a Python of this version as a toolchain; "" is for none."""
    image = f"on a base that has it, as in `base: {{image: {name}}}`"
    if not toolchain:
        return f"write an env of your own {image}"
    return f'write an env of your own with `toolchain: {{python: "{toolchain}"}}`, or {image}'
