"""The layers of `language: python`, from the project's own files. Pure; language.py says which there are.

requirements_of_tests finds what the tests require. requirements.txt counts where pyproject.toml does not list the
dependencies itself. Packages that are added because the project's own files do not bring them (pytest, plugins that its
options need) are installed by a pip call of their own: the hashes, index and modes of the project's files do not apply.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python.decode import DecodedFiles, SubdirectoryReader, TreeReader, WrongFileError, line_of
from envtool_python.dependency_sources import DependencySources, WrongSource
from envtool_python.editable import build_text, editable_inputs
from envtool_python.find_links import find_links
from envtool_python.lock_files import NONE, locked_file, locked_options, read_lock, stale_warning
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.project_indexes import apply_bounds, replacement_index
from envtool_python.python_version_files import note_version
from envtool_python.python_versions import env_python, python_wrong
from envtool_python.requirement_checks import check_lines, line_fault
from envtool_python.requirements import (
    RequirementLines,
    WrongRequirementError,
    extra,
    flatten,
    group,
    name_of,
    normal,
    own_extras,
    unique,
)
from envtool_python.requirements_of_tests import RequiredForTests, has_tests, requirements_of_tests
from envtool_python.source_values import INDEX, is_directory
from envtool_python.test_config import required_plugins

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from envtool_python.locked_packages import LockFile


def layers_of_project(env: api.EnvDraft, project: api.Project, texts: DecodedFiles) -> tuple[api.LayerDraft, ...]:
    """Returns the layers of an env. `texts` are the project's files. Raises SpecError if these are wrong."""
    try:
        return note_version(env, project, _layers(env, texts, read_facts(texts)))
    except WrongFileError as error:
        where = api.Where(file=_display_path(env, error.file), line=error.line, column=error.column)
        lines = (project.read_bytes(error.file) or b"").splitlines()[error.line - 1 : error.line]
        text = lines[0].decode(errors="replace") if lines else ""
        problem = api.Problem(where=where, message=str(error), code="pyproject", hint=error.hint, text=text)
        raise api.SpecError((problem,)) from None
    except WrongRequirementError as error:
        if error.file:
            error_position = WrongSource(
                message=str(error), hint=error.hint, file=error.file, line=error.line, code="requirements"
            )
            check(env, texts, [error_position])
        raise api.SpecError(
            (api.Problem(where=env.where, message=str(error), code="requirements", hint=error.hint),)
        ) from None


