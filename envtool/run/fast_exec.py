"""Reads the plan cache: one small file from which envtool finds that nothing changed, and starts a container.

This is the inner loop: a warm `envtool exec` imports this module, the container's modules, and no others of envtool. It
trusts what fast_plan.py wrote. If anything differs from that, the caller has to read the spec and build the container
anew.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import sys

from envtool import __version__
from envtool.fs import store_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envtool.container.messages import Exit
    from envtool.project import git

FORMAT = 12
# Not a login shell: /etc/profile would set another PATH. The files that interactive shells read may do so, too: so the
# first prompt restores the env's PATH.
SHELL = (
    "command -v bash >/dev/null || exec sh\n"
    '[ ! -t 0 ] || export ENVTOOL_PATH="$PATH"'
    " PROMPT_COMMAND='PATH=$ENVTOOL_PATH; unset ENVTOOL_PATH PROMPT_COMMAND'\n"
    "exec bash"
)
SIGNING_KEY = "ENVTOOL_CACHE_KEY"  # as in project/host_access.py, which the fast path must not import
NO_PLUGINS = "ENVTOOL_NO_PLUGINS"  # as in distributions.py, likewise


def store_directory() -> str:
    """Returns the directory that store.store.store_directory() returns; empty where that raises."""
    configured = os.environ.get("ENVTOOL_STORE", "")
    if configured:
        return os.path.normpath(configured) if os.path.isabs(configured) else ""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return ""
        cache = f"{home}/.cache"
    return f"{cache}/envtool"


def plan_path(store: str, spec: str, env: str) -> str:
    """Returns the path of an env's plan. The name is a short checksum that is cheap to compute; the content says which
    env the plan belongs to."""
    name = binascii.crc32(f"{os.geteuid()}\0{spec}\0{env}".encode("utf-8", "surrogateescape"))
    return f"{store}/plans/{name:08x}"


def stat_signature(path: str) -> tuple[int, ...]:
    """Returns device, inode, mode, size, mtime and ctime (ns) of a path; empty if nothing is there."""
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def read_plan(store: str, spec: str, env: str) -> dict[str, Any] | None:
    """Returns the plan of an env; None if there is none, or if anything that decided it has changed. Locks its layers
    until `release`, by the descriptors under "held"; the caller checks after that whether the layers still exist."""
    path = plan_path(store, spec, env)
    descriptors: list[int] = []
    try:
        plan: dict[str, Any] = store_files.decode_with_checksum(store_files.read_regular_file(path))[0]
        if plan["version"] != plan_version() or plan["spec"] != spec or plan["env"] != env:
            return None
        descriptors.extend(hold(lock) for lock in plan["locks"])
        if all(stat_signature(watched_path) == state for watched_path, state in plan["watch"]):
            plan["let"] = select_passed(plan)
            if plan["let"] is None:  # a variable is not allowed: the caller's full path has the error message
                return None
            os.utime(path)  # tells gc when the layers were used last: one call per start, not one per layer
            plan["held"], descriptors = descriptors, []
            return plan
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        pass
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def release(plan: dict[str, Any]) -> None:
    """Unlocks the layers of a plan: gc may remove them now."""
    for descriptor in plan.pop("held"):
        os.close(descriptor)


def plan_version() -> tuple[object, ...]:
    """Returns what the meaning of a plan depends on: the version of envtool, Python, the user, their configuration and
    the plugins that they leave out."""
    return (
        FORMAT, __version__, sys.version_info[:3], os.geteuid(), permissions_path(), os.environ.get(NO_PLUGINS, ""),
    )  # fmt: skip


def permissions_path() -> str:
    """Returns the path of the file in which the caller says what projects may use of this machine (app/permissions.py
    reads it)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return f"{base if base.startswith('/') else os.path.expanduser('~/.config')}/envtool/config.yaml"


def select_passed(plan: dict[str, Any]) -> dict[str, str] | None:
    """Returns the caller's variables that match `pass:`; None if one of them is not allowed."""
    if not plan["passed"]:
        return {}
    import fnmatch

    passed = {}
    for name, value in os.environ.items():
        if name != SIGNING_KEY and any(fnmatch.fnmatchcase(name, pattern) for pattern in plan["passed"]):
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in plan["allowed"]):
                return None
            passed[name] = value
    return passed


