"""Where toolchains come from: sources, and what a ToolchainKind pins of them.

A plugin offers an api.Toolchain in the hook `envtool_toolchains`, and its api.ToolchainKind among its kinds of layers.
The kind names sources, the best first. A source lists the versions that it has, and the archives of one version. The
first source that has a version that fits decides. The archives are unpacked: nothing of them runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from envtool.api.env_expansion import SHARED_VERSION_FILES, Additions, Decision, Toolchain
from envtool.errors import FetchError, Problem, ResolveError, SpecError
from envtool.lazy_dataclass import dataclass
from envtool.model import LayerDraft

if TYPE_CHECKING:
    from pathlib import Path

    from envtool.api.site_protocol import Site
    from envtool.api.version_choice import VersionChoice
    from envtool.model import EnvDraft, Json
    from envtool.recipe import Fetch, Sealed

LISTED = 8  # versions that an error lists at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolArchive:
    """One archive of a version, before it is fetched. `name` and `version` are those of the package in it, `path` is
    what `ToolchainSource.urls` needs to find the archive on another machine. `check` gets the path of the fetched file,
    and raises ResolveError if it is not what the source's own hash says."""

    name: str
    version: str
    path: str
    sealed: Sealed
    check: Callable[[Path], None] | None = None


class ToolchainSource(Protocol):
    """Where a toolchain can be had."""

    name: str  # for people, and in pins: "npm"

    def versions(self, site: Site) -> Sequence[str]:
        """Returns the versions that there are for `site.arch`. Raises FetchError, ResolveError."""

    def archives(self, version: str, site: Site) -> Sequence[ToolArchive]:
        """Returns the archives of one of these versions; the first is that of the toolchain itself. Raises FetchError,
        ResolveError."""

    def urls(self, row: Mapping[str, Json], site: Site) -> tuple[tuple[str, ...], str]:
        """Returns the URLs of a pinned archive on this machine, and the value of the header Authorization for the
        first. `row` is a row of the pins. Raises FetchError, ResolveError."""


def resolve_toolchain(
    title: str,
    sources: Sequence[ToolchainSource],
    accepts: Callable[[str, str], bool],
    decision: Decision,
    keep: Json,
    site: Site,
    elsewhere: str = "",
) -> Json:
    """Returns the archives of the newest version that fits, in the first source that has one. An earlier pin that
    fits is kept. `elsewhere` says where else versions are, for errors. Raises ResolveError, FetchError."""
    wanted = decision.wanted
    earlier = earlier_version(keep)
    offered: list[tuple[str, Sequence[str]]] = []
    failed: list[tuple[str, FetchError | ResolveError]] = []
    for source in sources:
        try:
            versions = source.versions(site)
        except (FetchError, ResolveError) as error:
            if error.code == "offline":
                raise
            failed.append((source.name, error))
            continue
        fitting = [version for version in versions if accepts(wanted, version)]
        if not fitting:
            offered.append((source.name, versions))
            continue
        version = earlier if earlier in fitting else max(fitting, key=sort_key)
        return {"source": source.name, "archives": _learn_archives(source, version, site)}
    raise _nothing_fits(title, decision, offered, failed, site.arch, elsewhere)


def _learn_archives(source: ToolchainSource, version: str, site: Site) -> list[Json]:
    archives = source.archives(version, site)
    fetches = site.learn([archive.sealed for archive in archives])
    rows: list[Json] = []
    for archive, fetch in zip(archives, fetches, strict=True):
        if archive.check is not None:
            archive.check(site.fetch([replace(fetch, mirrors=())])[0])
        row: dict[str, Json] = {"name": archive.name, "version": archive.version, "path": archive.path}
        rows.append({**row, "file": fetch.name, "sha256": fetch.sha256, "size": fetch.size})
    return rows


def _nothing_fits(
    title: str,
    decision: Decision,
    offered: Sequence[tuple[str, Sequence[str]]],
    failed: Sequence[tuple[str, FetchError | ResolveError]],
    arch: str,
    elsewhere: str,
) -> ResolveError:
    wanted, origin = decision.wanted, decision.origin
    message = f"no {title} {wanted} can be had for {arch}"
    if origin:
        message += f", which {origin} wants"
    for name, versions in offered:
        message += f"; {name} has {describe_versions(wanted, versions)}"
    if failed:
        answers = (f"{name} ({error.message})" for name, error in failed)
        message += f"; no versions from {', '.join(answers)}"
    hint = "write one of these versions" if offered else "where versions come from is configured on this machine"
    if elsewhere:
        named = (error.hint for _, error in failed if error.hint and error.code == "toolchain-registry")
        hint = f"{hint if offered else next(named, hint)}; {elsewhere}"
    return ResolveError(message, code="toolchain-version", hint=hint)


