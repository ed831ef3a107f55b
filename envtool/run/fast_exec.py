"""The plan cache, read: one small file tells whether nothing changed, and then what to start.

This is the inner loop: a warm `envtool exec` imports this module, the container's, and nothing else of ours. What it
trusts was written by `ready.py`; whatever is not exactly as it was then sends the caller the long way.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import sys

from envtool import __version__
from envtool.fs import store_files
from envtool.project import git

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 10
# No login shell: /etc/profile would set another PATH. What interactive shells read may do so, too: at the first prompt
# it is the env's.
SHELL = (
    "command -v bash >/dev/null || exec sh\n"
    '[ ! -t 0 ] || export ENVTOOL_PATH="$PATH"'
    " PROMPT_COMMAND='PATH=$ENVTOOL_PATH; unset ENVTOOL_PATH PROMPT_COMMAND'\n"
    "exec bash"
)
SIGNING_KEY = "ENVTOOL_CACHE_KEY"  # gate.py has it too; that module is not for here


def plan_path(store: str, spec: str, env: str) -> str:
    """Where the plan of an env is kept. The name is short and cheap; the content says whose it is."""
    name = binascii.crc32(f"{os.geteuid()}\0{spec}\0{env}".encode("utf-8", "surrogateescape"))
    return f"{store}/plans/{name:08x}"


def stat_signature(place: str) -> tuple[int, ...]:
    """How a path stands: device, inode, mode, size, mtime and ctime (ns); empty when there is nothing."""
    try:
        found = os.stat(place)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_plan(store: str, spec: str, env: str) -> dict[str, Any] | None:
    """The plan of an env, None when there is none or anything that decided it has changed. Its layers are held until
    `release`, by the descriptors under "held": that they are still there is looked at after that."""
    place = plan_path(store, spec, env)
    held: list[int] = []
    try:
        plan: dict[str, Any] = store_files.decode_with_checksum(store_files.read_regular_file(place))[0]
        if plan["version"] != plan_version() or plan["spec"] != spec or plan["env"] != env:
            return None
        held.extend(_hold(lock) for lock in plan["locks"])
        if all(stat_signature(watched) == state for watched, state in plan["watch"]):
            plan["let"] = select_passed(plan)
            if plan["let"] is None:  # the long way has the words for what is not allowed
                return None
            os.utime(place)  # by this gc knows when its layers were used last: one call a start, not one a layer
            plan["held"], held = held, []
            return plan
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        pass
    finally:
        for descriptor in held:
            os.close(descriptor)
    return None


def release(plan: dict[str, Any]) -> None:
    """Let go of the layers of a plan that was read: gc may take them now."""
    for descriptor in plan.pop("held"):
        os.close(descriptor)


def plan_version() -> tuple[object, ...]:
    """What wrote a plan: another envtool or another Python may mean other things by it."""
    return (FORMAT, __version__, sys.version_info[:3], os.geteuid(), permissions_path())


def permissions_path() -> str:
    """Where the caller says what projects may have of this machine (app/permissions.py reads it)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return f"{base if base.startswith('/') else os.path.expanduser('~/.config')}/envtool/config.yaml"


def select_passed(plan: dict[str, Any]) -> dict[str, str] | None:
    """The caller's variables that `pass:` means; None where one of them is not allowed."""
    if not plan["passed"]:
        return {}
    import fnmatch

    found = {}
    for name, value in os.environ.items():
        if name != SIGNING_KEY and any(fnmatch.fnmatchcase(name, pattern) for pattern in plan["passed"]):
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in plan["allowed"]):
                return None
            found[name] = value
    return found


def start_gits(plan: dict[str, Any]) -> list[tuple[str, git.Git]]:
    """Start git in each repository of the project: what it ignores is read by `hidden`, when that is needed. Raises
    git.Failure."""
    running: list[tuple[str, git.Git]] = []
    outer = git.find_repository(plan["project"]) if plan["repositories"] else None
    try:
        for prefix, directory in plan["repositories"]:
            repository = git.find_nested_repository(outer, directory) if prefix and outer else outer
            running.append((prefix, git.start_git(repository, directory, git.IGNORED)))
    except BaseException:
        for _, each in running:
            each.drop()
        raise
    return running


def list_hidden(plan: dict[str, Any], running: list[tuple[str, git.Git]], cancel: int = -1) -> tuple[str, ...]:
    """What git ignores now, or without git what tools made. Raises git.Failure, git.Stopped when the descriptor
    `cancel` is readable."""
    found = {*plan["hidden"]}
    if not plan["repositories"]:
        found.update(_tool_directories(plan["project"]))
    try:
        for prefix, each in running:
            listing = each.end(cancel)
            git.check_names(listing, each.repository)
            found.update(prefix + os.fsdecode(name.rstrip(b"/")) for name in listing.split(b"\0")[:-1])
    finally:
        for _, each in running:
            each.drop()
    return tuple(sorted(found))


def _tool_directories(root: str) -> list[str]:
    from envtool.fs.beneath import open_top
    from envtool.project.walk import walk_files

    try:
        top = open_top(root)
    except OSError:  # who starts the container will say so
        return []
    try:
        return walk_files(top, lenient=True)[1]
    finally:
        os.close(top)


def environment(plan: dict[str, Any], *, terminal: bool) -> dict[str, str]:
    """The environment of a command, with what `pass:` lets through of the caller's."""
    variables = dict(plan["environment"])
    if terminal:
        variables["TERM"] = os.environ.get("TERM", "dumb")
    variables.update(plan["let"])
    return variables


def launch(plan: dict[str, Any], argv: tuple[str, ...], *, terminal: bool, cancel: int) -> int:
    """Run a command (none: a shell) in the container of a plan; its status, 130 when `cancel` ended it. Its
    layers are held by the caller, before and after: one plan may be launched as often as is liked. Raises SandboxError,
    git.Failure when git cannot say what is hidden."""
    running = start_gits(plan)  # git works while we import
    from envtool.container import supervisor

    try:
        ignored = list_hidden(plan, running, cancel)
    except git.GitStoppedError:
        return 130
    if running and running[0][1].repository.directory != plan["git"]:
        raise git.RepositoryError(f"{plan['git']} is the project's git directory no more")
    program = dict(plan["program"])
    program["hidden"] = ignored
    step = dict(program["steps"][0])
    step["argv"] = argv or ("/bin/sh", "-c", SHELL)
    step["env"] = environment(plan, terminal=terminal)
    program["steps"] = (step,)
    ended = supervisor.run(program, stdin=0, stdout=1, stderr=2, terminal=terminal, cancel=cancel)
    return 130 if ended.interrupted else ended.status


def _hold(place: str) -> int:
    # a shared lock on each layer: no gc may take it while it is mounted
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
