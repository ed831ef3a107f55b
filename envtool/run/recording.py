"""Records what a task used and changed while it ran, for the result cache."""

from __future__ import annotations

from dataclasses import replace

from envtool.errors import EnvtoolError
from envtool.project import snapshot_diff
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import prepared_task
from envtool.run.host_inputs import HostInputs
from envtool.run.prepared_task import PreparedTask
from envtool.run.result_cache import NotCacheable, RecordedRun
from envtool.run.task_request import TaskRequest, TaskResult


class Recording:
    """Starts before the task does. `reach` is what the task can reach besides its stack and the project's files; None
    if nothing is recorded."""

    def __init__(self, task: PreparedTask) -> None:
        """Never raises NotCacheable: `finish` does, when the task has passed."""
        self._task = task
        self._refusal = task.refusal
        self._directories: dict[bytes, tuple[int, int, int, int]] = {}  # see snapshot_diff.directory_states
        self._manifest = b""
        self.reach: HostInputs | None = None
        if task.refusal is None and task.snapshot is not None:
            try:
                self._directories = snapshot_diff.directory_states(task.snapshot)
                self._manifest = snapshot_diff.snapshot_manifest(task.snapshot)
                self.reach = HostInputs(task.stack, task.call.context, beside=task.services.stacks)
            except (EnvtoolError, OSError, SnapshotError) as error:
                self._refusal = NotCacheable(str(error))

    def finish(self, result: TaskResult, statement: bytes = b"") -> RecordedRun:
        """Returns the record of a task that passed, with its provenance. Raises NotCacheable if another program touched
        the project, git's history or this machine's files meanwhile, or if one of them cannot be read."""
        if self._refusal is not None:
            raise self._refusal
        call, request, reach = self._task.call, self._task.request, self.reach
        assert reach is not None
        try:
            after = prepared_task.take_snapshot(call.context)
            self._check_project(after, result)
            if not reach.is_unchanged():
                raise NotCacheable("this machine's own system changed while it ran")
            git = reach.git(call.context)
            requests, manifests = [request], {request.view: self._manifest}
            if (later := self._request_after(after)) != request:
                requests.append(later)
                manifests[later.view] = snapshot_diff.snapshot_manifest(after)
        except (EnvtoolError, OSError, SnapshotError) as error:
            raise NotCacheable(str(error)) from error
        return RecordedRun(
            requests=tuple(requests),
            result=result,
            log=call.log,
            manifests=manifests,
            statement=statement,
            git=git,
            reach=reach,
        )

    def _check_project(self, after: Snapshot, result: TaskResult) -> None:
        """Raises NotCacheable if something but the task's outputs changed in the project; SnapshotError, OSError."""
        assert self._task.snapshot is not None
        if touched := snapshot_diff.changed_paths(self._task.snapshot, after) - {*result.outputs}:
            more = f" and {len(touched) - 1} more" if len(touched) > 1 else ""
            raise NotCacheable(f"{min(touched)}{more} was touched while it ran")
        # a file may have been replaced and put back
        if directory := snapshot_diff.changed_directory(self._directories, after):
            raise NotCacheable(f"the directory {directory} was changed while it ran")

    def _request_after(self, after: Snapshot) -> TaskRequest:
        """Returns the request of the next run: the task's outputs are files of the project, so it may have another
        view, but nothing that would change the result. Raises NotCacheable if git's history changed."""
        call, request = self._task.call, self._task.request
        later = prepared_task.add_project(request, call.context, after)
        if later not in (request, replace(request, view=after.digest)):
            raise NotCacheable("git's history changed while it ran")
        return later
