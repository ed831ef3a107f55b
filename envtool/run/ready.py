"""The plan cache, written: everything that decided the container of an env, so that `warm.py` can tell by a few stats
that nothing changed. It is only ever a short cut: without it, or with a stale one, the long way is taken.
"""

from __future__ import annotations

import marshal
import os
import sysconfig
from collections.abc import Iterator
from typing import Any

from envtool import git, project
from envtool.container.program import Step
from envtool.model import Env, Spec
from envtool.project import Files
from envtool.realise import settle
from envtool.realise.setting import Setting
from envtool.realise.stacks import Stack
from envtool.run import describe, warm

MOST = 20_000  # watched paths: beyond, looking at them all is no short cut any more


def prepare(env: Env, stack: Stack, spec: Spec, files: Files, setting: Setting, *, scratch: str = "") -> dict[str, Any]:
    """The plan of an env whose stack stands, as `warm.launch` takes it; kept for the next time."""
    program = describe.container(env, stack, project=setting.root, hidden=(), host={}, scratch=scratch)
    # names are found while the container is described once more for each command: the step is only a place for it
    flat = describe.with_step(program, Step(cwd=describe.workdir(env))).flat()
    plan: dict[str, Any] = {
        "version": warm.version(),
        "spec": os.path.realpath(spec.file if os.path.isabs(spec.file) else os.path.join(spec.root, spec.file)),
        "env": env.name,
        "watch": [],
        "program": flat,
        "environment": dict(program.env),
        "passed": env.passed,
        "hidden": (project.OWN,),
        "repositories": tuple(project.repositories(setting.root)),
        "git": (*git.WORDS, *git.IGNORED),
        "git_env": git.environment(),
        "locks": tuple(setting.store.path("locks", f"layer-{made.layer.key}") for made in stack.made),
    }
    watched = {seen.path: tuple(seen.state) for seen in files.seen()}
    for place in _decided(stack, spec, setting):
        watched.setdefault(place, warm.signature(place))
    if len(watched) <= MOST and not scratch and not env.network:
        plan["watch"] = sorted(watched.items())
        _write(warm.path(setting.store.root, plan["spec"], env.name), plan)
    return plan


def _decided(stack: Stack, spec: Spec, setting: Setting) -> Iterator[str]:
    """Paths that decided the stack, beside what was read of the project: inputs, pins, layers, this machine."""
    yield from spec.read
    yield sysconfig.get_path("purelib")  # plugins come and go here
    for made in stack.made:
        settled = made.settled
        yield os.path.join(os.path.dirname(made.layer.tree), "layer.json")
        yield settle.memory(made, setting)
        yield from settled.node.kind.watches(settled.pins)
        for item in settled.request.inputs:
            place = os.path.join(setting.root, item.path)
            yield place
            while len(place) > len(setting.root):  # names in a directory come and go with its time
                place = os.path.dirname(place)
                yield place
    for _, directory in project.repositories(setting.root):
        yield os.path.join(directory, ".gitmodules")


def _write(place: str, plan: dict[str, Any]) -> None:
    mine = f"{place}.{os.getpid()}"
    try:
        with open(mine, "wb") as file:
            file.write(marshal.dumps(plan))
        os.replace(mine, place)
    except OSError:  # a full disk makes the next start slower, nothing else
        if os.path.exists(mine):
            os.unlink(mine)
