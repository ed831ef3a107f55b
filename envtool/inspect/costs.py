"""Computes what each env takes of the store, and what remains of it after a garbage collection. Pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from envtool.lazy_dataclass import dataclass
from envtool.store.inventory import Inventory, Sort, StoredItem


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvLayers:
    """A known env, with the keys of its layers that are in the store."""

    project: str  # absolute path
    env: str
    layers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of an env, in bytes on the disk. `own`: layers that no other env has; `shared`: the other layers;
    `files`: the files that were fetched for all of them (a file of several envs counts in each); `after` and
    `after_files`: what remains of the layers and files after the collection. With an empty `env` it is the cost of the
    layers that the project built and that none of its envs has now: mostly earlier builds."""

    project: str
    env: str
    layers: int
    own: int
    shared: int
    files: int
    used: float  # Unix time of the last start or build
    after: int
    after_files: int


def list_env_layers(inventory: Inventory, current: Iterable[EnvLayers]) -> tuple[EnvLayers, ...]:
    """All known envs: those of this project as its spec is now, those of other projects as they started last."""
    envs = {(stack.project, stack.env): stack for stack in current}
    current_projects = {stack.project for stack in envs.values()}
    for use in sorted(inventory.uses, key=lambda use: use.time):
        project = os.path.dirname(use.spec)
        if use.env and project not in current_projects:
            envs[project, use.env] = EnvLayers(
                project=project, env=use.env, layers=use.layers & inventory.sheets.keys()
            )
    used_keys = {key for stack in envs.values() for key in stack.layers}
    for key, sheet in sorted(inventory.sheets.items()):
        if key not in used_keys:
            earlier = envs.get((sheet.project, ""), EnvLayers(project=sheet.project, env="", layers=frozenset()))
            envs[sheet.project, ""] = EnvLayers(project=sheet.project, env="", layers=earlier.layers | {key})
    return tuple(stack for _, stack in sorted(envs.items(), key=lambda pair: (pair[0][0], not pair[0][1], pair[0][1])))


def compute_costs(
    inventory: Inventory, envs: Collection[EnvLayers], removed: Collection[StoredItem]
) -> tuple[Cost, ...]:
    """The cost of each env, in their order."""
    counts = Counter(key for env in envs for key in env.layers)
    sizes = {(item.sort, item.name): item for item in inventory.items if not item.other}
    removed_names = {(item.sort, item.name) for item in removed if not item.other}
    return tuple(_cost(env, inventory, counts, sizes, removed_names) for env in envs)


def _cost(
    env: EnvLayers,
    inventory: Inventory,
    counts: Mapping[str, int],
    sizes: Mapping[tuple[Sort, str], StoredItem],
    removed_names: Collection[tuple[Sort, str]],
) -> Cost:
    layers = {key: sizes["layer", key] for key in env.layers if ("layer", key) in sizes}
    own = sum(item.size for key, item in layers.items() if counts[key] == 1)
    total = sum(item.size for item in layers.values())
    hashes = {sha256 for key in layers for sha256 in inventory.sheets[key].files}
    files = [sizes["file", sha256] for sha256 in hashes if ("file", sha256) in sizes]
    return Cost(
        project=env.project,
        env=env.env,
        layers=len(layers),
        own=own,
        shared=total - own,
        files=sum(item.size for item in files),
        # the layers that only this env has were used last when the env was
        used=max((item.used for key, item in layers.items() if counts[key] == 1), default=0.0)
        or min((item.used for item in layers.values()), default=0.0),
        after=sum(item.size for key, item in layers.items() if ("layer", key) not in removed_names),
        after_files=sum(item.size for item in files if (item.sort, item.name) not in removed_names),
    )
