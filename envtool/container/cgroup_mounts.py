"""Shows a container its own cgroups, so that programs find the limits that they are under: JVMs, Go, Node.js and .NET
make their heaps and threads by them.

They look below /sys/fs/cgroup for what /proc/self/cgroup names. pid 1 makes a cgroup namespace once it is in the
container's cgroups: these are its roots, and those of others cannot be seen (cgroup_namespaces(7)). Imported only for a
container that a cgroup limits.
"""

from __future__ import annotations

import os

from envtool.container import mounts, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TARGET = "/sys/fs/cgroup"
_READ_ONLY = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC | mounts.RDONLY
UNIFIED = ""  # the hierarchy of v2, among the controllers of those of v1


def showing(hierarchies: tuple[str, ...]) -> Callable[[], None]:
    """Returns what pid 1 calls under the new root. `hierarchies`: the controllers of each, as in /proc/self/cgroup:
    "cpu,cpuacct"; UNIFIED for v2."""

    def show() -> None:
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        try:
            _mount(hierarchies)
        except OSError:  # a kernel without them, or an image's own /sys: what limits the container does so unseen
            pass

    return show


def _mount(hierarchies: tuple[str, ...]) -> None:
    if hierarchies == (UNIFIED,):
        mounts.attach(mounts.new_filesystem("cgroup2", _READ_ONLY), _TARGET)
        return
    found = {controllers or "unified": _new_hierarchy(controllers) for controllers in hierarchies}
    directory = mounts.new_filesystem("tmpfs", _READ_ONLY & ~mounts.RDONLY, mode="0755", size="4096")
    for name in found:
        os.mkdir(name, dir_fd=directory)
        for controller in name.split(",") if "," in name else ():
            os.symlink(name, controller, dir_fd=directory)
    mounts.set_attributes(directory, mounts.RDONLY)
    mounts.attach(directory, _TARGET)
    for name, descriptor in found.items():
        mounts.attach(descriptor, f"{_TARGET}/{name}")


def _new_hierarchy(controllers: str) -> int:
    """Returns a mount of a hierarchy that is there: it has the controllers that this machine gave it."""
    if controllers == UNIFIED:
        return mounts.new_filesystem("cgroup2", _READ_ONLY)
    return mounts.new_filesystem("cgroup", _READ_ONLY, *controllers.split(","))
