"""Tells from the output of a failed command whether it needed a network. Pure.

Most programs repeat the message of the resolver or the kernel; some have messages of their own. A test may print such a
message although something else fails: only the end of the output counts, pytest's reasons come before its captured
output, and nothing before an assertion counts. `connection refused` is not a sign: a service of the task itself causes
it too. tests/unit/build/test_network_errors.py has the output of real programs.
"""

from __future__ import annotations

import re

TAIL = 60  # lines of the output that are searched, without empty ones
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
# All that pip -q prints. A pip without an index prints it too, and one that found only versions for other Pythons.
PIP_NO_VERSION = re.compile(
    r"^error: could not find a version that satisfies .* \(from versions: none\)", re.IGNORECASE
)
NO_INDEX = re.compile(
    r"--no-index|pip_no_index|looking in links:|^error: ignored the following", re.IGNORECASE | re.MULTILINE
)
REASON = re.compile(r"(E {3}|(FAILED|ERROR) \S+(::\S+)? - )")  # pytest's line with the reason of a failed test
ASSERTION = re.compile(r"\bassert(ion ?error|ion .*failed)|^E +assert |panicked at", re.IGNORECASE)
HARMLESS = re.compile(r"sudo: unable to resolve host")
SILENT = {"curl": 6, "wget": 4}  # their exit status where they may print nothing (curl -s, wget -q)
_SGR = re.compile(r"\x1b\[[0-9;]*m")


def needed_network(status: int, output: str, commands: str, *, index: bool = True) -> bool:
    """Whether the command failed because it could not reach another machine. `commands` is what was executed, as text,
    with the names of the variables that were set; `output` is what it printed, or the end of that. Without `index` no
    pip in it asks an index."""
    lines = [line.rstrip() for line in _SGR.sub("", output).splitlines() if line.strip()]
    if not lines:
        return any(status == code and re.search(rf"\b{name}\b", commands) for name, code in SILENT.items())
    pip_counts = index and not NO_INDEX.search(commands) and not NO_INDEX.search(output)

    def says(line: str) -> bool:
        line = line.strip()
        return not HARMLESS.match(line) and bool(SIGNS.search(line) or (pip_counts and PIP_NO_VERSION.match(line)))

    if reasons := [line for line in lines if REASON.match(line)]:
        return any(says(line) for line in reasons)
    tail = lines[-TAIL:]
    last = max((at for at, line in enumerate(tail) if says(line)), default=None)
    return last is not None and not any(ASSERTION.search(line) for line in tail[last + 1 :])
