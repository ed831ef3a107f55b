"""What a project's tests require, beside what it requires itself. Pure.

In this order, the first that there is: the dependency groups test, tests, testing and the extras of the same names;
requirement files by name (TEST_FILES) with the groups and extras of tox's default environment; all that this asks for;
setup.py's tests_require; group or extra dev, or where that does not bring pytest, the smallest group, or else extra,
that does; DEV_FILES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envtool_python.requirements import WrongRequirementError, extra, group, name_of, normal, unique
from envtool_python.test_config import pytest_settings, tox_groups_and_extras, tox_needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from envtool_python.decode import DecodedFiles
    from envtool_python.metadata import ProjectMetadata

TEST_NAMES = ("test", "tests", "testing")
TEST_FILES = (
    "requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "requirements_tests.txt",
    "test-requirements.txt", "test_requirements.txt", "requirements/test.txt", "requirements/tests.txt",
    "requirements/testing.txt", "tests/requirements.txt", "test/requirements.txt", "requirements-pytest.txt",
    "requirements_pytest.txt", "requirements/pytest.txt",
)  # fmt: skip
DEV_FILES = (
    "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "dev_requirements.txt",
    "requirements/dev.txt",
)  # fmt: skip
TESTS = (
    "tests/**", "test/**", "test_*.py", "**/test_*.py", "*_test.py", "**/*_test.py", "tests.py", "**/tests.py",
    "test.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredForTests:
    """Groups and extras of the project, requirement files, and lines."""

    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def requirements_of_tests(
    options: Mapping[str, Any],
    project: DecodedFiles,
    facts: ProjectMetadata,
    python: tuple[int, int] | None = None,
) -> RequiredForTests:
    """What the spec says, else what is found. `python`: the version of the env's, where it is known."""
    plain = facts.dependencies is None or not facts.installable
    files = ["requirements.txt"] if plain and project.read("requirements.txt") is not None else []
    found = _detect_requirements(project, facts, python)
    return RequiredForTests(
        groups=tuple(options.get("groups", found.groups)),
        extras=tuple(options.get("extras", found.extras)),
        files=tuple(options.get("requirements", unique([*files, *found.files]))),
        lines=() if "requirements" in options else found.lines,
    )


def _detect_requirements(
    project: DecodedFiles, facts: ProjectMetadata, python: tuple[int, int] | None
) -> RequiredForTests:
    groups, extras = _named(facts, TEST_NAMES)
    if groups or extras:
        return RequiredForTests(groups=groups, extras=extras)
    groups, extras = (_known(names, table) for names, table in zip(
        tox_groups_and_extras(project, facts, python), (facts.groups, facts.extras), strict=True
    ))  # fmt: skip
    test_files = tuple(path for path in TEST_FILES if project.read(path) is not None)
    if test_files:
        return RequiredForTests(groups=groups, extras=extras, files=test_files)
    lines, files = tox_needs(project, facts, python)
    if lines or files or groups or extras:
        return RequiredForTests(groups=groups, extras=extras, files=files, lines=lines)
    if facts.test_lines:
        return RequiredForTests(lines=facts.test_lines)
    groups, extras = _named(facts, ("dev",))
    dev = RequiredForTests(groups=groups, extras=() if groups else extras)
    brings = _groups_with_pytest(facts)
    if brings is not None and not any(name in brings[1] for name in (*dev.groups, *dev.extras)):
        name = brings[1][0]
        return RequiredForTests(groups=(name,)) if brings[0] == "group" else RequiredForTests(extras=(name,))
    if dev.groups or dev.extras:
        return dev
    return RequiredForTests(files=tuple(path for path in DEV_FILES if project.read(path) is not None))


def _named(facts: ProjectMetadata, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The groups and the extras of these names."""
    groups, extras = ([key for key in table if normal(key) in names] for table in (facts.groups, facts.extras))
    return tuple(groups), tuple(extras)


def _known(names: Iterable[str], table: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = {normal(name) for name in names}
    return tuple(key for key in table if normal(key) in wanted)


def _groups_with_pytest(facts: ProjectMetadata) -> tuple[str, list[str]] | None:
    """The groups that bring pytest, the smallest first; where none does, the extras."""
    kinds: tuple[tuple[str, Iterable[str], Callable[[str], Iterable[str]]], ...] = (
        ("group", facts.groups, lambda name: group(facts.groups, name)),
        ("extra", facts.extras, lambda name: extra(facts.name, facts.extras, name)),
    )
    for kind, keys, lines_of in kinds:
        sizes = {}
        for key in keys:
            try:
                lines = [name_of(line) for line in lines_of(key)]
            except WrongRequirementError:  # whoever asks for it will hear of it
                continue
            if any(name == "pytest" or name.startswith("pytest-") for name in lines):
                sizes[key] = len(lines)
        if sizes:
            return kind, sorted(sizes, key=lambda key: (sizes[key], key))
    return None


def has_tests(project: DecodedFiles, facts: ProjectMetadata) -> bool:
    """Whether there is anything that pytest would run."""
    if pytest_settings(project, facts) is not None or project.read("conftest.py") is not None:
        return True
    return any(project.glob(pattern) for pattern in TESTS)