def _layers(env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata) -> tuple[api.LayerDraft, ...]:
    options: Mapping[str, Any] = env.options
    names = _LayerNames((*env.layer_names, *env.above))
    python = str(options.get("python", "python3"))
    install = options.get("install") or _default_install(facts)
    lock = project_lock(env, project, facts)
    locked = {package.name for package in lock.packages if package.source == "index"} if lock else set()
    sources = DependencySources(project, options.get("sources", {}), depth_of(env.directory), locked)
    pip, wrong = pip_options(env, project, facts, sources, lock)
    check(env, project, [*wrong, *sources.wrong.values(), *python_wrong(env, project, facts)])
    directories = {name: directory for name, directory in sources.chosen.items() if is_directory(directory)}
    compiled = facts.compiled or any(
        read_facts(project, f"{directory}/").compiled for directory in directories.values()
    )
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian" and python == "python3":
        own = [] if "python" in env.toolchains else ["python3", *(["python3-dev"] if compiled else [])]
        packages = [*own, *(["build-essential"] if compiled else [])]
    else:
        packages = []
    if packages:
        drafts.append(api.LayerDraft(name=names.choose("python3"), kind="apt", options=[*packages], after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    common: dict[str, api.Json] = {"python": python} if python != "python3" else {}
    if options.get("installer"):
        common["installer"] = options["installer"]
    if pip.get("index"):
        common["index"] = pip["index"]
    version: dict[str, api.Json] = {"version": options["version"]} if options.get("version") else {}

    def add(name: str, kind: str, layer_options: dict[str, api.Json]) -> None:
        nonlocal needs
        drafts.append(
            api.LayerDraft(name=names.choose(name), kind=kind, options={**layer_options, **common}, needs=needs)
        )
        needs = (*needs, drafts[-1].name)

    python_options = {"requires-python": facts.requires_python} if facts.requires_python else {}
    if pip:
        add("requirements", "pip", {**pip, **python_options, **version})
        drafts[-1] = replace(drafts[-1], warning=_stale_warning(pip))
        python_options = {}
    for name, directory in directories.items():
        neighbour = read_facts(project, f"{directory}/")
        add(
            f"project-{name}",
            "python-project",
            _project_options(SubdirectoryReader(project, directory), neighbour, neighbour.install, root=directory),
        )
    if install != "none":
        add("project", "python-project", {**_project_options(project, facts, install), **python_options, **version})
    return tuple(drafts)


def _stale_warning(layer_options: Mapping[str, Any]) -> str:
    locked = layer_options.get("locked", {})
    return stale_warning(locked.get("file", ""), locked.get("stale", ()))


def depth_of(directory: str) -> int:
    """Returns how many directories below the project's top `directory` is."""
    return len([part for part in directory.split("/") if part not in ("", ".")])


def _project_options(
    project: TreeReader, facts: ProjectMetadata, install: str, *, root: str = ""
) -> dict[str, api.Json]:
    """Returns the options of a layer that installs the project in `root`; `project` reads its files."""
    options: dict[str, api.Json] = {"root": root} if root else {}
    options["install"] = install
    if facts.declared:  # then no other part of pyproject.toml changes what the build needs
        options["build"] = sha256(build_text(facts).encode()).hexdigest()
    if install == "editable":
        files, by_name = _editable_inputs(project, facts)
        options |= {key: [*_below(root, paths)] for key, paths in (("files", files), ("names", by_name)) if paths}
    return options


def _editable_inputs(project: TreeReader, facts: ProjectMetadata) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns `editable_inputs` of a project, of the spec's own once for all envs: `facts` are then its own too."""
    if isinstance(project, DecodedFiles):
        return project.once(("inputs", ""), lambda: editable_inputs(project, facts))
    return editable_inputs(project, facts)


def _below(directory: str, paths: Iterable[str]) -> list[str]:
    return [f"{directory}/{path}" if directory else path for path in paths]


class _LayerNames:
    """Chooses layer names that the env does not have yet."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        self.taken = set(taken)

    def choose(self, name: str) -> str:
        while name in self.taken:
            name = f"python-{name}"
        self.taken.add(name)
        return name


def _default_install(facts: ProjectMetadata) -> str:
    if not facts.installable:
        return "none"
    return facts.install


def pip_options(
    env: api.EnvDraft,
    project: DecodedFiles,
    facts: ProjectMetadata,
    sources: DependencySources,
    lock: LockFile | None = None,
) -> tuple[dict[str, api.Json], tuple[WrongSource, ...]]:
    """Returns the pip layer's options (empty if nothing is required), and the errors of its lines, indexes and bounds.

    The options contain the requirement lines themselves, so that the layer depends on them and on nothing else in
    pyproject.toml.
    """
    options: Mapping[str, Any] = env.options
    test_requirements = requirements_of_tests(options, project, facts, env_python(env))
    file_lines = flatten(project.read, test_requirements.files, options.get("constraints", ()))
    lines, layer_options, reads = _project_lines(env, project, facts, sources, test_requirements, file_lines)
    line_errors = _check_pip_lines(env, project, facts, sources, lines, test_requirements.lines, file_lines)
    workspace, root = sources.top(facts)
    lines, bounds, errors = apply_bounds(lines, workspace, root, sources, options.get("packages", ()))
    names = {name_of(line) for line in (*lines, *file_lines.requirements)}
    adds = _added_test_packages(project, facts, names)
    if adds:
        layer_options["adds"] = [*adds]
    if lines:
        layer_options["packages"] = [*unique(lines)]
    if test_requirements.files:
        layer_options["requirements"] = [*test_requirements.files]
        nested = [
            path
            for path in (*file_lines.files, *find_links(file_lines, project, sources))
            if path not in test_requirements.files
        ]
        if nested:
            layer_options["inputs"] = [*unique(nested)]
    if options.get("constraints") and layer_options:
        layer_options["constraints"] = options["constraints"]
    if not layer_options:
        return {}, (*line_errors,)
    if bounds:
        layer_options["bounds"] = [*bounds]
    by_lock = False
    if lock:
        layer_options["locked"] = _locked_options(env, lock, lines, test_requirements, file_lines, adds)
        by_lock = _bind_sources(layer_options, sources)
        errors = () if by_lock else errors  # an override is part of the lock
    if options.get("sources", {}).get("*") != INDEX:
        url, index_errors = replacement_index(project, workspace, root)
        errors += () if by_lock else index_errors  # each locked file has its index and hash
        if url:
            layer_options["index"] = url
    reads += _metadata_files(project, sources)
    if reads:
        layer_options["reads"] = [*unique(reads)]
    index_sources = {
        name: INDEX for name, value in options.get("sources", {}).items() if value == INDEX and normal(name) in names
    }
    if sources.chosen or index_sources:
        layer_options["sources"] = {**index_sources, **sources.chosen}
    return layer_options, (*line_errors, *errors)


def project_lock(env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata) -> LockFile | None:
    """Returns the lock file of the project, or of the workspace around it; None if there is none, or the spec wants
    none. Raises WrongFileError, WrongRequirementError."""
    wanted = str(env.options.get("locked", ""))
    path = locked_file(project, facts.tools, wanted)
    text = project.read(path) if path else None
    if path and text is None:
        hint = f"the file is named from the directory of the spec; `{NONE}` is for none"
        raise WrongRequirementError(f"there is no {path}, which `locked` names", hint=hint)
    return read_lock(text, path, with_files=False) if text and text.strip() else None


def _locked_options(
    env: api.EnvDraft,
    lock: LockFile,
    lines: Iterable[str],
    test_requirements: RequiredForTests,
    file_lines: RequirementLines,
    adds: Iterable[str],
) -> dict[str, api.Json]:
    """Returns the option `locked` of the pip layer. Lines of the spec, tox.ini and requirement files may be beside the
    lock."""
    packages: Iterable[str] = env.options.get("packages", ())  # type: ignore[assignment]
    beside = {*packages, *test_requirements.lines}
    return locked_options(
        lock,
        [line for line in lines if line not in beside],
        [*(line for line in lines if line in beside), *file_lines.requirements, *adds],
        test_requirements.groups,
        test_requirements.extras,
    )


def _bind_sources(layer_options: dict[str, Any], sources: DependencySources) -> bool:
    """Returns whether the lock alone decides; else refuses the names that only it could bind to one index."""
    locked = layer_options["locked"]
    if sources.bound:
        locked["bound"] = [*sources.bound]
    by_lock = "stale" not in locked and "project" not in layer_options
    if not by_lock:
        sources.refuse_bound()
    return by_lock


def _project_lines(
    env: api.EnvDraft,
    project: DecodedFiles,
    facts: ProjectMetadata,
    sources: DependencySources,
    test_requirements: RequiredForTests,
    file_lines: RequirementLines,
) -> tuple[list[str], dict[str, api.Json], list[str]]:
    """Returns the requirement lines of the env, its tests and the project; and, where only the build backend knows what
    the project requires, the options that ask it and the files that it reads (else both are empty)."""
    options: Mapping[str, Any] = env.options
    lines = sources.to_pip_lines(options.get("packages", ()), facts, file=env.where.file, line=env.where.line)
    lines += sources.to_pip_lines(test_requirements.lines, facts, file="tox.ini")
    for name in test_requirements.groups:
        lines += sources.to_pip_lines(own_extras(facts.name, facts.extras, group(facts.groups, name)), facts)
    extras = unique([*test_requirements.extras, *(file_lines.extras or ())])
    layer_options: dict[str, api.Json] = {}
    reads: list[str] = []
    if facts.dependencies is not None:
        lines += sources.to_pip_lines(facts.dependencies, facts)
        for name in extras:
            lines += sources.to_pip_lines(extra(facts.name, facts.extras, name), facts)
    else:
        sources.add_all(facts)
        layer_options["project"] = True
        decisive, by_name = _editable_inputs(project, facts)
        reads = [*unique((*decisive, *by_name))] or ["."]
        if extras:
            layer_options["extras"] = [*extras]
    return lines, layer_options, reads


def _check_pip_lines(
    env: api.EnvDraft, project: DecodedFiles, facts: ProjectMetadata, sources: DependencySources,
    lines: Iterable[str], tox_lines: Collection[str], file_lines: Any,
) -> list[WrongSource]:  # fmt: skip
    """Returns the errors of lines that pip would refuse; adds the other lines of requirement files to `sources`."""
    options: Mapping[str, Any] = env.options
    packages = options.get("packages", ())
    errors = [*check_lines(packages, env.where.file, env.where.line, written=True)]
    for line in unique(line for line in lines if line not in packages):
        file = "tox.ini" if line in tox_lines else "pyproject.toml"
        errors += check_lines(
            [line], file, line_of(project.read(file), line) if line_fault(line)[0] else 0, written=True
        )
    for line in file_lines.requirements:
        file, number = file_lines.places.get(line, ("requirements.txt", 1))
        if line_fault(line)[0]:
            errors += check_lines([line], file, number)
        else:
            sources.to_pip_lines([line], facts, file=file, line=number)
    return errors


def _metadata_files(project: DecodedFiles, sources: DependencySources) -> list[str]:
    """Returns the files that decide the metadata of the directories that requirements come from."""
    files: list[str] = []
    for directory in sources.chosen.values():
        if is_directory(directory):
            decisive, by_name = editable_inputs(
                SubdirectoryReader(project, directory), read_facts(project, f"{directory}/")
            )
            files += _below(directory, unique((*decisive, *by_name))) or [directory]
    return files


def _added_test_packages(project: DecodedFiles, facts: ProjectMetadata, names: Collection[str]) -> list[str]:
    """Returns pytest and the plugins that the project's options need, if it has tests and `names` lack them."""
    if not has_tests(project, facts):
        return []
    adds = [line for line in required_plugins(project, facts) if name_of(line) not in names]
    if not any(name == "pytest" or name.startswith("pytest-") for name in (*names, *map(name_of, adds))):
        adds.append("pytest")
    return adds


def check(env: api.EnvDraft, project: DecodedFiles, errors: Iterable[WrongSource]) -> None:
    """Raises SpecError with all of the errors, if there are any."""
    problems = []
    for error in errors:
        in_spec = error.file == env.where.file
        text = "" if in_spec else (project.read(error.file) or "")
        where = env.where if in_spec else api.Where(file=_display_path(env, error.file), line=error.line, column=1)
        line = (text.splitlines()[error.line - 1 : error.line] or [""])[0]
        problems.append(
            api.Problem(where=where, message=error.message, code=error.code, hint=error.hint, text=line, width=0)
        )
    if problems:
        raise api.SpecError(tuple(problems))


def _display_path(env: api.EnvDraft, file: str) -> str:
    return posixpath.normpath(posixpath.join(env.directory, file))
