"""How much longer things take on this machine now than on an idle one."""

from __future__ import annotations

import os


def allowed(seconds: float) -> float:
    """Returns how long what takes less than `seconds` on an idle machine may take now: as much longer as there are more
    runnable processes for each processor, at this moment or (proc_loadavg(5)) over the last minute. For times that
    commands take which other tests run beside; where our own code has to be quick, measure its processor time."""
    with open("/proc/loadavg") as file:
        minute, _, _, processes, _ = file.read().split()
    others = max(float(minute), int(processes.partition("/")[0]) - 1)
    return seconds * (1 + others / (os.cpu_count() or 1))
