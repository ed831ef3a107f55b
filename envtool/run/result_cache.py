"""Reuses the result of a task that passed before, if its stack, the project's files, its commands and variables did not
change; else runs the task.

Only passed tasks are stored, and only if no file of the project changed while the task ran; a task with `network:` is
never stored. One document (keys.result_document) names all that decides a result, and is stored beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envtool import keys, net
from envtool.build.context import Context
from envtool.build.parents import stack_binds
from envtool.build.scheduler import Scheduler
from envtool.build.stack import KnownStack, Stack
from envtool.container import userns
from envtool.container.outputs import OutputReceiver
from envtool.errors import EnvtoolError
from envtool.events import Finished, Started
from envtool.fs import hashing
from envtool.fs.beneath import open_beneath
from envtool.model import Env, Json, Task
from envtool.project import rundir, snapshot, snapshot_cache, snapshot_diff, source_files
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, provenance, shared_results, task_container
from envtool.run.result import Result
from envtool.run.task import run_task
from envtool.store import layers, record_results, results, snapshots

NO_SERVICES: list[Json] = []  # envs have no services yet


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One task of one env that is to be run."""

    env: Env
    task: Task
    context: Context
    log: str  # path of its log
    host: Mapping[str, str]  # the caller's variables that `pass:` lets through


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """A result in the store, and what it was computed from."""

    env: Env
    task: str
    stack: KnownStack
    view: str  # digest
    found: results.StoredResult


def run_task_cached(asked: TaskRequest, stacks: Scheduler, *, again: bool) -> tuple[Result, CachedResult | None]:
    """Returns the stored result of a task, or runs the task and stores its result. `again` runs it in any case. Raises
    what building the stack and starting the container raise."""
    env, context = asked.env, asked.context
    view: Snapshot | str = ""
    recalled: KnownStack | None = None
    if not env.network and not again:
        recalled = stacks.find_known_stack(env.name)
        view = snapshot_or_reason(context) if recalled else ""
        if recalled and isinstance(view, Snapshot) and (told := _reuse_result(asked, recalled, view)):
            return told
        view = view or (snapshot_or_reason(context) if context.share and context.share.results else "")
        supposed = recalled or (stacks.find_known_stack(env.name, team=True) if view else None)
        if supposed and isinstance(view, Snapshot) and (told := _reuse_team_result(asked, supposed, view)):
            return told
    stack = stacks.stack(env.name)
    why = "" if env.network else host_inputs.unseen_reason(stack)
    if env.network or why:
        result = run_task(env, asked.task, stack, context, log=asked.log, host=asked.host)
        if why and result.outcome == "passed":
            _report_not_cached(asked, why)
        return result, None
    if not view or recalled is None or stack.made != recalled.made:  # layers were built, which took time
        view = snapshot_or_reason(context)
        if not again and isinstance(view, Snapshot) and (told := _reuse_team_result(asked, stack, view)):
            return told
    before = _state_before(asked, stack, view) if isinstance(view, Snapshot) else view
    seen = view.digest if isinstance(view, Snapshot) else ""
    reached = before.reach if isinstance(before, _StateBefore) else None
    result = run_task(env, asked.task, stack, context, log=asked.log, host=asked.host, view=seen, reach=reached)
    if result.outcome != "passed":
        return result, None
    why = _store_result(asked, stack, before, result) if isinstance(before, _StateBefore) else before
    if why or not isinstance(before, _StateBefore):
        _report_not_cached(asked, why)
        return result, None
    return result, _trace(asked, stack, before.view.digest, before.document)


def _report_not_cached(asked: TaskRequest, why: str) -> None:
    """Emits an event at once, and notes the reason for the end of the run."""
    asked.context.emit(net.note_event(_id(asked), f"not remembered: {why}"))
    asked.context.unremembered.setdefault(why, []).append(f"{asked.env.name} {asked.task.name}")


def _trace(asked: TaskRequest, stack: KnownStack, view: str, document: Mapping[str, Json]) -> CachedResult | None:
    found = results.find(asked.context.store, keys.digest(dict(document)))
    return CachedResult(env=asked.env, task=asked.task.name, stack=stack, view=view, found=found) if found else None


