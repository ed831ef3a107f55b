"""A container's file systems as a list of operations, in the order in which rootfs.py applies them. Pure.

An operation is a tuple (kind, target, …) of plain values that marshal can store; `target` is the path inside that it
mounts or makes. No operation covers the target of an earlier one, unless a spec asks for that.

root      the overlay of layer trees, or the one directory, that becomes the root; always the first operation
proc      a proc file system of the container's own
sysfs     a read-only sysfs
dev       an empty directory in which devices work
empty     an empty directory of mode and owner, in the memory (or scratch directory) of all ephemeral writes
device    a device of this machine
devpts    a devpts of the container's own
mqueue    POSIX message queues of the container's own
symlink   a symlink
mask      hides a file or directory of the kernel
readonly  makes a part of the kernel's files read-only
project   the project: hidden paths left out, layer trees over it, ephemeral writes
checkout  the project itself, which is written to, with paths that are read-only
join      a directory of the root, at a path in the project too
copy      a copy of a file or tree of the root in the project, where the project has none
bind      a file or directory of this machine
hosts     /etc/hosts with the container's name
account   the root's /etc/passwd or /etc/group, with the task's user
resolver  this machine's /etc/resolv.conf
tree      layer trees, merged, read-only
cache     a writable directory of the store
task-cache a directory that a task keeps: trees that nobody changes, and one above for what is written
times     the times of files, as the container sees them
file      a file with this content
secret    a file with this content, in memory of its own
tmpfs     an empty directory in memory of its own
peek      a part of another tree
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from envtool.fs.sizes import format_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

Operation: TypeAlias = tuple[Any, ...]

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_MASKED_FILES = ("kcore", "keys", "timer_list", "latency_stats", "sched_debug", "kallsyms", "interrupts")
_MASKED_DIRECTORIES = ("/proc/scsi", "/proc/acpi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap")
_READONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def _kernel_files() -> Iterator[Operation]:
    for name in _DEVICES:
        yield ("device", f"/dev/{name}")
    yield ("devpts", "/dev/pts")
    yield ("empty", "/dev/shm", "shm", 0o1777, 0)
    yield ("mqueue", "/dev/mqueue")
    for name, link in _LINKS:
        yield ("symlink", f"/dev/{name}", link)
    for name in _MASKED_FILES:
        yield ("mask", f"/proc/{name}", False)
    for name in _READONLY_PROC:
        yield ("readonly", f"/proc/{name}")
    for path in _MASKED_DIRECTORIES:
        yield ("mask", path, True)


KERNEL_FILES: tuple[Operation, ...] = tuple(_kernel_files())  # below /dev, /proc and /sys, the same in each container


def describe_operation(operation: Operation) -> str:
    """Returns one line about an operation: its kind, its target and what else decides it."""
    kind, target, *values = operation
    return f"{kind!s:<8} {target} {_details(kind, values)}".rstrip()


def _details(kind: str, values: list[Any]) -> str:
    match kind, values:
        case "root", [lowers, upper, _, scratch, memory]:
            where = upper or scratch or "memory" + (f" of {format_limit(memory)}" if memory else "")
            return f"of {len(lowers)} tree{'s' * (len(lowers) != 1)}, writes in {where}"
        case (("dev" | "empty"), [_, mode, owner]):
            return f"{mode:04o}, of id {owner}"
        case "symlink", [link]:
            return f"to {link}"
        case "project", [source, _, layers, _, _]:
            covered = f", under {len(layers)} tree{'s' * (len(layers) != 1)}" if layers else ""
            return f"from {source}{covered}, writes are lost"
        case "checkout", [source, _, protected]:
            return f"from {source}, writable but for {len(protected)} paths"
        case (("join" | "copy"), [source, *_]):
            return f"from {source} of the root"
        case "bind", [source, readonly, mapped, _]:
            owned = ", of the user" if mapped or not readonly else ""
            return f"from {source}, {'read-only' if readonly else 'writable'}{owned}"
        case "hosts", [_, network, readonly]:
            return ", ".join(["with this machine's"] * bool(network) + ["writable"] * (not readonly))
        case "account", [line]:
            return f"with {line.decode().strip()}"
        case "tree", [lowers]:
            return f"of {len(lowers)} tree{'s' * (len(lowers) != 1)}, read-only"
        case "cache", [source, readonly, _]:
            return f"from {source}, {'read-only' if readonly else 'writable'}"
        case "task-cache", [lowers, draft]:
            return f"of {len(lowers)} tree{'s' * (len(lowers) != 1)}, writes in {draft}"
        case "times", [entries]:
            return f"of {len(entries)} files"
        case "file", [_, content, (mode, uid, gid)]:
            return f"of {len(content)} bytes, {mode:04o}, of ids {uid}:{gid}"
        case "secret", [_, _, (mode, uid, gid, owner)]:  # not even its size
            return f"of a caller's secret, in memory, {mode:04o}, of {owner or f'ids {uid}:{gid}'}"
        case "tmpfs", [size]:
            return f"of {format_limit(size)}" if size else ""
        case "peek", [_, tree, path, writable]:
            return f"from {path} of {tree}, {'writes are lost' if writable else 'read-only'}"
    return ""
