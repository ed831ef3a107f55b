"""A container is data: another process reads it as JSON, and makes the same container and the same layer of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from envtool import api
from envtool.build.recipe_steps import to_container_steps
from envtool.container import userns
from envtool.container.program import BindMount, ContainerStep, Program, ProjectMount, Root
from envtool.container.program_json import to_json
from envtool.container.runner import LocalRunner
from envtool.kinds.dockerfile import copy_inside
from envtool.model import Command
from envtool.store import canonical

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller]

OTHER = """
import json, sys
from envtool.container.program_json import from_json
from envtool.container.runner import LocalRunner
from mmap import mmap
program = from_json(sys.stdin.read())
counters = [mmap(-1, step.counts) for step in program.steps if step.counts]
ended = LocalRunner().run(program, stdout=1, stderr=2, counters=counters)
print(json.dumps([ended.status, ended.error, [memory[:].hex() for memory in counters]]))
"""


@pytest.fixture
def files(tmp_path):
    """What a build fetched, and a project."""
    (tmp_path / "blobs").mkdir()
    with tarfile.open(tmp_path / "blobs" / "a.tar", "w") as tar:
        for name in ("top/x", "top/sub/y"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(name[-1:].encode()))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "p").write_text("p")
    return tmp_path


def layer_program(files, upper):
    steps = (
        api.Unpack(name="a.tar", target="/opt", strip=1),
        api.Place(source="/project/p", target="/opt/p", mode=0o600),
        api.Call(function=copy_inside.make_workdir, arguments=("/work/dir", "")),
    )
    return Program(
        root=Root(upper=str(upper), own=("tmp", "run")),
        steps=to_container_steps(steps),
        binds=(BindMount(source=str(files / "blobs"), target=api.BLOBS),),
        project=ProjectMount(source=str(files / "project")),
        env={"PATH": "/bin", "SOURCE_DATE_EPOCH": "1"},
        user="root",
        sync=False,
    )


def elsewhere(program):
    done = subprocess.run(
        [sys.executable, "-c", OTHER], input=to_json(program), capture_output=True, text=True, check=True
    )
    *output, ended = done.stdout.splitlines()
    return output, json.loads(ended)


def test_a_layer(files):
    runner, captured = LocalRunner(), []
    for name in ("here", "there"):
        upper = files / name
        upper.mkdir()
        runner.give_to_root(str(upper))
        program = layer_program(files, upper)
        try:
            if name == "here":
                with open(files / "log", "w+b") as log:
                    ended = runner.run(program, stdout=log.fileno(), stderr=log.fileno())
                assert (ended.status, ended.error) == (0, "")
            else:
                assert elsewhere(program) == ([], [0, "", []])
            captured.append(runner.as_root(canonical.capture, ".", 1, (), at=str(upper)))
            if name == "there":
                assert runner.as_root(os.listdir, "opt", at=str(upper)) != []
        finally:
            userns.remove_as_root(str(upper))
    assert captured[0] == captured[1]
    assert captured[0][2] >= 6, "files were made"


def test_a_task(files):
    program = Program(
        root=Root(),
        steps=(ContainerStep(argv=Command(shell="echo $A; cat p; id -u").words(), cwd="/project"),),
        binds=tuple(
            BindMount(source=path, target=path) for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)
        ),
        project=ProjectMount(source=str(files / "project")),
        env={"PATH": "/usr/bin:/bin", "A": "a\u00fc"},
    )
    with open(files / "log", "w+b") as log:
        ended = LocalRunner().run(program, stdout=log.fileno(), stderr=log.fileno())
        log.seek(0)
        said = log.read().decode().splitlines()
    assert elsewhere(program) == (said, [ended.status, "", []])
    assert said == ["aü", "p1000"]
