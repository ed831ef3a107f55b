"""`language: python`: what a test env of a Python project needs, read from the project's own files. Pure.

The layers, in order:

    python3          apt: [python3 …], on a `debian` base and where `python:` names no other interpreter
    requirements     pip: what the project requires, with what its tests require, pytest where nothing brings it
    project-NAME     python-project: each project of the checkout that a requirement comes from (sources.py)
    project          python-project: the project itself, over whatever copy of it came along

What its tests require says needs.py. requirements.txt counts where pyproject.toml does not list the dependencies
itself. What is added because the project's own files bring none (pytest, plugins that its options take for granted)
goes by a pip call of its own: no hash, index or other mode of theirs is meant for it.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_python.decode import DecodedFiles, SubdirectoryReader, TreeReader, WrongFileError, line_of
from envtool_python.dependency_sources import DependencySources, WrongSource
from envtool_python.editable import build_text, editable_inputs
from envtool_python.find_links import find_links
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.project_indexes import apply_bounds, replacement_index
from envtool_python.python_versions import known, python_wrong
from envtool_python.requirement_checks import check_lines, line_fault
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
from envtool_python.requirements_of_tests import has_tests, requirements_of_tests
from envtool_python.source_values import INDEX, SOURCES, is_directory
from envtool_python.test_config import required_plugins

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def _strings(description: str) -> api.Json:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


_NOWHERE = api.Where(file="", line=0, column=0)


class Python(api.Language):
    """An env that runs a Python project's tests."""

    name: ClassVar[str] = "python"
    options: ClassVar[Mapping[str, api.Json]] = {
        "python": {"type": "string", "description": "the interpreter in the env (default: python3)"},
        "packages": _strings("further requirements, as in `pytest-cov>=5`"),
        "requirements": _strings("requirement files (default: those found by name)"),
        "constraints": _strings("constraint files"),
        "groups": _strings(
            "dependency groups (default: test, tests, testing, else dev, or the smallest that brings pytest)"
        ),
        "extras": _strings(
            "extras of the project (default: test, tests, testing, else dev, or the smallest that brings pytest)"
        ),
        "install": {
            "enum": ["editable", "wheel", "none"],
            "description": "how the project itself is installed (default: editable, but a wheel where the build "
            "backend compiles and is no setuptools, and none where there is nothing to install)",
        },
        "sources": SOURCES,
        "version": {
            "type": "string",
            "description": "the project's version, where its build backend asks version control (default: by its tags)",
        },
    }

    def __init__(self) -> None:
        self._of: api.Project | None = None
        self._known: dict[str, tuple[api.LayerDraft, ...]] = {}

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """See the module. Raises SpecError where the project's own files are wrong."""
        if self._of is not project:
            self._of, self._known = project, {}
        # the env's name and place are for errors alone: the points of a matrix are asked for once
        asked = repr(replace(env, name="", where=_NOWHERE))
        if asked not in self._known:
            self._known[asked] = self._new_layers(env, project)
        return self._known[asked]

    def _new_layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        texts = DecodedFiles(project)
        try:
            return _layers(env, texts, read_facts(texts))
        except WrongFileError as error:
            where = api.Where(file=_display_path(env, error.file), line=error.line, column=error.column)
            content = (project.read_bytes(error.file) or b"").splitlines()[error.line - 1 : error.line]
            text = content[0].decode(errors="replace") if content else ""
            problem = api.Problem(where=where, message=str(error), code="pyproject", hint=error.hint, text=text)
            raise api.SpecError((problem,)) from None
        except WrongRequirementError as error:
            if error.file:
                place = WrongSource(
                    message=str(error), hint=error.hint, file=error.file, line=error.line, code="requirements"
                )
                check(env, texts, [place])
            raise api.SpecError(
                (api.Problem(where=env.where, message=str(error), code="requirements", hint=error.hint),)
            ) from None