def make_result_document(asked: TaskRequest, stack: KnownStack, view: str) -> dict[str, Json]:
    """Returns all that decides the result of the task. Raises EnvtoolError if git fails."""
    env, task = asked.env, asked.task
    passed = set(asked.host)
    user = "root" if task.user == "root" else "user"
    variables = task_container.task_environment(env, stack, asked.host, user=user)
    shows, layered = bool(stack_binds(stack.made)), enumerate(stack.made)
    return keys.result_document(
        stack=[[made.diff_id, made.settled.key if shows and not number else ""] for number, made in layered],
        view=view,
        history=source_files.git_history_digest(asked.context.root) if task.outputs else "",
        commands=[[*command.words()] for command in task.commands],
        workdir=task_container.workdir(env),
        variables={name: value for name, value in variables.items() if name not in passed},
        passed={name: hash_value(variables[name]) for name in sorted(passed)},
        user=user,
        outputs=[*task.outputs],
        repository=source_files.sees_git(asked.context.root),
        kernel=os.uname().release if shows else "",
        network=env.network,
        arch=asked.context.arch,
        services=NO_SERVICES,
    )


def hash_value(value: str) -> str:
    """Returns the hash of a variable's value, which may be a secret."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def result_owner(root: str, env: str, task: str) -> str:
    """Returns the key under which the store counts the results of one task: store/results.py keeps a few of each."""
    return keys.digest([root, env, task])[:32]


def _id(asked: TaskRequest) -> str:
    return f"task:{asked.env.name}:{asked.task.name}"


def snapshot_or_reason(context: Context) -> Snapshot | str:
    """Returns the snapshot of the project, or why there is none. Raises Interrupted."""
    try:
        cancel = context.cancel
        place = snapshot_cache.cache_path(context.store.root, context.root)
        return snapshot.take_snapshot(context.root, place, cancel.reader, cancel.check, logs=context.logs)
    except SnapshotError as error:
        return str(error)


# ---- find ------------------------------------------------------------------------------------------------------------


def _reuse_result(asked: TaskRequest, stack: KnownStack, view: Snapshot) -> tuple[Result, CachedResult] | None:
    """Returns the stored result, after copying its log and outputs to where a run would have left them; None if there
    is none."""
    context = asked.context
    try:
        key = keys.digest(make_result_document(asked, stack, view.digest))
        whose = result_owner(context.root, asked.env.name, asked.task.name)
    except (EnvtoolError, UnicodeError):
        return None
    found = results.find(context.store, key)
    if found is None or host_inputs.unseen_reason(stack) or not _same_git(found, context):
        return None
    if not results.verify(found, context.cancel.check):
        results.remove_result(context.store, key)
        return None
    try:
        _copy(found.log, asked.log)
        with contextlib.suppress(FileNotFoundError):
            _copy(found.statement, provenance.path_for(asked.log))
    except OSError:
        return None
    # if outputs cannot be restored, the task runs, and its error says what is in the way
    if not _restore_outputs(found, context.root, context.files, asked.task.outputs, context.cancel.check):
        return None
    results.mark_used(context.store, found, whose)
    event_id, now = _id(asked), time.time()
    outputs = tuple(each.path for each in found.outputs)
    context.emit(Started(id=event_id, subject="task", name=asked.task.name, env=asked.env.name, time=now))
    context.emit(
        Finished(
            id=event_id,
            subject="task",
            name=asked.task.name,
            env=asked.env.name,
            outcome="cached",
            status=0,
            time=now,
            seconds=found.run.seconds,
            detail=found.run.message,
            outputs=outputs,
            since=found.run.started,
            host=found.run.host,
        )
    )
    trace = CachedResult(env=asked.env, task=asked.task.name, stack=stack, view=view.digest, found=found)
    result = Result(
        env=asked.env.name,
        task=asked.task.name,
        outcome="cached",
        status=0,
        seconds=found.run.seconds,
        started=found.run.started,
        log=asked.log,
        outputs=outputs,
        message=found.run.message,
        host=found.run.host,
    )
    return result, trace


def _same_git(found: results.StoredResult, context: Context) -> bool:
    """Returns whether git's directories are as they were when the task opened files in them; True if it opened none."""
    try:
        return not found.run.git or found.run.git == host_inputs.read_git_history(context).digest
    except EnvtoolError:
        return False


def _reuse_team_result(asked: TaskRequest, stack: KnownStack, view: Snapshot) -> tuple[Result, CachedResult] | None:
    """Returns a result from the team cache, after storing it here; None if there is none."""
    if not shared_results.is_shareable(stack, asked.context):
        return None
    try:
        key = keys.digest(make_result_document(asked, stack, view.digest))
    except (EnvtoolError, UnicodeError):
        return None
    whose = result_owner(asked.context.root, asked.env.name, asked.task.name)
    name = f"result of {asked.env.name} {asked.task.name}"
    return (
        _reuse_result(asked, stack, view)
        if shared_results.pull_result(key, name, whose, stack, asked.context)
        else None
    )


def _copy(source: str, target: str) -> None:
    """Copies a file from the store to the directory of the run."""
    with open(source, "rb") as file, rundir.create_file(target) as out:
        shutil.copyfileobj(file, out, 1 << 20)


