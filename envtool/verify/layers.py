"""Layers made twice and compared: with each other, with the one in the store, and with what a lock says."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.parents import Parents
from envtool.build.resolution import MadeLayer
from envtool.build.scheduler import Scheduler
from envtool.build.site import ContainerSite
from envtool.container import userns
from envtool.errors import Interrupted, SpecError
from envtool.events import Finished, Output, Started
from envtool.fs.beneath import project_identity
from envtool.plan.graph import Node
from envtool.run.result import result_message, to_envtool_error
from envtool.store import compare_trees, layers
from envtool.verify import diffoscope
from envtool.verify.clock import FaketimeLibraries
from envtool.verify.comparison import PathDifference, VerifyResult
from envtool.verify.variations import SIDES, VariationSide
from envtool.verify.worker_client import run_worker, side_directory
from envtool.verify.worker_main import LayerJob


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTarget:
    """A node to verify: `name` tells it from others of its name, `env` is the first that stands on it."""

    node: Node
    name: str
    env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyContext:
    """What verifying needs. `evidence` is the directory that keeps reports."""

    stacks: Scheduler
    context: Context
    clocks: FaketimeLibraries
    evidence: str
    jobs: int = 2


def verify_layer(target: VerifyTarget, bench: VerifyContext) -> VerifyResult:
    """Make it twice, compare. Only Interrupted is raised; every other error is in the result."""
    found = VerifyResult(
        name=target.name,
        subject=target.node.subject,
        kind=target.node.kind.name,
        env=target.env,
        outcome="error",
        seconds=0.0,
    )
    with track_comparison(found, f"verify:{target.node.id}", bench.context) as done:
        made = bench.stacks.node(target.node.id)
        ground = bench.stacks.ground(target.node)
        done.append(_build_twice(found, made, ground, bench, f"verify:{target.node.id}"))
    return done[-1]


@contextmanager
def track_comparison(found: VerifyResult, event_id: str, context: Context) -> Iterator[list[VerifyResult]]:
    """Emits the events of one comparison; its result is the last of the list, also after an error."""
    began = time.time()
    context.emit(Started(id=event_id, subject="verify", name=found.name, time=began))
    done = [found]
    try:
        context.cancel.check()
        yield done
    except Interrupted:
        done.append(replace(found, outcome="interrupted", message="interrupted"))
    except Exception as raised:  # whatever it is, it is this one's: the others are looked at
        error = to_envtool_error(raised, context.store.root)
        output = f"\n{error.output}" if error.output else ""
        hint = f"\n{error.hint}" if error.hint else ""
        said = result_message(error) if isinstance(error, SpecError) else f"{error.message}{hint}"
        done.append(replace(found, outcome="error", message=f"{said}{output}"))
    finally:
        now = time.time()
        done[-1] = replace(done[-1], seconds=now - began)
        context.emit(
            Finished(
                id=event_id,
                subject="verify",
                name=found.name,
                outcome=done[-1].outcome,
                time=now,
                seconds=now - began,
                detail=detail(done[-1]),
            )
        )


def detail(found: VerifyResult) -> str:
    """A few words for the progress line."""
    if found.outcome == "differs":
        number = len(found.differences)
        return f"{number} path{'s' if number != 1 else ''} differ{'s' if number == 1 else ''}" if number else "differs"
    return {"same": found.kind}.get(found.outcome, "")


def _build_twice(
    found: VerifyResult, made: MadeLayer, ground: Parents, bench: VerifyContext, event_id: str
) -> VerifyResult:
    context, settled = bench.context, made.settled
    with ExitStack() as stack:
        stack.enter_context(layers.hold_layers(context.store, [*ground.layers, made.layer]))
        fetch_layer_files(settled, context, event_id, ContainerSite(context, settled.request, ground.below, event_id))
        library, note = bench.clocks.library_for((*ground.below, made)[0])
        places = [stack.enter_context(side_directory(context, side)) for side in SIDES]

        def one(side: VariationSide, directory: str) -> str:
            wait_for_clock(side, library, context)
            job = LayerJob(
                store=context.store,
                root=context.root,
                identity=project_identity(context.root),
                arch=context.arch,
                settled=settled,
                ground=ground,
                directory=directory,
                variation=side.variation(library),
            )
            diff_id, _, _ = run_worker(job, side, context, lambda text: context.emit(Output(id=event_id, text=text)))
            return str(diff_id)

        diff_ids = run_both(one, places, bench.jobs)
        network = settled.node.kind.build(settled.request, settled.pins).network
        notes = (note, "it uses the network: what it fetches is not pinned" if network else "")
        found = replace(
            found,
            diff_ids=diff_ids,
            stored=made.layer.diff_id if settled.node.kind.pinned else "",  # this machine changes: no fault of a build
            expected=locked_diff_id(made, ground.below, context),
            notes=tuple(filter(None, notes)),
            outcome="same",
        )
        trees = [os.path.join(directory, "tree") for directory in places]
        return compare_diff_ids(found, trees, made.layer.tree, bench)


def wait_for_clock(side: VariationSide, library: str, context: Context) -> None:
    """Where the clock cannot be moved the second side waits for another second."""
    if side.ahead and not library:
        select.select([context.cancel.reader], [], [], 1.1)
        context.cancel.check()


def run_both(make: object, places: list[str], jobs: int) -> tuple[str, ...]:
    """Both sides, side by side where two may work at once."""
    with ThreadPoolExecutor(min(2, jobs), thread_name_prefix="side") as pool:
        return tuple(pool.map(make, SIDES, places))  # type: ignore[arg-type]


def locked_diff_id(made: MadeLayer, below: Sequence[MadeLayer], context: Context) -> str:
    """The diff ID that the lock says this very key came out as; empty where it does not say."""
    settled = made.settled
    asked = resolution.question_for_lock(settled.node, settled.request, [each.settled for each in below])
    entry = context.lock.answer(asked)
    return entry.diff_id if entry is not None and entry.key == settled.key else ""


def compare_diff_ids(found: VerifyResult, trees: list[str], stored: str, bench: VerifyContext) -> VerifyResult:
    """What the three (or four) diff IDs say, and where the trees differ."""
    first, second = found.diff_ids
    if first != second:
        between, pair = "two builds", (trees[0], trees[1])
    elif found.stored and first != found.stored:
        between, pair = "the store and a build", (stored, trees[0])
    elif found.expected and first != found.expected:
        return replace(found, outcome="differs", between="the lock and a build")
    else:
        return found
    with ExitStack() as stack:
        opened = [os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for tree in pair]
        for descriptor in opened:
            stack.callback(os.close, descriptor)
        listed = userns.run_as_root(compare_trees.compare_trees, *opened)
        differences = tuple(PathDifference(path=path, kinds=tuple(kinds), shown=shown) for path, kinds, shown in listed)
        report = diffoscope.write_report(opened, differences, bench.context, bench.evidence, found.name)
    return replace(found, outcome="differs", between=between, differences=differences, report=report)
