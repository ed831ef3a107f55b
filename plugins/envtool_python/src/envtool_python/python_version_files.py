"""Which Python a project's files want: .python-version, those of version managers, and `requires-python`. Pure.

A Debian suite has one Python, which a version file cannot change: where the two differ, a note says so, and nothing
fails that the project's own `requires-python` allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from envtool import api
from envtool_python.python_versions import env_python, hint

PYTHON_VERSION = ".python-version"


def note_version(
    env: api.EnvDraft, project: api.Project, drafts: tuple[api.LayerDraft, ...]
) -> tuple[api.LayerDraft, ...]:
    """Returns the layers, the first with a note if a version file wants another Python than the env is known to
    have."""
    version = env_python(env) if drafts and "python" not in env.toolchains else None
    if version is None or not any(_read(project, path) for path in (PYTHON_VERSION, *api.SHARED_VERSION_FILES)):
        return drafts  # as most projects: they do not import what reads the files
    wanted = next(wanted_pythons(project), None)
    if wanted is None or _same_minor(wanted.wanted, version):
        return drafts
    minor = ".".join(wanted.wanted.split(".")[:2])
    note = (
        f"{wanted.file}:{wanted.line} wants Python {wanted.wanted}, the env has {version[0]}.{version[1]}:"
        f" {hint(f'=={minor}.*')}"
    )
    return (replace(drafts[0], note=note), *drafts[1:])


def wanted_pythons(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .python-version says, if it names a version (pyenv also takes names of environments), and what the
    files of version managers say."""
    from envtool.api.version_choice import plain_version, read_shared

    for number, line in enumerate(_read(project, PYTHON_VERSION).removeprefix("\ufeff").splitlines(), 1):
        name = line.partition("#")[0].strip()
        if name:
            if version := plain_version(name.removeprefix("cpython-")):
                yield api.WantedVersion(wanted=version, file=PYTHON_VERSION, line=number)
            break
    yield from read_shared("python", (), project)


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
