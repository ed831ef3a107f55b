"""What `envtool init` writes for a Python project: a command that its own files say runs its tests, or nothing.

In this order: Django's own runner (manage.py, where pytest-django is not asked for); the commands of tox's default
environment, or of nox's session for tests, where they are plain; pytest, where there is something that it collects;
unittest, where there are its tests. A project without tests has no command that could pass.
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
from envtool_python.decode import DecodedFiles, WrongFileError
from envtool_python.dependency_sources import DependencySources
from envtool_python.language import depth_of, pip_options
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.python_versions import HOST_PATH, fits_minor, known, suite_for
from envtool_python.requirements import WrongRequirementError
from envtool_python.test_config import pytest_settings, tox_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")
COLLECTED = ("test_*.py", "**/test_*.py", "*_test.py", "**/*_test.py")  # by pytest, unless it is told otherwise
DISCOVERED = ("tests.py", "**/tests.py", "test.py", "**/test.py")  # by unittest, and not by pytest
PYTEST = "pytest {{ args }}"
UNITTEST = "python -m unittest discover {{ args }}"
RUNNERS = ("pytest", "py.test", "python", "coverage", "unittest", "trial", "stestr", "nosetests")
_TESTS = re.compile(r"(unit)?_?tests?(ing)?|pytest|unit")  # names of nox's sessions
_DEFAULT_BASE = "bookworm"
_MANY = 50  # test files that are looked into


def detect(project: api.Project) -> list[api.Detection]:
    """A guess from the project's files alone; nothing of it is executed."""
    texts = DecodedFiles(project)
    try:
        path = next((path for path in FILES if texts.read(path) is not None), "")
        if not path:
            return []
        facts = read_facts(texts)
        more = _test_task(texts, facts)
        beside, unclear, installed = _sibling_sources(texts, facts, getattr(project, "directory", "."), more or {})
        more = _task_without_subprojects(
            texts, more, [place for place in _subproject_directories(texts) if place not in installed]
        )
        more, lacking = (more, "") if more is None or facts.installable else _task_without_install(texts, facts, more)
    except WrongFileError as error:
        reason = f"{error.file}:{error.line}: {error}"
        return [api.Detection(language="python", reason=reason)]
    reason = path + (" with [project]" if path == "pyproject.toml" and "[project]" in (texts.read(path) or "") else "")
    env: dict[str, api.Json] = {**_base(facts), "language": "python"}
    if more is None:
        return [api.Detection(language="python", reason=f"{reason}, and no tests", env=env)]
    if wrong := unclear or lacking:
        return [api.Detection(language="python", reason=f"{reason}, but {wrong}", env=env)]
    env |= more
    env |= {"sources": beside} if beside else {}
    return [api.Detection(language="python", reason=reason, env=env)]


def _sibling_sources(
    project: DecodedFiles, facts: ProjectMetadata, directory: str, options: dict[str, api.Json]
) -> tuple[dict[str, api.Json], str, list[str]]:
    """The spec's `sources` for requirements that projects of the checkout are called like, their directories; what is
    not clear, where several are; and the directories that come along. What the project's own files say needs none."""
    given: dict[str, str] = {}
    env = api.EnvDraft(
        name="unit", base_kind="host", options={key: value for key, value in options.items() if key != "tasks"},
        layer_names=(), where=api.Where(file="", line=1, column=1), directory=directory,
    )  # fmt: skip
    while True:
        sources = DependencySources(project, given, depth_of(directory))
        try:
            pip_options(env, project, facts, sources)
        except WrongRequirementError:  # told where the spec is checked
            return {}, "", []
        new = {name: sources.projects.named(name) for name in sources.wrong if name not in given}
        several = next((name for name, places in new.items() if len(places) > 1), "")
        if several:
            wrong = sources.wrong[several]
            return {}, f"{wrong.message} {wrong.hint}", []
        found = {name: places[0] for name, places in new.items() if places}
        if not found:
            return {**given}, "", [*sources.chosen.values()]
        given |= found


def _subproject_directories(project: DecodedFiles) -> list[str]:
    """Directories of projects below, whose tests are theirs."""
    found = {posixpath.dirname(path) for name in PROJECTS for path in project.glob(f"**/{name}")}
    return project_directories(found - {""})


def _task_without_subprojects(
    project: DecodedFiles, more: dict[str, api.Json] | None, apart: list[str]
) -> dict[str, api.Json] | None:
    """The same task without the tests of projects below that are not installed, which could not pass; None where no
    test is left."""
    command = (more or {}).get("tasks", {}).get("test") if isinstance((more or {}).get("tasks"), dict) else ""  # type: ignore[union-attr]
    if command not in (PYTEST, UNITTEST) or not apart:
        return more
    tests = {path for pattern in (COLLECTED if command == PYTEST else DISCOVERED) for path in project.glob(pattern)}
    theirs = {place for place in apart if any(path.startswith(f"{place}/") for path in tests)}
    if not any(not path.startswith(tuple(f"{place}/" for place in apart)) for path in tests):
        return None
    if command == PYTEST and theirs:
        return {
            **(more or {}),
            **_task(" ".join(["pytest", *(f"--ignore={shlex.quote(each)}" for each in sorted(theirs)), "{{ args }}"])),
        }
    return more