def _restore_outputs(
    found: results.StoredResult,
    root: str,
    protected: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    check: Callable[[], None] | None = None,
) -> bool:
    """Restores outputs that are missing or differ; returns False if one cannot be restored. Raises what `check`
    raises."""
    wrong = [each for each in found.outputs if not _output_unchanged(root, each, check)]
    if not wrong:
        return True
    receiver = OutputReceiver(root, owned=userns.caller_ids().mode == "root", protected=protected, patterns=patterns)
    try:
        for each in wrong:
            if each.link:
                receiver.link(each.path, each.link)
            else:
                receiver.copy(found.output_path(each), each.path, each.mode, each.mtime_ns, check)
    finally:
        _, notes = receiver.finish()
    return not notes and not receiver.lost


def _output_unchanged(root: str, output: results.StoredOutput, check: Callable[[], None] | None) -> bool:
    """Returns whether an output is in the project with the content and mode that it had, and is reached through no
    link."""
    parent, name = os.path.split(output.path)
    try:
        directory = open_beneath(root, parent, os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError:
        return False
    try:
        if output.link:
            return os.readlink(name, dir_fd=directory) == output.link
        with open(open_beneath(directory, name, follow=False), "rb") as file:
            state = os.fstat(file.fileno())
            same = state.st_mode == 0o100000 | output.mode and state.st_size == output.size
            return same and hashing.sha256_of_file(file, check) == output.sha256
    except OSError:
        return False
    finally:
        os.close(directory)


# ---- store -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _StateBefore:
    """The state of the project and of this machine when a task begins."""

    view: Snapshot
    directories: dict[bytes, tuple[int, int, int, int]]  # see snapshot_diff.directory_states
    document: dict[str, Json]
    manifest: bytes
    reach: host_inputs.HostInputs


def _state_before(asked: TaskRequest, stack: Stack, view: Snapshot) -> _StateBefore | str:
    try:
        return _StateBefore(
            view=view,
            directories=snapshot_diff.directory_states(view),
            document=make_result_document(asked, stack, view.digest),
            manifest=snapshot_diff.snapshot_manifest(view),
            reach=host_inputs.HostInputs(stack, asked.context),
        )
    except (EnvtoolError, OSError, SnapshotError) as error:
        return str(error)


def _store_result(asked: TaskRequest, stack: Stack, before: _StateBefore, result: Result) -> str:
    """Stores the result of a task that passed; returns "", or why it was not stored. Never raises: the task has
    passed."""
    context = asked.context
    try:
        after = snapshot_or_reason(context)
        if not isinstance(after, Snapshot):
            return after
        if touched := snapshot_diff.changed_paths(before.view, after) - {*result.outputs}:
            more = f" and {len(touched) - 1} more" if len(touched) > 1 else ""
            return f"{min(touched)}{more} was touched while it ran"
        if moved := snapshot_diff.changed_directory(
            before.directories, after
        ):  # a file may have been replaced and put back
            return f"the directory {moved} was changed while it ran"
        if not before.reach.is_unchanged():
            return "this machine's own system changed while it ran"
        history = before.reach.git(context)
        documents = [before.document]
        now = make_result_document(asked, stack, after.digest)
        if now != before.document:
            if now != {**before.document, "view": after.digest}:  # a commit, while it ran
                return "git's history changed while it ran"
            # the task's outputs are files of the project: the next run has another snapshot, but nothing new
            documents.append(now)
            snapshots.put(context.store, after.digest, snapshot_diff.snapshot_manifest(after))
        snapshots.put(context.store, before.view.digest, before.manifest)
        for made in (*stack.made, *stack.aside):
            layers.store_known_output(context.store, made.settled.key, made.diff_id)
        record_results.store_result(
            context.store,
            documents,
            results.StoredRun(
                env=result.env,
                task=result.task,
                started=result.started,
                seconds=result.seconds,
                host=os.uname().nodename,
                message=result.message,
                git=history,
            ),
            owner=result_owner(context.root, result.env, result.task),
            log=result.log,
            statement=provenance.reusable_statement(result.log, same=before.document["history"] != ""),
            root=context.root,
            outputs=result.outputs,
            check=context.cancel.check,
        )
        for each in documents:
            before.reach.note(keys.digest(each), context)
        if not history:  # another machine's repository never is in the very same state
            shared_results.push_result(documents, stack, context)
    except record_results.TooLarge:
        return "its log and outputs are too large"
    except UnicodeError:
        return "a name in it is not UTF-8"
    except (OSError, EnvtoolError, SnapshotError) as error:
        return str(error)
    return ""
