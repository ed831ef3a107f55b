"""Debian for real: bootstrapped from its archive, with packages on it, by every sort of caller.

That it comes out the same whoever builds it is held by test_offline.py and test_lock.py.
"""

from __future__ import annotations

import platform
from pathlib import Path

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
@pytest.mark.dear(cases=1)
@pytest.mark.parametrize("suite", ["trixie", "bullseye"])
def test_other_suites(common, suite):
    works(common, suite)


@pytest.mark.slow
@pytest.mark.dear
@pytest.mark.one_caller
def test_a_build_with_network_installs_certificates_of_its_own(common):
    """The package that this machine's bundle must not stand in the way of; from where this machine's apt has it."""
    here = platform.freedesktop_os_release()
    if here["ID"] != "debian":
        pytest.skip("this machine's apt knows no archive of Debian")
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if path.is_file():
            common.write(f"apt/{path.relative_to('/etc/apt')}", path.read_bytes())
    install = "apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates && update-ca-certificates --fresh"
    common.spec(
        f"bases: {{debian: {{debian: {here['VERSION_CODENAME']}}}}}\n"
        f"layers:\n  sources: {{copy: {{from: apt, to: /etc/apt/}}}}\n  own: {{run: '{install}', network: true}}\n"
        "envs: {unit: {base: debian, layers: [sources, own], tasks: {test: 'dpkg --audit && ls -d /dev/envtool /etc/ssl/certs/*'}}}\n"
    )
    done = common.envtool("test", "-v")
    assert "/etc/ssl/certs/ca-certificates.crt" in done.said, done.said
    assert "cannot access '/dev/envtool'" in done.said


@pytest.mark.one_caller
def test_alternatives_that_the_layer_itself_satisfies(common):
    """logrotate wants `cron | … | systemd-sysv`. Which one apt takes depends on the order in which it is told of packages,
    and on whether it knows the whole archive: what was pinned is what is installed."""
    common.spec(
        "envs: {unit: {base: {debian: bookworm}, layers: [{apt: [logrotate, libpam-systemd]}],"
        " tasks: {test: dpkg -s cron}}}\n"
    )
    locked = common.envtool("lock")
    assert locked.status == 0, locked.said
    assert '"name": "cron"' in (common.project / "envtool.lock").read_text(), "asked for first, logrotate takes cron"
    done = common.envtool("test")
    assert done.status == 0, done.said
    marked = common.envtool("exec", "unit", "--", "sh", "-c", "apt-mark showmanual; dpkg --audit")
    assert "libpam-systemd" in marked.out.split()
    assert "cron" not in marked.out.split(), "nobody asked for it"


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
