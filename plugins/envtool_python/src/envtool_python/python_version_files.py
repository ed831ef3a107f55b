"""Which Python a project's files want: .python-version, those of version managers, and `requires-python`. Pure.

A Debian suite has one Python, which a version file cannot change: where the two differ, a note says so, and nothing
fails that the project's own `requires-python` allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from envtool import api
from envtool_python.python_versions import env_python, hint

PYTHON_VERSION = ".python-version"
# `cpython@3.12`, `cpython-3.12.1-linux-x86_64-gnu`, `python3.12`, `3.12.*`
_REQUEST = re.compile(
    r"(?:cpython[@-]?|python[@-]?)?([0-9][0-9.]{0,40}(?:(?:a|b|rc)[0-9]{1,9})?)(?:\.\*|-linux-[a-z0-9_-]{1,40})?"
)


def note_version(
    env: api.EnvDraft, project: api.Project, drafts: tuple[api.LayerDraft, ...]
) -> tuple[api.LayerDraft, ...]:
    """Returns the layers, the first with a note if a version file wants another Python than the env is known to
    have."""
    version = env_python(env) if drafts and "python" not in env.toolchains else None
    if version is None or not any(_read(project, path) for path in (PYTHON_VERSION, *api.SHARED_VERSION_FILES)):
        return drafts  # as most projects: they do not import what reads the files
    wanted = next((wanted for wanted in wanted_pythons(project) if wanted.wanted and not wanted.allows), None)
    if wanted is None or _same_minor(wanted.wanted, version):
        return drafts
    minor = ".".join(wanted.wanted.split(".")[:2])
    note = (
        f"{wanted.file}:{wanted.line} wants Python {wanted.wanted}, the env has {version[0]}.{version[1]}:"
        f" {hint(f'=={minor}.*')}"
    )
    return (replace(drafts[0], note=note), *drafts[1:])


def wanted_pythons(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .python-version says, and what the files of version managers say.

    pyenv reads words, of which the first decides, and also takes names of environments. uv takes a line for one
    request, such as `cpython@3.12` and `>=3.10,<3.13` (https://docs.astral.sh/uv/concepts/python-versions/).
    """
    from envtool.api.version_choice import read_shared

    for number, line in enumerate(_read(project, PYTHON_VERSION).splitlines(), 1):
        if name := line.partition("#")[0].strip():
            wanted = _request(name, number)
            yield wanted
            if wanted.wanted:
                break
    yield from read_shared("python", (), project)


def _request(text: str, number: int) -> api.WantedVersion:
    """Returns what a line of .python-version asks for."""
    from envtool.api.version_choice import plain_version

    if text[0] in "<>=!~":
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            return api.WantedVersion(wanted="", file=PYTHON_VERSION, line=number, entry=text)
        return api.WantedVersion(wanted=text, file=PYTHON_VERSION, line=number, allows=text)
    name = text.split(maxsplit=1)[0]
    match = _REQUEST.fullmatch(name)
    version = plain_version(match[1]) if match else ""
    return api.WantedVersion(wanted=version, file=PYTHON_VERSION, line=number, entry="" if version else name)


def supported_pythons(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields the Pythons that the project supports, by its `requires-python` or what its backend has in its place. What
    is no version specifier (PEP 440), and a file that cannot be read, say nothing: `language: python` reports them."""
    from packaging.specifiers import SpecifierSet

    from envtool_python.metadata import read_facts
    from envtool_python.python_versions import requires_python_position

    try:
        supported = read_facts(project).requires_python.strip()
        SpecifierSet(supported)
    except (ValueError, api.UsageError):  # WrongFileError is a ValueError
        return
    if supported:
        file, line = requires_python_position(project)
        entry = "requires-python"
        yield api.WantedVersion(wanted=supported, file=file, line=line, entry=entry, allows=supported)


def _read(project: api.Project, path: str) -> str:
    """Returns the text of a file, or "" for one that may not be read: it may be meant for other tools."""
    try:
        return project.read(path) or ""
    except api.UsageError:
        return ""


def _same_minor(wanted: str, version: tuple[int, int]) -> bool:
    numbers = wanted.split(".")[:2]
    return numbers == [str(number) for number in version][: len(numbers)]
