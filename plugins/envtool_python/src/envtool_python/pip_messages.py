"""Explains pip's errors: which requirement cannot be resolved, where it is written, and what to write instead. Pure.

Source of pip's sentences: `pip._internal.exceptions` and `resolution/resolvelib/factory.py` of pip 23 to 26. Other
errors are passed on as pip says them (pip_config.last_words).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool_python.requirements import name_of, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOT_FOUND = re.compile(
    r"Could not find a version that satisfies the requirement (?P<line>.+?)(?: \(from (?P<by>(?!versions:)[^()]+)\))?"
    r" \(from versions: (?P<versions>[^)]*)\)"
)
_BROKEN = re.compile(r"after connection broken by [\"'](?P<error>.*)[\"']: \S*/(?P<name>[^/\s]+)/\s*$", re.MULTILINE)
_IGNORED = re.compile(r"The repository located at (\S+) is not a trusted or secure host and is being ignored")
_BROKEN_REASONS = re.compile(
    r"\[Errno -?\d+\] ([^'\"()]+)|(certificate verify failed[^'\"()]*)|(\w[^'\"(),]* timed out)"
)
_YANKED = re.compile(r"Ignored the following yanked versions: (.*)")
_OTHER_PYTHON = re.compile(r"Ignored the following versions that require a different python version: (.*)")
_ONE_PYTHON = re.compile(r"(\S+) Requires-Python ([^;]+)")
_HASH = re.compile(
    r"^\s*(?P<line>\S[^\n]*):\n\s*Expected \w+ (?P<wanted>[0-9a-f]+)"
    r"(?:\n\s*(?:Expected)?\s+or [0-9a-f]+)*\n\s*Got\s+(?P<got>[0-9a-f]+)",
    re.MULTILINE,
)
_UNPINNED = re.compile(r"all requirements must have their versions pinned with ==\. These do not:\n((?:\s+\S.*\n?)+)")
_UNHASHED = re.compile(r"missing from some requirements\b[^\n]*\n(?:[^\n]*hashes[^\n]*\n)*((?:\s+\S.*--hash=\S+\n?)+)")
_PLATFORM = re.compile(r"(\S+\.whl) is not a supported wheel on this platform")
_CONFLICT = re.compile(r"The conflict is caused by:\n((?:[ \t]+\S.*\n?)+)")
_ASKED = re.compile(r"The user requested (\(constraint\) )?(.+)")
_DEPENDS = re.compile(r"(\S+) (\S+) depends on (.+)")
MAX_CAUSES = 4  # causes of a conflict that the message names
_ALONE = re.compile(r"Cannot install (\S+) because these package versions have conflicting dependencies")
_ALL_HASHED = (
    "where one line has a hash, each must have one and a version with `==`, what they require too: `pip-compile"
    " --generate-hashes` or `uv pip compile --generate-hashes` writes them all"
)


def explain_pip_error(
    output: str, places: Mapping[str, str], info: Mapping[str, object], lines: Iterable[str] = ()
) -> tuple[str, str]:
    """Returns the message and the hint for pip's output; both are empty for an error that is not known here.

    `places`: see PipRequest.places. `info`: the container's Python, as inside.py reports it. `lines`: the requirements
    and constraints that pip got.
    """
    text = "\n".join(line.partition("ERROR: ")[2] or line for line in output.splitlines())
    single = _ALONE.search(text)  # pip says this of a wheel that a constraint names and that is not for this platform
    for line in lines if single else ():
        file = line.partition("#")[0].partition(" @ ")[2].rpartition("/")[2].strip()
        if file.endswith(".whl") and name_of(line) == name_of(single[1]) and not _fits(file, info):  # type: ignore[index]
            text += f"\n{file} is not a supported wheel on this platform"
    for explain in (_hash_error, _platform_error, _unreachable_error, _not_found_error, _conflict_error):
        message, hint = explain(text, info)
        if message:
            positions = [
                places.get(name_of(name), "") for name in message.split("`")[1:4:2]
            ]  # the requirement, or the one that requires it
            position = next(filter(None, positions), "")
            return (f"{position}: {message}" if position else message), hint
    return "", ""


def _hash_error(text: str, _: Mapping[str, object]) -> tuple[str, str]:
    match = _HASH.search(text)
    if match and "DO NOT MATCH THE HASHES" in text:
        line = re.split(r" from |\s+\(from ", match["line"])[0].strip()
        return (
            f"`{line}`: the file has another hash than the line says: {match['got']}, not {match['wanted']}",
            f"if that file is meant, write `--hash=sha256:{match['got']}`; else see where pip looks: `pip config list`",
        )
    unpinned = _UNPINNED.search(text) or _UNHASHED.search(text)
    if unpinned:
        line = re.split(r" from |\s+\(from | --hash", unpinned[1].strip().splitlines()[0])[0].strip()
        return f"`{line}` has no hash, or no version with `==`, and other lines of its file have a hash", _ALL_HASHED
    return "", ""


def _platform_error(text: str, info: Mapping[str, object]) -> tuple[str, str]:
    match = _PLATFORM.search(text)
    if not match:
        return "", ""
    file = match[1].rpartition("/")[2]
    parts = file.removesuffix(".whl").split("-")
    host_python = (
        f"{info.get('implementation', 'python')} {info.get('version', '')} on {info.get('platform', 'this platform')}"
    )
    target = f"Python `{parts[-3]}`, platform `{parts[-1]}`" if len(parts) >= 5 else "another Python"
    return (
        f"`{parts[0]}`: the wheel {file} is for {target}; here is {host_python}",
        "name one that is for this Python, a source archive (.tar.gz), or the project with a version: pip chooses",
    )


def _fits(file: str, info: Mapping[str, object]) -> bool:
    """Whether a wheel may be for this Python, by the tags in its file name."""
    python, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    major, minor = f"{info.get('version', '')}..".split(".")[:2]
    system, _, machine = str(info.get("platform", "")).partition("-")
    python_tags = {f"py{major}", f"py{major}{minor}", f"cp{major}{minor}"}
    interpreter = bool(python_tags & {*python.split(".")}) or abi == "abi3"
    return interpreter and (platform == "any" or (system in platform and machine.replace("-", "_") in platform))


def _unreachable_error(text: str, _: Mapping[str, object]) -> tuple[str, str]:
    """Explains that an index was not reached, or not read: pip then says that nothing has the name."""
    match = _NOT_FOUND.search(text)
    if not match or match["versions"].strip() not in ("none", ""):
        return "", ""
    line = match["line"]
    broken = [attempt for attempt in _BROKEN.finditer(text) if normal(attempt["name"]) == name_of(line)]
    ignored = _IGNORED.search(text)
    if not broken and ignored:
        host = ignored[1]
        return (
            f"`{line}`: pip ignores the index on {host}, which speaks plain HTTP",
            f"write its URL with https:, or if plain HTTP is right: `pip config set global.trusted-host {host}`",
        )
    if not broken:
        return "", ""
    error = broken[-1]["error"]
    reasons = _BROKEN_REASONS.findall(error)
    reason = next(filter(None, reasons[-1])).strip() if reasons else error
    return (
        f"`{line}`: pip cannot reach an index that it reads: {reason}",
        f"`pip config list` says where pip looks, and `pip download {name_of(line)}` tries the same outside of envtool",
    )


def _not_found_error(text: str, info: Mapping[str, object]) -> tuple[str, str]:
    match = _NOT_FOUND.search(text)
    if not match:
        return "", ""
    line, parent, versions = (
        match["line"],
        match["by"] or "",
        [version.strip() for version in match["versions"].split(",")],
    )
    parent = "" if parent.startswith("-r ") else parent
    name = re.match(r"[\w.-]*", line)[0]  # type: ignore[index]  # matches nothing, too
    origin = f", which `{parent}` requires" if parent else ""
    other_pythons, yanked = _OTHER_PYTHON.search(text), _YANKED.search(text)
    python_versions = _ONE_PYTHON.findall(other_pythons[1]) if other_pythons else []
    if matching := [version for version in python_versions if _is_allowed(line, version[0])]:
        version, bound = matching[-1]
        return (
            f"`{line}`{origin}: not for Python {info.get('version')}, since {name} {version} wants {bound.strip()}",
            "write a version that is for this Python, or take another base or a `toolchain: {python: VERSION}`",
        )
    if yanked and (
        yanked_versions := [version.strip() for version in yanked[1].split(",") if _is_allowed(line, version.strip())]
    ):
        hint = f"write `{name}=={yanked_versions[-1]}` if it is meant all the same, or another version"
        return f"`{line}`{origin}: what fits was yanked by its authors ({', '.join(yanked_versions[-5:])})", hint
    if versions in (["none"], [""]):
        return (
            f"`{line}`{origin}: nothing that this Python can install is called `{name}` where pip looks",
            f"is the name right? `pip config list` says where; one of the project: `sources: {{{name}: DIRECTORY}}`",
        )
    newest = ", ".join(versions[-5:])
    return (
        f"`{line}`{origin}: there is no such version of {name}; the newest that this Python can install are {newest}",
        f"write one that there is, as in `{name}>={versions[-1]}`, or loosen the bound",
    )


def _conflict_error(text: str, _: Mapping[str, object]) -> tuple[str, str]:
    conflicts = _CONFLICT.findall(text)
    if not conflicts:
        return "", ""
    causes = []
    for line in dict.fromkeys(line.strip().replace(" and ", ",") for line in conflicts[-1].splitlines()):
        if request := _ASKED.fullmatch(line):
            causes.append(f"`{request[2]}`" + (" of the constraints" if request[1] else ""))
        elif dependency := _DEPENDS.fullmatch(line):
            causes.append(f"`{dependency[1]}=={dependency[2]}`, which wants {dependency[3]}")
        else:
            causes.append(line)
    omitted = f"; and {len(causes) - MAX_CAUSES} more" if len(causes) > MAX_CAUSES else ""
    return (
        f"these do not go together: {'; '.join(causes[:MAX_CAUSES])}{omitted}",
        "loosen one of the requirements, or ask for fewer groups and extras",
    )


def _is_allowed(line: str, version: str) -> bool:
    from packaging.requirements import Requirement

    try:
        return Requirement(line).specifier.contains(version, prereleases=True)
    except (ValueError, RecursionError):
        return False
