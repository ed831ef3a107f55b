"""Builds a recipe into a layer: fetches its files, runs its steps offline, captures the tree and commits it by one
rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from mmap import mmap

from envtool import net
from envtool.api import (
    BESIDE,
    BLOBS,
    PROJECT,
    Call,
    Fetch,
    InputFile,
    Recipe,
    Request,
    Site,
)
from envtool.build import (
    extra_mounts,
    failure_hints,
    limit_checks,
    limit_messages,
    recipe_steps,
    shared_layers,
    unpack_image,
)
from envtool.build.context import Context, base_environment
from envtool.build.disk_space import NoDiskSpace, detect_full_disk
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.host_network import host_network_access, java_truststore
from envtool.build.stack import (
    Parents,
    ResolvedNode,
    StoredLayer,
    apply_variables,
    not_cached_error,
    opened_files_question,
    overlays_project,
    project_mounts,
    shown_host_files,
    stack_binds,
)
from envtool.build.step_progress import StepProgress, report_progress
from envtool.build.tee import Tee
from envtool.build.variation import BuildVariation
from envtool.container.program import BindMount, ExtraTree, Program, ProjectMount, Root, TextMount
from envtool.container.runner import Runner
from envtool.errors import BuildError, Interrupted, MakeError, SandboxError, StoreError
from envtool.events import Outcome, Output, Progress
from envtool.model import Json
from envtool.project import inputs
from envtool.store import answer_cache, blobs, canonical, disk_errors, layers
from envtool.store.find_secret import find_secret

NEVER_CAPTURED = ("/run/**", "/tmp/**", "/dev/**", "/proc/**", "/sys/**")  # never part of a layer


def build_layer(
    resolved: ResolvedNode, parents: Parents, context: Context, event_id: str, site: Site
) -> tuple[layers.Layer, Outcome]:
    """Returns the layer and how it came: built here, pulled (from the team cache, or unpacked from an image's archive),
    or cached (another process built it meanwhile). A kind asks `site` where its files are. Raises MakeError,
    Interrupted."""
    context.make_room()
    try:
        try:
            return _build(resolved, parents, context, event_id, site)
        except NoDiskSpace as failed:
            if not failed.sure or not context.make_room(full=True):
                raise
        return _build(resolved, parents, context, event_id, site)
    except NoDiskSpace as failed:
        if context.disk_space.barren(context.store, context.root, context.leases):
            failed.full.hint = disk_errors.NOTHING
        raise _disk_full_error(resolved, failed.error, failed.full) from failed.error


def _disk_full_error(resolved: ResolvedNode, error: MakeError | OSError, full: StoreError) -> MakeError:
    """Returns the error for a layer whose build filled the disk. Output of a command that only says so is left out; any
    other failure keeps its output and gets the disk as its hint."""
    if error is full:  # the build did not begin
        return full
    if isinstance(error, BuildError) and not failure_hints.SPACE.search(error.output):
        error.hint = "; ".join(filter(None, (error.hint, full.message, full.hint)))
        return error
    return StoreError(f"{_location(resolved)} could not be built: {full.message}", code=full.code, hint=full.hint)


def _location(resolved: ResolvedNode) -> str:
    where = resolved.request.where
    return f"{where}: {resolved.node.subject} `{resolved.request.name}`"


def _build(
    resolved: ResolvedNode, parents: Parents, context: Context, event_id: str, site: Site
) -> tuple[layers.Layer, Outcome]:
    recipe = resolved.node.kind.build(resolved.request, resolved.pins)

    def waiting(holder: str) -> None:
        context.emit(net.note_event(event_id, f"waiting for another envtool ({holder})"))

    with (
        layers.open_draft(
            context.store, resolved.key, remove=context.runner.remove, waiting=waiting, cancelled=context.cancel.is_set
        ) as draft,
        detect_full_disk(context.store),
    ):
        if draft.layer is not None:
            return draft.layer, "cached"
        base = parents.below[0].resolved if parents.below else resolved
        if shared_layers.is_shareable(resolved, base, context) and (
            layer := shared_layers.pull_layer(resolved, context, draft, event_id)
        ):
            return layer, "pulled"
        if context.cached_only and not recipe.archive:
            raise not_cached_error(resolved.node)
        build_slot = context.turns if resolved.node.of else nullcontext()
        with _reserve_space(resolved, context):
            fetch_layer_files(resolved, context, event_id, site)
            with Workbench(context, resolved.fetches, resolved.inputs, recipe=recipe) as bench, build_slot:
                try:
                    captured = _run_recipe(recipe, resolved, parents, context, event_id, bench, draft)
                except BuildError as error:
                    error.hint = error.hint or resolved.node.kind.hint(
                        resolved.request, resolved.pins, error.output, site
                    )
                    raise
        layer = draft.commit(captured, resolved.document, shared_layers.build_record(resolved, context), context.sync)
    shared_layers.push_layer(resolved, base, layer, context)
    return layer, "pulled" if recipe.archive else "built"


def _reserve_space(resolved: ResolvedNode, context: Context) -> AbstractContextManager[None]:
    """Reserves disk space while a layer is built: see DiskSpace.making."""
    present = [blobs.has(context.store, fetch.sha256, fetch.size) for fetch in resolved.fetches]
    sizes = [fetch.size for fetch in resolved.fetches]
    missing = sum(size for size, is_present in zip(sizes, present, strict=True) if not is_present)
    return context.disk_space.making(context.store, _location(resolved), sum(sizes), missing, context.emit)


class RebuildDirectory:
    """The directories of a layer that `verify` builds and throws away. `top` is an empty directory on the store's file
    system."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.upper, self.work, self.manifest = (os.path.join(top, name) for name in ("tree", "work", "manifest"))
        for path in (self.upper, self.work):
            os.mkdir(path)
            os.chmod(path, 0o755)  # container root may be another id; mkdir obeys the umask


def rebuild(
    resolved: ResolvedNode,
    parents: Parents,
    context: Context,
    event_id: str,
    directory: RebuildDirectory,
    variation: BuildVariation,
) -> canonical.CaptureResult:
    """Builds a layer once more, varied, in `place`, without touching the store. Its files must be in the store already.
    Raises MakeError."""
    recipe = resolved.node.kind.build(resolved.request, resolved.pins)
    inputs, fetches = resolved.inputs, resolved.fetches
    if variation.backward:
        inputs, fetches = inputs[::-1], fetches[::-1]
    with Workbench(context, fetches, inputs, top=directory.top, recipe=recipe) as bench:
        return _run_recipe(recipe, resolved, parents, context, event_id, bench, directory, variation)


def _run_recipe(
    recipe: Recipe,
    resolved: ResolvedNode,
    parents: Parents,
    context: Context,
    event_id: str,
    bench: Workbench,
    directory: layers.NewLayer | RebuildDirectory,
    variation: BuildVariation | None = None,
) -> canonical.CaptureResult:
    if recipe.archive is not None:
        os.rmdir(directory.work)
        blob = os.path.join(bench.blobs, recipe.archive.name)
        return unpack_image.unpack_image_layer(
            blob, recipe.archive.diff_id, directory.upper, directory.manifest, resolved, context, event_id
        )
    runner = context.runner
    runner.give_to_root(directory.upper)
    runner.give_to_root(directory.work)
    where = str(resolved.request.where)
    with extra_mounts.stage_mounts(recipe, context, event_id, where, bench.blobs) as staged:
        program = _program(recipe, resolved, parents, bench, directory.upper, directory.work, staged)
        counters = make_counters(recipe)
        running = partial(Progress, id=event_id, phase=recipe.phase)
        with report_progress(counters, context.emit, event_id, running):
            varied = variation.apply_to(program) if variation else program
            _execute(varied, context, event_id, resolved, [counter.memory for counter in counters])
    context.cancel.check()
    context.emit(Progress(id=event_id, phase="capturing"))
    runner.remove(directory.work)
    excluded = (*(NEVER_CAPTURED[2:] if recipe.keeps_tmp else NEVER_CAPTURED), *recipe.drop)
    # container root may not reach the tree or the manifest by path: it starts in the tree, with the manifest open
    latest_mtime = _latest_mtime(resolved, parents.below)
    subject = f"{where}: {resolved.node.subject} `{resolved.request.name}`"
    arguments = (canonical.capture, ".", latest_mtime, excluded)
    try:
        with open(directory.manifest, "wb") as manifest:
            captured: canonical.CaptureResult = runner.as_root(
                *arguments, manifest.fileno(), at=directory.upper, cancel=context.cancel.reader
            )
    except StoreError as error:
        raise StoreError(f"{subject}: {error.message}", code=error.code, hint=error.hint) from error
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        name = os.fsdecode(error.filename)
        raise BuildError(f"{subject}: /{name}: {error.strerror}", code="capture-large") from error
    if staged.secrets:
        _check_without_secrets(staged.secrets, directory.upper, subject, runner)
    return captured


def _check_without_secrets(secrets: Sequence[bytes], tree: str, subject: str, runner: Runner) -> None:
    """Raises BuildError for a captured tree that contains a secret: every user of the store could read it, and push
    it."""
    path = runner.as_root(find_secret, ".", tuple(secrets), at=tree)
    if path:
        raise BuildError(
            f"{subject}: {path} contains a secret, which no layer may have",
            code="secret-in-layer",
            hint="let its commands read the secret where they need it, and leave it out of what they write",
        )


def _latest_mtime(resolved: ResolvedNode, below: Sequence[StoredLayer]) -> int:
    """The latest mtime that a file of the layer may have, in seconds. A layer over the project must not be older than
    the files that tools compare it with: where the base shows this machine's own files, those keep their own times."""
    host_files = shown_host_files(below) if overlays_project(resolved) else None
    return max(
        [resolved.epoch, *(-(-mtime // 10**9) for mtime in host_files.states.values())]
        if host_files
        else [resolved.epoch]
    )


class Workbench:
    """A directory with the files that a build sees, under their names: fetched files as hard links, inputs as copies of
    what was hashed (the checkout may change meanwhile). It is a temporary directory in the store, or `top`."""

    def __init__(
        self,
        context: Context,
        fetches: Sequence[Fetch],
        inputs: Sequence[InputFile],
        *,
        top: str = "",
        recipe: Recipe | None = None,
    ) -> None:
        self.context = context
        self.fetches = fetches
        self.inputs = inputs
        self.has_project = bool(inputs) or (recipe is not None and recipe.project_directory)
        self.top = top
        self.blobs = ""
        self.project = ""

    def __enter__(self) -> Workbench:
        self._directory = nullcontext(self.top) if self.top else layers.temp_directory(self.context.store)
        top = self._directory.__enter__()
        try:
            self.blobs = os.path.join(top, "blobs")
            os.mkdir(self.blobs)
            os.chmod(self.blobs, 0o755)  # builds read it as another user; mkdir obeys the umask
            for fetch in self.fetches:
                os.link(blobs.path(self.context.store, fetch.sha256), os.path.join(self.blobs, fetch.name))
            if self.has_project:
                self.project = os.path.join(top, "project")
                os.mkdir(self.project)
                os.chmod(self.project, 0o755)
                context = self.context
                inputs.stage_inputs(
                    context.root, self.inputs, self.project, context.cancel.check, context.host_access()
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.__exit__(None, None, None)


def _program(
    recipe: Recipe,
    resolved: ResolvedNode,
    parents: Parents,
    bench: Workbench,
    upper: str,
    work: str,
    staged: extra_mounts.StagedMounts,
) -> Program:
    context, below = bench.context, parents.below
    lowers = tuple(layer.layer.tree for layer in reversed(below))
    if recipe.network and context.offline:
        raise BuildError(
            f"{resolved.node.subject} `{resolved.request.name}` is built with `network: true`, and this is --offline",
            code="offline",
        )
    variables, host_binds, texts = _host_network_access(context) if recipe.network else ({}, (), ())
    environment = variables | build_environment(resolved.epoch, resolved.request) | staged.variables
    # for steps with an environment of their own
    step_variables = {"SOURCE_DATE_EPOCH": str(resolved.epoch)} | variables | staged.variables
    shown = project_mounts([layer.resolved for layer in below])
    limits = getattr(resolved.node.spec, "limits", {})  # a base has none
    scratch_directories = ("tmp", "run") if recipe.keeps_tmp else ()
    return Program(
        root=Root(lowers=lowers, upper=upper, work=work if lowers else "", own=scratch_directories),
        steps=tuple(
            replace(step, env={**step_variables, **step.env}) if step.bare else step
            for step in recipe_steps.to_container_steps(recipe.steps)
        ),
        binds=(
            *stack_binds(below),
            *staged.binds,
            *(BindMount(source=bench.blobs, target=BLOBS) for _ in recipe.steps[:1] if bench.fetches),
            *(BindMount(source=bind.source, target=bind.target) for bind in recipe.binds),
            *host_binds,
        ),
        extra_trees=tuple(
            ExtraTree(target=f"{BESIDE}/{name}", lowers=tuple(layer.layer.tree for layer in reversed(stack)))
            for name, stack in sorted(parents.beside.items())
        ),
        project=ProjectMount(source=bench.project, target=recipe.project) if bench.project else None,
        joins=(*shown["joins"], *project_mounts([resolved])["joins"]),
        covering=shown["covering"] if recipe.project == PROJECT else (),
        inputs=shown["inputs"] if recipe.project == PROJECT else (),
        copies=shown["copies"],
        env=environment,
        mounts=(*texts, *staged.mounts),
        user="root",
        network=recipe.network,
        grace=0.0,  # nothing of an interrupted build is kept
        sync=False,
        watch=shows.trees if (shows := shown_host_files(below)) else (),
        limits=limits,
        timeout=limits["time"].value if "time" in limits else None,
    )


def _host_network_access(context: Context) -> tuple[dict[str, str], tuple[BindMount, ...], tuple[TextMount, ...]]:
    variables, binds, texts = host_network_access(context.allowed)
    java_variables, keystore = java_truststore()
    return variables | java_variables, binds, (*texts, *keystore)


def build_environment(epoch: int, request: Request) -> dict[str, str]:
    """The variables of a build: none of this host's, so that another host builds the same layer."""
    environment = base_environment(epoch) | {"HOME": "/root", "USER": "root", "LOGNAME": "root", "TERM": "dumb"}
    return apply_variables(environment, {**request.variables, **dict.fromkeys(request.unset)})


def make_counters(recipe: Recipe) -> list[StepProgress]:
    """Returns a counter for each Call that counts."""
    return [
        StepProgress.make(step.counts, step.phase or recipe.phase)
        for step in recipe.steps
        if isinstance(step, Call) and step.counts > 0
    ]


def _execute(
    program: Program,
    context: Context,
    event_id: str,
    resolved: ResolvedNode,
    counters: Sequence[mmap],
) -> None:
    if not program.steps:
        return
    with tempfile.TemporaryFile() as log, Tee(log, context.emit, event_id, context.secrets().forms()) as tee:
        request = resolved.request
        where = str(request.where)
        limit_checks.check_limits(
            f"{resolved.node.subject} `{request.name}`", program.limits, context.emit, on_disk=True
        )
        try:
            result = context.runner.run(
                program,
                stdout=tee.writer,
                stderr=tee.writer,
                cancel=context.cancel.reader,
                counters=counters,
            )
        except SandboxError as error:
            if error.code in ("cwd", "container-mounts"):  # the recipe is at fault, not this machine
                error.message = f"{where}: {resolved.node.subject} `{request.name}`: {error.message}"
                error.args = (error.message,)
            raise
        tee.close()
        context.used[event_id] = (result.memory, result.cpu_seconds, result.written)
        if program.watch:
            with contextlib.suppress(
                OSError, StoreError
            ):  # where the opened files are not known, all files of the host count
                opened_paths: Json = [*result.opened] if result.opened is not None else None
                answer_cache.put(context.store, opened_files_question("layer", resolved.key), opened_paths)
        if result.interrupted:
            raise Interrupted
        if result.exceeded or result.timed_out:
            reason = limit_messages.describe_end(result, program.limits, program.timeout)
            message = f"{where}: {resolved.node.subject} `{request.name}` could not be built: it {reason}"
            raise BuildError(message, code="limit", output=tee.text())
        if result.status:
            output = "\n".join(filter(None, (tee.text().rstrip("\n"), result.error)))
            if result.error:
                context.emit(Output(id=event_id, text=f"{result.error}\n"))
            raise BuildError(
                f"{where}: {resolved.node.subject} `{request.name}` could not be built: exit {result.status}",
                hint=failure_hints.build_failure_hint(
                    result.status,
                    output,
                    kind=resolved.node.kind.name,
                    commands="\n".join([*program.env, *(" ".join(step.argv) for step in program.steps)]),
                    base=request.base_kind,
                    network=program.network,
                ),
                output=output,
            )
