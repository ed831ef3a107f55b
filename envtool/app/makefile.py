"""What a target of a Makefile calls, as far as that is written out. Pure.

Only what stands there is read: a word that a variable or function of make stands for is taken to be there (`$(CC)`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Of Debian: which package has a program that a base with gcc and make has not.
PACKAGES = {
    "python3": "python3", "pytest": "python3-pytest", "pytest-3": "python3-pytest", "cmake": "cmake", "ctest": "cmake",
    "cargo": "cargo", "rustc": "rustc", "go": "golang-go", "node": "nodejs", "npm": "npm", "ruby": "ruby",
    "java": "default-jdk-headless", "javac": "default-jdk-headless", "clang": "clang", "clang++": "clang",
    "gfortran": "gfortran", "ghc": "ghc", "lua": "lua5.4", "php": "php-cli", "ocaml": "ocaml", "tclsh": "tcl",
    "valgrind": "valgrind", "pkg-config": "pkg-config", "bats": "bats", "shellcheck": "shellcheck", "jq": "jq",
    "meson": "meson", "ninja": "ninja-build", "autoconf": "autoconf", "automake": "automake", "autoreconf": "autoconf",
    "libtool": "libtool", "g++": "g++", "c++": "g++", "prove": "perl", "bc": "bc", "file": "file", "curl": "curl",
}  # fmt: skip
# What a minimal Debian, or gcc and make, have, and the words of a shell.
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
MAX_TARGETS = 1000  # targets that are followed
MAX_LINE_LENGTH = 2000  # characters of a line that is looked at: patterns take time


def find_programs(text: str, target: str) -> list[str]:
    """Names of the programs that a target and what it needs call, that are not on every Debian with gcc and make."""
    rules = _parse_rules(text)
    pending, seen, found = [target], set[str](), dict[str, None]()
    while pending and len(seen) < MAX_TARGETS:
        name = pending.pop()
        if name in seen or name not in rules:
            continue
        seen.add(name)
        needs, recipe = rules[name]
        pending += needs
        for line in recipe:
            found |= dict.fromkeys(_programs_in_line(line))
    return [*found]


def _parse_rules(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """Target -> what it needs, and the lines of its recipe."""
    rules: dict[str, tuple[list[str], list[str]]] = {}
    current: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if len(line) > MAX_LINE_LENGTH:
            continue
        if line.startswith("\t"):
            for name in current:
                rules[name][1].append(line[1:])
        elif found := _RULE.match(line):
            current = found["targets"].split()
            for name in current:
                needs, recipe = rules.setdefault(name, ([], []))
                needs += found["needs"].split()
                recipe += [found["first"]] if found["first"] else []
        elif line.strip() and not line.lstrip().startswith("#"):
            current = []
    return rules


def _programs_in_line(line: str) -> Iterator[str]:
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|\$\$?[({][^(){}]*[)}]|(?<!\S)#.*", "_", line.lstrip().lstrip("@-+ "))
    for _, word in _WORD.findall(plain):
        if re.fullmatch(r"[A-Za-z][\w.+-]*", word) and word not in _ALWAYS_PRESENT:
            yield word
