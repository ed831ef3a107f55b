"""`envtool export`: a made stack, written to where somebody asked for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from envtool.api import PROJECT
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.parents import copies, joins
from envtool.build.scheduler import Stack
from envtool.build.site import ContainerSite
from envtool.build.stack_files import MAX_FILE_SIZE, StackTree
from envtool.build.tracking import track_work
from envtool.errors import StoreError, UsageError
from envtool.fs.beneath import ESCAPES
from envtool.fs.caller_paths import atomic_write, open_directory
from envtool.images import assemble, layout, runtime_layer, tar_archive
from envtool.images.assemble import AssembledImage
from envtool.images.devcontainer import MARK, render_devcontainer
from envtool.images.image_config import (
    ExportedImage,
    ExportOptions,
    ImageLayerContent,
    build_image,
    find_layer_archive,
    is_base_image,
    reject_host_base,
    restore_original,
)
from envtool.images.target import STDOUT, ExportTarget
from envtool.model import Env
from envtool.project import host_access
from envtool.project import source_files as projects
from envtool.store import layers, packing
from envtool.store.packing import Compression

FILE_MODE = 0o644  # whatever the umask


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLayer:
    """One layer as it was given away: `name` is what the spec calls it; `size` bytes under `digest`."""

    name: str
    diff_id: str
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written: `digest` names the manifest (empty where there is none), `size` is bytes of all blobs."""

    env: str
    target: ExportTarget
    name: str
    digest: str
    size: int
    layers: tuple[ExportedLayer, ...]


def export(
    env: Env, stack: Stack, context: Context, target: ExportTarget, wish: ExportOptions, *, form: Compression, out: int
) -> ExportResult:
    """Write it; `out` is a descriptor for what goes to PIPE. Raises UsageError, MakeError, Interrupted."""
    docker = target.form == "docker-archive"
    if form and target.form not in ("oci", "oci-archive"):
        hint = "`--compress` is for oci, oci-archive and push"
        raise UsageError(f"there is nothing to compress in a {target.form}", code="export-compress", hint=hint)
    event_id = f"export:{env.name}"
    with (
        track_work(context, event_id, "export", env.name) as piece,
        prepare_image(env, stack, context, event_id, wish) as (made, work),
    ):
        item = (
            assemble.assemble_uncompressed(made)
            if docker
            else assemble.assemble_local(made, form, work, context.cancel)
        )
        _write_target(item, target, context, out)
        piece.outcome = "done"
    return ExportResult(
        env=env.name,
        target=target,
        name=wish.name,
        digest=item.manifest.digest,
        size=item.size,
        layers=exported_layers(item),
    )


def export_devcontainer(
    env: Env, stack: Stack, context: Context, target: ExportTarget, *, spec: str, name: str
) -> ExportResult:
    """Write the file with which editors open the env's image. Raises UsageError, StoreError."""
    reject_host_base(env, stack)
    _require_own_file(target.path, context.root)
    with layers.hold_layers(context.store, [made.layer for made in stack.made]):
        passwd = StackTree([made.layer for made in stack.made]).read(["/etc/passwd"]).get("/etc/passwd", b"")
    shown = joins([made.settled for made in stack.made])
    text = render_devcontainer(
        env, spec=spec, image=name, user=runtime_layer.task_user_name(passwd), shown=shown
    ).encode()
    try:
        with atomic_write(target.path, context.root, FILE_MODE, make=True) as file:
            file.write(text)
    except OSError as error:
        raise _write_error(target.path, error) from error
    return ExportResult(env=env.name, target=target, name=name, digest="", size=len(text), layers=())


def _require_own_file(path: str, project: str) -> None:
    try:
        with (
            open_directory(os.path.dirname(path), project, make=False) as directory,
            directory.read(os.path.basename(path)) as file,
        ):
            if file.read(len(MARK.encode())) != MARK.encode():
                hint = "remove it, or name another PATH"
                raise UsageError(f"{path} was not written by envtool", code="export-target", hint=hint)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: str, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be written: {error.strerror or error}", code="export-write")


