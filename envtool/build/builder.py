"""A recipe -> a layer in the store: fetched first, built offline, captured, and there only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

from envtool import net
from envtool.api import (
    BESIDE,
    BLOBS,
    PROJECT,
    Call,
    Fetch,
    InputFile,
    Place,
    Recipe,
    Request,
    Run,
    Site,
    Unpack,
)
from envtool.api import Step as ApiStep
from envtool.build import container_steps, extra_mounts, failure_hints, shared_layers, unpack_image
from envtool.build.context import Context, base_environment
from envtool.build.disk_space import NoDiskSpace, detect_full_disk
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.host_network import host_network_access, java_truststore
from envtool.build.parents import Parents, copies, joins, laid, lies_over, looked, not_cached, opened, stack_binds
from envtool.build.resolution import MadeLayer, ResolvedNode
from envtool.build.step_progress import StepProgress, report_progress
from envtool.build.tee import Tee
from envtool.build.variables import apply_variables
from envtool.build.variation import BuildVariation
from envtool.container import supervisor, userns
from envtool.container.program import BindMount, ContainerStep, ExtraTree, Program, ProjectMount, Root, TextMount
from envtool.errors import BuildError, Interrupted, MakeError, SandboxError, StoreError
from envtool.events import Outcome, Output, Progress
from envtool.model import Json
from envtool.project import inputs
from envtool.store import answer_cache, blobs, canonical, disk_errors, layers, unpack_archive

NEVER_CAPTURED = ("/run/**", "/tmp/**", "/dev/**", "/proc/**", "/sys/**")  # never part of a layer, whatever wrote there


def build_layer(
    settled: ResolvedNode, ground: Parents, setting: Context, event_id: str, site: Site
) -> tuple[layers.Layer, Outcome]:
    """Make the layer (built), or take it from the team cache or as an image has it (pulled), or the one that another
    process has made meanwhile (cached). `site` is what the kind may ask where its files are. Raises MakeError,
    Interrupted."""
    setting.make_room()
    try:
        try:
            return _build(settled, ground, setting, event_id, site)
        except NoDiskSpace as failed:
            if not failed.sure or not setting.make_room(full=True):
                raise
        return _build(settled, ground, setting, event_id, site)
    except NoDiskSpace as failed:
        if setting.room.barren(setting.store, setting.root, setting.claims):
            failed.full.hint = disk_errors.NOTHING
        raise _disk_full_error(settled, failed.error, failed.full) from failed.error


def _disk_full_error(settled: ResolvedNode, error: MakeError | OSError, full: StoreError) -> MakeError:
    """What is said of a layer that could not be made on a full disk: nothing of what its commands said of that; what
    else they said, with a hint."""
    if error is full:  # it was not begun
        return full
    if isinstance(error, BuildError) and not failure_hints.SPACE.search(error.output):
        error.hint = "; ".join(filter(None, (error.hint, full.message, full.hint)))
        return error
    return StoreError(f"{_called(settled)} could not be made: {full.message}", code=full.code, hint=full.hint)


def _called(settled: ResolvedNode) -> str:
    where = settled.request.where
    return f"{where.file}:{where.line}: {settled.node.subject} `{settled.request.name}`"


def _build(
    settled: ResolvedNode, ground: Parents, setting: Context, event_id: str, site: Site
) -> tuple[layers.Layer, Outcome]:
    recipe = settled.node.kind.build(settled.request, settled.pins)

    def waiting(holder: str) -> None:
        setting.emit(net.note_event(event_id, f"waiting for another envtool ({holder})"))

    with (
        layers.open_draft(
            setting.store, settled.key, remove=userns.remove_as_root, waiting=waiting, cancelled=setting.cancel.is_set
        ) as draft,
        detect_full_disk(setting.store),
    ):
        if draft.layer is not None:
            return draft.layer, "cached"
        base = ground.below[0].settled if ground.below else settled
        if shared_layers.is_shareable(settled, base, setting) and (
            layer := shared_layers.pull_layer(settled, setting, draft, event_id)
        ):
            return layer, "pulled"
        if setting.cached_only and not recipe.archive:
            raise not_cached(settled.node)
        turn = setting.turns if settled.node.of else nullcontext()
        with _room_for(settled, setting):
            fetch_layer_files(settled, setting, event_id, site)
            with Workbench(setting, settled.fetches, settled.inputs) as bench, turn:
                try:
                    captured = _run_recipe(recipe, settled, ground, setting, event_id, bench, draft)
                except BuildError as error:
                    error.hint = error.hint or settled.node.kind.hint(settled.request, settled.pins, error.output, site)
                    raise
        layer = draft.commit(captured, settled.document, shared_layers.build_record(settled, setting), setting.sync)
    shared_layers.push_layer(settled, base, layer, setting)
    return layer, "pulled" if recipe.archive else "built"


def _room_for(settled: ResolvedNode, setting: Context) -> AbstractContextManager[None]:
    """While it is made: see Room.making."""
    there = [blobs.has(setting.store, fetch.sha256, fetch.size) for fetch in settled.fetches]
    sizes = [fetch.size for fetch in settled.fetches]
    missing = sum(size for size, has in zip(sizes, there, strict=True) if not has)
    return setting.room.making(setting.store, _called(settled), sum(sizes), missing, setting.emit)


class RebuildDirectory:
    """Where a layer is made that will not be kept: below `top`, an empty directory on the store's file system."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.upper, self.work, self.manifest = (os.path.join(top, name) for name in ("tree", "work", "manifest"))
        for path in (self.upper, self.work):
            os.mkdir(path)
            os.chmod(path, 0o755)  # container root may be another id; whatever the umask


