"""Who wanted a network: by what the real programs print without one, and what they print when something else is wrong.

outputs/wanted.txt and outputs/other.txt hold what each printed in a container without a network (times and places left
out), after a line `#### what: exit status`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.build import failure_hints, network_errors
from tests.depth import examples


def samples(name: str) -> list:
    text = (Path(__file__).parent / f"outputs/{name}.txt").read_text()
    found = re.findall(r"^#### (.*): (\d+)\n((?:(?!#### ).*\n)*)", text, re.MULTILINE)
    return [pytest.param(int(status), body, id=what) for what, status, body in found]


WANTED, OTHER = samples("wanted"), samples("other")
# Programs that could not be run so here: words from their sources and documentation.
UNTRIED = [
    ("W: Failed to fetch http://deb.example.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'deb.example.org'\n"
    "W: Some index files failed to download. They have been ignored, or old ones used instead.\n"
    "E: Unable to locate package hello"),
    "  [Composer\\Downloader\\TransportException]\n  curl error 6 while downloading https://composer.example.org/packages.json: Could not r\n  esolve host",
    "error NU1301: Unable to load the service index for source https://nuget.example.org/v3/index.json.",
    "System.Net.Http.HttpRequestException: Name or service not known (nuget.example.org:443)",
    "CondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://conda.example.org/conda-forge/noarch/repodata.json>",
    "All attempts to connect to pip.example.org failed.",
    "WARNING: fetching https://apk.example.org/alpine/v3.20/main: temporary error (try again later)",
    "wget: bad address 'example.com'",
    "socket.gaierror: [Errno -3] Try again",
    '** (Mix) httpc request failed with: {:failed_connect, [{:to_address, {~c"hex.example.org", 443}}, {:inet, [:inet], :nxdomain}]}',
    "Caused by: java.net.UnknownHostException: gradle.example.org",
    ";; connection timed out; no servers could be reached",
    "npm ERR! network This is a problem related to network connectivity.",
    "E   requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x'): Failed to resolve 'x' ([Errno -3] Temporary failure in name resolution)",
    "FAILED tests/test_io.py::test_fetch - socket.gaierror: [Errno -3] Temporary failure in name resolution",
    "dial tcp 142.250.1.1:443: connect: network is unreachable",
]  # fmt: skip
AGAIN = "\n".join(["a test that is told at length"] * network_errors.TAIL)
NOT = {
    "a version that is not there": "ERROR: Could not find a version that satisfies the requirement attrs==99 (from versions: 1.0, 2.0)",
    "versions for other Pythons": "ERROR: Ignored the following versions that require a different python version: 1.0 Requires-Python >=3.99\n"
    "ERROR: Could not find a version that satisfies the requirement x (from versions: none)",
    "pip's words inside a sentence": "expected 'ERROR: Could not find a version that satisfies the requirement x (from versions: none)'",
    "a test that expects such words": "curl: (6) Could not resolve host: x\nAssertionError: 1 != 2",
    "long before": f"socket.gaierror: [Errno -3] Temporary failure in name resolution\n{AGAIN}\nfailed",
    "captured by a pytest": "------- Captured log call -------\nTemporary failure in name resolution\n"
    "E   assert 1 == 2\nFAILED t.py::test - assert 1 == 2\n1 failed in 0.1s",
    "a service of its own": 'psycopg.OperationalError: connection to server at "127.0.0.1", port 5432 failed: Connection refused',
    "node's own service": "Error: connect ECONNREFUSED 127.0.0.1:3000",
    "curl of its own service": "curl: (7) Failed to connect to localhost port 8000 after 0 ms: Couldn't connect to server",
    "curl by IPv6": "curl: (7) Failed to connect to ::1 port 8000 after 0 ms: Couldn't connect to server",
    "npm, no such package": "npm error code E404\nnpm error 404 Not Found - GET https://npm.example.org/nope",
    "npm, a conflict": "npm error code ERESOLVE\nnpm error ERESOLVE could not resolve",
    "git, no repository": "fatal: not a git repository (or any of the parent directories): .git",
    "git, a password": "fatal: Authentication failed for 'https://example.com/x.git/'",
    "go, no sum": "missing go.sum entry for module providing package golang.org/x/text",
    "maven, a compiler's error": "[ERROR] COMPILATION ERROR :\n[ERROR] BUILD FAILURE",
    "gem, not installed": "Could not find gem 'x' in locally installed gems.",
    "dotnet, a local source": "error NU1301: The local source '/x' doesn't exist.",
    "uv, told to be offline": "hint: Packages were unavailable because the network was disabled.",
    "sudo's warning": "sudo: unable to resolve host build7: Name or service not known\nmake: *** [all] Error 1",
    "a rust test": "failed to lookup address information: x\nthread 'main' panicked at src/lib.rs:1:1:\nassertion `left == right` failed",
    "nothing": "",
}  # fmt: skip


@pytest.mark.parametrize(("status", "output"), WANTED)
def test_what_programs_print_without_a_network(status, output):
    assert network_errors.needed_network(status or 1, output, "make deps")
    assert network_errors.needed_network(2, f"{output}make: *** [Makefile:2: deps] Error {status}\n", "make deps")
    assert network_errors.needed_network(2, f"building\n{AGAIN}\n{output}", "make deps")


@pytest.mark.parametrize("output", UNTRIED)
def test_what_others_print(output):
    assert network_errors.needed_network(1, f"something\n{output}\n", "")


@pytest.mark.parametrize(("status", "output"), OTHER)
def test_what_they_print_when_something_else_is_wrong(status, output):
    assert not network_errors.needed_network(status, output, "make deps")


@pytest.mark.parametrize("case", NOT)
def test_another_failure_is_not_the_networks(case):
    assert not network_errors.needed_network(1, NOT[case], "make test")


@pytest.mark.parametrize("commands", ["pip install -q --no-index x", "PIP_NO_INDEX\npip install -q x"])
def test_who_asked_no_index_wanted_none(commands):
    output = next(each.values[1] for each in WANTED if each.id == "pip -q")
    assert not network_errors.needed_network(1, output, commands)
    assert not network_errors.needed_network(1, output, "pip -q install x", index=False)


def test_programs_that_print_nothing_are_known_by_their_status():
    assert network_errors.needed_network(6, "", "curl -s https://example.com/x > x")
    assert network_errors.needed_network(4, "\n", "wget -q https://example.com/x")
    assert not network_errors.needed_network(4, "", "pytest -q")
    assert not network_errors.needed_network(22, "", "curl -sf https://example.com/x")
    assert not network_errors.needed_network(6, "x is wrong", "curl -s https://example.com/x; ./check")


def test_who_may_ask_for_one():
    line = "curl: (6) Could not resolve host: x"
    assert "`network: true`" in failure_hints.build_failure_hint(1, line, kind="run", commands="", base="debian")
    assert "--network=none" in failure_hints.build_failure_hint(1, line, kind="RUN", commands="", base="image")
    assert not failure_hints.build_failure_hint(1, line, kind="run", commands="", base="debian", network=True)
    unfound = "ERROR: Could not find a version that satisfies the requirement setuptools (from versions: none)"
    assert not failure_hints.build_failure_hint(
        1, unfound, kind="pip", commands="", base="debian"
    )  # it is told to ask none


@settings(max_examples=examples(200, 10000), deadline=None)
@given(
    parts=st.lists(st.sampled_from([*NOT.values(), "", AGAIN, *(each.values[1] for each in OTHER)]), max_size=4),
    status=st.sampled_from([1, 2, 101, 255]),
)
def test_other_failures_one_after_the_other_are_none(parts, status):
    parts = [part for part in parts if not part.startswith(("socket.", "curl: (6)", "failed to lookup"))]
    assert not network_errors.needed_network(status, "\n".join(parts), "make test")