def _task_without_install(
    project: DecodedFiles, facts: ProjectMetadata, more: dict[str, api.Json]
) -> tuple[dict[str, api.Json], str]:
    """The task of a project that is not a package: its tests find the modules beside them by `python -m pytest`, which
    looks in the current directory. And what keeps them from being found, empty where nothing does."""
    command = more["tasks"]["test"]  # type: ignore[index,call-overload]
    if not isinstance(command, str) or not command.startswith("pytest "):
        return more, ""
    settings = pytest_settings(project, facts) or {}
    changed = any("sys.path" in (project.read(path) or "") for path in project.glob("**/conftest.py"))
    if changed or "pythonpath" in settings or "python_paths" in settings:
        return more, ""
    names = sorted(_imported_modules(project))
    for name in names:
        if _any(project, (f"src/{name}.py", f"src/{name}/*.py")):
            how = "a pyproject.toml with [project] and [build-system] makes it a package, which is installed"
            return more, f"its tests import {name} from src/, where they do not find it: {how}"
    if any(_any(project, (f"{name}.py", f"{name}/*.py")) for name in names):
        return {**more, **_task(f"python -m {command}")}, ""
    return more, ""


def _imported_modules(project: DecodedFiles) -> set[str]:
    """Names of the modules that the first tests import."""
    found: set[str] = set()
    for path in sorted({path for pattern in COLLECTED for path in project.glob(pattern)})[:_MANY]:
        try:
            tree = ast.parse(project.read(path) or "")
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # pytest has the words for it
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def _base(facts: ProjectMetadata) -> dict[str, api.Json]:
    """A base, where this machine has no Python, or none that the project wants."""
    here = known(api.EnvDraft(
        name="unit", base_kind="host", options={}, layer_names=(), where=api.Where(file="", line=1, column=1)
    ))  # fmt: skip
    wanted = facts.requires_python
    if here is not None and (not wanted or fits_minor(wanted, here)):
        return {}
    if here is None and shutil.which("python3", path=HOST_PATH) and not wanted:
        return {}
    return {"base": {"debian": (suite_for(wanted) if wanted else "") or _DEFAULT_BASE}}


def _test_task(project: DecodedFiles, facts: ProjectMetadata) -> dict[str, api.Json] | None:
    """The task `test`, and the env's keys that it needs; None where nothing would pass."""
    settings = pytest_settings(project, facts)
    if "django" in (project.read("manage.py") or "").lower():
        asked = settings is not None and "DJANGO_SETTINGS_MODULE" in settings
        if not asked:
            return _task("python manage.py test {{ args }}")
    if commands := _tox_to_shell(tox_commands(project, facts)):
        return _task(commands)
    if found := _nox(project.read("noxfile.py") or ""):
        return found
    if settings or project.read("conftest.py") is not None or _any(project, COLLECTED):
        return _task(PYTEST) if settings or _any(project, COLLECTED) else None
    if _any(project, DISCOVERED):
        return _task(UNITTEST)
    return None


def _task(command: str) -> dict[str, api.Json]:
    return {"tasks": {"test": command}}


def _any(project: DecodedFiles, patterns: tuple[str, ...]) -> bool:
    return any(project.glob(pattern) for pattern in patterns)


# ---- tox -----------------------------------------------------------------------------------------------------------

_SUBSTITUTION = re.compile(r"\{([^{}]*)\}")


def _tox_to_shell(lines: list[str]) -> str:
    """Tox's commands as a shell's, empty where one of them needs what only tox has."""
    found = []
    for line in lines:
        command = _substitute_tox(line)
        word = command.partition(" ")[0]
        if word not in RUNNERS or "setup.py" in command:
            return ""
        found.append(command)
    return " && ".join(found)


def _substitute_tox(line: str) -> str:
    """A command with what tox would put in, empty where that is not known."""
    unknown = False

    def put(match: re.Match[str]) -> str:
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

    text = _SUBSTITUTION.sub(put, line.replace("[]", "{posargs}"))
    return "" if unknown or text.startswith("-") else text


# ---- nox -----------------------------------------------------------------------------------------------------------


def _nox(text: str) -> dict[str, api.Json] | None:
    """The first session for tests whose calls are all written out; None where there is none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # its owner will hear of it from nox
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _TESTS.fullmatch(node.name) and _is_session(node):
            return _session(node)
    return None


def _is_session(function: ast.FunctionDef) -> bool:
    names = {ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in function.decorator_list}
    return bool(names & {"nox.session", "session"}) and len(function.args.args) == 1


def _session(function: ast.FunctionDef) -> dict[str, api.Json] | None:
    own = function.args.args[0].arg
    commands: list[str] = []
    needs: dict[str, list[api.Json]] = {"packages": [], "extras": [], "requirements": []}
    for name, words in _calls(function, own):
        if words is None:
            return None
        if name == "run" and words and words[0] in RUNNERS:
            commands.append(" ".join(word if word == "{{ args }}" else shlex.quote(word) for word in words))
        elif name == "install":
            _installed(words, needs)
        else:
            return None
    if not commands:
        return None
    return {**{key: value for key, value in needs.items() if value}, **_task(" && ".join(commands))}


def _calls(function: ast.FunctionDef, own: str) -> Iterator[tuple[str, list[str] | None]]:
    for statement in function.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Constant):  # the docstring
            continue
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            yield "", None
            return
        if ast.unparse(call.func.value) != own or call.keywords:
            yield "", None
            return
        yield call.func.attr, _words(call.args, own)


def _words(arguments: list[Any], own: str) -> list[str] | None:
    words = []
    for each in arguments:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            words.append(each.value)
        elif isinstance(each, ast.Starred) and ast.unparse(each.value) == f"{own}.posargs":
            words.append("{{ args }}")
        else:
            return None
    return words


def _installed(words: list[str], needs: dict[str, list[api.Json]]) -> None:
    previous = ""
    for word in words:
        if previous in ("-r", "--requirement"):
            needs["requirements"].append(word)
        elif found := re.fullmatch(r"\.\[([\w.,-]+)\]", word):
            needs["extras"] += found[1].split(",")
        elif not word.startswith(("-", ".", "/")):
            needs["packages"].append(word)
        previous = word
