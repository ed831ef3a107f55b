"""Builds a layer twice and compares the builds with each other, with the layer in the store, and with the lock."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from envtool.api import Secret
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.scheduler import Scheduler
from envtool.build.site import ContainerSite
from envtool.build.stack import Parents, ResolvedNode, StoredLayer
from envtool.errors import BuildError, Interrupted, SpecError
from envtool.events import Finished, Output, Started
from envtool.fs.beneath import project_identity
from envtool.lazy_dataclass import dataclass
from envtool.plan.graph import Node
from envtool.run.result import result_message
from envtool.store import compare_trees, layers
from envtool.store.disk_errors import to_envtool_error
from envtool.verify import diffoscope
from envtool.verify.clock import FaketimeLibraries
from envtool.verify.comparison import PathDifference, VerifyResult
from envtool.verify.variations import SIDES, VariationSide
from envtool.verify.worker_client import run_worker, side_directory
from envtool.verify.worker_main import LayerJob


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTarget:
    """A node to verify: `name` is unique among the nodes, `env` is the first env that uses it."""

    node: Node
    name: str
    env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyContext:
    """What verifying needs. `evidence` is the directory for reports."""

    scheduler: Scheduler
    context: Context
    clocks: FaketimeLibraries
    evidence: str
    jobs: int = 2


def verify_layer(target: VerifyTarget, verification: VerifyContext) -> VerifyResult:
    """Builds the layer twice and compares. Raises only Interrupted; every other error is in the result."""
    result = VerifyResult(
        name=target.name,
        subject=target.node.subject,
        kind=target.node.kind.name,
        env=target.env,
        outcome="error",
        seconds=0.0,
    )
    with track_comparison(result, f"verify:{target.node.id}", verification.context) as outcomes:
        layer = verification.scheduler.node(target.node.id)
        parents = verification.scheduler.parents_of(target.node)
        outcomes.append(_build_twice(result, layer, parents, verification, f"verify:{target.node.id}"))
    return outcomes[-1]


@contextmanager
def track_comparison(result: VerifyResult, event_id: str, context: Context) -> Iterator[list[VerifyResult]]:
    """Emits the events of one comparison; its result is the last of the list, also after an error."""
    began = time.time()
    context.emit(Started(id=event_id, subject="verify", name=result.name, time=began))
    outcomes = [result]
    try:
        context.cancel.check()
        yield outcomes
    except Interrupted:
        outcomes.append(replace(result, outcome="interrupted", message="interrupted"))
    except Exception as raised:  # an error of one comparison must not stop the others
        error = to_envtool_error(raised, context.store.root)
        output = f"\n{error.output}" if error.output else ""
        hint = f"\n{error.hint}" if error.hint else ""
        message = result_message(error) if isinstance(error, SpecError) else f"{error.message}{hint}"
        outcomes.append(replace(result, outcome="error", message=f"{message}{output}"))
    finally:
        now = time.time()
        outcomes[-1] = replace(outcomes[-1], seconds=now - began)
        context.emit(
            Finished(
                id=event_id,
                subject="verify",
                name=result.name,
                outcome=outcomes[-1].outcome,
                time=now,
                seconds=now - began,
                detail=detail(outcomes[-1]),
            )
        )


def detail(result: VerifyResult) -> str:
    """Returns a few words for the progress line."""
    if result.outcome == "differs":
        number = len(result.differences)
        return f"{number} path{'s' if number != 1 else ''} differ{'s' if number == 1 else ''}" if number else "differs"
    return {"same": result.kind}.get(result.outcome, "")


def _build_twice(
    result: VerifyResult, made: StoredLayer, parents: Parents, verification: VerifyContext, event_id: str
) -> VerifyResult:
    context, resolved = verification.context, made.resolved
    _check_without_secrets(resolved)
    with ExitStack() as stack:
        stack.enter_context(layers.hold_layers(context.store, [*parents.layers, made.layer]))
        fetch_layer_files(
            resolved, context, event_id, ContainerSite(context, resolved.request, parents.below, event_id)
        )
        library, note = verification.clocks.library_for((*parents.below, made)[0])
        directories = [stack.enter_context(side_directory(context, side)) for side in SIDES]

        def build(side: VariationSide, directory: str) -> str:
            wait_for_clock(side, library, context)
            job = LayerJob(
                store=context.store,
                root=context.root,
                identity=project_identity(context.root),
                arch=context.arch,
                resolved=resolved,
                parents=parents,
                directory=directory,
                variation=side.variation(library),
            )
            diff_id, _, _ = run_worker(job, side, context, lambda text: context.emit(Output(id=event_id, text=text)))
            return str(diff_id)

        diff_ids = run_both(build, directories, verification.jobs)
        network = resolved.node.kind.build(resolved.request, resolved.pins).network
        notes = (note, "it uses the network: what it fetches is not pinned" if network else "")
        result = replace(
            result,
            diff_ids=diff_ids,
            # a layer that is not pinned shows this machine, which may have changed since
            stored=made.layer.diff_id if resolved.node.is_pinned else "",
            expected=locked_diff_id(made, parents.below, context),
            notes=tuple(filter(None, notes)),
            outcome="same",
        )
        trees = [os.path.join(directory, "tree") for directory in directories]
        return compare_diff_ids(result, trees, made.layer.tree, verification)


def _check_without_secrets(resolved: ResolvedNode) -> None:
    """Raises BuildError for a layer that is built with a secret of the caller."""
    shown = resolved.node.kind.build(resolved.request, resolved.pins).shown
    if any(isinstance(mount, Secret) and mount.from_caller for mount in shown):
        raise BuildError(
            f"{resolved.node.subject} `{resolved.request.name}` is built with a secret, which goes to no second build",
            code="verify-secret",
            hint="let a layer without secrets have what is to be verified",
        )


def wait_for_clock(side: VariationSide, library: str, context: Context) -> None:
    """If the clock cannot be moved, the second build starts in another second than the first."""
    if side.ahead and not library:
        select.select([context.cancel.reader], [], [], 1.1)
        context.cancel.check()


def run_both(make: object, places: list[str], jobs: int) -> tuple[str, ...]:
    """Runs both builds, at the same time if `jobs` allows two. Returns what they return."""
    with ThreadPoolExecutor(min(2, jobs), thread_name_prefix="side") as pool:
        return tuple(pool.map(make, SIDES, places))  # type: ignore[arg-type]


def locked_diff_id(made: StoredLayer, below: Sequence[StoredLayer], context: Context) -> str:
    """Returns the diff ID that the lock has for this very key; empty if it has none."""
    resolved = made.resolved
    question = resolution.question_for_lock(resolved.node, resolved.request, [layer.resolved for layer in below])
    entry = context.lock.answer(question)
    return entry.diff_id if entry is not None and entry.key == resolved.key else ""


def compare_diff_ids(result: VerifyResult, trees: list[str], stored: str, verification: VerifyContext) -> VerifyResult:
    """Compares the three (or four) diff IDs; if two of them differ, lists where their trees differ."""
    first, second = result.diff_ids
    if first != second:
        between, pair = "two builds", (trees[0], trees[1])
    elif result.stored and first != result.stored:
        between, pair = "the store and a build", (stored, trees[0])
    elif result.expected and first != result.expected:
        return replace(result, outcome="differs", between="the lock and a build")
    else:
        return result
    with ExitStack() as stack:
        descriptors = [os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for tree in pair]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        rows = verification.context.runner.as_root(compare_trees.compare_trees, *descriptors)
        differences = tuple(PathDifference(path=path, kinds=tuple(kinds), shown=shown) for path, kinds, shown in rows)
        report = diffoscope.write_report(
            descriptors, differences, verification.context, verification.evidence, result.name
        )
    return replace(result, outcome="differs", between=between, differences=differences, report=report)
