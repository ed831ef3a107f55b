"""What a layer's options ask pip for, read from the files that are inputs of the layer."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python import find_links
from envtool_python.checkout_projects import PROJECTS
from envtool_python.decode import WrongFileError
from envtool_python.dependency_sources import DependencySources, WrongSource
from envtool_python.layer_inputs import SPEC, PipInputs, UndeclaredInputError
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.requirement_checks import check_lines
from envtool_python.requirements import (
    RequirementLines,
    WrongRequirementError,
    extra,
    flatten,
    group,
    name_of,
    own_extras,
    unique,
)
from envtool_python.source_values import ARCHIVES, INDEX, container_url, is_archive, is_directory, is_url

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRequest:
    """What pip is asked for.

    `calls` are the requirement lines of one call of pip each; all calls go into one environment. `directories` are the
    sources that are directories of the project, by name. `extras` are the project's extras where only its build backend
    knows what they require, else None; they belong to the call with the index `project_call`.
    """

    facts: ProjectMetadata
    calls: tuple[tuple[str, ...], ...]
    constraints: tuple[str, ...]
    directories: Mapping[str, str]
    extras: tuple[str, ...] | None
    project_call: int
    places: Mapping[str, str]  # name of a requirement -> file and line, as in "requirements.txt:3", if known
    hashes: tuple[Mapping[str, frozenset[str]], ...] = ()  # of each call, name -> sha256: see uv_resolver.split_hashes


def read_requests(options: Mapping[str, Any], files: PipInputs) -> PipRequest:
    """Reads the files that the options name. Raises ResolveError, SpecError."""
    try:
        return _read_requests(options, files)
    except (WrongFileError, WrongRequirementError) as error:
        raise _to_envtool_error(error, files) from None
    except UndeclaredInputError as error:
        raise api.ResolveError(
            f"{error} is included, but the layer does not depend on it", code="requirements",
            hint=f"name it: `inputs: [{error}]`",
        ) from None  # fmt: skip


def check(options: Mapping[str, Any], files: PipInputs) -> None:
    """Raises ResolveError and SpecError as `read_requests`. Says nothing where a named file does not exist: the core
    reports missing inputs."""
    paths = (*options.get("requirements", ()), *options.get("constraints", ()))
    try:
        if any(files.read(path) is None for path in paths):
            return
    except WrongFileError as error:
        raise _to_envtool_error(error, files) from None
    read_requests(options, files)


def _read_requests(options: Mapping[str, Any], files: PipInputs) -> PipRequest:
    wrong = [
        *_missing_source_projects(options, files),
        *check_lines(options.get("packages", ()), SPEC, 0, written=True),
    ]
    places: dict[str, str] = {}
    facts = read_facts(files) if asks_project(options) or options.get("groups") else ProjectMetadata()
    sources = DependencySources(files, options.get("sources", {}), depth=files.depth)
    constraint_lines = flatten(files.read, (), options.get("constraints", ()))
    extras = [*options.get("extras", ())] if asks_project(options) else None
    calls: list[tuple[str, ...]] = []
    packages = [_to_container_line(line, SPEC, 0, files, wrong) for line in options.get("packages", ())]
    common_lines: list[str] = sources.to_pip_lines(packages, ProjectMetadata(), file=SPEC)
    constraints = [*_container_constraints(constraint_lines, files, wrong), *options.get("bounds", ())]
    for path in options.get("requirements", ()):
        file_lines = flatten(files.read, [path])
        constraints += _container_constraints(file_lines, files, wrong)
        if file_lines.extras is not None:
            facts = facts if facts.texts else read_facts(files)
            extras = [*(extras or []), *file_lines.extras]
        lines = _requirement_lines(path, file_lines, files, sources, wrong, places)
        if file_lines.moded:  # a hash or an option holds for a whole call of pip: this file gets its own
            calls.append(unique(lines))
        else:
            common_lines += lines
    for name in options.get("groups", ()):
        common_lines += sources.to_pip_lines(own_extras(facts.name, facts.extras, group(facts.groups, name)), facts)
    asked_extras = None
    if extras is not None and facts.dependencies is None:
        asked_extras = unique(extras)
        sources.add_all(facts)
    elif extras is not None:
        common_lines += sources.to_pip_lines(facts.dependencies or (), facts)
        for name in extras:
            common_lines += sources.to_pip_lines(extra(facts.name, facts.extras, name), facts)
    _check_sources(sources, wrong, files)
    constraints += [f"{name} @ {value}" for name, value in sources.spec_sources.items() if is_url(value)]
    archive_urls = {
        name: container_url(value, files.directory) for name, value in sources.spec_sources.items() if is_archive(value)
    }
    constraints += [f"{name} @ {url}" for name, url in archive_urls.items()]
    calls = [tuple(_with_local_url(line, archive_urls) for line in lines) for lines in calls]
    if common_lines or asked_extras is not None:
        calls.append(unique(common_lines))
    adds = options.get("adds", ())
    return PipRequest(
        facts=facts,
        calls=(*calls, unique(adds)) if adds else tuple(calls),
        constraints=unique(constraints),
        directories=directories_of(options),
        extras=asked_extras,
        project_call=len(calls) - 1,
        places=places,
    )


def _requirement_lines(
    path: str,
    file_lines: RequirementLines,
    files: PipInputs,
    sources: DependencySources,
    wrong: list[WrongSource],
    places: dict[str, str],
) -> list[str]:
    """Returns a file's requirements as pip in a container needs them; adds errors to `wrong`, positions to `places`."""
    lines: list[str] = []
    for line in file_lines.requirements:
        file, number = file_lines.places.get(line, (path, 1))
        if line_errors := check_lines([line], file, number):
            wrong += line_errors
            continue
        places.setdefault(name_of(line), f"{file}:{number}")
        pip_line = _to_container_line(line, file, number, files, wrong)
        if pip_line != line:
            lines.append(pip_line)
        else:
            lines += sources.to_pip_lines([line], ProjectMetadata(), file=file, line=number)
    return lines