def start_gits(plan: dict[str, Any]) -> dict[str, git.Git]:
    """Starts git in each repository of the project, to list ignored files; `list_hidden` reads the answers. Raises
    git.RepositoryError."""
    root, repositories = plan["project"], plan["repositories"]
    if not repositories:
        return {}
    from envtool.project import git

    outer = git.find_repository(root)
    found = git.nested_repositories(outer, root, (prefix for prefix, _ in repositories))
    if len(found) != len(repositories):
        raise git.RepositoryError(f"a repository in {root} is gone")
    try:
        return git.start_all(root, root, found, git.IGNORED)
    except OSError as error:
        raise git.RepositoryError(f"{root}: {error.strerror}") from error


def list_hidden(plan: dict[str, Any], running: dict[str, git.Git], cancel: int = -1) -> tuple[str, ...]:
    """Returns the paths that git ignores now, or without git the directories that tools made. Raises
    git.RepositoryError, and git.GitStoppedError if the descriptor `cancel` is readable."""
    hidden = {*plan["hidden"]}
    if plan["repositories"]:
        from envtool.project import git

        hidden |= {*git.read_ignored(running, cancel)}
    else:
        hidden |= {*_tool_directories(plan["project"])}
    return tuple(sorted(hidden))


def _tool_directories(root: str) -> list[str]:
    from envtool.fs.beneath import open_top
    from envtool.project.walk import walk_files

    try:
        top = open_top(root)
    except OSError:  # the start of the container reports the error
        return []
    try:
        return walk_files(top, lenient=True)[1]
    finally:
        os.close(top)


def environment(plan: dict[str, Any], *, terminal: bool) -> dict[str, str]:
    """Returns the environment of a command, with the caller's variables that `pass:` lets through."""
    variables = dict(plan["environment"])
    if terminal:
        variables["TERM"] = os.environ.get("TERM", "dumb")
    variables.update(plan["let"])
    return variables


def launch(plan: dict[str, Any], argv: tuple[str, ...], *, terminal: bool, cancel: int, joins: Any = None) -> int:
    """Runs a command (empty: a shell) in the container of a plan. Returns its exit status; 130 if `cancel` ended it.
    The container is made in the namespaces `joins` (container/join.py), if its plan is for a pod. The caller holds the
    layers. One plan may be launched any number of times. Raises SandboxError, and git.RepositoryError if git cannot
    list the hidden files."""
    running = start_gits(plan)  # git works while we import
    from envtool.container import supervisor

    ignored = _list_hidden_now(plan, running, cancel)
    if ignored is None:
        return 130
    program = dict(plan["program"])
    program["hidden"] = () if plan.get("writable") else ignored
    step = dict(program["steps"][0])
    step["argv"] = argv or ("/bin/sh", "-c", SHELL)
    step["env"] = environment(plan, terminal=terminal)
    program["steps"] = (step,)
    outcome = supervisor.run(program, stdin=0, stdout=1, stderr=2, terminal=terminal, cancel=cancel, joins=joins)
    if outcome.exceeded is not None or outcome.timed_out:
        _report_limit(outcome, plan["program"])
    return 130 if outcome.interrupted else outcome.status


def _list_hidden_now(plan: dict[str, Any], running: dict[str, git.Git], cancel: int) -> tuple[str, ...] | None:
    """Returns what `list_hidden` does, of the repository that the plan is of; None if `cancel` is readable."""
    if not running:
        return list_hidden(plan, running)
    from envtool.project import git

    try:
        hidden = list_hidden(plan, running, cancel)
    except git.GitStoppedError:
        return None
    if running[""].repository.directory != plan["git"]:
        raise git.RepositoryError(f"{plan['git']} is the project's git directory no more")
    return hidden


def _report_limit(outcome: Exit, program: dict[str, Any]) -> None:
    """Says on standard error which limit ended a command."""
    from envtool.build.limit_messages import describe_end
    from envtool.model import Limit

    limits = {name: Limit(*limit) for name, limit in program.get("limits", {}).items()}
    sys.stderr.write(f"envtool: {describe_end(outcome, limits, program['timeout'])}\n")


def hold(path: str) -> int:
    """Returns a descriptor with a shared lock, of a layer: gc must not remove it while it is mounted. Raises
    OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
