"""What a failed build's output says is missing on the system, and the package that has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool import api

_HEADER = (
    r"(?:fatal error|error): ['\"]?(?P<header>[\w.+/-]+\.(?:h|hh|hpp|hxx))['\"]?(?:: No such file| file not found)"
)
_PATTERNS = tuple(
    re.compile(text, re.IGNORECASE if text[:4] == "(?i)" else 0)
    for text in (
        _HEADER,
        r"cannot find -l(?P<library>[\w.+-]+)",
        r"unable to find library -l(?P<library>[\w.+-]+)",
        r"Package ['\"]?(?P<module>[\w.+-]+)['\"]?,?(?: required by [^\n]*,)? (?:was )?not found",
        r"No package ['\"](?P<module>[\w.+-]+)['\"] found",
        r"Dependency ['\"]?(?P<module>[\w.+-]+)['\"]? not found, tried",
        r"(?i)(?:could not find|cannot find|can't find|unable to find|missing):? (?P<program>[\w+-]+[_-]config)\b",
        r"(?P<program>[\w+-]+[_-]config)(?: executable)?:? (?:command )?(?:is )?not found",
        r"No such file or directory: ['\"](?P<program>[\w.+-]+)['\"]",
        r"(?:^|[\s:])(?P<program>[\w.+-]+): (?:command )?not found",
        r"unable to execute ['\"](?P<program>[\w.+-]+)['\"]: No such file",
        r"error: command ['\"](?P<program>[\w.+-]+)['\"] failed: No such file",
        r"Unknown compiler\(s\): \[\[['\"](?P<program>[\w.+-]+)",
        r"No (?P<program>CMAKE_C(?:XX)?_COMPILER) could be found",
        r"(?i)can(?:'t|not) find (?P<program>rust) compiler",
        r"(?P<program>cargo), the Rust package manager, is not installed",
        r"(?P<program>pkg-config|cmake|ninja|swig) (?:was )?not found",
        r"Did not find (?P<program>pkg-config|CMake)",
    )
)
_COMPILER = re.compile(r"(?:[\w.]+-linux-gnu[\w]*-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|make)(?:-[\d.]+)?$|CMAKE_C")
# Where the index of the suite cannot be asked, and for what has no file of its name in any package. In Debian's words.
_KNOWN = {
    "Python.h": "python3-dev", "ffi.h": "libffi-dev", "libpq-fe.h": "libpq-dev", "bin/pg_config": "libpq-dev",
    "openssl/ssl.h": "libssl-dev", "openssl/opensslv.h": "libssl-dev", "zlib.h": "zlib1g-dev", "libz.so": "zlib1g-dev",
    "libxml/parser.h": "libxml2-dev", "libxml/xmlversion.h": "libxml2-dev", "libxslt/xslt.h": "libxslt1-dev",
    "bin/xml2-config": "libxml2-dev", "bin/xslt-config": "libxslt1-dev", "yaml.h": "libyaml-dev",
    "bin/mysql_config": "default-libmysqlclient-dev", "bin/mariadb_config": "libmariadb-dev",
    "pkgconfig/mysqlclient.pc": "default-libmysqlclient-dev", "pkgconfig/libffi.pc": "libffi-dev",
    "jpeglib.h": "libjpeg-dev", "lber.h": "libldap-dev", "ldap.h": "libldap-dev", "sasl/sasl.h": "libsasl2-dev",
    "sqlite3.h": "libsqlite3-dev", "curl/curl.h": "libcurl4-openssl-dev", "bin/curl-config": "libcurl4-openssl-dev",
    "bin/cargo": "cargo", "bin/cmake": "cmake", "bin/ninja": "ninja-build", "bin/swig": "swig",
    "bin/pkg-config": "pkgconf", "bin/rust": "cargo",
}  # fmt: skip


def missing_files(output: str) -> dict[str, str]:
    """What is missing, as the output calls it -> the end of the path of a file that would be it."""
    found: dict[str, tuple[int, str]] = {}
    for pattern in _PATTERNS:
        for match in pattern.finditer(output):
            kind, name = next((kind, name) for kind, name in match.groupdict().items() if name)
            found.setdefault(name, (match.start(), _end(kind, name)))
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return {name: end for name, (_, end) in ordered[:4]}


def _end(kind: str, name: str) -> str:
    match kind:
        case "header":
            return name
        case "library":
            return f"lib{name}.so"
        case "module":
            return f"pkgconfig/{name}.pc"
    return "build-essential" if _COMPILER.match(name) else f"bin/{name.lower() if name in ('CMake', 'Rust') else name}"


def missing_package_hint(output: str, base_kind: str, site: api.Site) -> str:
    """Which packages have what the output says is missing, looked up in the index of the base's own suite; empty where
    nothing is known to be missing, or nobody knows what has it."""
    wanted = missing_files(output)
    asked = [end for end in wanted.values() if end not in ("build-essential", "Python.h", "bin/rust")]
    there = site.packages_with(asked) if asked else {}
    packages: dict[str, list[str]] = {}
    for name, end in wanted.items():
        package = end if end == "build-essential" else there.get(end) or _KNOWN.get(end)
        if package:
            packages.setdefault(package, []).append(name)
    if not packages:
        return ""
    said = "; ".join(f"{_listed(names)} is in the package {package}" for package, names in packages.items())
    names = ", ".join(packages)
    if base_kind == "host":
        install = f"`apt install {' '.join(packages)}` puts it on this machine"
        return f"{said}: {install}, or stand on a base like {{debian: bookworm}} with a layer `apt: [{names}]`"
    return f"{said}: add a layer `apt: [{names}]` below this one"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
