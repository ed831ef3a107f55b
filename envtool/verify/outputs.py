"""A task run twice, in two checkouts, and what it puts out compared."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

from envtool.build.scheduler import Stack
from envtool.errors import BuildError
from envtool.events import Output
from envtool.fs.beneath import open_beneath
from envtool.model import Env, Task
from envtool.project import source_files
from envtool.run import task_container, task_git
from envtool.store import compare_trees, layers
from envtool.verify.compare_archives import compare_archives
from envtool.verify.comparison import PathDifference, VerifyResult
from envtool.verify.layers import VerifyContext, run_both, track_comparison, wait_for_clock
from envtool.verify.variations import DAY, SIDES, VariationSide
from envtool.verify.worker_client import run_worker, side_directory
from envtool.verify.worker_main import TaskJob

TIME_SHIFT = (400 * DAY + 5 * 3600 + 17) * 10**9  # nanoseconds: another year, month, weekday and hour
ZIP_EPOCH = 315_619_200 * 10**9  # 1980 in all time zones: archives of this kind know no earlier time
IGNORED_KINDS = ("time", "owner")  # of an output: when it was made, and for whom


def verify_task(env: Env, task: Task, bench: VerifyContext, host: Mapping[str, str]) -> VerifyResult:
    """Run the task twice, compare its outputs. Only Interrupted is raised; every other error is in the result."""
    found = VerifyResult(
        name=f"{env.name} {task.name}", subject="task", kind=task.name, env=env.name, outcome="error", seconds=0.0
    )
    with track_comparison(found, f"verify:{env.name}:{task.name}", bench.context) as done:
        done.append(_run_twice(found, env, task, bench.stacks.stack(env.name), bench, host))
    return done[-1]


def _run_twice(
    found: VerifyResult, env: Env, task: Task, stack: Stack, bench: VerifyContext, host: Mapping[str, str]
) -> VerifyResult:
    context = bench.context
    event_id = f"verify:{env.name}:{task.name}"
    hidden = source_files.list_hidden(context.root, context.cancel.reader)
    with ExitStack() as held:
        held.enter_context(layers.hold_layers(context.store, [made.layer for made in stack.made]))
        library, note = bench.clocks.library_for(stack.made[0])
        places = [held.enter_context(side_directory(context, side)) for side in SIDES]

        def one(side: VariationSide, directory: str) -> str:
            wait_for_clock(side, library, context)
            checkout = context.root
            if side.backward:  # a second clone: other path, other times, made in another order
                checkout = os.path.join(directory, "checkout")
                copy_checkout(context.root, checkout, frozenset(hidden))
            scratch = ""
            if env.scratch == "disk":
                scratch = os.path.join(directory, "scratch")
                os.mkdir(scratch)
            program = task_container.make_program(
                env,
                stack,
                project=checkout,
                hidden=hidden,
                host=host,
                scratch=scratch,
                task=task,
                allowed=context.allowed,
                git=held.enter_context(task_git.provide_git(context)),
            )
            job = TaskJob(program=side.variation(library).apply_to(program), directory=directory)
            ended = run_worker(job, side, context, lambda text: context.emit(Output(id=event_id, text=text)))
            if ended["status"]:
                raise BuildError(
                    f"task `{task.name}` of env `{env.name}`: exit {ended['status']}",
                    code="verify-task",
                    hint="`envtool build` shows whether it passes as it is",
                    output=ended["output"],
                )
            return "\n".join(ended["outputs"])

        made = run_both(one, places, bench.jobs)
        if not any(made):
            raise BuildError(
                f"task `{task.name}` of env `{env.name}` puts nothing out",
                code="verify-task",
                hint="name what it makes: `outputs:`",
            )
        differences = compare_outputs(*(os.path.join(directory, "outputs") for directory in places))
    return replace(
        found,
        outcome="differs" if differences else "same",
        between="two builds" if differences else "",
        differences=differences,
        notes=(note,) if note else (),
    )


def compare_outputs(first: str, second: str) -> tuple[PathDifference, ...]:
    """The differences of two directories of outputs; for archives, of their members."""
    found = []
    for path, kinds, shown in compare_trees.compare_trees(first, second, IGNORED_KINDS):
        text = shown
        if "content" in kinds:
            text = "\n".join(compare_archives(first + path, second + path)) or shown
        found.append(PathDifference(path=path, kinds=tuple(kinds), shown=text))
    return tuple(found)


def copy_checkout(source: str, target: str, hidden: frozenset[str]) -> None:
    """Copy a checkout as a container sees it, each directory's names against their order, all times moved by SHIFT:
    make and its kind go by which file is newer than which."""
    _copy_directory(source, target, hidden, "", TIME_SHIFT if _has_old_files(source) else -TIME_SHIFT)


def _has_old_files(source: str) -> bool:
    """Whether something in it is nearly as old as what archives can say: then times are moved forward, as the clock of
    the second side is."""
    for top, _, names in os.walk(source):
        for path in (top, *(os.path.join(top, name) for name in names)):
            with suppress(OSError):
                if os.lstat(path).st_mtime_ns < ZIP_EPOCH + TIME_SHIFT:
                    return True
    return False


def _copy_directory(source: str, target: str, hidden: frozenset[str], below: str, shift: int) -> None:
    there = os.path.join(target, below)
    here = open_beneath(source, below, os.O_RDONLY | os.O_DIRECTORY, follow=False)  # others may swap what lies in it
    try:
        os.mkdir(there)
        for name in sorted(os.listdir(here), reverse=True):
            path = os.path.join(below, name)
            if path in hidden:
                continue
            new = os.path.join(target, path)
            info = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                _copy_directory(source, target, hidden, path, shift)
                continue
            if stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(name, dir_fd=here), new)
            elif stat.S_ISREG(info.st_mode):
                with open(open_beneath(here, name, follow=False), "rb") as old, open(new, "xb") as out:
                    shutil.copyfileobj(old, out, 1 << 20)
                os.chmod(new, stat.S_IMODE(info.st_mode))
            else:
                continue
            _copy_owner(new, info)
            _shift_times(new, info, shift)
        info = os.fstat(here)
        os.chmod(there, stat.S_IMODE(info.st_mode))
        _copy_owner(there, info)
        _shift_times(there, info, shift)
    finally:
        os.close(here)


def _shift_times(path: str, info: os.stat_result, shift: int) -> None:
    os.utime(path, ns=(info.st_atime_ns + shift, info.st_mtime_ns + shift), follow_symlinks=False)


def _copy_owner(path: str, info: os.stat_result) -> None:
    if os.geteuid() == 0:  # root in somebody's checkout: the owner is what the container's user is told from
        os.chown(path, info.st_uid, info.st_gid, follow_symlinks=False)
