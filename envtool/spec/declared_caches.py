"""Reads `caches:` of envs and tasks: directories that a task keeps from run to run. Few specs have them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from envtool.model import PROJECT, CacheUse
from envtool.spec import scalar_types
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

HOMES = {"user": "/home/envtool", "root": "/root"}
# Where no cache may be: what the kernel and the stack have, and envtool's own mounts; of /usr only /usr/local is free.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys")
# Directories that hold more than one thing: a cache may be below them, and cannot be all of them.
WHOLE = ("/", "/home", "/home/envtool", "/usr/local", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp", PROJECT)


def render_caches(
    work: LoadContext,
    nodes: Sequence[YamlNode | None],
    scope: Scope,
    user: str,
    directory: str,
    outputs: Mapping[str, YamlNode],
) -> tuple[CacheUse, ...]:
    """Returns the caches of a task: those of its env and its own (`nodes`), each path once. `outputs` are the patterns
    of its outputs, with their places. Notes paths that no cache may have, and what lies in another one."""
    uses: dict[str, tuple[CacheUse, YamlNode]] = {}
    for node in nodes:
        for item in node.items() if node is not None else ():
            if not isinstance(item.value, str):
                continue
            path = work.text(item, scope)
            target, why = resolve_target(path, user, directory)
            if why:
                if path or not is_template(item.value):
                    hint = "write a path in the project, below `~`, or an absolute one, as in ~/.cache/ccache"
                    work.problems.add(item, f"no cache can be at `{path}`: {why}", code="cache-path", hint=hint)
            elif target not in uses:
                uses[target] = (CacheUse(target, item.where), item)
    _check_apart(work, uses)
    for pattern, node in outputs.items():
        inside = next((target for target in uses if f"{PROJECT}/{pattern}/".startswith(f"{target}/")), "")
        if inside:
            message = f"the output `{pattern}` lies in the cache `{inside}`, whose content is no part of a result"
            hint = "let the task copy what it makes to another place, and name that as the output"
            work.problems.add(node, message, code="cache-output", hint=hint)
    return tuple(use for use, _ in uses.values())


def resolve_target(path: str, user: str, directory: str) -> tuple[str, str]:
    """Returns the absolute path of a cache in the container, and "" or the reason why it cannot be there."""
    if not path or {"\0", "\n"} & {*path}:
        return "", "it is no path"
    if "$" in path:
        return "", "variables are not read in it"
    if {"*", "?"} & {*path}:
        return "", "it is one directory, and no pattern"
    if path == "~" or path.startswith("~/"):
        target = posixpath.normpath(f"{HOMES[user]}/{path[2:]}")
        inside = target.startswith(f"{HOMES[user]}/")
        return target, "" if inside else "it is not below the home"
    if path.startswith("~"):
        return "", "only `~` itself, the home of the task's user, is known"
    if not path.startswith("/"):
        relative = scalar_types.resolve_project_path(path, directory)
        if relative is None:
            return "", "it leaves the project"
        if ".git" in relative.casefold().split("/") or relative.casefold().split("/")[0] == ".envtool":
            return "", "git and envtool obey what is in it"
        target = posixpath.normpath(f"{PROJECT}/{relative}")
        return target, "it is all of the project" if target == PROJECT else ""
    return _resolve_absolute(path)


def _resolve_absolute(path: str) -> tuple[str, str]:
    target = posixpath.normpath(f"/{path.lstrip('/')}")
    parts = target.split("/")
    if {"..", "."} & {*path.split("/")}:
        return "", "it has `.` or `..`"
    if target in WHOLE or target in HOMES.values() or len(parts) < 3:
        return "", f"{target} has more than a cache in it"
    if any(f"{target}/".startswith(f"{top}/") for top in SYSTEM):
        return "", f"/{parts[1]} is the system's"
    if parts[1] == "usr" and parts[2] != "local":
        return "", "/usr is the system's"
    if target.startswith(f"{PROJECT}/") and {".git", ".envtool"} & {part.casefold() for part in parts}:
        return "", "git and envtool obey what is in it"
    return target, ""


def _check_apart(work: LoadContext, uses: Mapping[str, tuple[CacheUse, YamlNode]]) -> None:
    """Notes each cache that lies in another one."""
    for target, (_, node) in uses.items():
        outer = next((other for other in uses if other != target and target.startswith(f"{other}/")), "")
        if outer:
            message = f"the cache `{target}` lies in the cache `{outer}`"
            work.problems.add(node, message, code="cache-path", hint="remove one of them")
