"""The system files that a failed build's output says are missing, and the packages that have them."""

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
# Debian's package names, for when the suite's index cannot be read and for files that no package has under that name.
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
    """Returns the missing things: name in the output -> the end of the path of the file that provides it. At most 4."""
    positions: dict[str, tuple[int, str]] = {}
    for pattern in _PATTERNS:
        for match in pattern.finditer(output):
            kind, name = next((kind, name) for kind, name in match.groupdict().items() if name)
            positions.setdefault(name, (match.start(), _path_end(kind, name)))
    ordered = sorted(positions.items(), key=lambda item: item[1][0])
    return {name: end for name, (_, end) in ordered[:4]}


def _path_end(kind: str, name: str) -> str:
    match kind:
        case "header":
            return name
        case "library":
            return f"lib{name}.so"
        case "module":
            return f"pkgconfig/{name}.pc"
    return "build-essential" if _COMPILER.match(name) else f"bin/{name.lower() if name in ('CMake', 'Rust') else name}"


def missing_package_hint(output: str, base_kind: str, site: api.Site) -> str:
    """Returns a hint that names the packages with the missing files, by the index of the base's own suite; empty if
    nothing is known to be missing, or no package is known to have it."""
    missing = missing_files(output)
    path_ends = [end for end in missing.values() if end not in ("build-essential", "Python.h", "bin/rust")]
    index_packages = site.packages_with(path_ends) if path_ends else {}
    packages: dict[str, list[str]] = {}
    for name, end in missing.items():
        package = end if end == "build-essential" else index_packages.get(end) or _KNOWN.get(end)
        if package:
            packages.setdefault(package, []).append(name)
    if not packages:
        return ""
    sentence = "; ".join(f"{_join_names(names)} is in the package {package}" for package, names in packages.items())
    names = ", ".join(packages)
    if base_kind == "host":
        install = f"`apt install {' '.join(packages)}` puts it on this machine"
        return f"{sentence}: {install}, or stand on a base like {{debian: bookworm}} with a layer `apt: [{names}]`"
    return f"{sentence}: add a layer `apt: [{names}]` below this one"


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
