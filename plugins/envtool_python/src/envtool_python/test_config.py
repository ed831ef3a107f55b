"""What tests need by the project's own test configuration: tox's `deps`, and the pytest plugins that its options need.
Pure.

Formats: tox.ini (https://tox.wiki, "Configuration"), [tool.tox] of pyproject.toml, and where pytest looks for options
(https://docs.pytest.org, "Configuration": pytest.toml, pytest.ini, pyproject.toml, tox.ini, setup.cfg).
"""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any, TypeAlias

from envtool.api.toml_reader import read_toml
from envtool_python.poetry import table
from envtool_python.requirements import name_of, unique

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool_python.decode import FileReader
    from envtool_python.metadata import ProjectMetadata

Python: TypeAlias = "tuple[int, int] | None"  # the version of an env's Python, where it is known
# Options and settings of pytest that belong to plugins.
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
# The distributions of plugins that `-p NAME` loads. Other names are not guessed (`pytest-NAME`): that could install a
# stranger's package.
LOADED = {
    name: package
    for package, names in {
        "anyio": "anyio",
        "hypothesis": "hypothesispytest _hypothesis_pytestplugin",
        "pytest-asyncio": "asyncio pytest_asyncio",
        "pytest-benchmark": "benchmark pytest_benchmark",
        "pytest-cov": "pytest_cov pytest_cov.plugin",
        "pytest-django": "django pytest_django",
        "pytest-forked": "pytest_forked",
        "pytest-httpserver": "pytest_httpserver",
        "pytest-instafail": "instafail pytest_instafail",
        "pytest-mock": "pytest_mock",
        "pytest-random-order": "random_order",
        "pytest-randomly": "randomly pytest_randomly",
        "pytest-rerunfailures": "rerunfailures pytest_rerunfailures",
        "pytest-socket": "socket pytest_socket",
        "pytest-sugar": "sugar pytest_sugar",
        "pytest-timeout": "timeout pytest_timeout",
        "pytest-trio": "trio pytest_trio",
        "pytest-xdist": "xdist xdist.plugin xdist.looponfail",
    }.items()
    for name in names.split()
}
_CONDITION = re.compile(r"^([\w!,.{}-]+)\s*:\s+(.*)")  # as in `py36: mock`
_TESTING = frozenset(
    {"pytest", "test", "testing", "tests", "unit", "unittest", "unittests"}
)  # factors that mean a test env
_MAX_ALTERNATIVES = 1000  # of a condition
_INCLUDE = re.compile(r"^(?:-r|--requirement)[\s=]*(\S+)$")