@contextmanager
def prepare_image(
    env: Env, stack: Stack, context: Context, event_id: str, wish: ExportOptions
) -> Iterator[tuple[ExportedImage, str]]:
    """The image of an env with all that it is made of at hand, and a directory for what has to be packed. Raises
    UsageError, MakeError, Interrupted."""
    with (
        layers.hold_layers(context.store, [made.layer for made in stack.made]),
        layers.temp_directory(context.store) as work,
    ):
        files = _project_layer(stack, context, os.path.join(work, "project")) if wish.project else None
        made = build_image(env, stack, context.store, wish, project=files)
        base = stack.made[0].settled
        site = ContainerSite(context, base.request, (), event_id)
        if is_base_image(env, wish):
            original = base.node.kind.original(base.request, base.pins, site)
            made = restore_original(made, original, base.request.name) if original else made
        for each in stack.made:
            if (
                find_layer_archive(each) is not None
            ):  # its tree may have come from another image's file, packed otherwise
                fetch_layer_files(
                    each.settled, context, event_id, ContainerSite(context, each.settled.request, (), event_id)
                )
        yield made, work


def _project_layer(stack: Stack, context: Context, path: str) -> ImageLayerContent:
    """A layer with the files that git has or would take, and what layers made beside them, written to a file."""
    settled = [made.settled for made in stack.made]
    listed = projects.list_files(context.root, context.cancel.reader)
    there = {f"{PROJECT}/{path}" for path in listed}
    tree = StackTree([made.layer for made in stack.made])
    wanted = {place: source for place, source in _generated_files(copies(settled), tree).items() if place not in there}
    found = tree.read(wanted.values())
    generated = {place: found[source] for place, source in wanted.items() if source in found}
    for place, content in generated.items():
        if len(content) >= MAX_FILE_SIZE:
            raise UsageError(f"{place}, which a build wrote, is too large for an image", code="export-project")
    try:
        with host_access.EntryOpener(context.root) as entries, open(path, "xb") as file:
            items = runtime_layer.project_items(listed, entries, generated, PROJECT)
            sink = packing.CompressedWriter(file.fileno(), "", context.cancel.reader)
            for piece in runtime_layer.stream_tar(items, stack.epoch, entries):
                sink.write(piece)
            diff_id, size, _, _ = sink.close()
    except OSError as error:
        context.cancel.check()
        why = "it leads out of the project, which it did not a moment ago" if error.errno == ESCAPES else error.strerror
        raise StoreError(f"the project cannot be read: {error.filename}: {why}", code="export-project") from error
    return ImageLayerContent(name="project", diff_id=diff_id, size=size, tar=path)


def _generated_files(wanted: Sequence[tuple[str, str]], tree: StackTree) -> dict[str, str]:
    """Place in the project -> file in the stack, for each file that layers made beside the sources."""
    everything = tree.find("/**") if wanted else []
    found: dict[str, str] = {}
    for source, place in wanted:
        for path in everything:
            if path == source or path.startswith(f"{source}/"):
                found.setdefault(place + path.removeprefix(source), path)
    return found


def exported_layers(item: AssembledImage) -> tuple[ExportedLayer, ...]:
    """The layers of an image as they are given away, bottom first."""
    return tuple(
        ExportedLayer(
            name=content.name,
            diff_id=content.diff_id,
            digest=blob.descriptor.digest,
            media_type=blob.descriptor.media_type,
            size=blob.descriptor.size,
        )
        for content, blob in zip(item.image.contents, item.layers, strict=True)
    )


def _write_target(item: AssembledImage, target: ExportTarget, context: Context, out: int) -> None:
    docker = target.form == "docker-archive"
    if target.form == "oci":
        layout.write_layout(item, target.path, context.cancel, context.root)
        return
    if target.path != STDOUT and os.path.isdir(target.path):
        raise UsageError(f"{target.path} is a directory", code="export-target")
    try:
        with nullcontext(out) if target.path == STDOUT else _open_output(target.path, context.root) as descriptor:
            tar_archive.write_archive(item, descriptor, context.cancel, docker=docker)
    except BrokenPipeError:
        raise  # whoever read us has gone
    except OSError as error:
        raise _write_error("standard output" if target.path == STDOUT else target.path, error) from error


@contextmanager
def _open_output(path: str, project: str) -> Iterator[int]:
    with atomic_write(path, project, FILE_MODE, make=True) as file:
        yield file.fileno()
