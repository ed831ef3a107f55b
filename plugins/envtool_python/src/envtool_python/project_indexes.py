"""Which index a project names for all of its requirements, and the bounds that its tool sets on them. Pure.

pip knows one index, and others that it does not prefer. So one that stands in the place of the usual one is honoured.
Of several, each tool has an order of its own, which pip cannot follow: they are refused until the spec says otherwise.
Formats: uv ([tool.uv] index, index-url, extra-index-url, find-links, no-index; the same in uv.toml, which comes first),
Poetry ([[tool.poetry.source]]), PDM ([[tool.pdm.source]], [tool.pdm.resolution]).
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

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
    """The URL of the index that replaces the usual one ("" where none does), and what cannot be honoured."""
    uv, file = table(facts.tools, "uv"), f"{root}pyproject.toml"
    own = project.read(f"{root}uv.toml")
    if own is not None:
        uv, file = _parsed(own), f"{root}uv.toml"
    first, others = _of_uv(uv)
    for more_first, more in (_of_poetry(facts.tools), _of_pdm(facts.tools)):
        first, others = first + more_first, others + more
    if not others and len(first) < 2 and all(url.startswith(("http://", "https://")) for url in first):
        return "".join(first), ()
    text = project.read(file) or ""
    wrong = tuple(
        WrongSource(
            message=f"files may come from {place}, beside the usual index",
            hint=_HINT,
            file=file,
            line=_line(text, place),
        )
        for place in dict.fromkeys([*others, *first])
    )
    return "", wrong


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # its owner will hear of it from uv
        return {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _of_uv(uv: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Indexes that replace the usual one, and others. Explicit ones are for the names that say so."""
    tables = [item for item in _tables(uv.get("index")) if not item.get("explicit")]
    first = [str(item.get("url", "")) for item in tables if item.get("default")]
    others = [str(item.get("url", "")) for item in tables if not item.get("default")]
    first += [str(uv["index-url"])] if uv.get("index-url") else []
    for key in ("extra-index-url", "find-links"):
        others += [str(url) for url in (uv[key] if isinstance(uv.get(key), list) else ())]
    return first, others + (["no index"] if uv.get("no-index") else [])


def _of_poetry(tools: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tables = _tables(table(tools, "poetry").get("source"))
    named = [item for item in tables if str(item.get("priority", "primary")).lower() != "explicit"]
    usual = [item for item in named if str(item.get("name", "")).lower() == "pypi"]
    rest = [item for item in named if item not in usual]
    main = [item for item in rest if str(item.get("priority", "primary")).lower() in ("primary", "default")]
    main = [item for item in main if not item.get("secondary")]
    urls, all_urls = [str(item.get("url", "")) for item in main], [str(item.get("url", "")) for item in rest]
    return (urls, []) if len(rest) == len(main) == 1 and not usual else ([], all_urls)


def _of_pdm(tools: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tables = _tables(table(tools, "pdm").get("source"))
    first = [
        str(item.get("url", "")) for item in tables if item.get("name") == "pypi" and not item.get("include_packages")
    ]
    return first, [
        str(item.get("url", "")) for item in tables if item.get("name") != "pypi" or item.get("include_packages")
    ]


def _line(text: str, place: str) -> int:
    words = place if place != "no index" else "no-index"
    return next((number for number, line in enumerate(text.splitlines(), 1) if words in line), 1)


def apply_bounds(
    lines: list[str], top: ProjectMetadata, root: str, sources: DependencySources, packages: Iterable[str]
) -> tuple[list[str], list[str], tuple[WrongSource, ...]]:
    """The lines with what stands over them, the bounds for whatever else requires a name, and what pip cannot do: it
    has no word for a requirement that holds under a condition alone, or that is dropped wherever it is. The spec's own
    `packages` come before all of these.
    """
    constraints, overrides = project_bounds(top)
    own = {name_of(line) for line in packages}
    overrides = [line for line in overrides if name_of(line) not in own]
    file = f"{root}pyproject.toml"
    text = sources.project.read(file)
    wrong = [
        WrongSource(
            message=f"`{line}` is to {what} wherever it is required, which pip cannot",
            hint=f"say in the env what to take: `packages: [{name_of(line)}]`, with a version",
            file=file,
            line=line_of(text, name_of(line), key),
        )
        for what, key, some in (
            ("hold under a condition", "overrid", overrides),
            ("be left out", "exclu", excluded_names(top)),
        )
        for line in some
        if name_of(line) not in own and (key == "exclu" or ";" in line)
    ]
    over: dict[str, str] = {}
    for override in overrides:
        placed = sources.to_pip_lines(
            [override], top, root=root, file=file, line=line_of(text, name_of(override), "overrid")
        )
        over |= {name_of(line): line for line in placed}
    lines = [*unique(over.get(name_of(line), line) for line in lines)]
    bounds = [
        re.sub(r"\[[^\]]*\]", "", line, count=1)
        for line in (*sources.to_pip_lines(constraints, top, root=root), *over.values())
    ]
    return lines, [*unique(bounds)], tuple(wrong)


def project_bounds(facts: ProjectMetadata) -> tuple[list[str], list[str]]:
    """Constraints that a project sets on whatever requires a name, and lines that stand over every requirement of
    theirs: uv's constraint-dependencies and override-dependencies, PDM's overrides."""
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
    """Names that nothing may bring: uv's exclude-dependencies, PDM's excludes."""
    resolution = table(table(facts.tools, "pdm"), "resolution")
    found = [*table(facts.tools, "uv").get("exclude-dependencies", ()), *resolution.get("excludes", ())]
    return [str(name) for name in found]
