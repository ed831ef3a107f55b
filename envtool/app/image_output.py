"""An env given away: as an image, to files or a registry, and its bill of materials."""

from __future__ import annotations

import os
from dataclasses import replace

from envtool.app.command_request import CommandRequest, find_env
from envtool.app.env_stack import made
from envtool.app.open_project import open_for_building
from envtool.build.context import Cancel
from envtool.errors import UsageError
from envtool.events import Emit
from envtool.fs import globs
from envtool.images.export import ExportResult
from envtool.images.image_config import ExportOptions
from envtool.images.push import PushResult
from envtool.report.sbom import rendering
from envtool.run import stack_contents, task_container
from envtool.store import layers
from envtool.store.packing import Compression


def sbom(request: CommandRequest, env: str, form: rendering.Format, emit: Emit, cancel: Cancel) -> str:
    """The bill of materials of one env, whose stack is made where it was not. Raises as `execute` does."""
    with open_for_building(request, emit, cancel) as at:
        chosen = find_env(at.spec, env)
        stack = made(at, chosen)
        with layers.hold_layers(at.setting.store, [each.layer for each in stack.made]):
            return rendering.render_sbom(stack_contents.make_sbom(chosen.name, stack, at.kinds.plugins), form)


def export(
    request: CommandRequest,
    env: str,
    path: str,
    form: str,
    emit: Emit,
    cancel: Cancel,
    *,
    tag: str = "",
    compress: Compression = "",
    bare: bool = False,
    project: bool = False,
    out: int = -1,
) -> ExportResult:
    """Write one env, whose stack is made where it was not, as an image: see ship.target for what `path`, `form` and
    `tag` mean, and ship.image.Wish for the rest. `out` is a descriptor for what goes to standard output. Raises as
    `execute` does."""
    from envtool.images import export, target

    where = target.parse_target(path, form)
    with open_for_building(request, emit, cancel) as at:
        chosen = find_env(at.spec, env)
        name = target.image_name(chosen, tag, where.form)
        stack = made(at, chosen)
        if where.form == "devcontainer":
            if bare or project or compress:
                text = (
                    "`--bare`, `--project` and `--compress` are for images, and a devcontainer is a file that names one"
                )
                raise UsageError(text, code="export-devcontainer")
            named = [name for name in chosen.passed if not globs.is_glob(name)]
            task_container.check_passed(
                (replace(chosen, network=True),), at.setting.allowed, named
            )  # an editor's container has one
            where = where.below(os.path.abspath(request.directory) if path.rpartition(":")[2] else at.spec.root)
            return export.export_devcontainer(chosen, stack, at.setting, where, spec=at.spec.file, name=name)
        where = where.below(os.path.abspath(request.directory))
        wish = ExportOptions(name=name, bare=bare, project=project)
        return export.export(chosen, stack, at.setting, where, wish, form=compress, out=out)


def push(
    request: CommandRequest,
    env: str,
    to: str,
    emit: Emit,
    cancel: Cancel,
    *,
    compress: Compression,
    bare: bool = False,
    project: bool = False,
) -> PushResult:
    """Put one env, whose stack is made where it was not, as an image into a registry. Raises as `execute` does."""
    from envtool.images import push

    where = push.parse_destination(to)
    with open_for_building(request, emit, cancel) as at:
        chosen = find_env(at.spec, env)
        stack = made(at, chosen)
        wish = ExportOptions(name=str(where), bare=bare, project=project)
        return push.push_image(chosen, stack, at.setting, where, wish, form=compress)
