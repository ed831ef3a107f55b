"""What a project's own test configuration says that its tests need: tox's `deps`, and plugins of pytest that its
options take for granted. Pure.

Formats: tox.ini (https://tox.wiki, "Configuration"), [tool.tox] of pyproject.toml, and where pytest looks for options
(https://docs.pytest.org, "Configuration": pytest.ini, pyproject.toml, tox.ini, setup.cfg).
"""

from __future__ import annotations

import configparser
import re
from typing import TYPE_CHECKING, Any

from envtool_python.requirements import name_of, unique

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool_python.facts import Facts, Files

# Options of pytest, and settings, that only a plugin knows.
OPTIONS = (
    (r"--(no-)?cov\b", "pytest-cov"),
    (r"(-n[\s=]?(\d+|auto|logical)|--numprocesses|--dist)\b", "pytest-xdist"),
    (r"--timeout\b", "pytest-timeout"),
    (r"--benchmark-", "pytest-benchmark"),
    (r"--asyncio-mode\b", "pytest-asyncio"),
    (r"--reruns\b", "pytest-rerunfailures"),
    (r"--random-order\b", "pytest-random-order"),
    (r"--doctest-(plus|rst|ufunc)\b", "pytest-doctestplus"),
    (r"--mypy\b", "pytest-mypy"),
    (r"--flake8\b", "pytest-flake8"),
    (r"--ds\b", "pytest-django"),
)
SETTINGS = {
    "asyncio_mode": "pytest-asyncio",
    "doctest_plus": "pytest-doctestplus",
    "timeout": "pytest-timeout",
    "DJANGO_SETTINGS_MODULE": "pytest-django",
}
_CONDITION = re.compile(r"^[\w!,.{}-]+\s*:\s")  # `py36: mock`: of one factor only
_INCLUDE = re.compile(r"^(?:-r|--requirement)[\s=]*(\S+)$")


def tox_needs(project: Files, facts: Facts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requirement lines and requirement files of tox's default environment, as far as they hold for every one."""
    lines: list[str] = []
    files: list[str] = []
    for line in _tox_deps(project, facts):
        included = _INCLUDE.match(line)
        if included:
            path = included.group(1).replace("{toxinidir}/", "").replace("{tox_root}/", "").removeprefix("./")
            if "{" not in path and project.read(path) is not None:
                files.append(path)
        elif not line.startswith(("-", ".", "/")) and "{" not in line and not _CONDITION.match(line):
            name_of(line)
            lines.append(line)
    return tuple(lines), tuple(files)


def plugins_wanted(project: Files, facts: Facts) -> tuple[str, ...]:
    """The plugins without which pytest refuses, or ignores, the options that the project gives it."""
    settings = _pytest_settings(project, facts)
    value = settings.get("addopts", "")
    given = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    wanted = [plugin for pattern, plugin in OPTIONS if re.search(rf"(^|\s){pattern}", given)]
    return unique([*wanted, *(plugin for name, plugin in SETTINGS.items() if name in settings)])


def _tox_deps(project: Files, facts: Facts) -> Iterator[str]:
    table = _table(facts.tools, "tox")
    base = _table(table, "env_run_base").get("deps", ())
    yield from (line for line in base if isinstance(line, str))
    for text in (project.read("tox.ini"), table.get("legacy_tox_ini")):
        deps = _ini(text).get("testenv", {}).get("deps", "")
        yield from filter(None, (line.partition(" #")[0].strip() for line in deps.splitlines()))


def _pytest_settings(project: Files, facts: Facts) -> Mapping[str, Any]:
    """Those of the first file that has some, which is the one that pytest reads."""
    for path in ("pytest.ini", ".pytest.ini"):
        text = project.read(path)
        if text is not None:
            return _ini(text).get("pytest", {})
    own = _table(_table(facts.tools, "pytest"), "ini_options")
    if own:
        return own
    for path, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        settings = _ini(project.read(path)).get(section)
        if settings:
            return settings
    return {}


def _ini(text: object) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text if isinstance(text, str) else "")
    except configparser.Error:  # its owner will hear of it from tox or pytest
        return {}
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key, {})
    return found if isinstance(found, dict) else {}
