"""What runs containers and works on the files of their ids. What builds layers and runs tasks gets a `Runner` with its
Context (build/context.py) and calls nothing else of this package for it.

`LocalRunner` is this machine's kernel. `testing.FakeRunner` needs none. A runner for another host or a virtual machine
(run/remote.py) will have the same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from envtool.container import userns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from mmap import mmap

    from envtool.container.program import Program
    from envtool.container.supervisor import Exit


class Runner(Protocol):
    """Runs containers. Its methods are called by several threads at once."""

    @property
    def single_id(self) -> bool:
        """Whether containers have one id only, so that no file can be given to another owner."""
        ...

    def run(
        self,
        program: Program,
        *,
        stdout: int,
        stderr: int,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[mmap] = (),
    ) -> Exit:
        """Runs a container to its end; the arguments are those of `supervisor.Container`. Raises SandboxError where it
        could not be made."""
        ...

    def as_root(self, function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1) -> Any:
        """Calls a function as the root of containers, outside of any container: see `userns.run_as_root`. Trees of the
        store are read, captured, packed and unpacked so."""
        ...

    def remove(self, path: str) -> None:
        """Deletes a tree that ids of containers own: see `userns.remove_as_root`."""
        ...

    def give_to_root(self, path: str) -> None:
        """Lets the root of containers write to a directory that the caller has just made."""
        ...


class LocalRunner:
    """Runs containers by the kernel of this machine."""

    @property
    def single_id(self) -> bool:
        """Whether containers have one id only."""
        return userns.caller_ids().mode == "single"

    def run(
        self,
        program: Program,
        *,
        stdout: int,
        stderr: int,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[mmap] = (),
    ) -> Exit:
        """See Runner."""
        from envtool.container import supervisor

        return supervisor.run(
            program.to_dict(),
            stdout=stdout,
            stderr=stderr,
            cancel=cancel,
            outputs_to=outputs_to,
            protected=protected,
            counters=counters,
        )

    def as_root(self, function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1) -> Any:
        """See Runner."""
        return userns.run_as_root(function, *arguments, at=at, cancel=cancel)

    def remove(self, path: str) -> None:
        """See Runner."""
        userns.remove_as_root(path)

    def give_to_root(self, path: str) -> None:
        """See Runner."""
        userns.give_to_root(path)
