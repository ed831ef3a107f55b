"""Functions that steps run inside a container: from a function to the name that a `ContainerStep` has, and back.

The names are of modules of envtool that are meant for it, or of the package of an installed plugin, together with its
version: a process that has another version does not have the same function. A function of any other module (of a kind
that a test has made) has a name too, but only this process, which has loaded its module already, takes it.
"""

from __future__ import annotations

import codecs
import functools
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from envtool import __version__, distributions
from envtool.container import step_call
from envtool.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from mmap import mmap

GROUP = "envtool"  # of the entry points of plugins
CODECS = ("ascii", "utf-8", "latin-1", "utf-8-sig", "cp437", "idna")  # a call may open files as text
OURS = (
    "envtool.build.container_steps",
    "envtool.container.place_artefacts",
    "envtool.kinds",
    "envtool.store.unpack_archive",
)  # modules, and those below


def reference(name: str) -> str:
    """Returns how a step refers to the function of a name ("package.module:function"): the name, a blank, and the
    distribution and version that it belongs to. Without those, where no installed distribution has it, the reference
    means nothing in another process."""
    return f"{name} {_provider(name)}".rstrip()


def _provider(name: str) -> str:
    """Returns the distribution, with its version, that the function of a name belongs to; "" where none does."""
    module = name.partition(":")[0]
    if any(module == own or module.startswith(f"{own}.") for own in OURS):
        return f"envtool {__version__}"
    return _plugin_packages().get(module.partition(".")[0], "")


@functools.cache
def _plugin_packages() -> dict[str, str]:
    """Returns the top package of each installed plugin -> its distribution and version. A plugin's code is in the
    package of its entry point."""
    return {
        entry.value.partition(":")[0].strip().partition(".")[0]: f"{entry.dist.name} {entry.dist.version}"
        for entry in distributions.entry_points_of(GROUP)
        if entry.dist is not None
    }


def load_function(function: str) -> Callable[..., Any]:
    """Returns the function of a reference; imports its module. Raises SandboxError (code step-function) where this
    process does not have the function that is meant."""
    name, _, wanted = function.partition(" ")
    module, _, attribute = name.partition(":")
    here = _provider(name)
    if wanted != here or not (here or module in sys.modules):
        reason = f"and here is {here}" if here else "which no installed plugin has"
        raise SandboxError(
            f"a step calls `{name}` of {wanted or 'another process'}, {reason}",
            code="step-function",
            hint="install the same plugins, in the same versions, wherever containers are started",
        )
    try:
        loaded: Any = import_module(module)
        for part in attribute.split("."):
            loaded = getattr(loaded, part)
    except (ImportError, AttributeError) as error:
        raise SandboxError(f"a step calls `{name}`, which does not exist: {error}", code="step-function") from error
    return loaded  # type: ignore[no-any-return]


def load_steps(steps: Sequence[dict[str, Any]], counters: Sequence[mmap]) -> tuple[dict[str, Any], ...]:
    """Returns steps (of `Program.to_dict()`) in which "call" is a function and "arguments" are all that it gets. Calls
    what prepares them. Raises SandboxError, and what that raises."""
    for name in CODECS:  # codecs are modules too
        codecs.lookup(name)
    memory = iter(counters)
    return tuple(_load_step(step, memory) if "call" in step else step for step in steps)


def _load_step(step: dict[str, Any], memory: Iterator[mmap]) -> dict[str, Any]:
    for function in step["prepare"]:
        load_function(function)()
    functions = [load_function(function) for function in step["functions"]]
    if step["counts"]:
        functions.append(functools.partial(_count, next(memory)))
    arguments = (*step["arguments"], *functions)
    return {**step, "call": load_function(step["call"]), "arguments": arguments, "run": step_call.run_call}


def _count(memory: mmap, index: int) -> None:
    """Marks one item as done."""
    if 0 <= index < len(memory):
        memory[index] = 1