def _to_container_line(line: str, file: str, number: int, files: PipInputs, wrong: list[WrongSource]) -> str:
    """Returns the line as pip in a container needs it, and adds errors of the directory that it names to `wrong`."""
    if error := find_links.check_find_links(line, file, number, files):
        wrong.append(error)
    return find_links.container_line(line, "" if file == SPEC else file, files.known, files.directory)


def _container_constraints(lines: RequirementLines, files: PipInputs, wrong: list[WrongSource]) -> list[str]:
    """Returns the constraints as pip in a container needs them, and adds errors to `wrong`."""
    return [_to_container_line(line, *lines.places.get(line, (SPEC, 0)), files, wrong) for line in lines.constraints]


def _missing_source_projects(options: Mapping[str, Any], files: PipInputs) -> list[WrongSource]:
    """Returns an error for each directory of the layer's own `sources` that has no project."""
    return [
        WrongSource(
            message=f"`sources: {{{name}: {path}}}`: there is no project in {path} (no {', '.join(PROJECTS)})",
            hint="write the path of a directory of the project that has one, of a wheel or source archive in it "
            f"(it ends in {', '.join(ARCHIVES[:3])}), the URL of one, or `{INDEX}`",
            file=SPEC,
            line=0,
        )
        for name, path in directories_of(options).items()
        if all(files.read(posixpath.join(path, file)) is None for file in PROJECTS)
    ]


def _check_sources(sources: DependencySources, wrong: list[WrongSource], files: PipInputs) -> None:
    """Raises SpecError with all wrong lines and sources, and ResolveError for a requirement from a directory or URL
    that the layer's own `sources` do not name."""
    errors = [*wrong, *sources.wrong.values()]
    if errors:
        raise api.SpecError(tuple(dict.fromkeys(files.problem(error) for error in errors)))
    for name, value in sources.chosen.items():
        if name not in sources.spec_sources:
            advice = "" if not is_directory(value) else f", and a layer `python-project: {{root: {value}}}` installs it"
            raise api.ResolveError(
                f"`{name}` comes from {value}", code="source", hint=f"say so: `sources: {{{name}: {value}}}`{advice}"
            )


def _with_local_url(line: str, archive_urls: Mapping[str, str]) -> str:
    """Returns a line with a hash with the URL of its local archive: pip ignores a constraint for such a line."""
    url = archive_urls.get(name_of(line), "")
    match = re.match(r"^([\w.-]+\s*(?:\[[^\]]*\])?)([^;]*?)(;.*?)?(\s--hash.*)$", line) if url else None
    return f"{match[1]} @ {url} {match[3] or ''}{match[4]}" if match else line


def directories_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Returns name -> directory, of the sources that are directories of the project."""
    return {name: value for name, value in options.get("sources", {}).items() if is_directory(value)}


def archives_of(options: Mapping[str, Any]) -> list[str]:
    """Returns the paths of the sources that are archives of the project."""
    return [value for value in options.get("sources", {}).values() if is_archive(value)]


def _to_envtool_error(
    error: WrongFileError | WrongRequirementError, files: PipInputs
) -> api.ResolveError | api.SpecError:
    if isinstance(error, WrongFileError):
        where = f"{error.file}:{error.line}:{error.column}"
        return api.ResolveError(f"{where}: {error}", code="pyproject", hint=error.hint)
    if error.file:
        source = WrongSource(message=str(error), hint=error.hint, file=error.file, line=error.line, code="requirements")
        return api.SpecError((files.problem(source),))
    return api.ResolveError(str(error), code="requirements", hint=error.hint)


def facts_at(files: PipInputs, prefix: str) -> ProjectMetadata:
    """Returns the metadata of the project at `prefix` ("" or "sub/"). Raises ResolveError, SpecError."""
    try:
        return read_facts(files, prefix)
    except (WrongFileError, WrongRequirementError) as error:
        raise _to_envtool_error(error, files) from None


def asks_project(options: Mapping[str, Any]) -> bool:
    """Whether the options ask for the project's own requirements."""
    return bool(options.get("project") or "extras" in options)


def installable_project(files: PipInputs, root: str) -> ProjectMetadata:
    """Returns the metadata of the project in `root`. Raises ResolveError (code no-project) if there is none."""
    facts = facts_at(files, "" if root == "." else f"{root}/")
    if not facts.buildable:
        raise api.ResolveError(
            f"there is no project to install in {root}",
            code="no-project",
            hint="it needs a pyproject.toml with [project] or [build-system], or a setup.py",
        )
    return facts
