"""Reads the plan cache of `envtool test`: finds that every task passed before and that nothing that decided so changed.

This is the fast path of an unchanged project. It trusts what `fast_plan.write_test_plan` wrote: the results, the stat
signatures of every file that decided them, the variables, and the digest of the project. If anything differs, the
caller has to read the spec and check each task.
"""

from __future__ import annotations

import binascii
import os
import sys

from envtool.fs import store_files
from envtool.project import git
from envtool.run import fast_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMAT = 9


def plan_path(store: str, spec: str, task: str, envs: tuple[str, ...]) -> str:
    """Returns the path of a run's plan. The name is a short checksum that is cheap to compute; the content says which
    run the plan belongs to."""
    name = binascii.crc32("\0".join((str(os.geteuid()), spec, task, *envs)).encode("utf-8", "surrogateescape"))
    return f"{store}/plans/{name:08x}.told"


def plan_version() -> tuple[object, ...]:
    """Returns what the meaning of a plan depends on: all that `fast_exec.plan_version` names, where plugins are found,
    and the kernel."""
    return (FORMAT, *fast_exec.plan_version(), tuple(sys.path), os.uname().release)


def switches(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns envtool's own variables that change the result: ENVTOOL_*, and CI, which makes a changed lock an
    error."""
    return sorted((name, value) for name, value in environ.items() if name.startswith("ENVTOOL_") or name == "CI")


def read_plan(store: str, spec: str, task: str, envs: tuple[str, ...]) -> dict[str, Any] | None:
    """Returns the plan of a run; None if there is none, or if anything that decided it has changed. `is_unchanged`
    compares the project's files."""
    path = plan_path(store, spec, task, envs)
    try:
        plan: dict[str, Any] = store_files.decode_with_checksum(store_files.read_regular_file(path))[0]
        if plan["version"] != plan_version() or (plan["spec"], plan["task"], plan["envs"]) != (spec, task, envs):
            return None
        if plan["switches"] != switches(os.environ) or any(
            passed_digests(row["passes"]) != row["passed"] for row in plan["rows"]
        ):
            return None
        if not all(fast_exec.stat_signature(watched_path) == state for watched_path, state in plan["watch"]):
            return None
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return None
    plan["place"] = path
    return plan


def passed_digests(patterns: tuple[str, ...]) -> dict[str, str]:
    """Returns the sha256 (hex) of the value of each variable that `pass:` lets through."""
    if not patterns:
        return {}
    import fnmatch
    from hashlib import sha256

    return {
        name: sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
        for name, value in os.environ.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def is_unchanged(plan: dict[str, Any], reports: tuple[str, ...] = (), cancel: int = -1) -> bool:
    """Returns whether the project's files, and those of this machine that a task can reach, are those of the plan.
    `reports` are files that this run writes, which do not count. Returns False at once when the descriptor `cancel`
    becomes readable."""
    from envtool.fs import beneath
    from envtool.project import snapshot
    from envtool.run import host_state

    try:
        beneath.hold_project(plan["root"], plan["identity"])
    except OSError:
        return False
    logs: tuple[str, ...] = ()
    if plan["logs"] or reports or _writes_to_file(1) or _writes_to_file(2):
        from envtool.project import own_logs

        logs = own_logs.find_all(plan["root"], reports)
    try:
        query = snapshot.start_query(plan["root"], plan["record"], logs)
        if git.is_git_visible(query.repository, plan["root"]) != plan["repository"] or not host_state.is_unchanged(
            *plan["machine"]
        ):  # git works
            snapshot.cancel_query(query)
            return False
        view = snapshot.finish_query(query, unchanged=True, cancel=cancel)
    except (snapshot.SnapshotError, git.RepositoryError):
        return False
    return view is not None and view.digest == plan["view"]


def _writes_to_file(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_mode & 0o170000 == 0o100000
    except OSError:
        return False


def leave_evidence(plan: dict[str, Any]) -> bool:
    """Writes the logs and statements of the cached results as a run would have left them, and marks the results as
    used. Returns False if that fails."""
    from envtool.project import rundir

    directory, note = rundir.open_run(plan["root"])
    plan["note"] = note
    try:
        for row in plan["rows"]:
            row["log"] = os.path.join(directory, row["copies"][0][1])
            for source, name in row["copies"]:
                with open(source, "rb") as file, rundir.create_file(os.path.join(directory, name)) as copy:
                    while piece := file.read(1 << 20):
                        copy.write(piece)
                os.utime(os.path.dirname(source))
        os.utime(plan["place"])
    except OSError:
        return False
    finally:
        rundir.close_run(plan["root"], directory)
    return True
