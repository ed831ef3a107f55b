"""Turns errors of the kernel into sentences that say what to do. Imported only when something failed."""

from __future__ import annotations

import errno
import os

from envtool.container.syscalls import kernel_version
from envtool.errors import SandboxError

_STAGES = {  # stage -> message, code, hint
    "join": (
        "the other container's namespaces cannot be joined: {}",
        "container-join",
        "with a single user id, a container of root and one of a user cannot share namespaces",
    ),
    "ids": (
        "the container's user ids could not be set: {}",
        "ids",
        "look at /etc/subuid and /etc/subgid; `envtool doctor` says more",
    ),
    "cwd": ("cannot enter the working directory {}", "cwd", ""),
    "broken": ("the container was broken off: {}", "container-broken", "run it again"),
}


def _read_setting(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def sandbox_error(stage: str, number: int, text: str) -> SandboxError:
    """Returns the SandboxError for the error `number` (errno) at `stage` ("unshare", "ids", "mounts", "source" …)."""
    refused = number in (errno.EPERM, errno.EACCES)
    if stage == "unshare" and number == errno.ENOSPC:
        return SandboxError(
            "no more user namespaces: the limit of this machine or user is reached",
            code="userns-limit",
            hint="as root: sysctl -w user.max_user_namespaces=65536",
        )
    if number == errno.ENOSYS or (stage == "unshare" and number == errno.EINVAL):
        return SandboxError(
            f"this kernel ({os.uname().release}) lacks a call that containers need: {text}",
            code="kernel-old",
            hint="containers need Linux 5.12 with user namespaces; see `envtool doctor`",
        )
    if refused and stage in ("unshare", "ids", "mounts"):
        if _read_setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
            return SandboxError(
                "user namespaces are refused to ordinary users (kernel.unprivileged_userns_clone=0)",
                code="userns-refused",
                hint="as root: sysctl -w kernel.unprivileged_userns_clone=1",
            )
        if os.geteuid() and _read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
            return SandboxError(
                "user namespaces are refused to ordinary programs (AppArmor)",
                code="userns-apparmor",
                hint="as root: envtool doctor --print apparmor-profile > /etc/apparmor.d/envtool && "
                "apparmor_parser -r /etc/apparmor.d/envtool",
            )
    if stage == "mounts" and "overlay" in text and number == errno.EINVAL and kernel_version() < (6, 6):
        return SandboxError(
            "this kernel cannot keep a container's writes in memory: tmpfs lacks user attributes before Linux 6.6",
            code="tmpfs-upper",
            hint="set `scratch: disk` for the env",
        )
    if stage in _NETWORK_STAGES:
        return _network_error(stage, number, text)
    if stage == "unshare":
        return SandboxError(f"user namespaces are refused here: {text}", code="userns-refused", hint="envtool doctor")
    if stage in _STAGES:
        before, code, hint = _STAGES[stage]
        return SandboxError(before.format(text), code=code, hint=hint)
    if stage == "source":
        hint = "run it again" if "moved or replaced" in text else ""
        return SandboxError(f"cannot show {text} in the container", code="source", hint=hint)
    if number == errno.EROFS:
        return SandboxError(
            f"what is mounted needs a place that is not there, in a tree that is read-only: {text}",
            code=f"container-{stage}",
            hint="make it where that tree comes from (the context, a stage, the checkout), or mount that tree as `rw`",
        )
    return SandboxError(f"the container could not be made: {text}", code=f"container-{stage}", hint="envtool doctor")


_NETWORK_STAGES = ("bridge", "veth", "address", "rule", "gateway", "network", "network-lost")


def _network_error(stage: str, number: int, text: str) -> SandboxError:
    """Returns the error of the network of a run's containers (pod.py)."""
    if stage in ("bridge", "veth") and number == errno.EOPNOTSUPP:
        return SandboxError(
            f"this kernel ({os.uname().release}) has no {stage} devices, which a network of containers needs",
            code="network-kernel",
            hint=f"as root: modprobe {stage}; a kernel without CONFIG_{stage.upper()} cannot run services",
        )
    if stage == "rule" and number == errno.EOPNOTSUPP:
        return SandboxError(
            f"this kernel ({os.uname().release}) has no rules of routing, which a network policy needs",
            code="network-kernel",
            hint="a kernel without CONFIG_IP_MULTIPLE_TABLES cannot have one",
        )
    if stage == "network-lost":
        return SandboxError(f"the containers' network was broken off: {text}", code="network-lost", hint="run it again")
    return SandboxError(f"the containers' network could not be made: {text}", code="network", hint="envtool doctor")
