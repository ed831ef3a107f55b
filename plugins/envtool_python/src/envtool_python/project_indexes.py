"""The index that a project names for all of its requirements, and the bounds that its tool sets on them. Pure.

pip has one index, and extra indexes without an order. So a single index that replaces the usual one is honoured. For
several, each tool has its own order, which pip cannot follow: they are refused until the spec says otherwise.
Formats: uv ([tool.uv] index, index-url, extra-index-url, find-links, no-index; the same in uv.toml, which comes first),
Poetry ([[tool.poetry.source]]), PDM ([[tool.pdm.source]], [tool.pdm.resolution]).
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from envtool.api.toml_reader import read_toml
from envtool_python.decode import line_of
from envtool_python.dependency_sources import WrongSource
from envtool_python.poetry import table
from envtool_python.requirements import name_of, unique
from envtool_python.source_values import INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool_python.decode import FileReader
    from envtool_python.dependency_sources import DependencySources
    from envtool_python.metadata import ProjectMetadata

_HINT = f"pip has no order of indexes; to look where this machine's pip looks: `sources: {{'*': {INDEX}}}` in the env"


def replacement_index(
    project: FileReader, facts: ProjectMetadata, root: str = ""
) -> tuple[str, tuple[WrongSource, ...]]:
    """Returns the URL of the index that replaces the usual one ("" if none does), and errors for indexes that cannot be
    honoured."""
    uv, file = table(facts.tools, "uv"), f"{root}pyproject.toml"
    uv_toml = project.read(f"{root}uv.toml")
    if uv_toml is not None:
        uv, file = _parse_toml(uv_toml), f"{root}uv.toml"
    replacing, others = _uv_indexes(uv)
    for more_replacing, more_others in (_poetry_indexes(facts.tools), _pdm_indexes(facts.tools)):
        replacing, others = replacing + more_replacing, others + more_others
    if not others and len(replacing) < 2 and all(url.startswith(("http://", "https://")) for url in replacing):
        return "".join(replacing), ()
    text = project.read(file) or ""
    errors = tuple(
        WrongSource(
            message=f"files may come from {url}, beside the usual index",
            hint=_HINT,
            file=file,
            line=_line(text, url),
        )
        for url in dict.fromkeys([*others, *replacing])
    )
    return "", errors


def _parse_toml(text: str) -> Mapping[str, Any]:
    try:
        return read_toml(text)
    except tomllib.TOMLDecodeError:  # uv reports it
        return {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _uv_indexes(uv: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the indexes that replace the usual one, and the others, without explicit indexes: those serve only names
    that ask for them."""
    tables = [item for item in _tables(uv.get("index")) if not item.get("explicit")]
    replacing = [str(item.get("url", "")) for item in tables if item.get("default")]
    others = [str(item.get("url", "")) for item in tables if not item.get("default")]
    replacing += [str(uv["index-url"])] if uv.get("index-url") else []
    for key in ("extra-index-url", "find-links"):
        others += [str(url) for url in (uv[key] if isinstance(uv.get(key), list) else ())]
    return replacing, others + (["no index"] if uv.get("no-index") else [])


def _poetry_indexes(tools: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tables = _tables(table(tools, "poetry").get("source"))
    implicit = [item for item in tables if str(item.get("priority", "primary")).lower() != "explicit"]
    usual = [item for item in implicit if str(item.get("name", "")).lower() == "pypi"]
    custom = [item for item in implicit if item not in usual]
    primary = [item for item in custom if str(item.get("priority", "primary")).lower() in ("primary", "default")]
    primary = [item for item in primary if not item.get("secondary")]
    urls, all_urls = [str(item.get("url", "")) for item in primary], [str(item.get("url", "")) for item in custom]
    return (urls, []) if len(custom) == len(primary) == 1 and not usual else ([], all_urls)


def _pdm_indexes(tools: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tables = _tables(table(tools, "pdm").get("source"))
    replacing = [
        str(item.get("url", "")) for item in tables if item.get("name") == "pypi" and not item.get("include_packages")
    ]
    return replacing, [
        str(item.get("url", "")) for item in tables if item.get("name") != "pypi" or item.get("include_packages")
    ]


def _line(text: str, url: str) -> int:
    key = url if url != "no index" else "no-index"
    return next((number for number, line in enumerate(text.splitlines(), 1) if key in line), 1)


def apply_bounds(
    lines: list[str], workspace: ProjectMetadata, root: str, sources: DependencySources, packages: Iterable[str]
) -> tuple[list[str], list[str], tuple[WrongSource, ...]]:
    """Returns the lines with the project's overrides applied, the bounds for all other requirements, and errors.

    pip cannot override a requirement under a condition, or leave one out everywhere: these are errors. The spec's own
    `packages` take precedence over overrides and exclusions.
    """
    constraints, overrides = project_bounds(workspace)
    spec_names = {name_of(line) for line in packages}
    overrides = [line for line in overrides if name_of(line) not in spec_names]
    file = f"{root}pyproject.toml"
    text = sources.project.read(file)
    errors = [
        WrongSource(
            message=f"`{line}` is to {effect} wherever it is required, which pip cannot",
            hint=f"say in the env what to take: `packages: [{name_of(line)}]`, with a version",
            file=file,
            line=line_of(text, name_of(line), key),
        )
        for effect, key, lines_of_key in (
            ("hold under a condition", "overrid", overrides),
            ("be left out", "exclu", excluded_names(workspace)),
        )
        for line in lines_of_key
        if name_of(line) not in spec_names and (key == "exclu" or ";" in line)
    ]
    override_of: dict[str, str] = {}
    for override in overrides:
        pip_lines = sources.to_pip_lines(
            [override], workspace, root=root, file=file, line=line_of(text, name_of(override), "overrid")
        )
        override_of |= {name_of(line): line for line in pip_lines}
    lines = [*unique(override_of.get(name_of(line), line) for line in lines)]
    bounds = [
        re.sub(r"\[[^\]]*\]", "", line, count=1)
        for line in (*sources.to_pip_lines(constraints, workspace, root=root), *override_of.values())
    ]
    return lines, [*unique(bounds)], tuple(errors)


def project_bounds(facts: ProjectMetadata) -> tuple[list[str], list[str]]:
    """Returns a project's constraints on all requirements, and the lines that override every requirement of their
    names: uv's constraint-dependencies and override-dependencies, PDM's overrides."""
    uv = table(facts.tools, "uv")
    constraints = [str(line) for line in uv.get("constraint-dependencies", ()) if name_of(str(line))]
    overrides = [str(line) for line in uv.get("override-dependencies", ()) if name_of(str(line))]
    resolution = table(table(facts.tools, "pdm"), "resolution")
    for name, version in table(resolution, "overrides").items():
        text = str(version)
        overrides.append(
            f"{name} @ {text}" if "://" in text else name + (text if re.match(r"[<>=!~]", text) else f"=={text}")
        )
    return constraints, overrides


def excluded_names(facts: ProjectMetadata) -> list[str]:
    """Returns names that are never installed: uv's exclude-dependencies, PDM's excludes."""
    resolution = table(table(facts.tools, "pdm"), "resolution")
    names = [*table(facts.tools, "uv").get("exclude-dependencies", ()), *resolution.get("excludes", ())]
    return [str(name) for name in names]
