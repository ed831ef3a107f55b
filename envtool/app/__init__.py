"""The whole road on one screen: spec -> graph -> stacks -> results. Every verb of the command line is one function.

all_problems    What is wrong with what envs ask of the project and of the caller, told all at once
command_request What the command line asks for, and which spec and envs it means
env_stack       The stack of one env, made for a command in it, or for a document about it
image_output    An env given away: as an image, to files or a registry, and its bill of materials
inspection      Looking into what stands in the store: `inspect` and `diff`
lock_file       What is pinned: the lock is written, and what it pins is fetched or laid beside the spec
maintenance     The verbs that look after the store and into it
make_plan       What would be used and what built: `plan`
makefile        What a target of a Makefile calls, as far as that is written out
open_project    A project as every verb finds it: its spec, what stands on what, its lock, and the store
permissions     What the caller lets projects have of this machine
read_spec       The spec alone, as every verb reads it first: `list` needs no more
spec_schema     The schema of a spec, with what the installed plugins add
starter         The first spec of a project
tasks           A task in every env that has it, side by side: made, run or told, and what each came to
team_cache      The team cache as its verb finds it: shown, and a key for it made
verify_builds   Layers and outputs made twice and compared
why             Why things are cached or not: `why`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envtool.app.command_request import SPEC, CommandRequest, find_env, find_spec
    from envtool.app.env_stack import execute
    from envtool.app.image_output import export, push, sbom
    from envtool.app.inspection import diff, inspect
    from envtool.app.lock_file import LockResult, fetch, lock, vendor
    from envtool.app.maintenance import gc, store_path, store_remove, store_size, store_verify
    from envtool.app.make_plan import plan
    from envtool.app.read_spec import listeners, load
    from envtool.app.spec_schema import schema
    from envtool.app.starter import around, check, detect
    from envtool.app.tasks import run
    from envtool.app.team_cache import cache, cache_key
    from envtool.app.verify_builds import verify
    from envtool.app.why import why
    from envtool.build.context import Cancel
    from envtool.run.provenance import bundle as statements

_PLACES = {
    "envtool.app.team_cache": ("cache", "cache_key"),
    "envtool.app.why": ("why",),
    "envtool.app.image_output": ("export", "push", "sbom"),
    "envtool.app.lock_file": ("LockResult", "fetch", "lock", "vendor"),
    "envtool.app.inspection": ("diff", "inspect"),
    "envtool.app.env_stack": ("execute",),
    "envtool.app.make_plan": ("plan",),
    "envtool.app.read_spec": ("listeners", "load"),
    "envtool.app.command_request": ("SPEC", "CommandRequest", "find_spec", "find_env"),
    "envtool.app.tasks": ("run",),
    "envtool.app.spec_schema": ("schema",),
    "envtool.app.starter": ("around", "check", "detect"),
    "envtool.app.maintenance": ("gc", "store_path", "store_remove", "store_size", "store_verify"),
    "envtool.app.verify_builds": ("verify",),
    "envtool.build.context": ("Cancel",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "SPEC",
    "Cancel",
    "CommandRequest",
    "LockResult",
    "around",
    "cache",
    "cache_key",
    "check",
    "detect",
    "diff",
    "execute",
    "export",
    "fetch",
    "find_env",
    "find_spec",
    "gc",
    "inspect",
    "listeners",
    "load",
    "lock",
    "plan",
    "push",
    "run",
    "sbom",
    "schema",
    "statements",
    "store_path",
    "store_remove",
    "store_size",
    "store_verify",
    "vendor",
    "verify",
    "why",
]


def __getattr__(name: str) -> Any:
    if name == "statements":
        return import_module("envtool.run.provenance").bundle
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found