def rebuild(
    settled: ResolvedNode,
    ground: Parents,
    setting: Context,
    event_id: str,
    place: RebuildDirectory,
    variation: BuildVariation,
) -> canonical.CaptureResult:
    """Make a layer once more, varied, in `place`; the store is not touched. Its files must have been fetched. Raises
    MakeError."""
    recipe = settled.node.kind.build(settled.request, settled.pins)
    inputs, fetches = settled.inputs, settled.fetches
    if variation.backward:
        inputs, fetches = inputs[::-1], fetches[::-1]
    with Workbench(setting, fetches, inputs, top=place.top) as bench:
        return _run_recipe(recipe, settled, ground, setting, event_id, bench, place, variation)


def _run_recipe(
    recipe: Recipe,
    settled: ResolvedNode,
    ground: Parents,
    setting: Context,
    event_id: str,
    bench: Workbench,
    place: layers.NewLayer | RebuildDirectory,
    variation: BuildVariation | None = None,
) -> canonical.CaptureResult:
    if recipe.archive is not None:
        os.rmdir(place.work)
        blob = os.path.join(bench.blobs, recipe.archive.name)
        return unpack_image.unpack_image_layer(
            blob, recipe.archive.diff_id, place.upper, place.manifest, settled, setting, event_id
        )
    userns.give_to_root(place.upper)
    userns.give_to_root(place.work)
    where = f"{settled.request.where.file}:{settled.request.where.line}"
    with extra_mounts.stage_mounts(recipe, setting, event_id, where) as staged:
        counting, tallies = with_counters(recipe)
        program = _program(counting, settled, ground, bench, place.upper, place.work, staged)
        going = partial(Progress, id=event_id, phase=recipe.phase)
        with report_progress(tallies, setting.emit, event_id, going):
            _execute(variation.apply_to(program) if variation else program, setting, event_id, settled)
    setting.cancel.check()
    setting.emit(Progress(id=event_id, phase="capturing"))
    userns.remove_as_root(place.work)
    drop = (*(NEVER_CAPTURED[2:] if recipe.keeps_tmp else NEVER_CAPTURED), *recipe.drop)
    # container root may pass neither to the tree nor write beside it by path: it is put there, and handed the sheet
    moment = _latest_mtime(settled, ground.below)
    subject = f"{where}: {settled.node.subject} `{settled.request.name}`"
    arguments = (canonical.capture, ".", moment, drop)
    try:
        with open(place.manifest, "wb") as sheet:
            captured: canonical.CaptureResult = userns.run_as_root(
                *arguments, sheet.fileno(), at=place.upper, cancel=setting.cancel.reader
            )
    except StoreError as error:
        raise StoreError(f"{subject}: {error.message}", code=error.code, hint=error.hint) from error
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        name = os.fsdecode(error.filename)
        raise BuildError(f"{subject}: /{name}: {error.strerror}", code="capture-large") from error
    return captured


