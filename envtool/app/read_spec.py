"""Reads the spec alone: all that `list` needs, and the first step of every other verb."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from envtool import plugins
from envtool.app.command_request import CommandRequest, find_spec
from envtool.app.permissions import resolve_permissions
from envtool.errors import EnvtoolError, SpecError, UnusablePluginError, has_faults, report_fault
from envtool.fs.beneath import real_path
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Spec
from envtool.project import programs, source_files
from envtool.project.host_access import HostAccess
from envtool.project.source_files import ProjectFiles
from envtool.run import fast_exec
from envtool.run.valid_documents import ValidDocuments
from envtool.spec import load as load_spec
from envtool.spec.select_envs import select_envs

if TYPE_CHECKING:
    from envtool.api import Project
    from envtool.api.reporting import OutputReader, ReportFormat
    from envtool.build.context import Cancel
    from envtool.events import Event
    from envtool.plugin_calls import Offer


def read(
    request: CommandRequest,
    cancel: Cancel | None = None,
    *,
    needed: bool = False,
    only: str = "",
    registry: plugins.PluginRegistry | None = None,
) -> tuple[Spec, ProjectFiles, plugins.PluginRegistry]:
    """The spec with the selected envs (and with `needed` those of the tasks that theirs need), the project's files, and
    the plugins' kinds. `only` is the env, or `service:NAME`, that a verb is about: like `-e`, it leaves out the envs in
    whose files of the project a plugin finds errors. `registry` is what the plugins offer; None: they are asked. Raises
    SpecError, UsageError."""
    path = find_spec(request)
    root = os.path.dirname(path)
    programs.exclude_checkout(root)
    files = ProjectFiles(root, HostAccess(root, resolve_permissions(request, root)), cancel.reader if cancel else -1)
    kinds = registry or plugins.used()
    known = ValidDocuments(fast_exec.store_directory(), path)
    spec, kinds = load_with_plugins(
        files, os.path.basename(path), root=root, registry=kinds, args=request.args, known=known,
        only=(only,) if only else request.envs, needed=needed,
    )  # fmt: skip
    return select_envs(spec, request.envs, needed=needed), files, kinds


def load_with_plugins(
    project: Project,
    file: str,
    *,
    root: str,
    registry: plugins.PluginRegistry,
    args: tuple[str, ...] = (),
    known: ValidDocuments | None = None,
    only: Sequence[str] = (),
    needed: bool = False,
) -> tuple[Spec, plugins.PluginRegistry]:
    """As `spec.load`, without the plugins whose schemas are wrong, and what the others offer. An error of the spec
    names the plugins that are left out: it may be about a name of theirs. Raises SpecError, UsageError."""
    while True:
        try:
            return load_spec(
                project, file, root=root, registry=registry, args=args, known=known, only=only, needed=needed
            ), registry
        except UnusablePluginError as fault:
            if not fault.owners or any(fault.owners == other.owners for other in registry.faults):
                raise
            report_fault(fault)
            registry = plugins.discover(faults=(*registry.faults, fault))
        except SpecError as error:
            if left_out := registry.left_out():
                raise SpecError(error.problems, hint="; ".join(filter(None, (error.hint, left_out)))) from error
            raise


def load(request: CommandRequest) -> Spec:
    """The spec, with only the selected envs. Raises SpecError, UsageError."""
    return read(request)[0]


def load_and_keep(request: CommandRequest, store: str) -> tuple[Spec, Callable[[tuple[str, ...], str], None]]:
    """As `load`, and a function that keeps what `list` prints of the spec for an output of a certain look, until
    anything changes that decided it, in the store directory `store` ("": nowhere)."""
    began = time.time_ns()
    spec, files, kinds = read(request)

    def keep(look: tuple[str, ...], text: str) -> None:
        if not store or has_faults():  # what is kept is printed without the warning
            return
        from envtool.run import fast_list

        path = os.path.join(real_path(spec.root), os.path.basename(spec.file))
        code = tuple(plugins.code_paths(kinds))
        try:
            repositories = source_files.repositories(files.root) if files.is_listed else None
        except EnvtoolError:  # git fails now: nothing is kept
            return
        fast_list.write(
            store, path, look, text,
            files=files, read_paths=spec.read, repositories=repositories, code=code, began=began,
        )  # fmt: skip

    return spec, keep


def listeners() -> tuple[Callable[[Event], None], ...]:
    """The plugins' hooks that receive every event: see api.envtool_event."""
    return plugins.used().hooks("envtool_event")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOffers:
    """What plugins offer to a run of tasks: all of it, hooks that receive its events, readers of output and formats of
    reports."""

    registry: plugins.PluginRegistry | None = None
    listeners: tuple[Callable[[Event], None], ...] = ()
    readers: tuple[Offer[OutputReader], ...] = ()
    formats: Mapping[str, Offer[ReportFormat]] = field(default_factory=dict)
    left_out: str = ""  # the plugins that offer nothing, in words


def run_offers() -> RunOffers:
    """What plugins offer to a run of tasks."""
    registry = plugins.used()
    return RunOffers(
        registry=registry,
        listeners=registry.hooks("envtool_event"),
        readers=plugins.output_readers(registry),
        formats=plugins.report_formats(registry),
        left_out=registry.left_out(),
    )
