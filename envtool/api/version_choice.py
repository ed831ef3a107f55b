"""Which file of a project decides the version of a toolchain.

Files of one toolchain (`.nvmrc`, go.mod) are read by its plugin. Those of version managers, which name many
toolchains, are read here: `mise.toml` and `.mise.toml` (https://mise.jdx.dev/configuration.html) and `.tool-versions`
(https://asdf-vm.com/manage/configuration.html). Only plain versions count: templates, tasks, environments and hooks in
these files have no effect, and nothing is executed.

The first file that names a version decides: the toolchain's own files, then those of version managers, then those that
say which versions will do, such as `engines` of package.json. A file that disagrees is named in a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from envtool.api.env_expansion import SHARED_VERSION_FILES, Decision, WantedVersion
from envtool.errors import SpecError, UsageError

if TYPE_CHECKING:
    from envtool.api.env_expansion import Project, Toolchain
    from envtool.model import EnvDraft, LayerDraft

# Where mise also looks for its file (https://mise.jdx.dev/configuration.html), in the order of their weight
MISE_FILES = ("mise/config.toml", ".mise/config.toml", ".config/mise.toml", ".config/mise/config.toml")
MAX_TEXT = 1 << 18  # characters of a file of a version manager
_PLAIN = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,3}(?:-?[a-z]{1,9}\.?\d{1,9})?)", re.ASCII)
_SHOWN = 40  # characters of a wrong version in a message


class VersionChoice(NamedTuple):
    """The decision, or None where no file names a version. `note` names the files that disagree with it, `passed` says
    what is no plain version in the files of version managers."""

    decision: Decision | None
    note: str = ""
    passed: tuple[str, ...] = ()


def plain_version(text: str) -> str:
    """Returns the version that a text is, without a leading `v`, or "": names that change their meaning are none."""
    match = _PLAIN.fullmatch(text.strip())
    return match[1] if match else ""


def choose_version(
    tool: str,
    names: Iterable[str],
    wants: Iterator[WantedVersion],
    project: Project,
    accepts: Callable[[str, str], bool],
) -> VersionChoice:
    """Returns which version the project's files want. `names` are those that version managers have for the toolchain
    beside `tool`, `wants` yields what its own files say, `accepts` is that of its kind. Raises what `wants` raises, up
    to the file that decides."""
    passed: list[str] = []
    wants = _versions_in(wants, passed)
    first = next(wants, None)
    shared: list[WantedVersion] = []
    if first is None or first.allows:
        shared = read_shared(tool, names, project, passed)
    own = [] if first is None else [first]
    candidates = [*shared, *own] if shared else own
    if not candidates:
        return VersionChoice(None, passed=tuple(passed))
    decided, *others = candidates
    before = tuple(passed)
    if decided.allows:  # no file names one version, so that none can disagree
        return VersionChoice(_decision(decided), _note(tool, decided, (), before), before)
    if not shared:
        others = read_shared(tool, names, project, passed)
    rest = chain(others, _until_error(wants))
    disagreeing = [other for other in rest if not _agrees(decided, other, accepts)]
    return VersionChoice(_decision(decided), _note(tool, decided, disagreeing, before), tuple(passed))


def _versions_in(wants: Iterable[WantedVersion], passed: list[str]) -> Iterator[WantedVersion]:
    """Yields those that name a version, and adds to `passed` what the others name."""
    for wanted in wants:
        if wanted.wanted:
            yield wanted
        else:
            passed.append(f"{_place(wanted)} names `{wanted.entry[:_SHOWN]}`, which is no version")


def own_versions(toolchain: Toolchain, project: Project) -> Iterator[WantedVersion]:
    """Yields what a toolchain's own files say. Raises what its plugin raises."""
    if toolchain.wants is not None:
        yield from toolchain.wants(project)
    elif toolchain.decide is not None and (decision := toolchain.decide(project)) is not None:
        yield WantedVersion(wanted=decision.wanted, file=decision.origin, line=0)


def note_other_version(
    env: EnvDraft,
    drafts: tuple[LayerDraft, ...],
    tool: str,
    wants: Iterator[WantedVersion],
    has: Mapping[str, str],
) -> tuple[LayerDraft, ...]:
    """Returns the layers of an env without this toolchain, the first with a note if a file of the project wants another
    version than a Debian base has (`has`: suite -> the first numbers of its version), or one that the base `host` may
    not have. `wants` yields what the files say; an error in one of them is none."""
    from dataclasses import replace

    wanted = next((wanted for wanted in _until_error(wants) if wanted.wanted and not wanted.allows), None)
    if wanted is None or not drafts:
        return drafts
    if env.base_kind == "host":
        text = "the env has that of this machine"
    else:
        options = env.base_options
        version = has.get(str(options.get("suite", "") if isinstance(options, dict) else options or ""), "")
        if not version or _is_same(wanted.wanted, version):
            return drafts
        text = f"the env has {version}"
    note = f"{_place(wanted)} wants {tool} {wanted.wanted}, {text}: `toolchain: [{tool}]` takes what the file wants"
    return (replace(drafts[0], note=note), *drafts[1:])


