"""What pip says of requirements that it cannot settle, in words of ours: which one, where it stands, and what to write
instead. Pure.

pip's sentences: `pip._internal.exceptions` and `resolution/resolvelib/factory.py` of pip 23 to 26. What it says in
other words is passed on as it is (index.last_words).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool_python.requirements import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOT_FOUND = re.compile(
    r"Could not find a version that satisfies the requirement (?P<line>.+?)(?: \(from (?P<by>(?!versions:)[^()]+)\))?"
    r" \(from versions: (?P<versions>[^)]*)\)"
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
MAX_CAUSES = 4  # of a conflict, that are named
_ALONE = re.compile(r"Cannot install (\S+) because these package versions have conflicting dependencies")
_ALL_HASHED = (
    "where one line has a hash, each must have one and a version with `==`, what they require too: `pip-compile"
    " --generate-hashes` or `uv pip compile --generate-hashes` writes them all"
)


def explain_pip_error(
    said: str, places: Mapping[str, str], info: Mapping[str, object], lines: Iterable[str] = ()
) -> tuple[str, str]:
    """What is wrong, and what to do; both empty where pip says something else. `places`: see Asked; `info`: what the
    Python in the container is; `lines`: what pip was asked, constraints too."""
    text = "\n".join(line.partition("ERROR: ")[2] or line for line in said.splitlines())
    alone = _ALONE.search(text)  # what pip says of a wheel that a constraint names, and that is not for this platform
    for line in lines if alone else ():
        file = line.partition("#")[0].partition(" @ ")[2].rpartition("/")[2].strip()
        if file.endswith(".whl") and name_of(line) == name_of(alone[1]) and not _fits(file, info):  # type: ignore[index]
            text += f"\n{file} is not a supported wheel on this platform"
    for tell in (_hashes, _wheel, _not_found, _conflict):
        message, hint = tell(text, info)
        if message:
            named = [places.get(name_of(each), "") for each in message.split("`")[1:4:2]]  # it, or who requires it
            found = next(filter(None, named), "")
            return (f"{found}: {message}" if found else message), hint
    return "", ""


def _hashes(text: str, _: Mapping[str, object]) -> tuple[str, str]:
    wrong = _HASH.search(text)
    if wrong and "DO NOT MATCH THE HASHES" in text:
        line = re.split(r" from |\s+\(from ", wrong["line"])[0].strip()
        return (
            f"`{line}`: the file has another hash than the line says: {wrong['got']}, not {wrong['wanted']}",
            f"if that file is meant, write `--hash=sha256:{wrong['got']}`; else see where pip looks: `pip config list`",
        )
    unpinned = _UNPINNED.search(text) or _UNHASHED.search(text)
    if unpinned:
        line = re.split(r" from |\s+\(from | --hash", unpinned[1].strip().splitlines()[0])[0].strip()
        return f"`{line}` has no hash, or no version with `==`, and other lines of its file have a hash", _ALL_HASHED
    return "", ""


def _wheel(text: str, info: Mapping[str, object]) -> tuple[str, str]:
    found = _PLATFORM.search(text)
    if not found:
        return "", ""
    file = found[1].rpartition("/")[2]
    parts = file.removesuffix(".whl").split("-")
    here = (
        f"{info.get('implementation', 'python')} {info.get('version', '')} on {info.get('platform', 'this platform')}"
    )
    made = f"Python `{parts[-3]}`, platform `{parts[-1]}`" if len(parts) >= 5 else "another Python"
    return (
        f"`{parts[0]}`: the wheel {file} is for {made}; here is {here}",
        "name one that is for this Python, a source archive (.tar.gz), or the project with a version: pip chooses",
    )


def _fits(file: str, info: Mapping[str, object]) -> bool:
    """Whether a wheel may be for this Python, by what its name says of the interpreter and the system."""
    python, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    major, minor = f"{info.get('version', '')}..".split(".")[:2]
    system, _, machine = str(info.get("platform", "")).partition("-")
    own = {f"py{major}", f"py{major}{minor}", f"cp{major}{minor}"}
    interpreter = bool(own & {*python.split(".")}) or abi == "abi3"
    return interpreter and (platform == "any" or (system in platform and machine.replace("-", "_") in platform))


def _not_found(text: str, info: Mapping[str, object]) -> tuple[str, str]:
    found = _NOT_FOUND.search(text)
    if not found:
        return "", ""
    line, by, versions = found["line"], found["by"] or "", [each.strip() for each in found["versions"].split(",")]
    by = "" if by.startswith("-r ") else by
    name = re.match(r"[\w.-]*", line)[0]  # type: ignore[index]  # matches nothing, too
    whose = f", which `{by}` requires" if by else ""
    others, yanked = _OTHER_PYTHON.search(text), _YANKED.search(text)
    python = _ONE_PYTHON.findall(others[1]) if others else []
    if wanted := [each for each in python if _is_meant(line, each[0])]:
        version, bound = wanted[-1]
        return (
            f"`{line}`{whose}: not for Python {info.get('version')}, since {name} {version} wants {bound.strip()}",
            "write a version that is for this Python, or take a base that has another",
        )
    if yanked and (taken := [each.strip() for each in yanked[1].split(",") if _is_meant(line, each.strip())]):
        hint = f"write `{name}=={taken[-1]}` if it is meant all the same, or another version"
        return f"`{line}`{whose}: what fits was yanked by its authors ({', '.join(taken[-5:])})", hint
    if versions in (["none"], [""]):
        return (
            f"`{line}`{whose}: nothing that this Python can install is called `{name}` where pip looks",
            f"is the name right? `pip config list` says where; one of the project: `sources: {{{name}: DIRECTORY}}`",
        )
    newest = ", ".join(versions[-5:])
    return (
        f"`{line}`{whose}: there is no such version of {name}; the newest that this Python can install are {newest}",
        f"write one that there is, as in `{name}>={versions[-1]}`, or loosen the bound",
    )


def _conflict(text: str, _: Mapping[str, object]) -> tuple[str, str]:
    found = _CONFLICT.findall(text)
    if not found:
        return "", ""
    causes = []
    for line in dict.fromkeys(line.strip().replace(" and ", ",") for line in found[-1].splitlines()):
        if asked := _ASKED.fullmatch(line):
            causes.append(f"`{asked[2]}`" + (" of the constraints" if asked[1] else ""))
        elif depends := _DEPENDS.fullmatch(line):
            causes.append(f"`{depends[1]}=={depends[2]}`, which wants {depends[3]}")
        else:
            causes.append(line)
    more = f"; and {len(causes) - MAX_CAUSES} more" if len(causes) > MAX_CAUSES else ""
    return (
        f"these do not go together: {'; '.join(causes[:MAX_CAUSES])}{more}",
        "loosen one of the requirements, or ask for fewer groups and extras",
    )


def _is_meant(line: str, version: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line).specifier.contains(version, prereleases=True)
    except InvalidRequirement:
        return False
