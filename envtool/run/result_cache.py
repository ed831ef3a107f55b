"""The result cache: stored results of tasks that passed, by the digest of everything that decided them.

Only passed tasks are stored, and only if no file of the project changed while the task ran; a task with `network:` is
never stored. Three caches have one interface: LocalCache, TeamResultCache (which adds the team's to the local one) and
OffCache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from envtool import keys
from envtool.build.context import Context
from envtool.build.stack import KnownStack, store_diff_ids
from envtool.errors import EnvtoolError
from envtool.project.snapshot import SnapshotError
from envtool.run import host_inputs, provenance
from envtool.run.host_inputs import HostInputs
from envtool.run.task_request import TaskRequest, TaskResult
from envtool.store import record_results, results, snapshots
from envtool.store.results import StoredReads, StoredResult


class NotCacheable(Exception):  # noqa: N818 - a state of the task, not an error: it has passed
    """The result of a task is not stored. `reason` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RecordedRun(NamedTuple):
    """A run that passed, with everything that the cache stores of it."""

    requests: tuple[TaskRequest, ...]  # the request; and if the outputs changed the project's files, one with those
    result: TaskResult
    log: str  # path of the log
    manifests: Mapping[str, bytes]  # of the project's files, by the `view` of a request
    statement: bytes = b""  # its provenance, if there is one
    git: str = ""  # digest of git's directories, if the task opened files in them
    reach: HostInputs | None = None  # what the task opened of this machine
    reads: StoredReads | None = None  # which files of the project it read
    observed: bool = False  # whether the result holds while only other files change
    outputs_in: str = ""  # a directory with its outputs, which no other task writes to; empty: the project


class ResultCache(Protocol):
    """Finds and stores the results of tasks."""

    def find(self, request: TaskRequest) -> StoredResult | None:
        """Returns the stored result of a request, complete and verified; None if there is none. Raises Interrupted."""

    def store(self, run: RecordedRun) -> StoredResult | None:
        """Stores a run that passed. Returns the stored result; None if it was removed again at once. Raises
        NotCacheable."""


class OffCache:
    """Finds nothing, and says why nothing is stored."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def find(self, request: TaskRequest) -> StoredResult | None:
        """Returns None."""
        return None

    def store(self, run: RecordedRun) -> StoredResult | None:
        """Raises NotCacheable."""
        raise NotCacheable(self._reason)


class LocalCache:
    """Results in the store of this machine. `stacks` are those of the task and of its services here."""

    def __init__(self, context: Context, stacks: Sequence[KnownStack]) -> None:
        self._context, self._stacks = context, stacks

    def find(self, request: TaskRequest) -> StoredResult | None:
        """See ResultCache. Removes a result that is damaged."""
        return self.find_key(request.key)

    def find_key(self, key: str) -> StoredResult | None:
        """Returns the stored result of a key, as `find` does."""
        store, check = self._context.store, self._context.cancel.check
        while True:
            identity = results.read_identity(store, key)
            try:
                result = results.find(store, key)
                if result is None or not self._has_same_git(result):
                    return None
            except EnvtoolError:
                return None
            if results.verify(result, check):
                return result
            if results.read_identity(store, key) == identity:  # else another process has replaced or removed it
                results.remove_result(store, result.key)
                return None

    def _has_same_git(self, result: StoredResult) -> bool:
        """Returns whether git's directories are as they were when the task opened files in them; True if it opened
        none. Raises EnvtoolError."""
        return not result.run.git or result.run.git == host_inputs.read_git_history(self._context).digest

    def store(self, run: RecordedRun) -> StoredResult | None:
        """See ResultCache."""
        store = self._context.store
        documents = [request.document() for request in run.requests]
        try:
            for view, manifest in run.manifests.items():
                snapshots.put(store, view, manifest)
            store_diff_ids(self._stacks, store)
            stored_keys = record_results.store_result(
                store,
                documents,
                results.StoredRun(
                    env=run.requests[0].env,
                    task=run.requests[0].task,
                    started=run.result.started,
                    seconds=run.result.seconds,
                    host=os.uname().nodename,
                    message=run.result.message,
                    git=run.git,
                ),
                owner=result_owner(self._context.root, run.requests[0].env, run.requests[0].task),
                log=run.log,
                statement=provenance.reusable_statement(run.statement, same=run.requests[0].history != ""),
                root=run.outputs_in or self._context.root,
                outputs=run.result.outputs,
                reads=run.reads,
                usage=results.StoredUsage(run.result.memory, run.result.cpu_seconds, run.result.written),
                check=self._context.cancel.check,
            )
            if run.observed:
                from envtool.run import observed_reads

                observed_reads.note_results(store, run.requests, stored_keys)
            if run.reach:
                for key in stored_keys:
                    run.reach.note(key, self._context)
        except record_results.TooLarge as error:
            raise NotCacheable("its log and outputs are too large") from error
        except (OSError, EnvtoolError, SnapshotError) as error:
            raise NotCacheable(str(error)) from error
        return results.find(store, stored_keys[0])


class TeamResultCache:
    """The local cache, and behind it the team's: a result that is found there is stored here first."""

    def __init__(self, local: LocalCache, context: Context, stacks: Sequence[KnownStack]) -> None:
        self._local, self._context, self._stacks = local, context, stacks

    def find(self, request: TaskRequest) -> StoredResult | None:
        """See ResultCache. Raises StoreError, too."""
        if result := self._local.find(request):
            return result
        from envtool.run import shared_results

        name = f"result of {request.env} {request.task}"
        owner = result_owner(self._context.root, request.env, request.task)
        pulled = shared_results.pull_result(request.key, name, owner, self._stacks, self._context)
        return self._local.find(request) if pulled else None

    def store(self, run: RecordedRun) -> StoredResult | None:
        """See ResultCache. Does not push a result that depends on git's directories: on no other machine are they the
        same."""
        from envtool.run import shared_results

        result = self._local.store(run)
        if not run.git:
            try:
                documents = [request.document() for request in run.requests]
                shared_results.push_result(documents, self._stacks, self._context)
            except (OSError, EnvtoolError) as error:
                raise NotCacheable(str(error)) from error
        return result


def open_cache(context: Context, stacks: Sequence[KnownStack]) -> ResultCache:
    """Returns the cache for the results of one task. `stacks` are those of the task and of its services: if one of them
    cannot be shared, the results are not."""
    local = LocalCache(context, stacks)
    if context.share is None:
        return local
    from envtool.run import shared_results  # imports what the team cache and its registry are made of

    return TeamResultCache(local, context, stacks) if shared_results.are_shareable(stacks, context) else local


def result_owner(root: str, env: str, task: str) -> str:
    """Returns the key by which the store counts the results of one task: store/results.py keeps a few of each."""
    return keys.digest([root, env, task])[:32]
