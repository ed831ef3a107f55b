"""Whether a command that failed wanted a network, by its last words. Pure.

Most programs repeat what the resolver or the kernel says; the others have words of their own. Where a test prints such
words and something else fails, they mean nothing: so only the end counts, a pytest's reasons before all that it
captured, and nothing before an assertion. `connection refused` is no sign: a service of the task's own says it too.
tests/unit/build/test_network_errors.py has what the real programs print.
"""

from __future__ import annotations

import re

TAIL = 60  # lines that are looked at, empty ones not counted
SIGNS = re.compile(
    r"""
    temporary\ failure\ (in\ name\ resolution|resolving)
    | could\ ?n[o']t\ resolve\ (host|proxy) | unable\ to\ resolve\ host\ address | failed\ to\ lookup\ address
    | (?<!localhost:\ )name\ or\ service\ not\ known | no\ address\ associated\ with\ hostname
    | getaddrinfo\ (eai_again|enotfound) | gaierror:\ \[errno\ -[235]\]
    | network\ is\ unreachable | \benetunreach\b | no\ servers\ could\ be\ reached
    | \bdial\ tcp:\ lookup\ \S                                      # go
    | \bfailed\ to\ connect\ to\ (?!127\.|localhost|\[?::1|0\.0\.0\.0)\S+\ port\ \d+\ after   # curl
    | \bbad\ address\ '                                             # busybox: wget, ping
    | \bbad\ hostname\ '                                            # Perl
    | npm\ (err!|error)\ (network\ this\ is\ a\ problem\ related|code\ (eai_again|enotfound)\b)
    | there\ appears\ to\ be\ trouble\ with\ your\ network\ connection            # yarn
    | unknownhostexception:\ \S | unresolvedaddressexception | \bunknown\ host\ [\w-]+\.\w     # Java: Maven, Gradle
    | php_network_getaddresses | \bcurl\ error\ 6\b                   # composer, which breaks lines
    | could\ not\ reach\ host\ \S+\ check\ your\ network            # bundler
    | unable\ to\ load\ the\ service\ index\ for\ source\ https?:// # dotnet
    | http\ 000\ connection\ failed                                 # conda
    | all\ attempts\ to\ connect\ to\ \S+\ failed                   # poetry
    | \btemporary\ error\ \(try\ again\ later\)                     # apk
    | :nxdomain\b                                                   # Erlang, Elixir
    """,
    re.IGNORECASE | re.VERBOSE,
)
# pip -q says nothing else. So does a pip that was told to ask no index, and one that found versions for other Pythons.
PIP_NO_VERSION = re.compile(
    r"^error: could not find a version that satisfies .* \(from versions: none\)", re.IGNORECASE
)
NO_INDEX = re.compile(
    r"--no-index|pip_no_index|looking in links:|^error: ignored the following", re.IGNORECASE | re.MULTILINE
)
REASON = re.compile(r"(E {3}|(FAILED|ERROR) \S+(::\S+)? - )")  # of a pytest: why a test failed
ASSERTION = re.compile(r"\bassert(ion ?error|ion .*failed)|^E +assert |panicked at", re.IGNORECASE)
HARMLESS = re.compile(r"sudo: unable to resolve host")
SILENT = {"curl": 6, "wget": 4}  # what they end with when they may print nothing (curl -s, wget -q)
_SGR = re.compile(r"\x1b\[[0-9;]*m")


def needed_network(status: int, output: str, commands: str, *, index: bool = True) -> bool:
    """Whether it tried to reach another machine, and that is why it failed. `commands` are what was executed, as text,
    with the names of variables that were set; `output` is what it printed, or the end of that. Without `index` it is
    known that no pip in it asks one."""
    lines = [line.rstrip() for line in _SGR.sub("", output).splitlines() if line.strip()]
    if not lines:
        return any(status == code and re.search(rf"\b{name}\b", commands) for name, code in SILENT.items())
    unfound = index and not NO_INDEX.search(commands) and not NO_INDEX.search(output)

    def says(line: str) -> bool:
        line = line.strip()
        return not HARMLESS.match(line) and bool(SIGNS.search(line) or (unfound and PIP_NO_VERSION.match(line)))

    if reasons := [line for line in lines if REASON.match(line)]:
        return any(says(line) for line in reasons)
    tail = lines[-TAIL:]
    last = max((at for at, line in enumerate(tail) if says(line)), default=None)
    return last is not None and not any(ASSERTION.search(line) for line in tail[last + 1 :])
