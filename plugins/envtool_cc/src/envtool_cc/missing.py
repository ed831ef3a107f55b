"""What the output of a failed configure, compile or link says is missing, and the Debian packages that have it. Pure
but for the look-up in the base's index of files, which the caller hands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

from envtool_cc.debian_packages import CMAKE_PACKAGES, HEADERS, LIBRARIES, MACROS, MODULES, PROGRAMS

Lookup: TypeAlias = Callable[[Sequence[str]], Mapping[str, str]]

MAX_NAMES = 6  # missing things that one hint names
_NAME = r"[\w.+-]{1,100}"
_Q = "['\"‘’`]?"
_GONE = "(?:is |was )?(?:not found|missing|required)"
PATTERNS = tuple(
    re.compile(text, re.MULTILINE)
    for text in (
        rf"fatal error: {_Q}(?P<header>[\w.+/-]{{1,200}}\.(?:h|hh|hpp|hxx|H)){_Q}(?:: No such file| file not found)",
        rf"^configure: error: {_Q}(?P<header>[\w.+/-]{{1,200}}\.h){_Q}(?: header)?(?: file)? (?:{_GONE})",
        rf"cannot find -l(?P<library>{_NAME})",
        rf"unable to find library -l(?P<library>{_NAME})",
        rf"(?:shared or static|shared|static) library {_Q}(?P<library>{_NAME}){_Q} not found",
        rf"Package {_Q}(?P<module>{_NAME}){_Q}, required by {_Q}[^'\n]{{1,100}}{_Q}, not found",
        rf"Package (?P<module>{_NAME}) was not found in the pkg-config search path",
        rf"No package {_Q}(?P<module>{_NAME}){_Q} found",
        rf"Dependency {_Q}(?P<module>{_NAME}){_Q},? (?:is required but )?not found",
        rf"ERROR: Dependency lookup for (?P<module>{_NAME}) with method",
        rf"None of the required {_Q}(?P<module>{_NAME}){_Q} found",
        r"Package requirements \((?P<modules>[^()\n]{1,300})\) were not met",
        rf"Could NOT find (?P<cmake>{_NAME})",
        rf"provided by {_Q}\"?(?P<cmake>{_NAME})\"?{_Q} with any",
        rf"^Program {_Q}(?P<program>{_NAME}){_Q} (?:not found|found: NO)",
        rf"ERROR: Program {_Q}(?P<program>{_NAME}){_Q} not found",
        rf"^(?:[\w./-]{{1,100}}: )?(?:line )?\d{{1,6}}: (?P<program>{_NAME}): (?:command )?not found$",
        rf"^make(?:\[\d+\])?: (?P<program>{_NAME}): No such file or directory$",
        rf"Unknown compiler\(s\): \[\[['\"](?P<program>{_NAME})",
        r"No (?P<compiler>CMAKE_C(?:XX)?_COMPILER) could be found",
        r"no acceptable (?P<compiler>C\+?\+?) compiler found",
        r"CMake was unable to find a build program corresponding to \"(?P<generator>Unix Makefiles|Ninja)\"",
        rf"error: possibly undefined macro: (?P<macro>{_NAME})",
        rf"syntax error near unexpected token {_Q}(?P<pkg>\w{{1,50}}),{_Q}?$",
        r"[Tt]he (?P<program>pkg-config) script could not be found",
    )
)  # fmt: skip
# Names of a project's own headers, generated or not: no package has what is missing then.
OWN_HEADERS = re.compile(
    r"(?:.*[_-])?(?:config|version|configure|common|util|utils|test|tests|types|internal)\.h(?:pp)?$"
)


def missing_things(output: str) -> list[tuple[str, str]]:
    """Returns what an output says is missing, in its order and at most MAX_NAMES: ("header", "zlib.h"). The sorts are
    `header`, `library`, `module`, `cmake`, `program` and `macro`."""
    positions: dict[tuple[str, str], int] = {}
    for pattern in PATTERNS:
        for match in pattern.finditer(output):
            for sort, name in match.groupdict().items():
                for thing in _things(sort, name) if name else ():
                    positions[thing] = min(match.start(), positions.get(thing, match.start()))
    return sorted(positions, key=lambda thing: (positions[thing], thing))[:MAX_NAMES]


def _things(sort: str, name: str) -> list[tuple[str, str]]:
    match sort:
        case "modules":
            words = re.split(r"[\s,]+", re.sub(r"\s*[<>=!]+\s*[\w.~+-]+", " ", name).strip())
            return [("module", word) for word in words if re.fullmatch(_NAME, word)]
        case "compiler":
            return [("program", "c++" if "XX" in name or "+" in name else "cc")]
        case "generator":
            return [("program", "ninja" if name == "Ninja" else "make")]
        case "pkg":
            return [("macro", "PKG_CHECK_MODULES")]
        case "header":
            is_own = OWN_HEADERS.fullmatch(name) and name not in HEADERS
            return [] if is_own or {"..", "."} & {*name.split("/")} else [(sort, name)]
    return [(sort, name)]


def missing_package_hint(
    output: str, base_kind: str, lookup: Lookup, installed: Callable[[], Collection[str]] = frozenset
) -> str:
    """Returns a hint that names the packages with the missing things: by the table, and for what it does not have by
    `lookup` (the end of a file's path -> package) in the index of the base's own suite. Where the env has all of these
    packages (`installed`), the hint says what else can be wrong. Empty if nothing is known to be missing, or no package
    is known to have it."""
    things = missing_things(output)
    known = {thing: package for thing in things if (package := table_package(*thing))}
    ends = {end: thing for thing in things if thing not in known for end in path_ends(*thing)}
    found = lookup([*ends]) if ends else {}
    for end, thing in ends.items():
        if end in found:
            known.setdefault(thing, found[end])
    packages: dict[str, list[str]] = {}
    for thing in things:
        if thing in known:
            packages.setdefault(known[thing], []).append(thing[1])
    if not packages:
        return ""
    present = {*installed()} & {*packages}
    if present == {*packages}:
        return _present_hint(output, packages, [thing for thing in things if thing in known])
    packages = {package: names for package, names in packages.items() if package not in present}
    sentence = "; ".join(f"{_join_names(names)} is in the package {package}" for package, names in packages.items())
    names = ", ".join(packages)
    if base_kind == "host":
        install = f"`apt install {' '.join(packages)}` puts it on this machine"
        return f"{sentence}: {install}, or take `base: {{debian: bookworm}}` and `packages: [{names}]`"
    return f"{sentence}: add `packages: [{names}]` to the env, or a layer `apt: [{names}]`"


def _present_hint(output: str, packages: Mapping[str, Sequence[str]], things: Sequence[tuple[str, str]]) -> str:
    """Returns the hint for things whose packages the env has."""
    sentence = "; ".join(
        f"{_join_names(names)} is in the package {package}, which the env has" for package, names in packages.items()
    )
    sort, name = things[0]
    if sort == "cmake" and not _LANGUAGES.search(output):
        return (
            f"{sentence}: before `project()` CMake does not know where this system has its libraries, so"
            f" `find_package({name})` has to stand below it"
        )
    return f"{sentence}: what was searched is another directory, version or architecture than the package's"


# What CMake prints of the compiler, by `project()`, before it goes on.
_LANGUAGES = re.compile(r"^-- (?:The \w+ compiler identification is|Detecting \w+ compiler ABI info)", re.MULTILINE)


def table_package(sort: str, name: str) -> str:
    """Returns the package of a missing thing by the table, without any index; "" if the table has none."""
    match sort:
        case "header":
            return HEADERS.get(name, "")
        case "library":
            return LIBRARIES.get(name, "")
        case "module":
            return MODULES.get(name.lower(), "") or CMAKE_PACKAGES.get(name, "")
        case "cmake":
            return CMAKE_PACKAGES.get(name, "")
        case "macro":
            return next((package for start, package in MACROS.items() if name.startswith(start)), "")
    return PROGRAMS.get(name, "")


def path_ends(sort: str, name: str) -> tuple[str, ...]:
    """Returns ends of paths, the likeliest first, of files by which an index finds the package of a missing thing."""
    match sort:
        case "header":
            return (f"include/{name}", f"linux-gnu/{name}")
        case "library":
            return (f"lib{name}.so", f"lib{name}.a")
        case "module":
            return (f"pkgconfig/{name}.pc",)
        case "cmake":
            return (f"{name}Config.cmake", f"{name.lower()}-config.cmake")
        case "program":
            return (f"bin/{name}",)
    return ()


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
