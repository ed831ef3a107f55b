"""`language: python`: what a test env of a Python project needs, read from the project's own files. Pure.

The layers, in order:

    python3          apt: [python3 …], on a `debian` base and where `python:` names no other interpreter
    requirements     pip: what the project requires, with what its tests require, pytest where nothing brings it
    project          python-project: the project itself, over whatever copy of it came along

What its tests require: the dependency groups test, tests, testing and the extras of the same names; where there are
none of these, requirement files by name (TEST_FILES); where there are none, `deps` of tox's default environment; else
group or extra dev, then DEV_FILES. Beside them plugins that pytest's options in the project take for granted.
requirements.txt counts where pyproject.toml does not list the dependencies itself.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_python.conventions import plugins_wanted, tox_needs
from envtool_python.editable import build_text, decisive_files
from envtool_python.facts import Facts, WrongFileError, read_facts
from envtool_python.requirements import (
    WrongRequirementError,
    extra,
    flatten,
    group,
    name_of,
    normal,
    own_extras,
    unique,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

TEST_NAMES = ("test", "tests", "testing")
TEST_FILES = (
    "requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "requirements_tests.txt",
    "test-requirements.txt", "test_requirements.txt", "requirements/test.txt", "requirements/tests.txt",
    "requirements/testing.txt", "tests/requirements.txt", "test/requirements.txt",
)  # fmt: skip
DEV_FILES = (
    "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "dev_requirements.txt",
    "requirements/dev.txt",
)  # fmt: skip


def _strings(description: str) -> api.Json:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


class Python(api.Language):
    """An env that runs a Python project's tests."""

    name: ClassVar[str] = "python"
    options: ClassVar[Mapping[str, api.Json]] = {
        "python": {"type": "string", "description": "the interpreter in the env (default: python3)"},
        "packages": _strings("further requirements, as in `pytest-cov>=5`"),
        "requirements": _strings("requirement files (default: those found by name)"),
        "constraints": _strings("constraint files"),
        "groups": _strings("dependency groups (default: test, tests, testing, else dev, where they exist)"),
        "extras": _strings("extras of the project (default: test, tests, testing, else dev, where they exist)"),
        "install": {
            "enum": ["editable", "wheel", "none"],
            "description": "how the project itself is installed (default: editable, but a wheel where the build "
            "backend compiles and is no setuptools, and none where there is nothing to install)",
        },
        "version": {
            "type": "string",
            "description": "the project's version, where its build backend asks version control (default: by its tags)",
        },
    }

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """See the module. Raises SpecError where the project's own files are wrong."""
        try:
            return _layers(env, project, read_facts(project))
        except WrongFileError as error:
            where = api.Where(file=error.file, line=error.line, column=error.column)
            text = ((project.read(error.file) or "").splitlines()[error.line - 1 : error.line] or [""])[0]
            raise api.SpecError((api.Problem(where=where, message=str(error), code="pyproject", text=text),)) from None
        except WrongRequirementError as error:
            raise api.SpecError((api.Problem(where=env.where, message=str(error), code="requirements"),)) from None


