"""`envtool export`: writes an env's stack as an image to a file, a directory or standard output."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from envtool.api import PROJECT
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files
from envtool.build.scheduler import Stack
from envtool.build.site import ContainerSite
from envtool.build.stack import project_mounts
from envtool.build.stack_files import MAX_FILE_SIZE, StackTree
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
from envtool.lazy_dataclass import dataclass
from envtool.model import Env
from envtool.project import host_access
from envtool.project import source_files as projects
from envtool.store import layers, packing
from envtool.store.packing import Compression
from envtool.tracking import track_work

FILE_MODE = 0o644  # whatever the umask


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLayer:
    """One exported layer: `name` is its name in the spec; `size` is in bytes, `digest` is that of the exported blob."""

    name: str
    diff_id: str
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written: `digest` is the manifest's (empty if there is none), `size` is in bytes, of all blobs."""

    env: str
    target: ExportTarget
    name: str
    digest: str
    size: int
    layers: tuple[ExportedLayer, ...]


def export(
    env: Env,
    stack: Stack,
    context: Context,
    target: ExportTarget,
    options: ExportOptions,
    *,
    form: Compression,
    out: int,
) -> ExportResult:
    """Writes the image. `out` is the descriptor to write to if the target's path is STDOUT. Raises UsageError,
    MakeError, Interrupted."""
    docker = target.form == "docker-archive"
    if form and target.form not in ("oci", "oci-archive"):
        hint = "`--compress` is for oci, oci-archive and push"
        raise UsageError(f"there is nothing to compress in a {target.form}", code="export-compress", hint=hint)
    event_id = f"export:{env.name}"
    with (
        track_work(context.emit, event_id, "export", env.name) as progress,
        prepare_image(env, stack, context, event_id, options) as (image, work),
    ):
        assembled = (
            assemble.assemble_uncompressed(image)
            if docker
            else assemble.assemble_local(image, form, work, context.cancel, context.runner)
        )
        _write_target(assembled, target, context, out)
        progress.outcome = "done"
    return ExportResult(
        env=env.name,
        target=target,
        name=options.name,
        digest=assembled.manifest.digest,
        size=assembled.size,
        layers=exported_layers(assembled),
    )


def export_devcontainer(
    env: Env, stack: Stack, context: Context, target: ExportTarget, *, spec: str, name: str
) -> ExportResult:
    """Writes the file with which editors open the env's image. Raises UsageError, StoreError."""
    reject_host_base(env, stack)
    _require_own_file(target.path, context.root)
    with layers.hold_layers(context.store, [made.layer for made in stack.layers]):
        passwd = StackTree([made.layer for made in stack.layers], context.runner).read(["/etc/passwd"])
    mounts = project_mounts([made.resolved for made in stack.layers])["joins"]
    text = render_devcontainer(
        env, spec=spec, image=name, user=runtime_layer.task_user_name(passwd.get("/etc/passwd", b"")), mounts=mounts
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
    env: Env, stack: Stack, context: Context, event_id: str, options: ExportOptions
) -> Iterator[tuple[ExportedImage, str]]:
    """Yields the image of an env, with all files that it consists of present and held, and a directory for compressed
    layers. Raises UsageError, MakeError, Interrupted."""
    with (
        layers.hold_layers(context.store, [image.layer for image in stack.layers]),
        layers.temp_directory(context.store) as work,
    ):
        files = _project_layer(stack, context, os.path.join(work, "project")) if options.project else None
        image = build_image(env, stack, context.store, context.runner, options, project=files)
        base = stack.layers[0].resolved
        site = ContainerSite(context, base.request, (), event_id)
        if is_base_image(env, options):
            original = base.node.base_kind.original(base.request, base.pins, site)
            image = restore_original(image, original, base.request.name) if original else image
        for layer in stack.layers:
            if find_layer_archive(layer) is not None:
                # the store may have the tree from another image, whose file is compressed differently
                fetch_layer_files(
                    layer.resolved, context, event_id, ContainerSite(context, layer.resolved.request, (), event_id)
                )
        yield image, work


def _project_layer(stack: Stack, context: Context, path: str) -> ImageLayerContent:
    """Returns a layer with the files that git lists and those that layers made beside them, as a tar at `path`."""
    resolved = [made.resolved for made in stack.layers]
    listed = projects.list_files(context.root, context.cancel.reader)
    existing = {f"{PROJECT}/{path}" for path in listed}
    tree = StackTree([made.layer for made in stack.layers], context.runner)
    generated_files = _generated_files(project_mounts(resolved)["copies"], tree)
    sources = {target: source for target, source in generated_files.items() if target not in existing}
    contents = tree.read(sources.values())
    generated = {target: contents[source] for target, source in sources.items() if source in contents}
    for target, content in generated.items():
        if len(content) >= MAX_FILE_SIZE:
            raise UsageError(f"{target}, which a build wrote, is too large for an image", code="export-project")
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


def _generated_files(copied: Sequence[tuple[str, str]], tree: StackTree) -> dict[str, str]:
    """Returns path in the project -> file in the stack, for each file that layers made beside the sources."""
    paths = tree.find("/**") if copied else []
    files: dict[str, str] = {}
    for source, target in copied:
        for path in paths:
            if path == source or path.startswith(f"{source}/"):
                files.setdefault(target + path.removeprefix(source), path)
    return files


def exported_layers(assembled: AssembledImage) -> tuple[ExportedLayer, ...]:
    """Returns the exported layers of an image, bottom first."""
    return tuple(
        ExportedLayer(
            name=content.name,
            diff_id=content.diff_id,
            digest=blob.descriptor.digest,
            media_type=blob.descriptor.media_type,
            size=blob.descriptor.size,
        )
        for content, blob in zip(assembled.image.contents, assembled.layers, strict=True)
    )


def _write_target(assembled: AssembledImage, target: ExportTarget, context: Context, out: int) -> None:
    docker = target.form == "docker-archive"
    if target.form == "oci":
        layout.write_layout(assembled, target.path, context.cancel, context.runner, context.root)
        return
    if target.path != STDOUT and os.path.isdir(target.path):
        raise UsageError(f"{target.path} is a directory", code="export-target")
    try:
        with nullcontext(out) if target.path == STDOUT else _open_output(target.path, context.root) as descriptor:
            tar_archive.write_archive(assembled, descriptor, context.cancel, context.runner, docker=docker)
    except BrokenPipeError:
        raise  # the reader of standard output has exited
    except OSError as error:
        raise _write_error("standard output" if target.path == STDOUT else target.path, error) from error


@contextmanager
def _open_output(path: str, project: str) -> Iterator[int]:
    with atomic_write(path, project, FILE_MODE, make=True) as file:
        yield file.fileno()
