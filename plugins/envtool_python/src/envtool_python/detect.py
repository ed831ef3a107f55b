"""What `envtool init` writes for a Python project: the command that runs its tests, by the project's own files.

The first of these that applies: Django's own runner (manage.py, unless pytest-django is configured); the commands of
tox's default environment or of nox's test session, if they are plain; pytest, if it would collect something; unittest,
if it would discover tests. A project without tests gets no command, for none could pass. Extras of the project that its
test files import are installed.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python.checkout_projects import PROJECTS, project_directories
from envtool_python.decode import DecodedFiles, WrongFileError, parse_python
from envtool_python.dependency_sources import DependencySources
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.project_layers import depth_of, pip_options
from envtool_python.python_versions import HOST_PATH, env_python, fits_minor, suite_for
from envtool_python.requirements import WrongRequirementError, extra, group, name_of, normal
from envtool_python.requirements_of_tests import requirements_of_tests
from envtool_python.test_config import pytest_settings, tox_commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")
COLLECTED = ("test_*.py", "**/test_*.py", "*_test.py", "**/*_test.py")  # by pytest's default settings
DISCOVERED = ("tests.py", "**/tests.py", "test.py", "**/test.py")  # by unittest, and not by pytest
BENCHMARKS = {"asv_bench", "bench", "benches", "benchmark", "benchmarks", "perf"}  # names of directories
PYTEST = "pytest {{ args }}"
UNITTEST = "python -m unittest discover {{ args }}"
RUNNERS = ("pytest", "py.test", "python", "coverage", "unittest", "trial", "stestr", "nosetests")
_TESTS = re.compile(r"(unit)?_?tests?(ing)?|pytest|unit")  # names of nox's sessions
_DEFAULT_BASE = "bookworm"
_MAX_TEST_FILES = 50  # test files whose imports are read


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's files suggest, at most one detection. Runs no code of the project."""
    files = DecodedFiles(project)
    try:
        path = next((path for path in FILES if files.read(path) is not None), "")
        if not path:
            return []
        facts = read_facts(files)
        options = _test_task(files, facts)
        sources, ambiguity, installed = _sibling_sources(
            files, facts, getattr(project, "directory", "."), options or {}
        )
        options = _task_without_subprojects(
            files, options, [directory for directory in _subproject_directories(files) if directory not in installed]
        )
        options = _task_without_benchmarks(files, facts, options)
        options = _with_imported_extras(files, facts, options)
        options, obstacle = (
            (options, "") if options is None or facts.installable else _task_without_install(files, facts, options)
        )
    except WrongFileError as error:
        reason = f"{error.file}:{error.line}: {error}"
        return [api.Detection(language="python", reason=reason)]
    reason = path + (" with [project]" if path == "pyproject.toml" and "[project]" in (files.read(path) or "") else "")
    env: dict[str, api.Json] = {**_base(facts), "language": "python"}
    if options is None:
        return [api.Detection(language="python", reason=f"{reason}, and no tests", env=env)]
    if problem := ambiguity or obstacle:
        return [api.Detection(language="python", reason=f"{reason}, but {problem}", env=env)]
    env |= options
    env |= {"sources": sources} if sources else {}
    return [api.Detection(language="python", reason=reason, env=env)]


def _sibling_sources(
    project: DecodedFiles, facts: ProjectMetadata, directory: str, options: dict[str, api.Json]
) -> tuple[dict[str, api.Json], str, list[str]]:
    """Finds projects of the checkout that have the name of a requirement.

    Returns the spec's `sources` for them (name -> directory; none for those that the project's own files name); an
    error text where several projects have one name; and the directories of all sources.
    """
    sources_option: dict[str, str] = {}
    env = api.EnvDraft(
        name="unit", base_kind="host", options={key: value for key, value in options.items() if key != "tasks"},
        layer_names=(), where=api.Where(file="", line=1, column=1), directory=directory,
    )  # fmt: skip
    while True:
        sources = DependencySources(project, sources_option, depth_of(directory))
        try:
            pip_options(env, project, facts, sources)
        except WrongRequirementError:  # reported when the spec is checked
            return {}, "", []
        candidates = {name: sources.projects.named(name) for name in sources.wrong if name not in sources_option}
        ambiguous_name = next((name for name, directories in candidates.items() if len(directories) > 1), "")
        if ambiguous_name:
            error = sources.wrong[ambiguous_name]
            return {}, f"{error.message} {error.hint}", []
        unique = {name: directories[0] for name, directories in candidates.items() if directories}
        if not unique:
            return {**sources_option}, "", [*sources.chosen.values()]
        sources_option |= unique


