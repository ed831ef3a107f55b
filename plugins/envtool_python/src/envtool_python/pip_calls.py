"""What a layer's options ask pip for, read from the project's files. What a layer does not depend on does not exist."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python import find_links
from envtool_python.checkout_projects import PROJECTS
from envtool_python.decode import WrongFileError
from envtool_python.dependency_sources import (
    ARCHIVES,
    INDEX,
    DependencySources,
    WrongSource,
    container_url,
    is_archive,
    is_directory,
    is_url,
)
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

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRequest:
    """What pip is asked for: `calls` are lines for one call each, all of which go into one environment; `directories`
    are those of the project that names come from. `extras` of the project are asked for where only its build backend
    can say what they require (None otherwise), in the call of that number.
    """

    facts: ProjectMetadata
    calls: tuple[tuple[str, ...], ...]
    constraints: tuple[str, ...]
    directories: Mapping[str, str]
    extras: tuple[str, ...] | None
    project_call: int
    places: Mapping[str, str]  # a name that is required -> file and line, as in "requirements.txt:3", where it is known


def read_requests(chosen: Mapping[str, Any], files: PipInputs) -> PipRequest:
    """Read what the options name. Raises ResolveError."""
    try:
        return _wanted(chosen, files)
    except (WrongFileError, WrongRequirementError) as error:
        raise _wrong(error, files) from None
    except UndeclaredInputError as error:
        raise api.ResolveError(
            f"{error} is included, but the layer does not depend on it", code="requirements",
            hint=f"name it: `inputs: [{error}]`",
        ) from None  # fmt: skip


def check(chosen: Mapping[str, Any], files: PipInputs) -> None:
    """Raises ResolveError, SpecError as `wanted`; what the layer names and is not there is for others to tell."""
    named = (*chosen.get("requirements", ()), *chosen.get("constraints", ()))
    try:
        if any(files.read(path) is None for path in named):
            return
    except WrongFileError as error:
        raise _wrong(error, files) from None
    read_requests(chosen, files)


def _wanted(chosen: Mapping[str, Any], files: PipInputs) -> PipRequest:
    wrong = [*_missing_source_projects(chosen, files), *check_lines(chosen.get("packages", ()), SPEC, 0, written=True)]
    places: dict[str, str] = {}
    facts = read_facts(files) if asks_project(chosen) or chosen.get("groups") else ProjectMetadata()
    sources = DependencySources(files, chosen.get("sources", {}), depth=files.depth)
    bounded = flatten(files.read, (), chosen.get("constraints", ()))
    extras = [*chosen.get("extras", ())] if asks_project(chosen) else None
    calls: list[tuple[str, ...]] = []
    packages = [_linked(line, SPEC, 0, files, wrong) for line in chosen.get("packages", ())]
    rest: list[str] = sources.place(packages, ProjectMetadata(), file=SPEC)
    constraints = [*_bounds(bounded, files, wrong), *chosen.get("bounds", ())]
    for path in chosen.get("requirements", ()):
        found = flatten(files.read, [path])
        constraints += _bounds(found, files, wrong)
        if found.extras is not None:
            facts = facts if facts.texts else read_facts(files)
            extras = [*(extras or []), *found.extras]
        lines: list[str] = []
        for line in found.requirements:
            file, number = found.places.get(line, (path, 1))
            if bad := check_lines([line], file, number):
                wrong += bad
                continue
            places.setdefault(name_of(line), f"{file}:{number}")
            told = _linked(line, file, number, files, wrong)
            lines += [told] if told != line else sources.place([line], ProjectMetadata(), file=file, line=number)
        if found.moded:  # a hash or an option holds for all of a call: for this file alone
            calls.append(unique(lines))
        else:
            rest += lines
    for name in chosen.get("groups", ()):
        rest += sources.place(own_extras(facts.name, facts.extras, group(facts.groups, name)), facts)
    asked = None
    if extras is not None and facts.dependencies is None:
        asked = unique(extras)
        sources.all_of(facts)
    elif extras is not None:
        rest += sources.place(facts.dependencies or (), facts)
        for name in extras:
            rest += sources.place(extra(facts.name, facts.extras, name), facts)
    _check_sources(sources, wrong, files)
    constraints += [f"{name} @ {value}" for name, value in sources.given.items() if is_url(value)]
    local = {name: container_url(value, files.directory) for name, value in sources.given.items() if is_archive(value)}
    constraints += [f"{name} @ {url}" for name, url in local.items()]
    calls = [tuple(_with_local_url(line, local) for line in lines) for lines in calls]
    if rest or asked is not None:
        calls.append(unique(rest))
    adds = chosen.get("adds", ())
    return PipRequest(
        facts=facts,
        calls=(*calls, unique(adds)) if adds else tuple(calls),
        constraints=unique(constraints),
        directories=directories_of(chosen),
        extras=asked,
        project_call=len(calls) - 1,
        places=places,
    )


def _linked(line: str, file: str, number: int, files: PipInputs, wrong: list[WrongSource]) -> str:
    """A line as pip in a container is to be told it; what is wrong with a directory that it names goes to `wrong`."""
    if bad := find_links.check_find_links(line, file, number, files):
        wrong.append(bad)
    return find_links.container_line(line, "" if file == SPEC else file, files.known, files.directory)


def _bounds(found: RequirementLines, files: PipInputs, wrong: list[WrongSource]) -> list[str]:
    """The constraints of files, as `_linked`."""
    return [_linked(line, *found.places.get(line, (SPEC, 0)), files, wrong) for line in found.constraints]


def _missing_source_projects(chosen: Mapping[str, Any], files: PipInputs) -> list[WrongSource]:
    """Directories that the layer's own `sources` name, and in which there is no project."""
    return [
        WrongSource(
            message=f"`sources: {{{name}: {place}}}`: there is no project in {place} (no {', '.join(PROJECTS)})",
            hint="write the path of a directory of the project that has one, of a wheel or source archive in it "
            f"(it ends in {', '.join(ARCHIVES[:3])}), the URL of one, or `{INDEX}`",
            file=SPEC,
            line=0,
        )
        for name, place in directories_of(chosen).items()
        if all(files.read(posixpath.join(place, file)) is None for file in PROJECTS)
    ]


