"""`envtool shell`, as somebody uses it after a red test: what the failure says to type is typed, and found."""

from __future__ import annotations

import os
import re

import pytest

from tests.e2e.test_interrupts import _read, _terminal
from tests.e2e.test_layers import archive, sha, small_root

pytestmark = pytest.mark.e2e

PROGRAM = b"#!/bin/sh\necho it-is-ours\nexit 3\n"
TOOL = "mkdir -p /opt/tool/bin && printf '#!/bin/sh\\necho it-is-ours\\nexit 3\\n' > /opt/tool/bin/pytest && chmod +x /opt/tool/bin/pytest"
SPEC = f"""\
layers: {{tool: {{run: "{TOOL}", set: {{PATH: /opt/tool/bin}}}}}}
envs: {{unit: {{layers: [tool], tasks: {{test: pytest}}}}}}
""".replace("\\n", "\\\\n")


def test_what_the_failure_says_is_typed(place):
    place.spec(SPEC)
    failed = place.envtool("test")
    assert failed.status == 1
    said = re.search(r"again, inside:  envtool (shell unit)   then: (\S+)$", failed.err, re.MULTILINE)
    assert said, failed.err
    for way in ("the long way", "once more"):
        process, master = _terminal(place, *said[1].split())
        try:
            os.write(master, f"{said[2]}; echo status=$?=; echo left=$ENVTOOL_PATH$PROMPT_COMMAND=; exit 7\r".encode())
            seen = _read(master, b"", 20)
            assert b"it-is-ours" in seen, way
            assert b"status=3=" in seen, way
            assert b"left==" in seen, way
            assert process.wait(10) == 7, way
        finally:
            os.close(master)


def test_what_comes_on_standard_input_is_run(place):
    place.spec(SPEC)
    done = place.envtool("shell", "unit", data=b"pytest\necho status=$?\n")
    assert done.out == "it-is-ours\nstatus=3\n", done.said


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="there is no bash here")
def test_files_that_shells_read_change_no_path(place):
    """A base whose /etc sets PATH anew for every shell, as Debian's profile does; and one with `sh` alone."""
    bases = []
    for name, more in (("with", ["/bin/bash"]), ("without", [])):
        path = b"PATH=/usr/local/bin:/usr/bin:/bin\nexport PATH\n"
        tree = {target: source.read_bytes() for target, source in small_root(*more).items()}
        tree |= {
            "etc/profile": path,
            "etc/bash.bashrc": path,
            "etc/profile.d/x.sh": path,
            "opt/tool/bin/pytest": PROGRAM,
        }
        data = archive(tree, mode=0o755)
        place.write(f"{name}.tar.gz", data)
        bases.append(f"{name}: {{tarball: {{path: {name}.tar.gz, sha256: {sha(data)}}}}}")
    place.spec(
        f"bases: {{{', '.join(bases)}}}\n"
        "envs:\n  unit: {matrix: {kind: [with, without]}, base: '{{ matrix.kind }}', set: {PATH: /opt/tool/bin},"
        " tasks: {test: pytest}}\n"
    )
    for name in ("with", "without"):
        process, master = _terminal(place, "shell", f"unit[{name}]")
        try:
            os.write(master, b"pytest; echo status=$?=; exit 7\r")
            seen = _read(master, b"", 20)
            assert b"it-is-ours" in seen, (name, seen)
            assert b"status=3=" in seen, (name, seen)
            assert process.wait(10) == 7, name
        finally:
            os.close(master)


def test_without_an_env_the_envs_are_named(place):
    place.spec("envs:\n  unit: {matrix: {n: [1, 2]}, tasks: {test: 'true'}}\n")
    for verb in ("shell", "exec", "env", "sbom"):
        done = place.envtool(verb)
        assert done.status == 2
        assert done.err == f"error: `envtool {verb}` needs ENV\nhint: say which of unit[1], unit[2]\n"
