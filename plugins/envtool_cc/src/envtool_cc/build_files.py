"""What CMakeLists.txt, meson.build, configure.ac and Makefile say about a project, read as text: nothing of them is
executed. Pure; each expression needs no second try, so that a hostile file costs time in proportion to its size."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from envtool import api
from envtool_cc.debian_packages import CMAKE_PACKAGES, MACROS, MODULES, PROGRAMS

MAX_TEXT = 1 << 20  # characters of one file that are read
MAX_FILES = 200  # build files of one project that are read
TOP = {  # build system -> its files in the project's directory, the first that exists decides
    "cmake": ("CMakeLists.txt",),
    "meson": ("meson.build",),
    "autotools": ("configure.ac", "configure.in", "configure"),
    "make": ("GNUmakefile", "makefile", "Makefile"),
}
BELOW = {"cmake": ("CMakeLists.txt", "*.cmake"), "meson": ("meson.build",), "autotools": ("Makefile.am",)}
TOOLS = {  # build system -> Debian's packages that every project of it needs
    "cmake": ("cmake", "make", "pkgconf"),
    "meson": ("meson", "ninja-build", "pkgconf"),
    "autotools": ("make", "pkgconf"),
    "make": ("make", "pkgconf"),
}
BOOTSTRAP = ("autoconf", "automake", "libtool")  # for a checkout that has no `configure`
# what CMake, Meson and the compiler bring
WITH_THE_COMPILER = frozenset(("CTest", "OpenMP", "PkgConfig", "Threads", "openmp", "sh", "threads"))
SKIPPED = re.compile(r"(?:^|/)(?:\.git|build|node_modules|third_party|vendor|subprojects|_deps)/")

_CMAKE_COMMENT = re.compile(r"#\[\[.*?\]\]|#[^\n]*", re.DOTALL)
_FIND_PACKAGE = re.compile(r"\bfind_package\s*\(\s*([\w.+-]{1,100})([^()]*)\)", re.IGNORECASE)
_CMAKE_PROJECT = re.compile(r"^[ \t]*project[ \t]*\(", re.MULTILINE | re.IGNORECASE)
_CMAKE_SUBDIRECTORY = re.compile(r"\badd_subdirectory\s*\(([^()]{0,500})\)", re.IGNORECASE)
_PATH_PART = re.compile(r"[^\s/\"]{1,200}")
_CMAKE_IF = re.compile(r"\b(if|endif)\s*\(", re.IGNORECASE)
_PKG_CHECK = re.compile(r"\bpkg_(?:check|search)_modules?\s*\(([^()]*)\)", re.IGNORECASE)
_PKG_WORDS = {"REQUIRED", "QUIET", "NO_CMAKE_PATH", "NO_CMAKE_ENVIRONMENT_PATH", "IMPORTED_TARGET", "GLOBAL"}
_MESON_COMMENT = re.compile(r"#[^\n]*")
_DEPENDENCY = re.compile(r"\bdependency\s*\(\s*'([^'\n]{1,100})'([^()]*)")
_MESON_IF = re.compile(r"^[ \t]*(if|endif)\b", re.MULTILINE)
_MESON_SUBDIR = re.compile(r"\bsubdir\s*\(\s*'([^'\n]{1,200})'")
_MESON_OPTIONAL = re.compile(r"\brequired\s*+:\s*+(?!true\b)")
_MESON_PROGRAM = re.compile(r"\bfind_program\s*\(\s*'([\w.+-]{1,100})'([^()]*)")
_M4_COMMENT = re.compile(r"(?:^|\s)(?:dnl\b|#)[^\n]*")
_PKG_MODULES = re.compile(
    r"\bPKG_CHECK_MODULES\s*\(\s*\[?\s*\w{1,100}\s*\]?\s*,\s*(?:\[([^\]\[]{1,1000})|([^\]\[(),]{1,1000}))"
)
_M4_MACRO = re.compile(r"\b((?:LT|AX|GTK_DOC|AM_GNU_GETTEXT|AM_ICONV|AC_PROG_LIBTOOL)[A-Z0-9_]*)")
_M4_PROGRAM = re.compile(r"\b(?:AC_PROG_(YACC|LEX)|AM_PROG_(LEX))\b")
_MAKE_MODULES = re.compile(r"\bpkg-config((?:[ \t]+--[\w-]+)+)[ \t]+([\w.+ -]{1,200})")
_MODULE = re.compile(r"[\w.+-]+")
_VERSION = re.compile(r"[<>=!]+|[\d.]+")


def find_system(read: Callable[[str], str | None], directory: str = ".") -> tuple[str, str]:
    """Returns the build system of a directory and the path of its file; ("", "") if it has none."""
    for system, names in TOP.items():
        for name in names:
            path = name if directory == "." else f"{directory}/{name}"
            if read(path) is not None:
                return system, path
    return "", ""


def read_texts(project: api.Project, system: str, directory: str = ".") -> dict[str, str]:
    """Returns path -> text of the build files of a system in the project, at most MAX_FILES of them. A file that is not
    text is left out: the build tool says what is wrong with it."""
    prefix = "" if directory == "." else f"{directory}/"
    paths = [prefix + name for name in TOP[system] if name != "configure"]
    for name in BELOW.get(system, ()):
        paths += [path for path in project.glob(f"{prefix}**/{name}") if not SKIPPED.search(path[len(prefix) :])]
    texts: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        if len(texts) >= MAX_FILES:
            break
        try:
            text = project.read(path)
        except api.UsageError:
            continue
        if text is not None:
            texts[path] = text[:MAX_TEXT]
    return texts


def needed_packages(system: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Returns Debian's packages, sorted, of what the build files require and the table knows."""
    packages = {package for text in texts.values() for _, package in READERS[system](text)}
    return tuple(sorted(packages - {""}))


