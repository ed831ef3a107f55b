"""`envtool env` and `envtool shim`: an editor's view of an env, and its programs from this machine's shell."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = [pytest.mark.e2e]

SPEC = r"""
layers:
  tool:
    run: |
      mkdir -p /opt/tool/bin
      printf '#!/bin/sh\necho "$PWD:$GREETING:$*"; exec cat "$@"\n' > /opt/tool/bin/show
      chmod 755 /opt/tool/bin/show
    set: {PATH: /opt/tool/bin}
envs:
  lint: {tasks: {test: "true"}}
  unit:
    layers: [tool]
    set: {GREETING: "it's $HOME", LD_PRELOAD: /evil.so}
    tasks: {test: "true"}
"""


@pytest.mark.callers_in_turn
def test_a_program_of_an_env_runs_from_a_shell_of_this_machine(place):
    place.spec(SPEC)
    place.write("sub/a.txt", "content\n")
    done = place.envtool("env", "unit", "--json")
    assert done.status == 0, done.said
    found = json.loads(done.out)
    inside = place.envtool("exec", "unit", "--", "env")
    assert found["variables"]["GREETING"] == "it's $HOME"
    assert {f"{name}={value}" for name, value in found["variables"].items()} - {"TERM=dumb"} <= {
        *inside.out.splitlines()
    }

    done = place.envtool("env", "unit", "--format", "sh", "--shims", ".shims")
    assert "evil" not in done.out, "what the spec sets stays in the container"

    done = place.envtool("shim", ".shims")
    assert (done.status, done.out) == (0, "show  unit\n"), done.said
    sub = place.project / "sub"
    ran = place.caller.spawn(
        "/bin/sh", "-c", 'eval "$1"; show a.txt "$2"', "sh", place.envtool("env", "unit", "--format", "sh", "--shims", ".shims").out,
        str(sub / "a.txt"), env={**place.variables(), "PWD": str(sub)}, cwd=sub, stdout=-1, stderr=-1,
    )  # fmt: skip
    out, err = ran.communicate()
    assert ran.returncode == 0, err
    assert out.decode() == "/project/sub:it's $HOME:a.txt /project/sub/a.txt\ncontent\ncontent\n"
    assert os.stat(place.project / ".shims/show").st_uid == place.caller.uid
    assert "?? .shims" not in place.shell("git init -q . && git status --porcelain")
    done = place.envtool("shim", ".git/hooks", "show")
    assert (done.status, "git's own" in done.err) == (2, True)
    done = place.envtool("shim", ".shims", "shaw")
    assert (done.status, "did you mean `show`?" in done.err) == (2, True)
