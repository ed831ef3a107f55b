"""Checks the machine, the store and config.yaml: `doctor`."""

from __future__ import annotations

import os
import shlex

from envtool.app.permissions import read_permissions
from envtool.container.doctor import Check, check_machine
from envtool.container.userns import describe_ids, run_as_root
from envtool.errors import SpecError, StoreError, UsageError
from envtool.store.store import Store, check_only_store_files, find_store, other_idmap_stores, store_directory


def run_checks() -> tuple[Check, ...]:
    """The checks of the machine, and one more for each problem with the store or with config.yaml."""
    checks: list[Check] = []
    root = ""
    try:
        store = find_store(describe_ids())
        root = store_directory()
        if store is None and os.path.isdir(root):
            check_only_store_files(root)
        checks += filter(None, map(_check_other_idmap, other_idmap_stores(store) if store else ()))
    except StoreError as error:
        checks.append(Check(name="store", state="fail", text=error.message, mend=error.hint))
    try:
        read_permissions(os.getcwd())
    except UsageError as error:
        checks.append(Check(name="config.yaml", state="fail", text=error.message, mend=error.hint))
    except SpecError as error:
        checks += [
            Check(name="config.yaml", state="fail", text=f"{problem.where}: {problem.message}", mend=problem.hint)
            for problem in error.problems
        ]
    return (*check_machine(root), *checks)


def _check_other_idmap(other: Store) -> Check | None:
    """The part of the store that belongs to another id map; None if it is empty."""
    from envtool.store.inventory import is_deletable, undeletable_paths  # few stores have such a part

    if is_deletable(other, run_as_root):
        made = f"built when containers had other ids ({other.idmap}): nothing uses it now"
        text = f"{other.idmap_path('layers')} was {made}, and `envtool gc` removes what was not used for 30 days"
        return Check(name="store", state="ok", text=text)
    if not (paths := undeletable_paths(other)):
        return None
    text = (
        f"{', '.join(paths)}: built with ids that this account no longer has ({other.idmap}): only root can delete it"
    )
    return Check(name="store", state="warn", text=text, mend=f"sudo rm -r {shlex.join(paths)}")
