"""Asks plugins what `language: NAME` and their own keys add to an env."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from envtool import plugin_calls
from envtool.errors import SpecError, UsageError
from envtool.model import EnvDraft, LayerSpec
from envtool.plugins import ENV_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.api import Language, LayerDraft, Project
    from envtool.model import BaseSpec, Json
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope


AddedLayers = tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...]]


class AddedToEnv(NamedTuple):
    """What plugins add to an env: layers before and after the user's, and variables of its tasks. `origins` have, for
    each layer, the key in the spec that adds it."""

    before: tuple[LayerSpec, ...] = ()
    after: tuple[LayerSpec, ...] = ()
    variables: Mapping[str, str | None] = {}
    origins: Mapping[str, YamlNode] = {}


def added_by_keys(
    work: LoadContext,
    env: str,
    node: YamlNode,
    fields: Mapping[str, YamlNode],
    scope: Scope,
    *,
    base: BaseSpec | None,
    layers: list[tuple[LayerSpec, YamlNode]],
    above: frozenset[str],
    project: Project,
    directory: str,
    section: str,
) -> AddedToEnv:
    """Returns what the plugins' keys of an env add, in the order of the keys' names. `fields` are the entries of
    `node`. The user's layers in `above` come after all of their layers. Notes all errors."""
    before: list[LayerSpec] = []
    after: list[LayerSpec] = []
    variables: dict[str, str | None] = {}
    origins: dict[str, YamlNode] = {}
    for name in sorted(fields.keys() & work.registry.env_keys.keys()):
        offer, at = work.registry.env_keys[name], fields[name]
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


class SubdirectoryProject:
    """The project for a spec in `directory`: paths are relative to that directory."""

    def __init__(self, project: Project, directory: str) -> None:
        self.project = project
        self.directory = directory

    def read(self, path: str) -> str | None:
        return self.project.read(posixpath.normpath(posixpath.join(self.directory, path)))

    def read_bytes(self, path: str) -> bytes | None:
        return self.project.read_bytes(posixpath.normpath(posixpath.join(self.directory, path)))

    def glob(self, pattern: str) -> list[str]:
        paths = self.project.glob(posixpath.normpath(posixpath.join(self.directory, pattern)))
        return sorted(posixpath.relpath(path, self.directory) for path in paths)

    def around(self, name: str) -> Mapping[str, bytes]:
        parents = "../" * len(self.directory.split("/"))
        return {parents + path: content for path, content in self.project.around(name).items()}


def language_layers(
    work: LoadContext,
    env: str,
    node: YamlNode,
    fields: Mapping[str, YamlNode],
    scope: Scope,
    *,
    base: BaseSpec | None,
    below: tuple[LayerSpec, ...],
    layers: list[tuple[LayerSpec, YamlNode]],
    above: frozenset[str],
    project: Project,
    directory: str,
    section: str,
) -> AddedLayers:
    """Returns the layers that the language adds before and after the user's layers. The user's layers in `above` come
    after all of them; `below` are the layers that keys of plugins add below. `project` is seen from the
    directory of the spec file; `section` is "envs", or "services" for the stack of a service. Notes all errors."""
    at = fields.get("language")
    name = work.text(at, scope) if at is not None else ""
    language = work.registry.languages.get(name)
    check_keys(work, f"{section[:-1]} `{env}`", node, fields, name, language)
    if at is None:
        return (), ()
    if language is None:
        if name and not (work.registry.languages and name == at.value):  # else the schema has reported it
            hint = work.problems.nearest_hint(name, work.registry.languages) or "is its plugin installed?"
            work.problems.add(at, f"unknown language `{name}`", code="unknown-language", hint=hint)
        return (), ()
    before = len(work.problems.noted)
    options: dict[str, Json] = {
        key: work.json(value, scope) for key, value in fields.items() if key in language.options
    }
    if len(work.problems.noted) > before or base is None:
        return (), ()
    if options and not work.fits(language.options, options, node, (section, env), name):
        return (), ()
    draft = EnvDraft(
        name=env,
        base_kind=base.kind,
        base_options=base.options,
        directory=directory,
        options=options,
        layer_names=tuple(spec.name for spec in (*below, *(spec for spec, _ in layers)) if spec.name not in above),
        above=tuple(spec.name for spec, _ in layers if spec.name in above),
        where=at.where,
        toolchains=_toolchain_names(work, below),
    )
    return _expand_draft(work, language, draft, at, project=project, directory=directory)


def _toolchain_names(work: LoadContext, layers: tuple[LayerSpec, ...]) -> tuple[str, ...]:
    kinds = {layer.kind for layer in layers}
    return tuple(name for name, offer in sorted(work.registry.toolchains.items()) if offer.value.kind in kinds)


def _expand_draft(
    work: LoadContext, language: Language, draft: EnvDraft, at: YamlNode, *, project: Project, directory: str
) -> AddedLayers:
    try:
        drafts = language.layers(draft, project)
    except SpecError as error:
        work.problems.include(at.source.order, error.problems)
        return (), ()
    except UsageError as error:  # a file of the project that may not be read
        work.problems.add(at, f"language `{language.name}`: {error.message}", code=error.code, hint=error.hint)
        return (), ()
    layers = [
        (added.after, make_added_layer(work, f"language `{language.name}`", added, at, directory)) for added in drafts
    ]
    return (
        tuple(spec for after, spec in layers if spec is not None and not after),
        tuple(spec for after, spec in layers if spec is not None and after),
    )


def check_keys(
    work: LoadContext, label: str, node: YamlNode, fields: Mapping[str, YamlNode], name: str, language: Language | None
) -> None:
    """Notes keys that belong to a language other than that of the env; `label` is the env in words."""
    if fields.keys() <= ENV_KEYS:
        return
    owners: dict[str, list[str]] = {}
    for other in work.registry.languages.values():
        for key in other.options:
            owners.setdefault(key, []).append(other.name)
    for key in fields:
        if key in ENV_KEYS or key not in owners or (language is not None and key in language.options):
            continue
        if name and language is None:  # the unknown language has been reported, and the key may belong to it
            continue
        listed = " or ".join(f"`{owner}`" for owner in sorted(owners[key]))
        has = f"has language `{name}`" if name else "has no `language`"
        message = f"the key `{key}` belongs to language {listed}, and {label} {has}"
        work.problems.add(node.key(key), message, code="unknown-key", hint=f"add `language: {min(owners[key])}`")