def tox_needs(
    project: FileReader, facts: ProjectMetadata, python: Python = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the requirement lines and requirement files of tox's default environment that apply to every env, or to
    tests under this Python."""
    lines: list[str] = []
    files: list[str] = []
    for line in _tox_deps(project, facts, python):
        included = _INCLUDE.match(line)
        if included:
            path = included.group(1).replace("{toxinidir}/", "").replace("{tox_root}/", "").removeprefix("./")
            if "{" not in path and project.read(path) is not None:
                files.append(path)
        elif not line.startswith(("-", ".", "/")) and "{" not in line:
            name_of(line)
            lines.append(line)
    return tuple(lines), tuple(files)


def tox_groups_and_extras(
    project: FileReader, facts: ProjectMetadata, python: Python = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the dependency groups and the extras of the project that tox's default environment names."""
    run_tables = _tox_tables(project, facts)
    ini_tables = [_ini(text).get("testenv", {}) for text in _tox_texts(project, facts)]
    answers = []
    for key in ("dependency_groups", "extras"):
        names = [word for run_table in run_tables for word in _words(run_table.get(key, ()))]
        names += [
            word
            for ini_table in ini_tables
            for line in _matching_lines(ini_table.get(key, ""), python)
            for word in _words(line.replace(",", " "))
        ]
        answers.append(unique(name for name in names if re.fullmatch(r"[\w.-]+", name)))
    return answers[0], answers[1]


def tox_commands(project: FileReader, facts: ProjectMetadata) -> list[str]:
    """Returns the commands of tox's default environment that apply to every env, as they are written; none if one of
    them is not a single line."""
    commands: list[str] = []
    for text in _tox_texts(project, facts):
        setting = _ini(text).get("testenv", {}).get("commands", "")
        commands += _matching_lines(re.sub(r"\\\n\s*", " ", setting), None)
    for run_table in _tox_tables(project, facts):
        for command in run_table.get("commands", ()):
            if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
                return []
            commands.append(shlex.join(command).replace("'{posargs}'", "{posargs}"))
    return commands


def required_plugins(project: FileReader, facts: ProjectMetadata) -> tuple[str, ...]:
    """Returns the plugins without which pytest would refuse or ignore the project's options."""
    settings = pytest_settings(project, facts) or {}
    options = " ".join(_words(settings.get("addopts", "")))
    required = _plugin_requirements(settings.get("required_plugins", ""))
    required_names = {name_of(line) for line in required}
    plugins = [plugin for pattern, plugin in OPTIONS if re.search(rf"(^|\s){pattern}", options)]
    plugins += [plugin for name, plugin in SETTINGS.items() if name in settings]
    plugins += [LOADED[name] for name in re.findall(r"(?:^|\s)-p[\s=]?([\w.]+)(?=\s|$)", options) if name in LOADED]
    return unique([*required, *(plugin for plugin in plugins if plugin not in required_names)])


def _words(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value).split()


def _plugin_requirements(value: object) -> list[str]:
    """Returns the requirements of pytest's setting `required_plugins`. In an ini file, blanks separate requirements and
    may also surround bounds."""
    if isinstance(value, list):
        return [str(item) for item in value if name_of(str(item))]
    lines = re.split(r"[\s]+(?=[A-Za-z])", re.sub(r"\s*([<>=!~]=?|,)\s*", r"\1", str(value).strip()))
    return [line for line in lines if name_of(line)]


def _tox_deps(project: FileReader, facts: ProjectMetadata, python: Python) -> Iterator[str]:
    for run_table in _tox_tables(project, facts):
        yield from _matching_lines(
            "\n".join(line for line in run_table.get("deps", ()) if isinstance(line, str)), python
        )
    for text in _tox_texts(project, facts):
        deps = _ini(text).get("testenv", {}).get("deps", "")
        yield from _matching_lines(deps, python)


def _matching_lines(setting: str, python: Python) -> Iterator[str]:
    """Yields the lines of a setting of tox.ini that apply to tests under this Python (None: any): those without a
    condition, or with one that factors for tests and this Python meet (`unit: pytest`, `py{310,311}: ipython`)."""
    for line in setting.splitlines():
        text = line.partition(" #")[0].strip()
        condition = _CONDITION.match(text)
        if condition is not None:
            text = condition.group(2) if _factor_matches(condition.group(1), python) else ""
        if text:
            yield text


def _factor_matches(condition: str, python: Python) -> bool:
    """Whether a condition applies to tests. `,` joins alternatives, `-` joins factors that must all hold, `!` negates
    one. An alternative must name tests or the Python, and no other factor."""
    our_factors = _TESTING | ({f"py{python[0]}{python[1]}", f"py{python[0]}.{python[1]}"} if python else set())
    for alternative in _alternatives(condition):
        factors = set(alternative.split("-"))
        absent = {factor[1:] for factor in factors if factor.startswith("!")}
        present = {factor for factor in factors if not factor.startswith("!")}
        if present and present <= our_factors and not absent & our_factors:
            return True
    return False


def _alternatives(condition: str) -> Iterator[str]:
    """Yields the alternatives of a condition, at most _MAX_ALTERNATIVES of each part: py310-unit, py311-unit and lint
    for `py{310,311}-unit,lint`."""
    for text in re.findall(r"(?:\{[^{}]*\}|[^,{}])+", condition):
        parts = [part.split(",") if number % 2 else [part] for number, part in enumerate(re.split("[{}]", text))]
        yield from itertools.islice(map("".join, itertools.product(*parts)), _MAX_ALTERNATIVES)


def _tox_tables(project: FileReader, facts: ProjectMetadata) -> list[Mapping[str, Any]]:
    tox_toml = _toml(project.read("tox.toml") or "")
    return [table(settings, "env_run_base") for settings in (table(facts.tools, "tox"), tox_toml)]


def _tox_texts(project: FileReader, facts: ProjectMetadata) -> list[object]:
    return [project.read("tox.ini"), table(facts.tools, "tox").get("legacy_tox_ini")]


def pytest_settings(project: FileReader, facts: ProjectMetadata) -> Mapping[str, Any] | None:
    """Returns the settings of the first file that has some, as pytest does; None if no file has any."""
    for path in ("pytest.toml", ".pytest.toml"):
        text = project.read(path)
        if text is not None:
            return table(_toml(text), "pytest")
    for path in ("pytest.ini", ".pytest.ini"):
        text = project.read(path)
        if text is not None:
            return _ini(text).get("pytest", {})
    native = table(facts.tools, "pytest")
    own_settings = {
        **table(native, "ini_options"),
        **{key: value for key, value in native.items() if key != "ini_options"},
    }
    if own_settings:
        return own_settings
    for path, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        settings = _ini(project.read(path)).get(section)
        if settings:
            return settings
    return {} if "pytest" in facts.tools else None


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return read_toml(text)
    except tomllib.TOMLDecodeError:  # pytest reports it
        return {}


def _ini(text: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(text, str) or not text:
        return {}
    import configparser

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:  # tox or pytest reports it
        return {}
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}
