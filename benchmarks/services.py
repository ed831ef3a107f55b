"""What services cost a run: one that only sleeps, beside the same `test --again` and `exec` without it; replicas.

The containers stand on this machine's own system. Replicas are started in one process, after its pod is there: their
containers, networks and names, and what a more of them costs while the others run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from _bench import Failed, Table, options, python, run, seconds, workspace

SPEC = """version: 1
services:
  db: {command: sleep 1000, ready: {file: /}}
envs:
  alone: {base: host, tasks: {test: "true"}}
  beside: {base: host, services: [db], tasks: {test: "true"}}
"""
REPLICAS = """
import os, sys, time
from dataclasses import replace
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler
from envtool.project import rundir
from envtool.services.group import ServiceGroup
from envtool.services.group_values import GroupSetting
from envtool.services.service_container import LocalService, ServiceProject, make_service_request

cancel = Cancel.make()
with open_for_building(CommandRequest(), lambda event: None, cancel) as project:
    context = project.context
    env = next(env for env in project.spec.envs if env.name == "beside")
    stack = Scheduler(project.graph, context).stack(env.services[0].env.name)
    for line in sys.stdin:
        count = int(line)
        directory, _ = rundir.open_run(context.root)
        setting = GroupSetting(
            context=context, project=ServiceProject(context.root), env="bench", name="bench", directory=directory
        )
        with ServiceGroup(setting, spare=count + 2) as group:
            with group.member():
                time.sleep(0.2 + 0.02 * count)
            service = replace(env.services[0], replicas=count)
            request = make_service_request(service, stack, {}, single_id=context.runner.single_id)
            began = time.perf_counter()
            group.start([LocalService(request, stack)])
            ready = time.perf_counter() - began
            began = time.perf_counter()
            group.scale("db", count + 1)
            more = time.perf_counter() - began
        rundir.close_run(context.root, directory)
        print(ready, more, flush=True)
"""


@contextlib.contextmanager
def replicas(asked: argparse.Namespace, project: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that starts so many replicas whenever it is asked."""
    with subprocess.Popen(
        [python(asked.envtool), "-c", REPLICAS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def start(process: subprocess.Popen[str], count: int) -> tuple[float, float]:
    """Seconds until that many are ready, and until one more is."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    answer = process.stdout.readline().split()
    if len(answer) != 2:
        process.kill()
        raise Failed("replicas: the process has ended")
    return float(answer[0]), float(answer[1])


def main(asked: argparse.Namespace, table: Table) -> None:
    """All of it, in one project."""
    with workspace(asked.envtool) as top:
        project = top / "project"
        project.mkdir()
        (project / "envtool.yaml").write_text(SPEC)
        timed = functools.partial(seconds, asked.envtool, cwd=project)
        ways = {"envtool: alone": "alone", "envtool: beside a service": "beside"}
        for what, words in {
            "test --again": ("test", "--again", "-e", "{}"),
            "test, unchanged": ("test", "-e", "{}"),
            "exec true": ("exec", "{}", "--", "true"),
        }.items():
            contenders = {
                who: lambda env=env, words=words: timed(*(word.format(env) for word in words))
                for who, env in ways.items()
            }
            table.measure(what, contenders, asked.rounds, base="envtool: alone", warm=2)
        with replicas(asked, project) as process:
            for count in (2,) if asked.tiny else (1, 5, 20):
                start(process, count)
                for _ in range(asked.rounds):
                    ready, more = start(process, count)
                    table.add(f"{count} replicas are ready", "envtool", ready)
                    table.add(f"one more beside {count}", "envtool", more)


if __name__ == "__main__":
    os.umask(0o022)
    run(main, options(__doc__, rounds=15), unit="ms")
