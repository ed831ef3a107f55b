"""Becomes the user of a step, whom the stack's own passwd and group files name. Few steps have one."""

from __future__ import annotations

import os

from envtool.container import rootfs, userns
from envtool.fs.passwd import explain_unmapped, find_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from envtool.container.userns import IdMaps


def become_user(ids: IdMaps, step: dict[str, Any]) -> int:
    """Become the user of a step, by the stack's own passwd and group files. Returns the user's id."""
    try:
        user = find_user(step["user"], rootfs.read_etc_file("/etc/passwd"), rootfs.read_etc_file("/etc/group"))
    except Exception as error:
        _exit_refused(str(error))
    if ids.mode != "single":
        try:
            userns.change_ids(user.uid, user.gid, user.groups)
        except OSError as error:
            reason = explain_unmapped(user.uid, user.gid) or error.strerror
            _exit_refused(f"user {step['user']} (id {user.uid}, group {user.gid}): {reason}")
    elif user.uid:
        _exit_refused(
            f"user `{step['user']}` (id {user.uid}) is not root, and containers here have a single user id:"
            " `envtool doctor` says how to have more"
        )
    step["env"].setdefault("HOME", user.home)
    return int(user.uid)


def _exit_refused(text: str) -> NoReturn:
    os.write(2, f"envtool: {text}\n".encode())
    os._exit(126)
