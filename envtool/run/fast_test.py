"""The plan cache of `envtool test`, read: whether every task of it passed before and nothing that decided so changed.

The warm way of an unchanged project. What it trusts was written by `ready.unchanged`: the long way's own answer, the
stat signatures of every file that decided it, the variables that did, and the digest of the project. Whatever is not
exactly as it was sends the caller the long way, which alone knows words for anything else.
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

FORMAT = 7


def plan_path(store: str, spec: str, task: str, envs: tuple[str, ...]) -> str:
    """Where the plan of a run is kept. The name is short and cheap; the content says whose it is."""
    name = binascii.crc32("\0".join((str(os.geteuid()), spec, task, *envs)).encode("utf-8", "surrogateescape"))
    return f"{store}/plans/{name:08x}.told"


def plan_version() -> tuple[object, ...]:
    """What wrote a plan, where it looked for plugins, and the kernel."""
    return (FORMAT, *fast_exec.plan_version(), tuple(sys.path), os.uname().release)


def switches(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables of ours that change what the long way does: ENVTOOL_*, and CI, in which a lock has to fit."""
    return sorted((name, value) for name, value in environ.items() if name.startswith("ENVTOOL_") or name == "CI")


def read_plan(store: str, spec: str, task: str, envs: tuple[str, ...]) -> dict[str, Any] | None:
    """The plan of a run, None when there is none or anything that decided it has changed. The project's files are for
    `stands` to look at."""
    place = plan_path(store, spec, task, envs)
    try:
        plan: dict[str, Any] = store_files.decode_with_checksum(store_files.read_regular_file(place))[0]
        if plan["version"] != plan_version() or (plan["spec"], plan["task"], plan["envs"]) != (spec, task, envs):
            return None
        if plan["switches"] != switches(os.environ) or any(
            passed_digests(each["passes"]) != each["passed"] for each in plan["rows"]
        ):
            return None
        if not all(fast_exec.stat_signature(watched) == state for watched, state in plan["watch"]):
            return None
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return None
    plan["place"] = place
    return plan


def passed_digests(patterns: tuple[str, ...]) -> dict[str, str]:
    """sha256 of the value of each variable that `pass:` lets through."""
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
    """Whether the project's files, and those of this machine that a task can reach, are those of the plan. Not known,
    and so False, at once when the descriptor `cancel` becomes readable. `reports` are files that this run writes."""
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
        asked = snapshot.start_query(plan["root"], plan["record"], logs)
        if git.is_git_visible(asked.repository, plan["root"]) != plan["repository"] or not host_state.is_unchanged(
            *plan["machine"]
        ):  # git works
            snapshot.cancel_query(asked)
            return False
        found = snapshot.finish_query(asked, unchanged=True, cancel=cancel)
    except (snapshot.SnapshotError, git.RepositoryError):
        return False
    return found is not None and found.digest == plan["view"]


def _writes_to_file(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_mode & 0o170000 == 0o100000
    except OSError:
        return False


def leave_evidence(plan: dict[str, Any]) -> bool:
    """Leave the remembered evidence where a run would have left its own, and note that the results were of use. False
    where that cannot be."""
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