def locate_archives(
    title: str, tool: str, sources: Sequence[ToolchainSource], pins: Json, fetches: Sequence[Fetch], site: Site
) -> Sequence[Fetch]:
    """Returns the archives with their URLs in the source that the pins name. Raises FetchError, ResolveError."""
    assert isinstance(pins, dict)
    source = next((source for source in sources if source.name == pins["source"]), None)
    if source is None:
        message = f"{title} is pinned from {pins['source']}, which is no source of it here"
        raise ResolveError(message, code="toolchain-source", hint=f"`envtool lock --upgrade {tool}`")
    archives: Any = pins["archives"]
    rows = {row["sha256"]: row for row in archives}
    located = []
    for fetch in fetches:
        (first, *others), authorization = source.urls(rows[fetch.sha256], site)
        located.append(replace(fetch, url=first, mirrors=(*others,), authorization=authorization))
    return located


def added_toolchains(
    offers: Mapping[str, Toolchain], decide: Callable[[str], VersionChoice], env: EnvDraft, value: Json
) -> Additions:
    """Returns the layers for a value of `toolchain`, a mapping or a list. `decide` returns what the project's files say
    about a toolchain. Raises SpecError, UsageError."""
    wanted = value if isinstance(value, dict) else dict.fromkeys(map(str, value if isinstance(value, list) else ()))
    return Additions(layers=tuple(_layer_of(env, offers[name], wanted[name], decide) for name in sorted(wanted)))


def _layer_of(env: EnvDraft, toolchain: Toolchain, wanted: Json, decide: Callable[[str], VersionChoice]) -> LayerDraft:
    """Returns the layer for a version, or for a mapping of a version and a mirror."""
    if not isinstance(wanted, dict):
        return _layer(env, toolchain, wanted, decide)
    layer = _layer(env, toolchain, wanted.get("version"), decide)
    options: Any = layer.options
    return replace(layer, options={**options, "mirror": wanted["mirror"]})


def _layer(env: EnvDraft, toolchain: Toolchain, version: Json, decide: Callable[[str], VersionChoice]) -> LayerDraft:
    options: dict[str, Json] = {"version": version}
    note = ""
    if version is None:
        decision, note, passed = decide(toolchain.name)
        if decision is None:
            *files, last = (*toolchain.files, *SHARED_VERSION_FILES)
            message = f"nothing says which {toolchain.name}: no {', '.join(files)} or {last} names a version"
            problem = Problem(
                where=env.where,
                message="; ".join((message, *passed)),
                code="toolchain-version",
                hint=f'write one: `toolchain: {{{toolchain.name}: "VERSION"}}`',
            )
            raise SpecError((problem,))
        options = {"version": decision.wanted, "origin": decision.origin}
    return LayerDraft(
        name=f"toolchain-{toolchain.name}", kind=toolchain.kind, options=options, needs=(), after=False, note=note
    )


def earlier_version(keep: Json) -> str:
    """Returns the version that earlier pins have, or ""."""
    rows = keep.get("archives") if isinstance(keep, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return str(first.get("version", "")) if isinstance(first, dict) else ""


def is_release(version: str) -> bool:
    """Returns whether a version is made of numbers alone, none of which is absurd: Python reads no number of 5,000
    digits, and a registry is a stranger's."""
    return re.fullmatch(r"\d{1,9}(?:\.\d{1,9}){0,9}", version) is not None


def sort_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Orders versions; a pre-release comes before its release."""
    match = re.match(r"\d{1,9}(?:\.\d{1,9}){0,9}", version)
    numbers = tuple(int(part) for part in match[0].split(".")) if match else ()
    rest = version[match.end() :] if match else version
    return numbers, not rest, rest


def describe_versions(wanted: str, versions: Iterable[str]) -> str:
    """Returns the versions that are nearest to the wanted one, the newest first, as in "22.3.0, 22.2.0 and 40 more":
    those with the same first number if there are any; without, the newest of each first number."""
    ordered = sorted({version for version in versions if is_release(version)}, key=sort_key, reverse=True)
    if not ordered:
        return "none for this machine"
    numbers = re.findall(r"\d+", wanted)
    for count in range(len(numbers) - 1, 0, -1):
        same = [version for version in ordered if re.findall(r"\d+", version)[:count] == numbers[:count]]
        if same:
            break
    else:
        newest = {_line(version): version for version in reversed(ordered)}
        same = [*reversed(newest.values())]
    left = len(ordered) - len(same[:LISTED])
    return f"{', '.join(same[:LISTED])}{f' and {left} more' if left else ''}"


def _line(version: str) -> str:
    return version.rpartition(".")[0] or version