def _subproject_directories(project: DecodedFiles) -> list[str]:
    """Returns the directories of projects below this one; their tests belong to them."""
    directories = {posixpath.dirname(path) for name in PROJECTS for path in project.glob(f"**/{name}")}
    return project_directories(directories - {""})


def _task_without_subprojects(
    project: DecodedFiles, options: dict[str, api.Json] | None, directories: list[str]
) -> dict[str, api.Json] | None:
    """Returns the task without the tests of `directories`, projects below that are not installed: those tests could
    not pass. Returns None if no test remains."""
    command = (options or {}).get("tasks", {}).get("test") if isinstance((options or {}).get("tasks"), dict) else ""  # type: ignore[union-attr]
    if command not in (PYTEST, UNITTEST) or not directories:
        return options
    tests = {path for pattern in (COLLECTED if command == PYTEST else DISCOVERED) for path in project.glob(pattern)}
    with_tests = {directory for directory in directories if any(path.startswith(f"{directory}/") for path in tests)}
    if not any(not path.startswith(tuple(f"{directory}/" for directory in directories)) for path in tests):
        return None
    if command == PYTEST and with_tests:
        return {
            **(options or {}),
            **_task(
                " ".join(
                    [
                        "pytest",
                        *(f"--ignore={shlex.quote(directory)}" for directory in sorted(with_tests)),
                        "{{ args }}",
                    ]
                )
            ),
        }
    return options


def _task_without_benchmarks(
    project: DecodedFiles, facts: ProjectMetadata, options: dict[str, api.Json] | None
) -> dict[str, api.Json] | None:
    """Returns the task without the benchmarks, which need more than the tests do, where pytest would collect them: they
    are beside a directory of tests, and the project's settings name no directory."""
    if (
        options is None
        or options["tasks"] != {"test": PYTEST}
        or "testpaths" in (pytest_settings(project, facts) or {})
    ):
        return options
    tops = {path.partition("/")[0] for pattern in COLLECTED for path in project.glob(pattern) if "/" in path}
    benchmarks = sorted(tops & BENCHMARKS)
    if not benchmarks or not tops & {"test", "tests"}:
        return options
    return options | _task(" ".join(["pytest", *(f"--ignore={name}" for name in benchmarks), "{{ args }}"]))


def _with_imported_extras(
    project: DecodedFiles, facts: ProjectMetadata, options: dict[str, api.Json] | None
) -> dict[str, api.Json] | None:
    """Returns the options with the extras of the project whose modules its tests cannot do without."""
    if options is None or "extras" in options or not facts.extras:
        return options
    try:
        required = requirements_of_tests({}, project, facts)
    except WrongRequirementError:  # reported when the spec is checked
        return options
    present = {name_of(line) for line in (*(facts.dependencies or ()), *required.lines)}
    for name in required.groups:
        present |= {name_of(line) for line in group(facts.groups, name)}
    imported = set[str]()
    for name in _needed_modules(project):
        top, *below = map(normal, name.split("."))
        # a module of the project's own that has the name of an extra, as `cattrs.preconf.msgpack`, imports it
        imported |= {*below} if below and top == normal(facts.name) else {top}
    imported -= present
    extras = [*required.extras]
    for name in facts.extras:
        try:
            brings = {name_of(line) for line in extra(facts.name, facts.extras, name)}
        except WrongRequirementError:  # it is an error only where the spec names it
            continue
        modules = brings | {item.removeprefix("py") for item in brings if item.startswith("py")}
        if imported & ({normal(name)} | modules) and name not in extras:
            extras.append(name)
    return options if extras == [*required.extras] else {**options, "extras": [*extras]}