def _check_sources(sources: DependencySources, wrong: list[WrongSource], files: PipInputs) -> None:
    """Raises SpecError for lines and sources that are wrong, all at once; ResolveError where a requirement comes from
    no index, and the layer does not say so."""
    found = [*wrong, *sources.wrong.values()]
    if found:
        raise api.SpecError(tuple(dict.fromkeys(files.problem(each) for each in found)))
    for name, place in sources.chosen.items():
        if name not in sources.given:
            more = "" if not is_directory(place) else f", and a layer `python-project: {{root: {place}}}` installs it"
            raise api.ResolveError(
                f"`{name}` comes from {place}", code="source", hint=f"say so: `sources: {{{name}: {place}}}`{more}"
            )


def _with_local_url(line: str, local: Mapping[str, str]) -> str:
    """A line with a hash says itself where an archive of the project is: pip takes no constraint for that."""
    url = local.get(name_of(line), "")
    found = re.match(r"^([\w.-]+\s*(?:\[[^\]]*\])?)([^;]*?)(;.*?)?(\s--hash.*)$", line) if url else None
    return f"{found[1]} @ {url} {found[3] or ''}{found[4]}" if found else line


def directories_of(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Name -> directory, of those sources that are directories of the project."""
    return {name: place for name, place in chosen.get("sources", {}).items() if is_directory(place)}


def archives_of(chosen: Mapping[str, Any]) -> list[str]:
    """Those sources that are archives of the project."""
    return [place for place in chosen.get("sources", {}).values() if is_archive(place)]


def _wrong(error: WrongFileError | WrongRequirementError, files: PipInputs) -> api.ResolveError | api.SpecError:
    if isinstance(error, WrongFileError):
        where = f"{error.file}:{error.line}:{error.column}"
        return api.ResolveError(f"{where}: {error}", code="pyproject", hint=error.hint)
    if error.file:
        place = WrongSource(message=str(error), hint=error.hint, file=error.file, line=error.line, code="requirements")
        return api.SpecError((files.problem(place),))
    return api.ResolveError(str(error), code="requirements", hint=error.hint)


def facts_at(files: PipInputs, prefix: str) -> ProjectMetadata:
    """The facts of the project at `prefix`. Raises ResolveError."""
    try:
        return read_facts(files, prefix)
    except (WrongFileError, WrongRequirementError) as error:
        raise _wrong(error, files) from None


def asks_project(chosen: Mapping[str, Any]) -> bool:
    """Whether what the project itself requires is asked for."""
    return bool(chosen.get("project") or "extras" in chosen)
