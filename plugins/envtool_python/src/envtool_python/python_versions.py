"""Which Python an env has, as far as the spec and this machine tell without starting anything, and which one the
project wants.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from envtool_python.dependency_sources import WrongSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envtool import api
    from envtool_python.decode import FileReader
    from envtool_python.metadata import ProjectMetadata

# The python3 of releases, which does not change while they last.
SUITES = {
    "buster": (3, 7), "focal": (3, 8), "bullseye": (3, 9), "jammy": (3, 10), "bookworm": (3, 11), "noble": (3, 12),
    "trixie": (3, 13),
}  # fmt: skip
# Of releases whose python3 keeps its patch version too: https://packages.debian.org/python3-minimal.
_DEBIAN = {"bullseye": "3.9.2", "bookworm": "3.11.2", "trixie": "3.13.5"}
HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
_PATCHES = 60  # more than any minor version of Python has had


def python_wrong(env: api.EnvDraft, project: FileReader, facts: ProjectMetadata) -> Iterator[WrongSource]:
    """That the project wants another Python than the base has, where both are known."""
    name = str(env.options.get("python", "python3"))
    version = known(env)
    if version is None or not facts.requires_python or fits_minor(facts.requires_python, version):
        return
    has = f"base {_suite(env) or env.base_kind} has" if name == "python3" else "`python:` names"
    file, line = place(project)
    yield WrongSource(
        message=wanted(facts.requires_python, f"{has} {version[0]}.{version[1]}"),
        hint=hint(facts.requires_python),
        file=file,
        line=line,
        code="python-version",
    )


def wanted(specifier: str, has: str) -> str:
    """The message."""
    return f"the project wants Python {specifier}, {has}"


def hint(specifier: str) -> str:
    """A base that has such a Python, to its patch version: `>=3.11.5` is not Debian bookworm's 3.11.2."""
    if suite := suite_for(specifier):
        return f"`base: {{debian: {suite}}}` has Python {_DEBIAN[suite]}"
    return "take a base that has it, such as an image: `base: {image: NAME}`"


def suite_for(specifier: str) -> str:
    """The oldest release of Debian whose Python the project takes; empty where none has one."""
    return next((suite for suite, version in _DEBIAN.items() if fits(specifier, version)), "")


def place(project: FileReader) -> tuple[str, int]:
    """The file and the line that say which Python is wanted."""
    words = re.compile(r"^\s*[\"']?(requires-python|python_requires|python)[\"']?\s*=")
    for file in ("pyproject.toml", "setup.cfg", "setup.py"):
        for number, line in enumerate((project.read(file) or "").splitlines(), 1):
            if words.match(line):
                return file, number
    return "pyproject.toml", 1


def fits(specifier: str, version: str) -> bool:
    """Whether a version is one that the project wants; a specifier that is none is left to pip."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def fits_minor(specifier: str, version: tuple[int, int]) -> bool:
    """Whether any patch of it is."""
    return any(fits(specifier, f"{version[0]}.{version[1]}.{patch}") for patch in range(_PATCHES))


def _suite(env: api.EnvDraft) -> str:
    options = env.base_options
    return str(options.get("suite", "") if isinstance(options, dict) else options or "")


def known(env: api.EnvDraft) -> tuple[int, int] | None:
    """The version of an env's Python, None where only starting it would tell."""
    name = str(env.options.get("python", "python3"))
    if name == "python3" and env.base_kind == "debian":
        return SUITES.get(_suite(env))
    if name == "python3" and env.base_kind == "host":  # only its name is looked at: python3 is a link to python3.N
        found = shutil.which(name, path=HOST_PATH)
        name = os.path.basename(os.path.realpath(found)) if found else ""
    match = re.fullmatch(r"python(\d)\.(\d{1,3})", name)
    return (int(match.group(1)), int(match.group(2))) if match else None
