"""A project as every verb finds it: its spec, what stands on what, its lock, and the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from envtool import plugins
from envtool.app.command_request import CommandRequest
from envtool.app.read_spec import read
from envtool.build import locking
from envtool.build.context import Cancel, Context
from envtool.build.sublayers import known_parts
from envtool.container import userns
from envtool.errors import UsageError
from envtool.events import Emit, Event
from envtool.lock import file as lock_file
from envtool.lock.lock import Lock
from envtool.model import Spec
from envtool.plan.graph import Graph, build_graph
from envtool.project import own_logs
from envtool.project.source_files import ProjectFiles
from envtool.store import store, temp_dirs

if TYPE_CHECKING:
    from envtool.build.source_lines import LockLineFinder
    from envtool.teamcache.client import TeamCacheClient


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProject:
    """`spec` has only the envs that were asked for, and so has `nodes`."""

    spec: Spec
    files: ProjectFiles
    kinds: plugins.PluginRegistry
    nodes: Graph
    setting: Context

    def lock_lines(self) -> LockLineFinder:
        """Where things stand in the lock, for what is said of them."""
        return lock_file.lock_line_finder(self.files, self.spec.file)


def open_project(
    request: CommandRequest, emit: Emit | None = None, cancel: Cancel | None = None, *, parts: bool = True
) -> OpenProject:
    """All of it; bases have the `parts` that are known. Without `emit` nothing is made: the project's files are then
    listed once. Raises SpecError (also where the lock has to fit and does not), UsageError, StoreError."""
    spec, files, kinds = read(request, cancel)
    nodes = build_graph(spec, kinds)
    place = store.open_store(idmap=userns.describe_ids())
    temp_dirs.sweep(place, remove=userns.remove_as_root)
    name = lock_file.lock_file_name(spec.file)
    locked = lock_file.read_lock(files, spec.file, kinds)
    setting = Context(
        store=place,
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
        share=_connect_team_cache(spec, place, emit, cancel) if emit and cancel and not request.offline else None,
    )
    if locked is None and request.locked:
        raise UsageError(f"no {name} beside {spec.file}", code="no-lock", hint="`envtool lock` writes it")
    has_to_fit = in_ci(os.environ) if request.locked is None else request.locked
    if locked is not None and has_to_fit and not request.refresh:
        locking.check_lock(nodes, locked, setting, name)
    if parts and not request.refresh:
        nodes = known_parts(nodes, setting)
    return OpenProject(spec=spec, files=files, kinds=kinds, nodes=nodes, setting=setting)


@contextmanager
def open_for_building(
    request: CommandRequest, emit: Emit, cancel: Cancel, *, parts: bool = True
) -> Iterator[OpenProject]:
    """The same for verbs that make layers: what they share with the team is pushed before this ends."""
    at = open_project(request, emit, cancel, parts=parts)
    try:
        yield at
    finally:
        if at.setting.share is not None:
            at.setting.share.close()
        if cancel.is_set():  # this process may not live to see that nobody refers to them
            at.setting.claims.close()


def _connect_team_cache(spec: Spec, place: store.Store, emit: Emit, cancel: Cancel) -> TeamCacheClient | None:
    if spec.cache is None:
        return None
    from envtool.teamcache.connect import make_client  # brings what speaks with registries

    arch = os.uname().machine
    return make_client(
        spec.cache,
        place,
        project=spec.root,
        arch=arch,
        emit=emit,
        cancelled=cancel.is_set,
        in_ci=in_ci(os.environ),
    )


def without_lock_check(request: CommandRequest) -> CommandRequest:
    """The same where the lock need not fit."""
    return replace(request, locked=False)


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether a continuous integration system says that it runs us."""
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


def _ignore_event(_: Event) -> None:
    pass
