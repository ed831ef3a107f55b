"""Finds the programs that a target of a Makefile calls. Pure.

A variable that is assigned one word stands for it (`GO := go`). Other variables and functions of make are not expanded:
a program that one of them names (`$(CC)`) is taken to be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# program -> its Debian package, for programs that gcc, make and a minimal Debian do not bring
PACKAGES = {
    "python3": "python3", "pytest": "python3-pytest", "pytest-3": "python3-pytest", "cmake": "cmake", "ctest": "cmake",
    "cargo": "cargo", "rustc": "rustc", "go": "golang-go", "node": "nodejs", "npm": "npm", "ruby": "ruby",
    "java": "default-jdk-headless", "javac": "default-jdk-headless", "clang": "clang", "clang++": "clang",
    "gfortran": "gfortran", "ghc": "ghc", "lua": "lua5.4", "php": "php-cli", "ocaml": "ocaml", "tclsh": "tcl",
    "valgrind": "valgrind", "pkg-config": "pkg-config", "bats": "bats", "shellcheck": "shellcheck", "jq": "jq",
    "meson": "meson", "ninja": "ninja-build", "autoconf": "autoconf", "automake": "automake", "autoreconf": "autoconf",
    "libtool": "libtool", "g++": "g++", "c++": "g++", "prove": "perl", "bc": "bc", "file": "file", "curl": "curl",
}  # fmt: skip
# The programs that a minimal Debian, gcc and make bring, and the words of a shell.
_ALWAYS_PRESENT = frozenset((
    "make", "cc", "gcc", "ar", "as", "ld", "nm", "objdump", "ranlib", "strip", "sh", "bash", "dash", "perl", "echo",
    "printf", "test", "true", "false", "set", "unset", "export", "cd", "exit", "if", "then", "else", "elif", "fi",
    "for", "do", "done", "while", "until", "case", "esac", "in", "exec", "eval", "trap", "wait", "read", "return",
    "shift", "time", "ulimit", "umask", "command", "type", ".", ":", "[", "[[", "!", "cat", "cp", "mv", "rm",
    "mkdir", "rmdir", "ln", "ls", "touch", "chmod", "chown", "head", "tail", "sort", "uniq", "cut", "tr", "wc",
    "tee", "diff", "cmp", "grep", "egrep", "fgrep", "sed", "awk", "find", "xargs", "env", "expr", "seq", "sleep",
    "date", "basename", "dirname", "realpath", "readlink", "stat", "mktemp", "tar", "gzip", "gunzip", "zcat",
    "md5sum", "sha256sum", "sha1sum", "od", "comm", "join", "paste", "nproc", "uname", "id", "timeout", "kill",
    "yes", "dd", "install", "pwd", "nice", "nohup", "tput",
))  # fmt: skip
_RULE = re.compile(r"^(?P<targets>[^\s#:=$][^#:=$]*?)\s*::?(?!=)(?P<needs>[^=#;]*)(?:;(?P<first>.*))?$")
_WORD = re.compile(
    r"(?:^|[;|&(]|&&|\|\||\b(?:then|do|else|exec|env|time)\b)\s*((?:[A-Za-z_]\w*=\S*\s+)*)([^\s;|&()<>]+)"
)
_ASSIGNED = re.compile(r"^[ ]*(\w{1,60})[ \t]*(?:::?|\?|\+)?=([^\n]{0,200})$", re.MULTILINE)
_VARIABLE = re.compile(r"\$[({](\w{1,60})[)}]")
MAX_TARGETS = 1000  # targets whose recipes are read
MAX_LINE_LENGTH = 2000  # characters; longer lines are skipped, since the patterns would take long


def expand_names(text: str) -> str:
    """Returns a Makefile in which variables that are assigned one word, once, are replaced by it."""
    assigned: dict[str, set[str]] = {}
    for name, value in _ASSIGNED.findall(text):
        assigned.setdefault(name, set()).add(value.strip())
    words = {
        name: next(iter(values))
        for name, values in assigned.items()
        if len(values) == 1 and all(re.fullmatch(r"[A-Za-z][\w.+-]*", value) for value in values)
    }
    return _VARIABLE.sub(lambda match: words.get(match[1], match[0]), text) if words else text


def find_programs(text: str, target: str) -> list[str]:
    """Names of the programs that the recipes of a target and of its prerequisites call, without those that every Debian
    with gcc and make has."""
    rules = _parse_rules(text)
    pending, seen, programs = [target], set[str](), dict[str, None]()
    while pending and len(seen) < MAX_TARGETS:
        name = pending.pop()
        if name in seen or name not in rules:
            continue
        seen.add(name)
        prerequisites, recipe = rules[name]
        pending += prerequisites
        for line in recipe:
            programs |= dict.fromkeys(_programs_in_line(line))
    return [*programs]


def _parse_rules(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """Target -> its prerequisites, and the lines of its recipe."""
    rules: dict[str, tuple[list[str], list[str]]] = {}
    current: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if len(line) > MAX_LINE_LENGTH:
            continue
        if line.startswith("\t"):
            for name in current:
                rules[name][1].append(line[1:])
        elif rule := _RULE.match(line):
            current = rule["targets"].split()
            for name in current:
                prerequisites, recipe = rules.setdefault(name, ([], []))
                prerequisites += rule["needs"].split()
                recipe += [rule["first"]] if rule["first"] else []
        elif line.strip() and not line.lstrip().startswith("#"):
            current = []
    return rules


def _programs_in_line(line: str) -> Iterator[str]:
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|\$\$?[({][^(){}]*[)}]|(?<!\S)#.*", "_", line.lstrip().lstrip("@-+ "))
    for _, word in _WORD.findall(plain):
        if re.fullmatch(r"[A-Za-z][\w.+-]*", word) and word not in _ALWAYS_PRESENT:
            yield word
