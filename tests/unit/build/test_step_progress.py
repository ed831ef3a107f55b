"""How far a step is in a container: counted in memory that a fork shares, told as events."""

from __future__ import annotations

import marshal
import os
import time
from dataclasses import asdict

from envtool.api import Call, Recipe, Run
from envtool.build.builder import make_counters
from envtool.build.recipe_steps import to_container_steps
from envtool.build.step_progress import StepProgress, report_progress
from envtool.container.step_functions import load_steps
from envtool.events import Progress
from envtool.model import Command
from tests.load import allowed


def unpack(names, count):
    for index in range(len(names)):
        if not (child := os.fork()):  # as the workers of one step do
            count(index)
            os._exit(0)
        os.waitpid(child, 0)


def test_processes_count_and_it_is_told():
    recipe = Recipe(
        steps=(
            Call(function=unpack, arguments=(["a", "b", "c"],), counts=3, phase="unpacking"),
            Run(command=Command(shell="true")),
        ),
        phase="configuring",
    )
    (tally,) = tallies = make_counters(recipe)
    steps = [{"argv": step.argv} if step.argv else asdict(step) for step in to_container_steps(recipe.steps)]
    assert marshal.loads(marshal.dumps(steps)) == steps, "a step is data"
    loaded = load_steps(steps, [each.memory for each in tallies])
    assert loaded[1] == {"argv": recipe.steps[1].command.words()}
    seen = []
    after = Progress(id="x", phase=recipe.phase)
    with report_progress(tallies, seen.append, "x", lambda: after):
        time.sleep(0.05)
        loaded[0]["call"](*loaded[0]["arguments"])
        assert tally.done() == 3
        time.sleep(0.5)
    assert seen[0] == Progress(id="x", phase="unpacking", count=0, of=3)
    assert seen[-1] == after


def test_whoever_writes_there_says_how_many_and_nothing_else():
    tally = StepProgress.make(2, "unpacking")
    step = {"call": f"{__name__}:unpack", "arguments": ([],), "functions": (), "prepare": (), "counts": 2}
    (loaded,) = load_steps([step], [tally.memory])
    for odd in (-1, 2, 1 << 40):
        loaded["arguments"][-1](odd)
    assert tally.done() == 0
    tally.memory[:2] = b"\xff\x00"
    assert tally.done() == 1


def test_what_counts_nothing_is_told_at_once():
    seen = []
    with report_progress([], seen.append, "x", lambda: Progress(id="x", phase="building")):
        assert [each.phase for each in seen] == ["building"]
    recipe = Recipe(steps=(Call(function=unpack),))
    assert make_counters(recipe) == []
    (step,) = to_container_steps(recipe.steps)
    assert step.arguments == ()
    assert not step.counts


def test_a_step_that_ends_early_ends_the_telling():
    tally = StepProgress.make(3, "unpacking")
    began = time.monotonic()
    with report_progress([tally], lambda event: None, "x", lambda: Progress(id="x")):
        pass
    assert time.monotonic() - began < allowed(2)
