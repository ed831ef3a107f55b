"""What a project's tests require, beside the project's own requirements. Pure.

The first of these that exists: the dependency groups and extras test, tests, testing; requirement files by name
(TEST_FILES) with the groups and extras of tox's default environment; all requirements of that environment; setup.py's
tests_require; the group or extra dev, or if it does not bring pytest, the smallest group (else extra) that does;
DEV_FILES.
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
    """What the tests require: groups and extras of the project, requirement files, and lines."""

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
    """Returns what the spec says, else what the project's files say. `python`: the env's version, None if unknown."""
    reads_requirements_txt = facts.dependencies is None or not facts.installable
    files = ["requirements.txt"] if reads_requirements_txt and project.read("requirements.txt") is not None else []
    detected = _detect_requirements(project, facts, python)
    return RequiredForTests(
        groups=tuple(options.get("groups", detected.groups)),
        extras=tuple(options.get("extras", detected.extras)),
        files=tuple(options.get("requirements", unique([*files, *detected.files]))),
        lines=() if "requirements" in options else detected.lines,
    )


def _detect_requirements(
    project: DecodedFiles, facts: ProjectMetadata, python: tuple[int, int] | None
) -> RequiredForTests:
    groups, extras = _named(facts, TEST_NAMES)
    if groups or extras:
        return RequiredForTests(groups=groups, extras=extras)
    groups, extras = (_matching_keys(names, table) for names, table in zip(
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
    with_pytest = _groups_with_pytest(facts)
    if with_pytest is not None and not any(name in with_pytest[1] for name in (*dev.groups, *dev.extras)):
        name = with_pytest[1][0]
        return RequiredForTests(groups=(name,)) if with_pytest[0] == "group" else RequiredForTests(extras=(name,))
    if dev.groups or dev.extras:
        return dev
    return RequiredForTests(files=tuple(path for path in DEV_FILES if project.read(path) is not None))


def _named(facts: ProjectMetadata, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the project's groups and extras that have one of these names."""
    groups, extras = ([key for key in table if normal(key) in names] for table in (facts.groups, facts.extras))
    return tuple(groups), tuple(extras)


def _matching_keys(names: Iterable[str], table: Mapping[str, Any]) -> tuple[str, ...]:
    normal_names = {normal(name) for name in names}
    return tuple(key for key in table if normal(key) in normal_names)


def _groups_with_pytest(facts: ProjectMetadata) -> tuple[str, list[str]] | None:
    """Returns "group" with the groups that bring pytest, smallest first; else "extra" with such extras; else None."""
    kinds: tuple[tuple[str, Iterable[str], Callable[[str], Iterable[str]]], ...] = (
        ("group", facts.groups, lambda name: group(facts.groups, name)),
        ("extra", facts.extras, lambda name: extra(facts.name, facts.extras, name)),
    )
    for kind, keys, lines_of in kinds:
        sizes = {}
        for key in keys:
            try:
                names = [name_of(line) for line in lines_of(key)]
            except WrongRequirementError:  # it is an error only where the spec names it
                continue
            if any(name == "pytest" or name.startswith("pytest-") for name in names):
                sizes[key] = len(names)
        if sizes:
            return kind, sorted(sizes, key=lambda key: (sizes[key], key))
    return None


def has_tests(project: DecodedFiles, facts: ProjectMetadata) -> bool:
    """Whether the project has tests, or settings, for pytest."""
    if pytest_settings(project, facts) is not None or project.read("conftest.py") is not None:
        return True
    return any(project.glob(pattern) for pattern in TESTS)