def unknown_requirements(system: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names, sorted, of what the build files require and the table does not know. What another project
    below (a copy of googletest, a test of the installed package) requires counts only if it is part of the build, and
    under no condition. Of Meson's files, what is under a condition does not count: options are off, or the system is
    another one."""
    counted = {"cmake": _without_projects_below, "meson": _without_conditions}.get(system, dict)(texts)
    pairs = {pair for text in counted.values() for pair in READERS[system](text)}
    return tuple(sorted(name for name, package in pairs if not package and name not in WITH_THE_COMPILER))


def _without_projects_below(texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the build files of CMake (path -> text) that decide what the build needs: none of a project in a
    directory below that no `add_subdirectory` names; of one that is named, what is outside of `if`."""
    top = min((path for path in texts if posixpath.basename(path) == "CMakeLists.txt"), key=len, default="")
    projects = {
        posixpath.dirname(path)
        for path, text in texts.items()
        if path != top and posixpath.basename(path) == "CMakeLists.txt" and _CMAKE_PROJECT.search(text)
    }
    # what add_subdirectory names, with the project below that the build file is of
    named: dict[str, set[str]] = {}
    for path, text in texts.items():
        words = " ".join(_CMAKE_SUBDIRECTORY.findall(_CMAKE_COMMENT.sub(" ", text)))
        directory = _outermost(path, projects)
        for name in {*_PATH_PART.findall(words)}:
            named.setdefault(name, set()).add(directory)
    counted: dict[str, str] = {}
    for path, text in texts.items():
        directory = _outermost(path, projects)
        if not directory:
            counted[path] = text
        elif named.get(posixpath.basename(directory), set()) - {directory}:
            counted[path] = _outside_of_if(_CMAKE_COMMENT.sub(" ", text), _CMAKE_IF)
    return counted


def _without_conditions(texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the build files of Meson (path -> text) that `subdir` reaches under no condition, without what is inside
    of `if` in them."""
    pending = [min(texts, key=len)] if texts else []
    counted: dict[str, str] = {}
    while pending:
        path = pending.pop()
        if path in counted or path not in texts:
            continue
        counted[path] = _outside_of_if(_MESON_COMMENT.sub("", texts[path]), _MESON_IF)
        directory = posixpath.dirname(path)
        pending += [posixpath.join(directory, name, "meson.build") for name in _MESON_SUBDIR.findall(counted[path])]
    return counted


def _outermost(path: str, projects: AbstractSet[str]) -> str:
    """Returns the outermost of the directories that a path is in, or ""."""
    parts = path.split("/")[:-1]
    return next((top for end in range(1, len(parts) + 1) if (top := "/".join(parts[:end])) in projects), "")


def _outside_of_if(text: str, words: re.Pattern[str]) -> str:
    """Returns what of a text is in no block from an "if" to its "endif"; `words` finds these two."""
    kept: list[str] = []
    depth = position = 0
    for match in words.finditer(text):
        if not depth:
            kept.append(text[position : match.start()])
        depth = max(0, depth + (1 if match[1].lower() == "if" else -1))
        position = match.end()
    return " ".join([*kept, "" if depth else text[position:]])


def cmake_requirements(text: str) -> Iterator[tuple[str, str]]:
    """Yields name and package of `find_package(… REQUIRED)` and `pkg_check_modules(… REQUIRED …)`; the package is ""
    if the table does not know the name."""
    text = _CMAKE_COMMENT.sub(" ", text)
    for name, rest in _FIND_PACKAGE.findall(text):
        if "REQUIRED" in rest.split():
            yield name, CMAKE_PACKAGES.get(name, "")
    for words in _PKG_CHECK.findall(text):
        names = words.split()[1:]
        if "REQUIRED" in names:
            yield from (_module(name) for name in names if name not in _PKG_WORDS)


def meson_requirements(text: str) -> Iterator[tuple[str, str]]:
    """Yields the same of `dependency('…')` and `find_program('…')` without another `required` than true."""
    text = _MESON_COMMENT.sub("", text)
    for name, rest in _DEPENDENCY.findall(text):
        if not _MESON_OPTIONAL.search(rest):
            yield name, MODULES.get(name.lower(), "") or CMAKE_PACKAGES.get(name, "")
    for name, rest in _MESON_PROGRAM.findall(text):
        if not _MESON_OPTIONAL.search(rest):
            yield name, PROGRAMS.get(name, "")


def autoconf_requirements(text: str) -> Iterator[tuple[str, str]]:
    """Yields the same of `PKG_CHECK_MODULES`, of macros that are not autoconf's own, of lex and yacc."""
    text = _M4_COMMENT.sub(" ", text)
    for quoted, plain in _PKG_MODULES.findall(text):
        modules = quoted or plain
        yield from (_module(word) for word in modules.replace(",", " ").split() if not _VERSION.fullmatch(word))
    for macro in _M4_MACRO.findall(text):
        yield from ((macro, package) for start, package in MACROS.items() if macro.startswith(start))
    for words in _M4_PROGRAM.findall(text):
        name = "".join(words)
        yield name, {"YACC": "bison", "LEX": "flex"}[name]


def make_requirements(text: str) -> Iterator[tuple[str, str]]:
    """Yields the same of `pkg-config --cflags …`."""
    for _, modules in _MAKE_MODULES.findall(text):
        yield from (_module(word) for word in modules.split())


READERS: Mapping[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "cmake": cmake_requirements,
    "meson": meson_requirements,
    "autotools": autoconf_requirements,
    "make": make_requirements,
}


def _module(word: str) -> tuple[str, str]:
    """Returns the name of a module that may have a version behind it, as in `zlib>=1.2`, and its package."""
    name = _MODULE.match(word)
    return (name[0], MODULES.get(name[0].lower(), "")) if name else (word, "")
