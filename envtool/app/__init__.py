"""The whole road on one screen: spec -> graph -> stacks -> results. Every verb of the command line is one function.

Each function has its module, which is imported when the function is first asked for: `list` reads a spec, and what
builds, exports or pushes would take five times as long to import as that.

request.py    what was asked for, and which spec and envs it means
reading.py    the spec alone: `list`; schemas.py: its schema
opening.py    the project as every other verb finds it: spec, graph, lock, store
planning.py   `plan`; explaining.py: `why`
running.py    `run`: a task in many envs; making.py: `exec`, and the stack of one env
locking.py    `lock`, `fetch` and `vendor`
giving.py     an env given away: `export`, `push` and `sbom`
verifying.py  `verify`
caching.py    the team cache, shown
upkeep.py     the store: gc, verify
looking.py    what is in it: inspect, diff
starting.py   the first spec: detect, check; makefile.py: what a Makefile calls
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envtool.app.env_stack import execute
    from envtool.app.explain import why
    from envtool.app.image_output import export, push, sbom
    from envtool.app.inspection import diff, inspect
    from envtool.app.lock_file import LockResult, fetch, lock, vendor
    from envtool.app.maintenance import gc, store_path, store_remove, store_size, store_verify
    from envtool.app.make_plan import plan
    from envtool.app.read_spec import listeners, load
    from envtool.app.request import SPEC, CommandRequest, find_spec, one_env
    from envtool.app.spec_schema import schema
    from envtool.app.starter import around, check, detect
    from envtool.app.tasks import run
    from envtool.app.team_cache import cache, cache_key
    from envtool.app.verify_builds import verify
    from envtool.build.context import Cancel
    from envtool.run.provenance import bundle as statements

_PLACES = {
    "envtool.app.team_cache": ("cache", "cache_key"),
    "envtool.app.explain": ("why",),
    "envtool.app.image_output": ("export", "push", "sbom"),
    "envtool.app.lock_file": ("LockResult", "fetch", "lock", "vendor"),
    "envtool.app.inspection": ("diff", "inspect"),
    "envtool.app.env_stack": ("execute",),
    "envtool.app.make_plan": ("plan",),
    "envtool.app.read_spec": ("listeners", "load"),
    "envtool.app.request": ("SPEC", "CommandRequest", "find_spec", "one_env"),
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
    "find_spec",
    "gc",
    "inspect",
    "listeners",
    "load",
    "lock",
    "one_env",
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