def _latest_mtime(settled: ResolvedNode, below: Sequence[MadeLayer]) -> int:
    """The latest time that a file of the layer may have, in seconds. What lies over the project is not older than what
    tools compare it with: where the base shows this machine's own files, they have times of their own."""
    shows = looked(below) if lies_over(settled) else None
    return max([settled.epoch, *(-(-state // 10**9) for state in shows.states.values())] if shows else [settled.epoch])


class Workbench:
    """The files a build sees, staged under their names: fetched ones as hard links, inputs as copies of exactly what
    was hashed (the checkout may be edited meanwhile). In a directory of its own in the store, or `top`."""

    def __init__(
        self, setting: Context, fetches: Sequence[Fetch], inputs: Sequence[InputFile], *, top: str = ""
    ) -> None:
        self.setting = setting
        self.fetches = fetches
        self.inputs = inputs
        self.top = top
        self.blobs = ""
        self.project = ""

    def __enter__(self) -> Workbench:
        self._directory = nullcontext(self.top) if self.top else layers.temp_directory(self.setting.store)
        top = self._directory.__enter__()
        try:
            self.blobs = os.path.join(top, "blobs")
            os.mkdir(self.blobs)
            os.chmod(self.blobs, 0o755)  # builds read it as another user, whatever the umask here
            for fetch in self.fetches:
                os.link(blobs.path(self.setting.store, fetch.sha256), os.path.join(self.blobs, fetch.name))
            if self.inputs:
                self.project = os.path.join(top, "project")
                os.mkdir(self.project)
                os.chmod(self.project, 0o755)
                setting = self.setting
                inputs.stage_inputs(
                    setting.root, self.inputs, self.project, setting.cancel.check, setting.host_access()
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.__exit__(None, None, None)


def _program(
    recipe: Recipe,
    settled: ResolvedNode,
    ground: Parents,
    bench: Workbench,
    upper: str,
    work: str,
    staged: extra_mounts.StagedMounts,
) -> Program:
    setting, below = bench.setting, ground.below
    lowers = tuple(made.layer.tree for made in reversed(below))
    if recipe.network and setting.offline:
        raise BuildError(
            f"{settled.node.subject} `{settled.request.name}` is built with `network: true`, and this is --offline",
            code="offline",
        )
    variables, outer, texts = _host_network_access(setting) if recipe.network else ({}, (), ())
    environment = variables | build_environment(settled.epoch, settled.request) | staged.variables
    always = {"SOURCE_DATE_EPOCH": str(settled.epoch)} | variables | staged.variables  # though a step's is its own
    own = ("tmp", "run") if recipe.keeps_tmp else ()
    return Program(
        root=Root(lowers=lowers, upper=upper, work=work if lowers else "", own=own),
        steps=tuple(
            replace(step, env={**always, **step.env}) if step.bare else step
            for step in to_container_steps(recipe.steps)
        ),
        binds=(
            *stack_binds(below),
            *(BindMount(source=bench.blobs, target=BLOBS) for _ in recipe.steps[:1] if bench.fetches),
            *(BindMount(source=bind.source, target=bind.target) for bind in recipe.binds),
            *outer,
        ),
        beside=tuple(
            ExtraTree(target=f"{BESIDE}/{name}", lowers=tuple(made.layer.tree for made in reversed(stack)))
            for name, stack in sorted(ground.beside.items())
        ),
        view=ProjectMount(project=bench.project, target=recipe.project) if bench.project else None,
        joins=joins([*(made.settled for made in below), settled]),
        **laid(below if recipe.project == PROJECT else ()),
        copies=copies([made.settled for made in below]),
        env=environment,
        shown=(*texts, *staged.mounts),
        user="root",
        network=recipe.network,
        grace=0.0,  # nothing of a layer that was ended half made is kept
        sync=False,
        watch=shows.trees if (shows := looked(below)) else (),
    )


def _host_network_access(setting: Context) -> tuple[dict[str, str], tuple[BindMount, ...], tuple[TextMount, ...]]:
    variables, binds, texts = host_network_access(setting.allowed)
    for_java, keystore = java_truststore()
    return variables | for_java, binds, (*texts, *keystore)


def build_environment(epoch: int, request: Request) -> dict[str, str]:
    """What a build sees: nothing of this host, so that it comes out the same on another."""
    environment = base_environment(epoch) | {"HOME": "/root", "USER": "root", "LOGNAME": "root", "TERM": "dumb"}
    return apply_variables(environment, {**request.variables, **dict.fromkeys(request.unset)})


def with_counters(recipe: Recipe) -> tuple[Recipe, list[StepProgress]]:
    """The same recipe, each Call that counts with the means to do so, and what they count."""
    tallies: list[StepProgress] = []
    found: list[ApiStep] = []
    for step in recipe.steps:
        if isinstance(step, Call) and step.counts > 0:
            tallies.append(StepProgress.make(step.counts, step.phase or recipe.phase))
            # what is handed on is a function, and no JSON: of ours, in a fork of this very process
            step = replace(step, arguments=(*step.arguments, tallies[-1].count))  # type: ignore[arg-type]  # noqa: PLW2901
        found.append(step)
    return replace(recipe, steps=tuple(found)), tallies


def to_container_steps(described: Sequence[ApiStep]) -> tuple[ContainerStep, ...]:
    """A recipe's steps as the container takes them."""
    return tuple(_step(step) for step in described)


def _step(step: ApiStep) -> ContainerStep:
    match step:
        case Run():
            return ContainerStep(
                argv=step.command.words(), env=dict(step.env), cwd=step.cwd, user=step.user, bare=step.bare
            )
        case Call(unpacks=True):
            return ContainerStep(
                call=step.function,
                arguments=(*step.arguments, unpack_archive.unpack_if_archive),
                prepare=partial(_prepare, step),
            )
        case Call():
            return ContainerStep(call=step.function, arguments=step.arguments, prepare=step.prepare)
        case Unpack():
            arguments = (f"{BLOBS}/{step.name}", step.target, step.strip, step.owners)
            return ContainerStep(call=container_steps.unpack, arguments=arguments, prepare=unpack_archive.prepare)
        case Place():
            return ContainerStep(call=container_steps.copy_to, arguments=(step.source, step.target, step.mode))


def _prepare(step: Call) -> None:
    unpack_archive.prepare()
    if step.prepare is not None:
        step.prepare()


def _execute(program: Program, setting: Context, event_id: str, settled: ResolvedNode) -> None:
    if not program.steps:
        return
    with tempfile.TemporaryFile() as log, Tee(log, setting.emit, event_id) as tee:
        request = settled.request
        where = f"{request.where.file}:{request.where.line}"
        try:
            ended = supervisor.run(
                program.to_dict(), stdout=tee.writer, stderr=tee.writer, cancel=setting.cancel.reader
            )
        except SandboxError as error:
            if error.code in ("cwd", "container-mounts"):  # of what the recipe says, not of this machine
                error.message = f"{where}: {settled.node.subject} `{request.name}`: {error.message}"
                error.args = (error.message,)
            raise
        tee.close()
        if program.watch:
            with contextlib.suppress(OSError, StoreError):  # only a help: where it is not known, all counts
                found: Json = [*ended.opened] if ended.opened is not None else None
                answer_cache.put(setting.store, opened("layer", settled.key), found)
        if ended.interrupted:
            raise Interrupted
        if ended.status:
            said = "\n".join(filter(None, (tee.text().rstrip("\n"), ended.error)))
            if ended.error:
                setting.emit(Output(id=event_id, text=f"{ended.error}\n"))
            raise BuildError(
                f"{where}: {settled.node.subject} `{request.name}` could not be built: exit {ended.status}",
                hint=failure_hints.build_failure_hint(
                    ended.status,
                    said,
                    kind=settled.node.kind.name,
                    commands="\n".join([*program.env, *(" ".join(step.argv) for step in program.steps)]),
                    base=request.base_kind,
                    network=program.network,
                ),
                output=said,
            )