def _needed_modules(project: DecodedFiles) -> set[str]:
    """Returns the names of modules without which a test file cannot be imported: those that it imports always, and does
    not skip itself for."""
    names: set[str] = set()
    for tree in _test_files(project):
        skipped = {
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip") and node.args
            and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
        }  # fmt: skip
        names |= {name for name in _imports(tree.body) if not f"{name}.".startswith((*(f"{top}." for top in skipped),))}
    return names


def _task_without_install(
    project: DecodedFiles, facts: ProjectMetadata, options: dict[str, api.Json]
) -> tuple[dict[str, api.Json], str]:
    """Returns the task for a project that is not a package, and what keeps its tests from importing the project's
    modules ("" if nothing does). `python -m pytest` finds modules in the current directory."""
    command = options["tasks"]["test"]  # type: ignore[index,call-overload]
    if not isinstance(command, str) or not command.startswith("pytest "):
        return options, ""
    settings = pytest_settings(project, facts) or {}
    sets_path = any("sys.path" in (project.read(path) or "") for path in project.glob("**/conftest.py"))
    if sets_path or "pythonpath" in settings or "python_paths" in settings:
        return options, ""
    names = sorted(_imported_modules(project))
    for name in names:
        if _has_any(project, (f"src/{name}.py", f"src/{name}/*.py")):
            advice = "a pyproject.toml with [project] and [build-system] makes it a package, which is installed"
            return options, f"its tests import {name} from src/, where they do not find it: {advice}"
    if any(_has_any(project, (f"{name}.py", f"{name}/*.py")) for name in names):
        return {**options, **_task(f"python -m {command}")}, ""
    return options, ""


def _imported_modules(project: DecodedFiles) -> set[str]:
    """Returns the names of top-level modules that the first _MAX_TEST_FILES test files import."""
    return {name.partition(".")[0] for tree in _test_files(project) for name in _imports(ast.walk(tree))}


def _test_files(project: DecodedFiles) -> Iterator[ast.Module]:
    for path in sorted({path for pattern in COLLECTED for path in project.glob(pattern)})[:_MAX_TEST_FILES]:
        tree = parse_python(project.read(path) or "")
        if tree is not None:  # else pytest reports it
            yield tree


def _imports(nodes: Iterable[ast.AST]) -> set[str]:
    """Returns the names of the modules that statements import, those in other statements left out."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def _base(facts: ProjectMetadata) -> dict[str, api.Json]:
    """Returns a Debian base if this machine has no Python that the project supports, else nothing."""
    host_version = env_python(api.EnvDraft(
        name="unit", base_kind="host", options={}, layer_names=(), where=api.Where(file="", line=1, column=1)
    ))  # fmt: skip
    specifier = facts.requires_python
    if host_version is not None and (not specifier or fits_minor(specifier, host_version)):
        return {}
    if host_version is None and shutil.which("python3", path=HOST_PATH) and not specifier:
        return {}
    return {"base": {"debian": (suite_for(specifier) if specifier else "") or _DEFAULT_BASE}}


def _test_task(project: DecodedFiles, facts: ProjectMetadata) -> dict[str, api.Json] | None:
    """Returns the task `test` with the env's keys that it needs; None if the project has no tests."""
    settings = pytest_settings(project, facts)
    if "django" in (project.read("manage.py") or "").lower():
        uses_pytest_django = settings is not None and "DJANGO_SETTINGS_MODULE" in settings
        if not uses_pytest_django:
            return _task("python manage.py test {{ args }}")
    if commands := _tox_to_shell(tox_commands(project, facts)):
        return _task(commands)
    if task := _nox_task(project.read("noxfile.py") or ""):
        return task
    if settings or project.read("conftest.py") is not None or _has_any(project, COLLECTED):
        return _task(PYTEST) if settings or _has_any(project, COLLECTED) else None
    if _has_any(project, DISCOVERED):
        return _task(UNITTEST)
    return None


