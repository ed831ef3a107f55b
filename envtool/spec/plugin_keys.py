"""Asks plugins what their own keys add to an env."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envtool import plugin_calls
from envtool.errors import SpecError, UsageError
from envtool.model import EnvDraft, LayerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.api import LayerDraft, Project
    from envtool.model import BaseSpec, Json
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope


@dataclass(frozen=True, slots=True)
class AddedToEnv:
    """What plugins add to an env: layers before and after the user's, and variables of its tasks. `origins` have, for
    each layer, the key in the spec that adds it."""

    before: tuple[LayerSpec, ...] = ()
    after: tuple[LayerSpec, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)
    origins: Mapping[str, YamlNode] = field(default_factory=dict)


def added_by_keys(
    work: LoadContext,
    env: str,
    node: YamlNode,
    scope: Scope,
    *,
    base: BaseSpec | None,
    layers: list[tuple[LayerSpec, YamlNode]],
    above: frozenset[str],
    project: Project,
    directory: str,
    section: str,
) -> AddedToEnv:
    """Returns what the plugins' keys of an env add, in the order of the keys' names. The user's layers in `above` come
    after all of their layers. Notes all errors."""
    before: list[LayerSpec] = []
    after: list[LayerSpec] = []
    variables: dict[str, str | None] = {}
    origins: dict[str, YamlNode] = {}
    for name in sorted(node.mapping().keys() & work.registry.env_keys.keys()):
        offer, at = work.registry.env_keys[name], node.mapping()[name]
        noted = len(work.problems.noted)
        options: dict[str, Json] = {name: work.json(at, scope)}
        if len(work.problems.noted) > noted or base is None:
            continue
        if not work.fits({name: offer.value.schema}, options, node, (section, env), f"the key {name}"):
            continue
        draft = EnvDraft(
            name=env,
            base_kind=base.kind,
            base_options=base.options,
            directory=directory,
            options=options,
            layer_names=tuple(spec.name for spec, _ in layers if spec.name not in above),
            above=tuple(spec.name for spec, _ in layers if spec.name in above),
            where=at.where,
        )
        try:
            additions = plugin_calls.call_env_key(offer, draft, options[name], project)
        except SpecError as error:
            work.problems.include(at.source.order, error.problems)
            continue
        except UsageError as error:  # a file of the project that may not be read
            work.problems.add(at, f"key `{name}`: {error.message}", code=error.code, hint=error.hint)
            continue
        for added in additions.layers:
            spec = make_added_layer(work, f"the key `{name}`", added, at, directory)
            if spec is not None:
                (after if added.after else before).append(spec)
                origins[spec.name] = node.key(name)
        variables |= additions.variables
    return AddedToEnv(tuple(before), tuple(after), variables, origins)


def make_added_layer(
    work: LoadContext, owner: str, draft: LayerDraft, at: YamlNode, directory: str
) -> LayerSpec | None:
    """Returns a layer that a plugin adds; None if its kind is unknown, which is noted. `owner` is the language or key
    that adds it, in words."""
    kind = work.registry.layers.get(draft.kind)
    if kind is None:
        message = f"{owner} adds a layer of the unknown kind `{draft.kind}`"
        work.problems.add(at, message, code="unknown-kind", hint="is the plugin that has this kind installed?")
        return None
    return LayerSpec(
        name=draft.name,
        kind=draft.kind,
        options=draft.options,
        where=at.where,
        needs=draft.needs,
        directory=directory,
    )
