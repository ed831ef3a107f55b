"""The Python version of an env, if it is known without starting a program, and the one that the project wants."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envtool_python.dependency_sources import WrongSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envtool import api
    from envtool_python.decode import FileReader
    from envtool_python.metadata import ProjectMetadata

# The minor version of python3 in each release; it does not change during the release's life.
SUITES = {
    "buster": (3, 7), "focal": (3, 8), "bullseye": (3, 9), "jammy": (3, 10), "bookworm": (3, 11), "noble": (3, 12),
    "trixie": (3, 13),
}  # fmt: skip
# Releases whose python3 also keeps its patch version: https://packages.debian.org/python3-minimal.
_DEBIAN = {"bullseye": "3.9.2", "bookworm": "3.11.2", "trixie": "3.13.5"}
HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
_LOWEST = re.compile(r"\s*>=\s*([0-9]{1,9}(?:\.[0-9]{1,9})*)\s*")
_RELEASE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")
_MINORS = range(8, 30)  # minor versions that a toolchain may have
_MAX_PATCH = 60  # above the patch versions of every minor version of Python


def python_wrong(env: api.EnvDraft, project: FileReader, facts: ProjectMetadata) -> Iterator[WrongSource]:
    """Yields an error if the project does not support the base's Python, where both are known."""
    name = str(env.options.get("python", "python3"))
    version = env_python(env)
    if version is None or not facts.requires_python or fits_minor(facts.requires_python, version):
        return
    has = f"base {_suite(env) or env.base_kind} has" if name == "python3" else "`python:` names"
    file, line = requires_python_position(project)
    yield WrongSource(
        message=wrong_python_message(facts.requires_python, f"{has} {version[0]}.{version[1]}"),
        hint=hint(facts.requires_python, toolchain=name == "python3"),
        file=file,
        line=line,
        code="python-version",
    )


def wrong_python_message(specifier: str, has: str) -> str:
    """Returns the message; `has` says which Python there is instead."""
    return f"the project wants Python {specifier}, {has}"


def hint(specifier: str, *, toolchain: bool = True) -> str:
    """Returns the hint that names a base with such a Python, else a toolchain where that is what the env takes its
    Python from. Patch versions count: `>=3.11.5` excludes bookworm's 3.11.2."""
    if suite := suite_for(specifier):
        return f"`base: {{debian: {suite}}}` has Python {_DEBIAN[suite]}"
    base = "a base that has it, such as an image: `base: {image: NAME}`"
    minor = next((minor for minor in _MINORS if fits_minor(specifier, (3, minor))), 0) if toolchain else 0
    return f'write `toolchain: {{python: "3.{minor}"}}`, or take {base}' if minor else f"take {base}"


def suite_for(specifier: str) -> str:
    """Returns the oldest Debian release whose Python the project supports; empty if there is none."""
    return next((suite for suite, version in _DEBIAN.items() if fits(specifier, version)), "")


def requires_python_position(project: FileReader) -> tuple[str, int]:
    """Returns the file and line that name the supported Pythons."""
    words = re.compile(r"^\s*[\"']?(requires-python|python_requires|python)[\"']?\s*=")
    for file in ("pyproject.toml", "setup.cfg", "setup.py"):
        for number, line in enumerate((project.read(file) or "").splitlines(), 1):
            if words.match(line):
                return file, number
    return "pyproject.toml", 1


def fits(specifier: str, version: str) -> bool:
    """Whether the project supports a version. True for an invalid specifier, which pip reports."""
    lowest = _LOWEST.fullmatch(specifier)
    if lowest and _RELEASE.fullmatch(version):  # as most say it: `packaging` takes 4 ms to import
        return _release(version) >= _release(lowest.group(1))
    from packaging.specifiers import SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except ValueError:
        return True


def _release(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version without zeros at its end: 3.11 is 3.11.0 (PEP 440, Version matching)."""
    numbers = [*map(int, version.split("."))]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def fits_minor(specifier: str, version: tuple[int, int]) -> bool:
    """Whether the project supports any patch version of a minor version."""
    return any(fits(specifier, f"{version[0]}.{version[1]}.{patch}") for patch in range(_MAX_PATCH))


def _suite(env: api.EnvDraft) -> str:
    options = env.base_options
    return str(options.get("suite", "") if isinstance(options, dict) else options or "")


def env_python(env: api.EnvDraft) -> tuple[int, int] | None:
    """Returns the minor version of an env's Python, or None if only starting it would tell."""
    name = str(env.options.get("python", "python3"))
    if name == "python3" and "python" in env.toolchains:
        return None
    if name == "python3" and env.base_kind == "debian":
        return SUITES.get(_suite(env))
    if name == "python3" and env.base_kind == "host":  # python3 is a link to python3.N: the name says the version
        from shutil import which

        executable = which(name, path=HOST_PATH)
        name = os.path.basename(os.path.realpath(executable)) if executable else ""
    match = re.fullmatch(r"python(\d)\.(\d{1,3})", name)
    return (int(match.group(1)), int(match.group(2))) if match else None
