"""Runs a task twice, in two checkouts, and compares its outputs."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

from envtool.build.scheduler import Stack
from envtool.container import program_json
from envtool.errors import BuildError
from envtool.events import Output
from envtool.fs.beneath import Descent, open_beneath, open_top
from envtool.fs.tree_walk import walk_tree
from envtool.model import Env, Task
from envtool.project import source_files
from envtool.run import task_container, task_git, task_services
from envtool.services.service_container import ServiceProject
from envtool.spec.select_envs import used_services
from envtool.store import compare_trees, layers
from envtool.verify.compare_archives import compare_archives
from envtool.verify.comparison import PathDifference, VerifyResult
from envtool.verify.layers import VerifyContext, run_both, track_comparison, wait_for_clock
from envtool.verify.variations import DAY, SIDES, VariationSide
from envtool.verify.worker_client import run_worker, side_directory
from envtool.verify.worker_main import TaskJob

TIME_SHIFT = (400 * DAY + 5 * 3600 + 17) * 10**9  # nanoseconds: another year, month, weekday and hour
ZIP_EPOCH = 315_619_200 * 10**9  # 1980 in all time zones: a zip archive cannot hold an earlier time
IGNORED_KINDS = ("time", "owner")  # differences of an output that do not count


def verify_task(env: Env, task: Task, verification: VerifyContext, host: Mapping[str, str]) -> VerifyResult:
    """Runs the task twice and compares its outputs. Raises only Interrupted; every other error is in the result."""
    result = VerifyResult(
        name=f"{env.name} {task.name}", subject="task", kind=task.name, env=env.name, outcome="error", seconds=0.0
    )
    with track_comparison(result, f"verify:{env.name}:{task.name}", verification.context) as outcomes:
        outcomes.append(
            _run_twice(result, env, task, verification.scheduler.stack(env.name, env.set), verification, host)
        )
    return outcomes[-1]


def _run_twice(
    result: VerifyResult, env: Env, task: Task, stack: Stack, verification: VerifyContext, host: Mapping[str, str]
) -> VerifyResult:
    context = verification.context
    event_id = f"verify:{env.name}:{task.name}"
    _check_alone(env, task)
    hidden = source_files.list_hidden(context.root, context.cancel.reader)
    request = task_container.make_request(env, stack, host, arch=context.arch, task=task)
    with ExitStack() as exits:
        exits.enter_context(layers.hold_layers(context.store, [made.layer for made in stack.layers]))
        library, note = verification.clocks.library_for(stack.layers[0])
        directories = [exits.enter_context(side_directory(context, side)) for side in SIDES]

        def run_side(side: VariationSide, directory: str) -> str:
            wait_for_clock(side, library, context)
            checkout = context.root
            if side.backward:  # like a second clone: another path, other times, files created in another order
                checkout = os.path.join(directory, "checkout")
                copy_checkout(context.root, checkout, frozenset(hidden))
            scratch = ""
            if env.scratch == "disk":
                scratch = os.path.join(directory, "scratch")
                os.mkdir(scratch)
            git = exits.enter_context(task_git.provide_git(context))
            program = task_container.make_program(
                request,
                stack,
                project=ServiceProject(checkout, (*hidden, *git.hidden), git.binds, git.peeks),
                scratch=scratch,
                allowed=context.allowed,
            )
            varied = side.variation(library).apply_to(program)
            job = TaskJob(program=program_json.to_json(varied), directory=directory)
            answer = run_worker(job, side, context, lambda text: context.emit(Output(id=event_id, text=text)))
            if answer["status"]:
                raise BuildError(
                    f"task `{task.name}` of env `{env.name}`: exit {answer['status']}",
                    code="verify-task",
                    hint="`envtool build` shows whether it passes as it is",
                    output=answer["output"],
                )
            return "\n".join(answer["outputs"])

        listings = run_both(run_side, directories, verification.jobs)
        if not any(listings):
            raise BuildError(
                f"task `{task.name}` of env `{env.name}` puts nothing out",
                code="verify-task",
                hint="name what it makes: `outputs:`",
            )
        differences = compare_outputs(*(os.path.join(directory, "outputs") for directory in directories))
    return replace(
        result,
        outcome="differs" if differences else "same",
        between="two builds" if differences else "",
        differences=differences,
        notes=(note,) if note else (),
    )


def _check_alone(env: Env, task: Task) -> None:
    """Raises BuildError for a task that needs more than its own container: what others answer is not the same twice,
    and no difference of the outputs would say whether the task is why."""
    if task.secrets:
        raise BuildError(
            f"task `{task.name}` of env `{env.name}` has a secret, which goes to no second build: it is not verified",
            code="verify-secret",
            hint="let a task without secrets make the outputs",
        )
    if task.needs:
        raise BuildError(
            f"task `{task.name}` of env `{env.name}` needs other tasks: it is not verified",
            code="verify-needs",
            hint="let a task without `needs:` make the outputs",
        )
    if not task_services.needs_pod(env, task):
        return
    if services := used_services(env, task):
        names = ", ".join(f"`{service.name}`" for service in services)
        reason = f"has services ({names})"
        hint = (
            "make the outputs by a task of an env without `services`; the stack of a service is verified as a layer: "
            f"`envtool verify {services[0].env.name}`"
        )
    else:
        places = ", ".join(f"`{place}`" for place in env.allow) or "the network"
        reason = f"may connect to {places}"
        hint = "let a layer fetch what it needs: layers are pinned, and verified"
    message = f"task `{task.name}` of env `{env.name}` {reason}, whose answers may differ: it is not verified"
    raise BuildError(message, code="verify-services", hint=hint)


def compare_outputs(first: str, second: str) -> tuple[PathDifference, ...]:
    """Returns the differences of two directories of outputs; of archives, those of their members."""
    differences = []
    for path, kinds, shown in compare_trees.compare_trees(first, second, IGNORED_KINDS):
        text = shown
        if "content" in kinds:
            text = "\n".join(compare_archives(first + path, second + path)) or shown
        differences.append(PathDifference(path=path, kinds=tuple(kinds), shown=text))
    return tuple(differences)


def copy_checkout(source: str, target: str, hidden: frozenset[str]) -> None:
    """Copies a checkout as a container sees it: creates the files in reverse order, and moves all times by TIME_SHIFT,
    so that the order of times, by which make decides, stays."""
    _copy_tree(source, target, hidden, TIME_SHIFT if _has_old_files(source) else -TIME_SHIFT)


def _has_old_files(source: str) -> bool:
    """Returns whether a file is so old that an archive could not hold its time after a shift back: then times are moved
    forward, as the clock of the second build is."""
    for top, _, names in walk_tree(source):
        for path in (top, *(os.path.join(top, name) for name in names)):
            with suppress(OSError):
                if os.lstat(path).st_mtime_ns < ZIP_EPOCH + TIME_SHIFT:
                    return True
    return False


def _copy_tree(source: str, target: str, hidden: frozenset[str], shift: int) -> None:
    pending, attributes = [""], []
    top = open_top(source)
    try:
        with Descent(top) as opened:  # by descriptors: another process may replace entries while they are copied
            while pending:
                relative = pending.pop()
                directory, descriptor = os.path.join(target, relative), opened.open(relative)
                os.mkdir(directory)
                for name in sorted(os.listdir(descriptor), reverse=True):
                    path = os.path.join(relative, name)
                    info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if path in hidden:
                        continue
                    if stat.S_ISDIR(info.st_mode):
                        pending.append(path)
                    else:
                        _copy_file_or_link(descriptor, name, os.path.join(target, path), info, shift)
                attributes.append((directory, os.fstat(descriptor)))
    finally:
        os.close(top)
    for directory, info in reversed(attributes):  # last: each entry changes the times of its directory
        os.chmod(directory, stat.S_IMODE(info.st_mode))
        _copy_owner(directory, info)
        _shift_times(directory, info, shift)


def _copy_file_or_link(descriptor: int, name: str, copy: str, info: os.stat_result, shift: int) -> None:
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=descriptor), copy)
    elif stat.S_ISREG(info.st_mode):
        with open(open_beneath(descriptor, name, follow=False), "rb") as old, open(copy, "xb") as out:
            shutil.copyfileobj(old, out, 1 << 20)
        os.chmod(copy, stat.S_IMODE(info.st_mode))
    else:
        return
    _copy_owner(copy, info)
    _shift_times(copy, info, shift)


def _shift_times(path: str, info: os.stat_result, shift: int) -> None:
    os.utime(path, ns=(info.st_atime_ns + shift, info.st_mtime_ns + shift), follow_symlinks=False)


def _copy_owner(path: str, info: os.stat_result) -> None:
    if os.geteuid() == 0:  # in another user's checkout, root's containers get their user from the owner of the files
        os.chown(path, info.st_uid, info.st_gid, follow_symlinks=False)
