"""What `envtool verify` varies between two builds of one layer: it must not change the layer."""

from __future__ import annotations

from dataclasses import replace

from envtool.container import program
from envtool.container.program import BindMount, Program
from envtool.lazy_dataclass import dataclass

FAKETIME = "/run/envtool/libfaketime.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildVariation:
    """`ahead` (seconds) needs `faketime`, the path of a libfaketime for the container's C library."""

    inside: program.ContainerVariation
    backward: bool = False  # the build's files are staged in the opposite order
    faketime: str = ""
    ahead: int = 0

    def apply_to(self, container: Program) -> Program:
        """Returns the container with this variation."""
        varied = replace(container, vary=self.inside)
        if not self.faketime:
            return varied
        clock = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME": f"{self.ahead:+d}",
            "NO_FAKE_STAT": "1",  # files keep the kernel's times: a capture clamps them
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }
        binds = (*varied.binds, BindMount(source=self.faketime, target=FAKETIME))
        steps = tuple(replace(step, env={**step.env, **clock}) if step.bare else step for step in varied.steps)
        return replace(varied, binds=binds, env={**varied.env, **clock}, steps=steps)