def _layers(env: api.EnvDraft, project: api.Project, facts: Facts) -> tuple[api.LayerDraft, ...]:
    options: Mapping[str, Any] = env.options
    names = _Names(env.layer_names)
    python = str(options.get("python", "python3"))
    install = options.get("install") or _install(facts)
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian" and python == "python3":
        packages = ["python3", *(["python3-dev", "build-essential"] if facts.compiled else [])]
        drafts.append(api.LayerDraft(name=names.new("python3"), kind="apt", options=[*packages], after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    pip = _pip(options, project, facts)
    if pip:
        drafts.append(
            api.LayerDraft(name=names.new("requirements"), kind="pip", options=_with(pip, python, options), needs=needs)
        )
        needs = (*needs, drafts[-1].name)
    if install != "none":
        chosen: dict[str, api.Json] = {"install": install}
        if facts.declared:  # then no edit elsewhere in pyproject.toml changes what its build needs
            chosen["build"] = sha256(build_text(facts).encode()).hexdigest()
        if install == "editable":
            files, by_name = decisive_files(project, facts)
            chosen |= {key: [*paths] for key, paths in (("files", files), ("names", by_name)) if paths}
        drafts.append(
            api.LayerDraft(
                name=names.new("project"), kind="python-project", options=_with(chosen, python, options), needs=needs
            )
        )
    return tuple(drafts)


class _Names:
    """Layer names that the env does not have yet."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        self.taken = set(taken)

    def new(self, name: str) -> str:
        while name in self.taken:
            name = f"python-{name}"
        self.taken.add(name)
        return name


def _with(chosen: dict[str, api.Json], python: str, options: Mapping[str, Any]) -> api.Json:
    if python != "python3":
        chosen["python"] = python
    if options.get("version"):
        chosen["version"] = options["version"]
    return chosen


def _install(facts: Facts) -> str:
    if not facts.installable:
        return "none"
    return facts.install


def _pip(options: Mapping[str, Any], project: api.Project, facts: Facts) -> dict[str, api.Json]:
    """The pip layer's options; empty where nothing is required. Requirement strings are written out, so that the
    layer depends on them and not on whatever else pyproject.toml says.
    """
    groups, extras, files, more = _test_needs(options, project, facts)
    lines: list[str] = [*options.get("packages", ()), *more]
    for name in groups:
        lines += own_extras(facts.name, facts.extras, group(facts.groups, name))
    found = flatten(project.read, files, options.get("constraints", ()))
    extras = unique([*extras, *(found.extras or ())])
    answer: dict[str, api.Json] = {}
    if facts.dependencies is not None:
        lines += facts.dependencies
        for name in extras:
            lines += extra(facts.name, facts.extras, name)
        project_too = False
    else:
        project_too = True
        answer["project"] = True
        decisive, by_name = decisive_files(project, facts)
        answer["reads"] = [*unique((*decisive, *by_name))] or ["."]
        if extras:
            answer["extras"] = [*extras]
    names = {name_of(line) for line in (*lines, *found.requirements)}
    if _has_tests(project, facts):
        lines += (name for name in plugins_wanted(project, facts) if name not in names)
        if not any(name == "pytest" or name.startswith("pytest-") for name in names):
            lines.append("pytest")
    if lines:
        answer["packages"] = [*unique(lines)]
    if files:
        answer["requirements"] = [*files]
        nested = [path for path in found.files if path not in files]
        if nested:
            answer["inputs"] = [*nested]
    if options.get("constraints") and (lines or files or project_too):
        answer["constraints"] = options["constraints"]
    return answer


def _test_needs(
    options: Mapping[str, Any], project: api.Project, facts: Facts
) -> tuple[list[str], tuple[str, ...], list[str], tuple[str, ...]]:
    """Groups, extras, requirement files and lines: what the spec says, else what is found."""
    lines: tuple[str, ...] = ()
    groups = [key for key in facts.groups if normal(key) in TEST_NAMES]
    extras = [key for key in facts.extras if normal(key) in TEST_NAMES]
    files = ["requirements.txt"] if _plain_requirements(facts) and project.read("requirements.txt") is not None else []
    if not (groups or extras):
        test_files = [path for path in TEST_FILES if project.read(path) is not None]
        tox_lines, tox_files = tox_needs(project, facts)
        if test_files:
            files += test_files
        elif tox_lines or tox_files:
            lines, files = tox_lines, [*unique([*files, *tox_files])]
        elif any(normal(key) == "dev" for table in (facts.groups, facts.extras) for key in table):
            groups = [key for key in facts.groups if normal(key) == "dev"]
            extras = [] if groups else [key for key in facts.extras if normal(key) == "dev"]
        else:
            files += [path for path in DEV_FILES if project.read(path) is not None]
    return (
        list(options.get("groups", groups)),
        tuple(options.get("extras", extras)),
        list(options.get("requirements", files)),
        () if "requirements" in options else lines,
    )


def _plain_requirements(facts: Facts) -> bool:
    return facts.dependencies is None or not facts.installable


def _has_tests(project: api.Project, facts: Facts) -> bool:
    if "pytest" in facts.tools or project.read("pytest.ini") is not None or project.read("conftest.py") is not None:
        return True
    if any("[pytest]" in (project.read(path) or "") for path in ("tox.ini",)):
        return True
    if any("[tool:pytest]" in text for text in facts.texts):
        return True
    return any(project.glob(pattern) for pattern in ("tests/**", "test/**", "test_*.py", "**/test_*.py"))


def detect(project: api.Project) -> list[api.Detection]:
    """A guess from file names alone: pyproject.toml, setup.py, requirements.txt."""
    for path in ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"):
        text = project.read(path)
        if text is not None:
            detail = " with [project]" if path == "pyproject.toml" and "[project]" in text else ""
            env: api.Json = {"language": "python", "tasks": {"test": "pytest {{ args }}"}}
            return [api.Detection(language="python", reason=path + detail, env=env)]
    return []
