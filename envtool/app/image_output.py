"""Writes an env as an image, pushes it to a registry, and lists its packages: `export`, `push`, `sbom`."""

from __future__ import annotations

import os
from dataclasses import replace

from envtool.app import output_files
from envtool.app.command_request import CommandRequest
from envtool.app.env_stack import build_stack
from envtool.app.open_project import open_for_building
from envtool.build.context import Cancel
from envtool.errors import UsageError
from envtool.events import Emit, Noted
from envtool.fs import globs
from envtool.images.export import ExportResult
from envtool.images.image_config import ExportOptions
from envtool.images.push import PushResult
from envtool.model import Env, Spec
from envtool.project import host_access
from envtool.report.sbom import rendering
from envtool.run import stack_contents
from envtool.spec.select_envs import all_services, find_stack
from envtool.store import layers
from envtool.store.packing import Compression


def sbom(request: CommandRequest, env: str, form: rendering.Format, emit: Emit, cancel: Cancel) -> str:
    """The bill of materials of one env; builds its stack if necessary. Raises as `env_stack.execute` does, and
    UnusablePluginError if a plugin could not be asked for its packages."""
    with open_for_building(request, emit, cancel, only=env) as opened:
        for fault in opened.kinds.faults:  # nobody would see that its packages are missing in the document
            raise fault
        selected = find_stack(opened.spec, env)
        stack = build_stack(opened, selected)
        with layers.hold_layers(opened.context.store, [built.layer for built in stack.layers]):
            sbom = stack_contents.make_sbom(selected.name, stack, opened.kinds.plugins, opened.context.runner)
            return rendering.render_sbom(sbom, form)


def _note_prepared_state(spec: Spec, selected: Env, emit: Emit) -> None:
    """Says that the image of a service's stack has no prepared state."""
    for service in all_services(spec):
        if service.env.name == selected.name and service.prepare is not None:
            emit(Noted(text=f"the prepared state of service `{service.name}` is data: it is not in the image"))


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
    """Write one env as an image; builds its stack if necessary. images.target explains `path`, `form` and `tag`,
    images.image_config.ExportOptions the other options. `out` is the descriptor of standard output, for an image that
    is written there. Raises as `env_stack.execute` does."""
    from envtool.images import export, target

    destination = target.parse_target(path, form)
    with open_for_building(request, emit, cancel, only=env) as opened:
        selected = find_stack(opened.spec, env)
        _note_prepared_state(opened.spec, selected, emit)
        name = target.image_name(selected, tag, destination.form)
        beside_spec = destination.form == "devcontainer" and not path.rpartition(":")[2]
        destination = destination.below(opened.spec.root if beside_spec else os.path.abspath(request.directory))
        if destination.path != target.STDOUT:
            file = os.path.join(destination.path, "index.json") if destination.form == "oci" else destination.path
            output_files.check([file], opened.spec.root)
        stack = build_stack(opened, selected)
        if destination.form == "devcontainer":
            if bare or project or compress:
                text = (
                    "`--bare`, `--project` and `--compress` are for images, and a devcontainer is a file that names one"
                )
                raise UsageError(text, code="export-devcontainer")
            named = [variable for variable in selected.passed if not globs.is_glob(variable)]
            networked = replace(selected, network=True)  # an editor's container has a network
            host_access.check_passed((networked,), opened.context.allowed, named)
            return export.export_devcontainer(
                selected, stack, opened.context, destination, spec=opened.spec.file, name=name
            )
        options = ExportOptions(name=name, bare=bare, project=project)
        return export.export(selected, stack, opened.context, destination, options, form=compress, out=out)


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
    """Push one env as an image to a registry; builds its stack if necessary. Raises as `env_stack.execute` does."""
    from envtool.images import push

    destination = push.parse_destination(to)
    with open_for_building(request, emit, cancel, only=env) as opened:
        selected = find_stack(opened.spec, env)
        _note_prepared_state(opened.spec, selected, emit)
        stack = build_stack(opened, selected)
        options = ExportOptions(name=str(destination), bare=bare, project=project)
        return push.push_image(selected, stack, opened.context, destination, options, form=compress)
