"""What differs between the two builds of a comparison: all that can differ outside of a container, and must not get
in."""

from __future__ import annotations

import os
from collections.abc import Mapping

from envtool.build.variation import BuildVariation
from envtool.container import program
from envtool.lazy_dataclass import dataclass

DAY = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationSide:
    """One of the two builds. `directory` is the path of its work below the scratch directory, and so part of its store
    path, build path and checkout path."""

    directory: str
    umask: int
    variables: Mapping[str, str]
    container: program.ContainerVariation
    backward: bool = False
    ahead: int = 0  # seconds

    def environment(self, temp_directory: str) -> dict[str, str]:
        """Returns the caller's environment (proxies, certificate authorities) with the variables replaced that must not
        matter."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON", "LD_"))}
        return inherited | dict(self.variables) | {"TMPDIR": temp_directory}

    def variation(self, faketime: str) -> BuildVariation:
        """Returns what differs for the container. `faketime` is the path of the library, "" if there is none."""
        ahead = self.ahead if faketime else 0
        return BuildVariation(
            inside=self.container, backward=self.backward, faketime=faketime if ahead else "", ahead=ahead
        )


FIRST = VariationSide(
    directory="1",
    umask=0o022,
    variables={
        "HOME": "/nonexistent/first",
        "USER": "first",
        "LOGNAME": "first",
        "LANG": "C",
        "LC_ALL": "C",
        "TZ": "Pacific/Kiritimati",
        "PYTHONHASHSEED": "1",
    },
    container=program.ContainerVariation(order="forward"),
)
SECOND = VariationSide(
    directory="a/longer path, ünd of other characters/2",
    umask=0o077,
    variables={
        "HOME": "/nonexistent/home/second",
        "USER": "second-user",
        "LOGNAME": "second-user",
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "America/St_Johns",
        "PYTHONHASHSEED": "22222",
    },
    container=program.ContainerVariation(order="backward", processors=1, pids=97),
    backward=True,
    ahead=400 * DAY + 5 * 3600 + 17,  # another year, month, weekday and hour
)
SIDES = (FIRST, SECOND)
