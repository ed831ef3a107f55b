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
    from envtool.app.caching import cache, cache_key
    from envtool.app.explaining import why
    from envtool.app.giving import export, push, sbom
    from envtool.app.locking import Locked, fetch, lock, vendor
    from envtool.app.looking import diff, inspect
    from envtool.app.making import execute
    from envtool.app.planning import plan
    from envtool.app.reading import listeners, load
    from envtool.app.request import SPEC, Request, find_spec, one_env
    from envtool.app.running import run
    from envtool.app.schemas import schema
    from envtool.app.starting import around, check, detect
    from envtool.app.upkeep import gc, store_path, store_remove, store_size, store_verify
    from envtool.app.verifying import verify
    from envtool.build.context import Cancel
    from envtool.run.provenance import bundle as statements

_PLACES = {
    "envtool.app.caching": ("cache", "cache_key"),
    "envtool.app.explaining": ("why",),
    "envtool.app.giving": ("export", "push", "sbom"),
    "envtool.app.locking": ("Locked", "fetch", "lock", "vendor"),
    "envtool.app.looking": ("diff", "inspect"),
    "envtool.app.making": ("execute",),
    "envtool.app.planning": ("plan",),
    "envtool.app.reading": ("listeners", "load"),
    "envtool.app.request": ("SPEC", "Request", "find_spec", "one_env"),
    "envtool.app.running": ("run",),
    "envtool.app.schemas": ("schema",),
    "envtool.app.starting": ("around", "check", "detect"),
    "envtool.app.upkeep": ("gc", "store_path", "store_remove", "store_size", "store_verify"),
    "envtool.app.verifying": ("verify",),
    "envtool.build.context": ("Cancel",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "SPEC",
    "Cancel",
    "Locked",
    "Request",
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