def _task(command: str) -> dict[str, api.Json]:
    return {"tasks": {"test": command}}


def _has_any(project: DecodedFiles, patterns: tuple[str, ...]) -> bool:
    return any(project.glob(pattern) for pattern in patterns)


# ---- tox -----------------------------------------------------------------------------------------------------------

_SUBSTITUTION = re.compile(r"\{([^{}]*)\}")


def _tox_to_shell(lines: list[str]) -> str:
    """Returns tox's commands as one line of shell; empty if a command needs what only tox has."""
    commands = []
    for line in lines:
        command = _substitute_tox(line)
        word = command.partition(" ")[0]
        if word not in RUNNERS or "setup.py" in command:
            return ""
        commands.append(command)
    return " && ".join(commands)


def _substitute_tox(line: str) -> str:
    """Returns a command with tox's substitutions made; empty if one is not known here."""
    unknown = False

    def substitute(match: re.Match[str]) -> str:
        nonlocal unknown
        name, colon, default = match[1].partition(":")
        if name == "posargs":
            default = default.replace('"', "").replace("'", "")
            return f"{{{{ args or '{default}' }}}}" if colon and default else "{{ args }}"
        if name in ("toxinidir", "tox_root"):
            return "."
        if name in ("envpython", "env_python"):
            return "python"
        unknown = True
        return ""

    text = _SUBSTITUTION.sub(substitute, line.replace("[]", "{posargs}"))
    return "" if unknown or text.startswith("-") else text


# ---- nox -----------------------------------------------------------------------------------------------------------


def _nox_task(text: str) -> dict[str, api.Json] | None:
    """Returns the task and needs of nox's first test session; None without one, or if its calls are not all literal."""
    tree = parse_python(text)
    for node in tree.body if tree is not None else ():  # else nox reports it
        if isinstance(node, ast.FunctionDef) and _TESTS.fullmatch(node.name) and _is_session(node):
            return _session_task(node)
    return None


def _is_session(function: ast.FunctionDef) -> bool:
    names = {
        ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
        for decorator in function.decorator_list
    }
    return bool(names & {"nox.session", "session"}) and len(function.args.args) == 1


def _session_task(function: ast.FunctionDef) -> dict[str, api.Json] | None:
    session = function.args.args[0].arg
    commands: list[str] = []
    needs: dict[str, list[api.Json]] = {"packages": [], "extras": [], "requirements": []}
    for name, words in _session_calls(function, session):
        if words is None:
            return None
        if name == "run" and words and words[0] in RUNNERS:
            commands.append(" ".join(word if word == "{{ args }}" else shlex.quote(word) for word in words))
        elif name == "install":
            _add_installed(words, needs)
        else:
            return None
    if not commands:
        return None
    return {**{key: value for key, value in needs.items() if value}, **_task(" && ".join(commands))}


def _session_calls(function: ast.FunctionDef, session: str) -> Iterator[tuple[str, list[str] | None]]:
    for statement in function.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Constant):  # the docstring
            continue
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            yield "", None
            return
        if ast.unparse(call.func.value) != session or call.keywords:
            yield "", None
            return
        yield call.func.attr, _words(call.args, session)


def _words(arguments: list[Any], session: str) -> list[str] | None:
    words = []
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            words.append(argument.value)
        elif isinstance(argument, ast.Starred) and ast.unparse(argument.value) == f"{session}.posargs":
            words.append("{{ args }}")
        else:
            return None
    return words


def _add_installed(words: list[str], needs: dict[str, list[api.Json]]) -> None:
    previous = ""
    for word in words:
        if previous in ("-r", "--requirement"):
            needs["requirements"].append(word)
        elif match := re.fullmatch(r"\.\[([\w.,-]+)\]", word):
            needs["extras"] += match[1].split(",")
        elif not word.startswith(("-", ".", "/")):
            needs["packages"].append(word)
        previous = word
