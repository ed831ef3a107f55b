"""Debian for real: bootstrapped from its archive, with packages on it, by every sort of caller.

That it comes out the same whoever builds it is held by test_offline.py and test_lock.py.
"""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network]

SPEC = """
bases:
  debian: {{debian: {suite}}}
layers:
  tools: {{apt: [hello, python3-minimal, ssl-cert]}}
envs:
  unit:
    base: debian
    layers: [tools]
    tasks: {{test: "hello && dpkg --audit && python3 -c 'print(6 * 7)'"}}
"""


def works(place, suite: str) -> None:
    place.spec(SPEC.format(suite=suite))
    first = place.envtool("test", "-v")
    assert first.status == 0, first.said
    assert "Hello, world!" in first.said
    assert "42" in first.said
    shown = place.envtool(
        "exec",
        "unit",
        "--",
        "sh",
        "-c",
        "cat /etc/os-release; ls -A /usr/sbin/policy-rc.d /var/lib/apt/lists/* /etc/*-; cat /etc/machine-id",
    )
    release, _, left = shown.out.partition("BUG_REPORT_URL=")
    assert f"VERSION_CODENAME={suite}" in release
    assert left.count("\n") == 1, "files of apt, or a machine id, are left"


@pytest.mark.slow
def test_a_suite_with_packages(common):
    works(common, "bookworm")


@pytest.mark.slow
@pytest.mark.dear
@pytest.mark.parametrize("suite", ["trixie", "bullseye"])
def test_other_suites(common, suite):
    works(common, suite)


@pytest.mark.one_caller
def test_a_package_that_does_not_exist(common):
    common.spec(SPEC.format(suite="bookworm").replace("hello,", "helo-world,"))
    ended = common.envtool("test")
    assert ended.status == 3
    assert "no package `helo-world` in bookworm" in ended.said


@pytest.mark.one_caller
def test_a_suite_that_does_not_exist(common):
    common.spec(SPEC.format(suite="wormbook"))
    ended = common.envtool("test")
    assert ended.status == 3
    assert "wormbook" in ended.said