def _decision(wanted: WantedVersion) -> Decision:
    return Decision(wanted=wanted.wanted, origin=f"{wanted.file}, {wanted.entry}" if wanted.entry else wanted.file)


def _until_error(wants: Iterator[WantedVersion]) -> Iterator[WantedVersion]:
    """Yields what files say that decide nothing: an error in one of them is none."""
    try:
        yield from wants
    except (SpecError, UsageError):
        return


def _agrees(decided: WantedVersion, other: WantedVersion, accepts: Callable[[str, str], bool]) -> bool:
    if other.allows:
        # a version such as "22" stands for many: one of them is enough
        ends = ("", ".0", ".0.0", ".999999", ".999999.999999")[: 5 if decided.wanted.count(".") < 2 else 1]
        return any(accepts(other.allows, decided.wanted + end) for end in ends)
    return _is_same(decided.wanted, other.wanted)


def _is_same(version: str, other: str) -> bool:
    """Whether two versions are the same as far as both have numbers."""
    return all(one == another for one, another in zip(version.split("."), other.split("."), strict=False))


def _note(tool: str, decided: WantedVersion, disagreeing: Sequence[WantedVersion], before: Sequence[str]) -> str:
    """Returns a note about the files that disagree, or about what was passed over `before` a file decided."""
    if not disagreeing:
        return f"{'; '.join(before)}: {_place(decided)} decides about {tool}" if before else ""
    listed = ", ".join(
        f"{_place(other)} {'allows' if other.allows else 'wants'} {other.allows or other.wanted}"
        for other in disagreeing
    )
    return f"{tool} is {decided.wanted}, by {_place(decided)}, but {listed}"


def _place(wanted: WantedVersion) -> str:
    return f"{wanted.file}:{wanted.line}" if wanted.line else wanted.file


# ---- files of version managers ---------------------------------------------------------------------------------------


def read_shared(
    tool: str, names: Iterable[str], project: Project, passed: list[str] | None = None
) -> list[WantedVersion]:
    """Returns what the files of version managers say about one toolchain, in the order of their weight. Adds to
    `passed` what cannot be used: a file that is no such file, or a version that is no plain one. Raises nothing for
    files: they may be meant for other tools."""
    notes = passed if passed is not None else []
    known = frozenset((tool, *names))
    found: list[WantedVersion] = []
    *plain, last = SHARED_VERSION_FILES
    for file in (*plain, *MISE_FILES, last):
        try:
            text = project.read(file)
        except UsageError as error:
            notes.append(error.message)
            continue
        if text is None:
            continue
        if len(text) > MAX_TEXT:
            notes.append(f"{file} is larger than {MAX_TEXT} characters")
            continue
        entries = _mise_entries(text, known, file, notes) if file.endswith(".toml") else _asdf_entries(text, known)
        for line, wanted in entries:
            version = plain_version(wanted)
            if version:
                found.append(WantedVersion(wanted=version, file=file, line=line))
                break
            notes.append(f"{file}:{line} names `{wanted[:_SHOWN]}`, which is no version")
    return found


def _asdf_entries(text: str, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yields the line and first version of each entry of a toolchain: asdf takes further ones where that is missing."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] in names:
            yield number, words[1]


def _mise_entries(text: str, names: frozenset[str], file: str, passed: list[str]) -> Iterator[tuple[int, str]]:
    """Yields the line and version of each entry of a toolchain in the table `tools`."""
    from envtool.api.toml_reader import read_toml

    try:
        document = read_toml(text)
    except ValueError as error:
        passed.append(f"{file} is no TOML: {str(error)[:_SHOWN]}")
        return
    tools = document.get("tools")
    for key, value in tools.items() if isinstance(tools, dict) else ():
        if key.removeprefix("core:") not in names:
            continue
        entry = value[0] if isinstance(value, list) and value else value
        if isinstance(entry, dict) and not _is_for_linux(entry.get("os")):
            continue
        version = entry.get("version") if isinstance(entry, dict) else entry
        if isinstance(version, str):
            yield _line_of(text, key), version.removeprefix("prefix:")
        else:  # 3.10 is the number 3.1 in TOML
            passed.append(f"{file}:{_line_of(text, key)} names no version in quotes for {key}")


def _is_for_linux(systems: object) -> bool:
    """Returns whether an entry of mise counts on Linux: `os = ["macos", "linux/x64"]` limits it."""
    return not isinstance(systems, list) or any(str(system).partition("/")[0] == "linux" for system in systems)


def _line_of(text: str, key: str) -> int:
    """Returns the line of a key of the table `tools`."""
    word = rf"[\"']?{re.escape(key)}[\"']?"
    entry = re.compile(rf"\s*(?:tools\s*\.\s*)?{word}\s*=|\s*\[\[?\s*tools\s*\.\s*{word}\s*\]|\s*tools\s*=.*{word}")
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if entry.match(line)), 1)