def _layers(env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata) -> tuple[api.LayerDraft, ...]:
    options: Mapping[str, Any] = env.options
    names = _LayerNames((*env.layer_names, *env.above))
    python = str(options.get("python", "python3"))
    install = options.get("install") or _install(facts)
    sources = DependencySources(project, options.get("sources", {}), depth_of(env.directory))
    pip, wrong = pip_options(env, project, facts, sources)
    check(env, project, [*wrong, *sources.wrong.values(), *python_wrong(env, project, facts)])
    local = {name: place for name, place in sources.chosen.items() if is_directory(place)}
    compiled = facts.compiled or any(read_facts(project, f"{place}/").compiled for place in local.values())
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian" and python == "python3":
        packages = ["python3", *(["python3-dev", "build-essential"] if compiled else [])]
        drafts.append(api.LayerDraft(name=names.new("python3"), kind="apt", options=[*packages], after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    common: dict[str, api.Json] = {"python": python} if python != "python3" else {}
    if pip.get("index"):
        common["index"] = pip["index"]
    version: dict[str, api.Json] = {"version": options["version"]} if options.get("version") else {}

    def add(name: str, kind: str, chosen: dict[str, api.Json]) -> None:
        nonlocal needs
        drafts.append(api.LayerDraft(name=names.new(name), kind=kind, options={**chosen, **common}, needs=needs))
        needs = (*needs, drafts[-1].name)

    asked = {"requires-python": facts.requires_python} if facts.requires_python else {}
    if pip:
        add("requirements", "pip", {**pip, **asked, **version})
        asked = {}
    for name, place in local.items():
        other = read_facts(project, f"{place}/")
        add(
            f"project-{name}",
            "python-project",
            _project(SubdirectoryReader(project, place), other, other.install, root=place),
        )
    if install != "none":
        add("project", "python-project", {**_project(project, facts, install), **asked, **version})
    return tuple(drafts)


def depth_of(directory: str) -> int:
    """How many directories below the project one is."""
    return len([part for part in directory.split("/") if part not in ("", ".")])


def _project(project: TreeReader, facts: ProjectMetadata, install: str, *, root: str = "") -> dict[str, api.Json]:
    """The options of a layer that installs the project in `root`, whose files `project` has."""
    chosen: dict[str, api.Json] = {"root": root} if root else {}
    chosen["install"] = install
    if facts.declared:  # then no edit elsewhere in pyproject.toml changes what its build needs
        chosen["build"] = sha256(build_text(facts).encode()).hexdigest()
    if install == "editable":
        files, by_name = editable_inputs(project, facts)
        chosen |= {key: [*_in(root, paths)] for key, paths in (("files", files), ("names", by_name)) if paths}
    return chosen


def _in(root: str, paths: Iterable[str]) -> list[str]:
    return [f"{root}/{path}" if root else path for path in paths]


class _LayerNames:
    """Layer names that the env does not have yet."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        self.taken = set(taken)

    def new(self, name: str) -> str:
        while name in self.taken:
            name = f"python-{name}"
        self.taken.add(name)
        return name


def _install(facts: ProjectMetadata) -> str:
    if not facts.installable:
        return "none"
    return facts.install


def pip_options(
    env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata, sources: DependencySources
) -> tuple[dict[str, api.Json], tuple[WrongSource, ...]]:
    """The pip layer's options, empty where nothing is required, and what of its indexes and bounds cannot be honoured.
    Requirement strings are written out, so that the layer depends on them and not on whatever else pyproject.toml says.
    """
    options: Mapping[str, Any] = env.options
    chosen = requirements_of_tests(options, project, facts, known(env))
    found = flatten(project.read, chosen.files, options.get("constraints", ()))
    lines = sources.to_pip_lines(options.get("packages", ()), facts, file=env.where.file, line=env.where.line)
    lines += sources.to_pip_lines(chosen.lines, facts, file="tox.ini")
    for name in chosen.groups:
        lines += sources.to_pip_lines(own_extras(facts.name, facts.extras, group(facts.groups, name)), facts)
    extras = unique([*chosen.extras, *(found.extras or ())])
    answer: dict[str, api.Json] = {}
    reads: list[str] = []
    if facts.dependencies is not None:
        lines += sources.to_pip_lines(facts.dependencies, facts)
        for name in extras:
            lines += sources.to_pip_lines(extra(facts.name, facts.extras, name), facts)
    else:
        sources.add_all(facts)
        answer["project"] = True
        decisive, by_name = editable_inputs(project, facts)
        reads = [*unique((*decisive, *by_name))] or ["."]
        if extras:
            answer["extras"] = [*extras]
    bad = _check_pip_lines(env, project, facts, sources, lines, chosen.lines, found)
    top, root = sources.top(facts)
    lines, bounds, wrong = apply_bounds(lines, top, root, sources, options.get("packages", ()))
    names = {name_of(line) for line in (*lines, *found.requirements)}
    if adds := _added_test_packages(project, facts, names):
        answer["adds"] = [*adds]
    if lines:
        answer["packages"] = [*unique(lines)]
    if chosen.files:
        answer["requirements"] = [*chosen.files]
        nested = [path for path in (*found.files, *find_links(found, project, sources)) if path not in chosen.files]
        if nested:
            answer["inputs"] = [*unique(nested)]
    if options.get("constraints") and answer:
        answer["constraints"] = options["constraints"]
    if not answer:
        return {}, (*bad,)
    if bounds:
        answer["bounds"] = [*bounds]
    if options.get("sources", {}).get("*") != INDEX:
        url, more = replacement_index(project, top, root)
        wrong += more
        if url:
            answer["index"] = url
    reads += _read_below(project, sources)
    if reads:
        answer["reads"] = [*unique(reads)]
    given = {
        name: INDEX for name, value in options.get("sources", {}).items() if value == INDEX and normal(name) in names
    }
    if sources.chosen or given:
        answer["sources"] = {**given, **sources.chosen}
    return answer, (*bad, *wrong)


def _check_pip_lines(
    env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata, sources: DependencySources,
    lines: Iterable[str], toxs: Collection[str], found: Any,
) -> list[WrongSource]:  # fmt: skip
    """What pip would refuse of the lines, each with its place; right lines of requirement files go to `sources`."""
    options: Mapping[str, Any] = env.options
    own = options.get("packages", ())
    bad = [*check_lines(own, env.where.file, env.where.line, written=True)]
    for line in unique(line for line in lines if line not in own):
        file = "tox.ini" if line in toxs else "pyproject.toml"
        bad += check_lines([line], file, line_of(project.read(file), line) if line_fault(line)[0] else 0, written=True)
    for line in found.requirements:
        file, number = found.places.get(line, ("requirements.txt", 1))
        if line_fault(line)[0]:
            bad += check_lines([line], file, number)
        else:
            sources.to_pip_lines([line], facts, file=file, line=number)
    return bad


def _read_below(project: DecodedFiles, sources: DependencySources) -> list[str]:
    """What decides the metadata of the project's own directories that requirements come from."""
    found: list[str] = []
    for place in sources.chosen.values():
        if is_directory(place):
            decisive, by_name = editable_inputs(SubdirectoryReader(project, place), read_facts(project, f"{place}/"))
            found += _in(place, unique((*decisive, *by_name))) or [place]
    return found


def _added_test_packages(project: DecodedFiles, facts: ProjectMetadata, names: Collection[str]) -> list[str]:
    """What we add by ourselves to the requirements of these names: pytest and its plugins, where there are tests."""
    if not has_tests(project, facts):
        return []
    adds = [line for line in required_plugins(project, facts) if name_of(line) not in names]
    if not any(name == "pytest" or name.startswith("pytest-") for name in (*names, *map(name_of, adds))):
        adds.append("pytest")
    return adds


def check(env: api.EnvDraft, project: DecodedFiles, wrong: Iterable[WrongSource]) -> None:
    """Raises SpecError that tells all of these."""
    problems = []
    for each in wrong:
        own = each.file == env.where.file
        text = "" if own else (project.read(each.file) or "")
        where = env.where if own else api.Where(file=_display_path(env, each.file), line=each.line, column=1)
        line = (text.splitlines()[each.line - 1 : each.line] or [""])[0]
        problems.append(
            api.Problem(where=where, message=each.message, code=each.code, hint=each.hint, text=line, width=0)
        )
    if problems:
        raise api.SpecError(tuple(problems))


def _display_path(env: api.EnvDraft, file: str) -> str:
    return posixpath.normpath(posixpath.join(env.directory, file))
