"""Opens a project for a verb: spec, graph, lock, permissions and store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool import plugins
from envtool.app.command_request import CommandRequest
from envtool.app.read_spec import read
from envtool.build import locking
from envtool.build.assess import known_parts
from envtool.build.context import Cancel, Context
from envtool.container import userns
from envtool.errors import UsageError
from envtool.events import Noted
from envtool.lazy_dataclass import dataclass
from envtool.lock import file as lock_file
from envtool.lock.lock import Lock
from envtool.model import Env, Spec
from envtool.plan.graph import Graph, build_graph
from envtool.project import own_logs
from envtool.project.source_files import ProjectFiles
from envtool.run import fast_exec
from envtool.run.valid_documents import ValidDocuments
from envtool.spec.select_envs import layer_warnings
from envtool.store import store, temp_dirs

if TYPE_CHECKING:
    from envtool.build.source_lines import LockLineFinder
    from envtool.events import Emit, Event
    from envtool.teamcache.client import TeamCacheClient


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProject:
    """A project that is open. `spec` and `graph` have only the selected envs."""

    spec: Spec
    files: ProjectFiles
    kinds: plugins.PluginRegistry
    graph: Graph
    context: Context

    def lock_lines(self) -> LockLineFinder:
        """Finds the line of an entry in the lock file, for messages."""
        return lock_file.lock_line_finder(self.files, self.spec.file)


def open_project(
    request: CommandRequest,
    emit: Emit | None = None,
    cancel: Cancel | None = None,
    *,
    parts: bool = True,
    needed: bool = False,
    only: str = "",
    registry: plugins.PluginRegistry | None = None,
) -> OpenProject:
    """Open a project. With `parts` the graph has the sublayers of bases that are known already, with `needed` also the
    envs of the tasks that the selected ones need. `only` and `registry` are as in `read_spec.read`. Without `emit` the
    verb builds nothing, so the project's files are listed only once. Raises SpecError (also for a lock that has to fit
    the spec and does not), UsageError, StoreError."""
    spec, files, kinds = read(request, cancel, needed=needed, only=only, registry=registry)
    graph = build_graph(spec, kinds)
    opened_store = store.open_store(idmap=userns.describe_ids())
    temp_dirs.sweep(opened_store, remove=userns.remove_as_root)
    name = lock_file.lock_file_name(spec.file)
    known = ValidDocuments(fast_exec.store_directory(), os.path.join(spec.root, name))
    locked = lock_file.read_lock(files, spec.file, kinds, known)
    context = Context(
        store=opened_store,
        root=spec.root,
        arch=os.uname().machine,
        emit=emit or _ignore_event,
        cancel=cancel or Cancel.make(),
        refresh=request.refresh,
        files=(*spec.files, name),
        logs=own_logs.find_all(spec.root, request.reports),
        listed=None if emit else files.listed,
        lock=locked or Lock(),
        offline=request.offline,
        cached_only=request.expect_cached,
        arguments=request.args,
        allowed=files.allowed,
        failure_hints=kinds.hooks("envtool_failure_hint"),
        share=_connect_team_cache(spec, opened_store, emit, cancel)
        if emit and cancel and not request.offline
        else None,
    )
    if locked is None and request.locked:
        raise UsageError(f"no {name} beside {spec.file}", code="no-lock", hint="`envtool lock` writes it")
    must_fit = in_ci(os.environ) if request.locked is None else request.locked
    if locked is not None and must_fit and not request.refresh:
        locking.check_lock(graph, locked, context, name)
    if parts and not request.refresh:
        graph = known_parts(graph, context)
    return OpenProject(spec=spec, files=files, kinds=kinds, graph=graph, context=context)


@contextmanager
def open_for_building(
    request: CommandRequest,
    emit: Emit,
    cancel: Cancel,
    *,
    parts: bool = True,
    needed: bool = False,
    only: str = "",
    registry: plugins.PluginRegistry | None = None,
) -> Iterator[OpenProject]:
    """Open a project for a verb that builds layers. At the end it waits for the pushes to the team cache, and ends the
    watches of this machine and what runs containers. Raises as open_project."""
    from envtool.run import machine_watches  # verbs that only look need none

    project = open_project(request, emit, cancel, parts=parts, needed=needed, only=only, registry=registry)
    try:
        yield project
    finally:
        if project.context.share is not None:
            project.context.share.close()
        if cancel.is_set():  # the process may be ended before its garbage collector releases the leases
            project.context.leases.close()
        machine_watches.close_watches(project.context.shared)
        project.context.runner.close()


def emit_warnings(envs: Iterable[Env], emit: Emit) -> None:
    """Emits what every command says about the layers of these envs."""
    for text in layer_warnings(envs):
        emit(Noted(text=text))


def _connect_team_cache(spec: Spec, opened_store: store.Store, emit: Emit, cancel: Cancel) -> TeamCacheClient | None:
    if spec.cache is None:
        return None
    from envtool.teamcache.connect import make_client  # imports the registry client

    arch = os.uname().machine
    return make_client(
        spec.cache,
        opened_store,
        project=spec.root,
        arch=arch,
        emit=emit,
        cancelled=cancel.is_set,
        in_ci=in_ci(os.environ),
    )


def without_lock_check(request: CommandRequest) -> CommandRequest:
    """The request of a verb for which the lock need not fit the spec."""
    return replace(request, locked=False)


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether the variable CI says that a continuous integration system runs envtool."""
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


def _ignore_event(_: Event) -> None:
    pass
