"""What each env takes of the store, and what a collection leaves of it. Pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from envtool.store.inventory import Inventory, Sort, StoredItem


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvLayers:
    """An env that is known of: its layers that stand in the store, by key."""

    project: str  # absolute path
    env: str
    layers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Bytes on the disk. `own` are the layers that no other env has, `shared` the others, `files` what was fetched for
    all of them (files of several envs count in each); `after` is own + shared when what is to go is gone. An empty env
    stands for what a project built and no env of it is known to have: earlier builds, mostly."""

    project: str
    env: str
    layers: int
    own: int
    shared: int
    files: int
    used: float  # when it started last, or was made
    after: int
    after_files: int


def list_env_layers(found: Inventory, here: Iterable[EnvLayers]) -> tuple[EnvLayers, ...]:
    """All envs: those of this project as it is now, those of others as they started last."""
    known = {(stack.project, stack.env): stack for stack in here}
    mine = {stack.project for stack in known.values()}
    for use in sorted(found.uses, key=lambda use: use.time):
        project = os.path.dirname(use.spec)
        if use.env and project not in mine:
            known[project, use.env] = EnvLayers(project=project, env=use.env, layers=use.layers & found.sheets.keys())
    taken = {key for stack in known.values() for key in stack.layers}
    for key, sheet in sorted(found.sheets.items()):
        if key not in taken:
            rest = known.get((sheet.project, ""), EnvLayers(project=sheet.project, env="", layers=frozenset()))
            known[sheet.project, ""] = EnvLayers(project=sheet.project, env="", layers=rest.layers | {key})
    return tuple(stack for _, stack in sorted(known.items(), key=lambda pair: (pair[0][0], not pair[0][1], pair[0][1])))


def compute_costs(found: Inventory, envs: Collection[EnvLayers], gone: Collection[StoredItem]) -> tuple[Cost, ...]:
    """One for each env, in their order."""
    counts = Counter(key for env in envs for key in env.layers)
    sizes = {(item.sort, item.name): item for item in found.items if not item.other}
    lost = {(item.sort, item.name) for item in gone if not item.other}
    return tuple(_cost(env, found, counts, sizes, lost) for env in envs)


def _cost(
    env: EnvLayers,
    found: Inventory,
    counts: Mapping[str, int],
    sizes: Mapping[tuple[Sort, str], StoredItem],
    lost: Collection[tuple[Sort, str]],
) -> Cost:
    layers = {key: sizes["layer", key] for key in env.layers if ("layer", key) in sizes}
    own = sum(item.size for key, item in layers.items() if counts[key] == 1)
    whole = sum(item.size for item in layers.values())
    wanted = {sha256 for key in layers for sha256 in found.sheets[key].files}
    files = [sizes["file", sha256] for sha256 in wanted if ("file", sha256) in sizes]
    return Cost(
        project=env.project,
        env=env.env,
        layers=len(layers),
        own=own,
        shared=whole - own,
        files=sum(item.size for item in files),
        # what stands on all the others was used by this env alone
        used=max((item.used for key, item in layers.items() if counts[key] == 1), default=0.0)
        or min((item.used for item in layers.values()), default=0.0),
        after=sum(item.size for key, item in layers.items() if ("layer", key) not in lost),
        after_files=sum(item.size for item in files if (item.sort, item.name) not in lost),
    )
