"""Checks before anything starts that this machine can enforce the limits that the spec or the command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.errors import SandboxError
from envtool.events import Emit, Noted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.model import Limits


def check_limits(owner: str, limits: Limits, emit: Emit, *, on_disk: bool = False) -> None:
    """Emits a note for each limit of `owner` (in words) that cannot be enforced here, if it may be left out. `on_disk`:
    what its container writes is on a disk. Raises SandboxError (code limit) for one that must be enforced."""
    if not limits:
        return
    from envtool.container import cgroups

    how = cgroups.enforcement()
    for name, reason in _unenforced(limits, how, on_disk=on_disk).items():
        limit = limits[name]
        message = f"{owner}: its limit `{name}` ({limit.where}) cannot be enforced here: {reason}"
        if limit.must:
            hint = "`limits: {enforce: try}` makes this a warning; `envtool doctor` lists what can be enforced here"
            raise SandboxError(message, code="limit", hint=hint)
        emit(Noted(text=message))


def _unenforced(limits: Limits, how: Mapping[str, str], *, on_disk: bool) -> dict[str, str]:
    """Returns the reasons by the limits' names."""
    reasons = {name: "there is no cgroup that it may use" for name in limits if not how[name]}
    if on_disk and "disk" in limits:
        reasons["disk"] = "what it writes is on this machine's disk, not in memory (`scratch: memory`)"
    return reasons
