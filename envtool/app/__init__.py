"""What each verb of the command line does, one function a verb; the packages below do the steps.

all_problems     completes an error about the project or the caller with all others of the same sort
command_request  the values of the command line; finds the spec and selects the envs that they name
env_stack        builds the stack of one env, and runs a command in it: `exec`, `shell`
image_output     writes an env as an image, pushes it, and lists its packages: `export`, `push`, `sbom`
inspection       reads layers and stacks in the store: `inspect`, `diff`
lock_file        writes the lock, and fetches what it pins: `lock`, `fetch`, `vendor`
maintenance      measures, checks, cleans and removes the store: `gc`, `store`
make_plan        says what would be built: `plan`
makefile         finds the programs that a target of a Makefile calls
open_project     opens a project: spec, graph, lock, permissions and store
permissions      reads what the caller allows projects to have of this machine
read_spec        reads the spec alone: `list`
spec_schema      the JSON Schema of a spec, with the kinds of the installed plugins: `schema`
starter          detects what a project without a spec is, and checks its first spec: `init`
tasks            runs a task in every env that has it, in parallel: `test`, `build`, `run`
team_cache       shows the team cache, and creates signing keys: `cache`
verify_builds    builds layers and outputs twice and compares them: `verify`
why              explains why bases, layers and tasks are cached or not: `why`
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
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
