"""Hints for a failed command, from what it printed: what the container lacks. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from envtool.build import network_errors
from envtool.errors import closest_name
from envtool.fs.sizes import format_limit
from envtool.model import Limits

SPACE = re.compile(r"no space left on device|enospc|disk quota exceeded|edquot", re.IGNORECASE)
_QUOTE = "['\"`‘’]?"
_ABSENT = re.compile(
    r"^(?:.*: )?(?:line )?\d+: (?P<sh>[^\s:]+): (?:command )?not found$"  # dash, bash
    r"|^(?:/\S*/)?\w*sh: (?P<busybox>[^\s:]+): (?:command )?not found$"
    r"|^(?:.*: )?command not found: (?P<zsh>\S+)$"
    rf"|^(?:/\S*/)?env: {_QUOTE}(?P<env>[^\s'\"`‘’]+){_QUOTE}: No such file or directory$"
    r"|^envtool: (?P<argv>[^\n:]+): (?:not found|its interpreter or loader is not found)$",
    re.MULTILINE,
)
FILES = re.compile(r"too many open files|emfile", re.IGNORECASE)
NO_LIMITS: Limits = {}
READ_ONLY = re.compile(r"read-only file system|erofs", re.IGNORECASE)

_DENIED = re.compile(r"^.*(?:permission denied|eacces).*$", re.IGNORECASE | re.MULTILINE)
_PATH = re.compile(r"(?<![\w/.~])/[\w@+.~%=/-]+")
# What the task's user may write, or what no user may; modules of Node.js are a layer inside of the project.
_NOT_OF_LAYERS = ("/project/", "/tmp/", "/var/tmp/", "/home/", "/dev/", "/proc/", "/sys/")
_MODULES = "/node_modules/"


def missing_command(output: str) -> str:
    """Returns the last command that a shell did not find, empty where no shell reported one."""
    matches = [*_ABSENT.finditer(output)]
    return next((name for name in matches[-1].groups() if name), "")[:100] if matches else ""


def task_failure_hint(
    status: int,
    output: str,
    *,
    commands: str,
    network: bool,
    scratch: str,
    base: str,
    programs: Callable[[], Collection[str]],
    limits: Limits = NO_LIMITS,
    user: str = "root",
) -> str:
    """Returns a hint where the env rather than the project is probably at fault, else an empty text. `commands` is what
    was executed, as text; `programs` returns the names of all commands on the env's PATH, and is called only where a
    command was not found."""
    if not network and network_errors.needed_network(status, output, commands):
        return "it tried the network, and this env has none: `network: true` gives it this machine's"
    if scratch == "memory" and SPACE.search(output):
        if name := next((name for name in ("disk", "memory") if name in limits), ""):
            size = format_limit(int(limits[name].value) // (1 if name == "disk" else 2))
            return f"what it writes may take {size}: a larger `{name}` raises the limit ({limits[name].where})"
        return "it wrote more than half of this machine's memory: `scratch: disk` holds it in the store instead"
    if "files" in limits and FILES.search(output):
        files = limits["files"]
        return f"a process may have {files.value:g} files open: a larger `files` raises the limit ({files.where})"
    if base == "host" and READ_ONLY.search(output):
        return "the base `host` is read-only: a base like `{debian: bookworm}` can be written"
    if status == 127:
        return missing_command_hint(missing_command(output), base, programs())
    if user != "root" and (path := _denied_path(output, base)):
        return f"`{path}` is of a layer, which only root may write: with `user: root` the task may, until it ends"
    return ""


def _denied_path(output: str, base: str) -> str:
    """Returns the last path of a layer that a command was not permitted to write, empty without one."""
    paths: list[str] = [
        of_line[-1] for line in _DENIED.findall(output) if (of_line := _PATH.findall(line))
    ]  # a shell's own path is first
    for path in reversed(paths):
        if path.startswith("/project/") and _MODULES in path:
            return path[:200]
        if path.count("/") > 1 and not f"{path}/".startswith(_NOT_OF_LAYERS):
            return "" if base == "host" and not path.startswith("/opt/") else path[:200]
    return ""


def missing_command_hint(name: str, base: str, programs: Collection[str]) -> str:
    """Returns what to do about a command that is not there, as far as the spec can change it."""
    if "/" in name:
        return f"`{name}` is not there, or what its first line (`#!`) names is not in this env"
    text = f"`{name}` is not in this env" if name else "a command is not in this env"
    pip_programs = _PIP_PROGRAMS if "python3" in programs else ()
    closest = closest_name(name, (*programs, *pip_programs), 0.7)
    suggestion = f"; did you mean `{closest}`?" if closest and closest != name else ":"
    if closest in pip_programs and closest not in programs:
        return f"{text}{suggestion} `pip: [{closest}]` installs it (with `language: python`: `packages: [{closest}]`)"
    if closest:
        return f"{text}{suggestion}"
    if base == "host":
        return (
            f"{text}, nor on this machine: install it here, or take `base: {{debian: bookworm}}` and `apt: [PACKAGE]`"
        )
    if "apt-get" in programs:
        return f"{text}: install it in a layer, `apt: [PACKAGE]`"
    return f"{text}: install it in a `run:` layer, or use another base"


_PIP_PROGRAMS = frozenset(
    ("pytest", "tox", "nox", "ruff", "mypy", "black", "flake8", "coverage", "pylint", "sphinx-build")
)


def build_failure_hint(status: int, output: str, *, kind: str, commands: str, base: str, network: bool = False) -> str:
    """Returns the hint for a layer of a kind whose commands failed; `network`: they had the network."""
    if not network and network_errors.needed_network(status, output, commands, index=kind in ("run", "RUN")):
        if kind == "RUN":
            return "this RUN has no network: `--network=none` takes it away"
        return "builds have no network: a `run` layer may ask for it with `network: true`"
    if base == "host" and READ_ONLY.search(output):
        return "the base `host` is read-only: write below /opt, or use a base like `{debian: bookworm}`"
    if status == 127:
        command = f"`{name}`" if (name := missing_command(output)) else "the command"
        return f"{command} is not in this stack: add the layer that installs it before this one"
    return ""
