"""Asks plugins what `language:` and their own keys add to an env. The order of several languages decides what stands on
what."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from envtool import plugin_calls
from envtool.errors import SpecError, UsageError
from envtool.model import EnvDraft, LayerSpec
from envtool.plugins import ENV_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api import Language, LayerDraft, Project
    from envtool.model import BaseSpec, Json
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope


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
            work.problems_of(section, env).include(at.source.order, error.problems)
            continue
        except UsageError as error:  # a file of the project that may not be read
            message = f"key `{name}`: {error.message}"
            work.problems_of(section, env).add(at, message, code=error.code, hint=error.hint)
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
        note=draft.note,
        warning=draft.warning,
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


# ---- languages -------------------------------------------------------------------------------------------------------


class LanguageEntry(NamedTuple):
    """One language of an env. `at` is its place in the spec; `own` has the keys that are written with it, as in
    `language: [{go: {directory: server}}, node]`."""

    name: str
    at: YamlNode
    own: YamlNode | None = None


class LanguageStack(NamedTuple):
    """What the languages of an env are asked with. `below` are the layers that keys of plugins add below; `layers` are
    the user's, of which those in `above` come after all layers of languages. `project` is seen from the directory of
    the spec file; `section` is "envs", or "services" for the stack of a service."""

    env: str
    node: YamlNode
    fields: Mapping[str, YamlNode]
    scope: Scope
    base: BaseSpec | None
    below: tuple[LayerSpec, ...]
    layers: list[tuple[LayerSpec, YamlNode]]
    above: frozenset[str]
    project: Project
    directory: str
    section: str

    @property
    def label(self) -> str:
        """What an error calls the env."""
        return f"{self.section[:-1]} `{self.env}`"


def language_entries(work: LoadContext, at: YamlNode | None, scope: Scope) -> list[LanguageEntry]:
    """Returns the languages of `language:`, in the order of the spec."""
    if at is None:
        return []
    entries: list[LanguageEntry] = []
    for item in at.items() if isinstance(at.value, list) else [at]:
        if isinstance(item.value, dict):
            entries += [LanguageEntry(name, item.key(name), own) for name, own in item.mapping().items()]
        elif isinstance(item.value, str):
            entries.append(LanguageEntry(work.text(item, scope), item))
    return entries


def language_layers(work: LoadContext, stack: LanguageStack) -> AddedToEnv:
    """Returns the layers that the languages add before and after the user's layers, and for each of them the place of
    its language. Notes all errors.

    A language is asked after those before it in the list. Its layers may stand on those that these add before the
    user's layers (compilers, interpreters), and on none that they add after them (installed dependencies), so that
    dependencies of one language do not rebuild those of another."""
    entries = language_entries(work, stack.fields.get("language"), stack.scope)
    check_keys(work, stack.label, stack.node, stack.fields, entries)
    chosen = _known_languages(work, stack, entries)
    options = _options(work, stack, chosen)
    if options is None or stack.base is None:
        return AddedToEnv()
    before: list[LayerSpec] = []
    after: list[LayerSpec] = []
    adders: dict[str, LanguageEntry] = {}
    for (entry, language), values in zip(chosen, options, strict=True):
        lower = [spec.name for spec in (*stack.below, *before)]
        draft = EnvDraft(
            name=stack.env,
            base_kind=stack.base.kind,
            base_options=stack.base.options,
            directory=stack.directory,
            options=values,
            layer_names=(*lower, *(spec.name for spec, _ in stack.layers if spec.name not in stack.above)),
            above=(*(spec.name for spec, _ in stack.layers if spec.name in stack.above), *(s.name for s in after)),
            where=entry.at.where,
            toolchains=_toolchain_names(work, stack.below),
        )
        for is_after, spec in _expand_draft(work, stack, draft, language, entry.at):
            if spec.name not in adders:
                (after if is_after else before).append(spec)
                adders[spec.name] = entry
            else:
                other = next(layer for layer in (*before, *after) if layer.name == spec.name)
                _check_same(work, stack, other, spec, (adders[spec.name], entry))
    return AddedToEnv(tuple(before), tuple(after), {}, {name: entry.at for name, entry in adders.items()})


def _known_languages(
    work: LoadContext, stack: LanguageStack, entries: Sequence[LanguageEntry]
) -> list[tuple[LanguageEntry, Language]]:
    """Returns the entries whose language exists, each once. Notes the others."""
    known: list[tuple[LanguageEntry, Language]] = []
    for entry in entries:
        language = work.registry.languages.get(entry.name)
        if language is None:
            is_reported = bool(work.registry.languages) and entry.name == entry.at.value
            if entry.name and not is_reported:  # else the schema has reported it
                hint = work.problems.nearest_hint(entry.name, work.registry.languages) or "is its plugin installed?"
                work.problems.add(entry.at, f"unknown language `{entry.name}`", code="unknown-language", hint=hint)
        elif any(entry.name == other.name for other, _ in known):
            message = f"language `{entry.name}` is in {stack.label} twice"
            work.problems.add(entry.at, message, code="duplicate", hint="remove one of them")
        else:
            known.append((entry, language))
    return known


def _options(
    work: LoadContext, stack: LanguageStack, chosen: Sequence[tuple[LanguageEntry, Language]]
) -> list[dict[str, Json]] | None:
    """Returns the rendered keys of each language; None if any is wrong, which is noted. A key of the env belongs to the
    one language that has it and is not written with it."""
    noted = len(work.problems.noted)
    options: list[dict[str, Json]] = []
    _check_shared_keys(work, stack, chosen)
    for entry, language in chosen:
        own = entry.own.mapping() if entry.own is not None else {}
        beside = {key: value for key, value in stack.fields.items() if key in language.options and key not in own}
        values: dict[str, Json] = {key: work.json(value, stack.scope) for key, value in beside.items()}
        own_values: dict[str, Json] = {key: work.json(value, stack.scope) for key, value in own.items()}
        if len(work.problems.noted) == noted and stack.base is not None:
            at = (stack.section, stack.env)
            if values:
                work.fits(language.options, values, stack.node, at, entry.name)
            if own_values and entry.own is not None:
                work.fits(language.options, own_values, entry.own, at, entry.name)
        options.append({**values, **own_values})
    return options if len(work.problems.noted) == noted else None


def _check_shared_keys(
    work: LoadContext, stack: LanguageStack, chosen: Sequence[tuple[LanguageEntry, Language]]
) -> None:
    """Notes keys beside `language:` that belong to several of the env's languages, or to one that has them already."""
    if len(chosen) < 2 and not any(entry.own is not None for entry, _ in chosen):
        return
    for key in stack.fields:
        owners = [entry for entry, language in chosen if key in language.options]
        without = [entry.name for entry in owners if entry.own is None or key not in entry.own.mapping()]
        if len(without) > 1:
            listed = " and ".join(f"`{name}`" for name in without)
            hint = f"write it with its language, as in `language: [{{{without[0]}: {{{key}: …}}}}, {without[1]}]`"
            message = f"the key `{key}` belongs to languages {listed}, and {stack.label} has them all"
            work.problems.add(stack.node.key(key), message, code="ambiguous-key", hint=hint)
        elif owners and not without:
            message = f"the key `{key}` is written with each language that has it, and in {stack.label} besides"
            work.problems.add(stack.node.key(key), message, code="duplicate", hint="remove one of them")


def _check_same(
    work: LoadContext,
    stack: LanguageStack,
    layer: LayerSpec,
    other: LayerSpec,
    adders: tuple[LanguageEntry, LanguageEntry],
) -> None:
    """Notes two layers of one name that differ. If they are the same, the env has one of them."""
    if (layer.kind, layer.options, layer.needs) == (other.kind, other.options, other.needs):
        return
    first, second = adders
    message = (
        f"languages `{first.name}` and `{second.name}` both add a layer `{layer.name}` to {stack.label}, and the two"
        " differ"
    )
    work.problems.add(second.at, message, code="duplicate", hint="write an env for each language")


def _toolchain_names(work: LoadContext, layers: tuple[LayerSpec, ...]) -> tuple[str, ...]:
    kinds = {layer.kind for layer in layers}
    return tuple(name for name, offer in sorted(work.registry.toolchains.items()) if offer.value.kind in kinds)


def _expand_draft(
    work: LoadContext, stack: LanguageStack, draft: EnvDraft, language: Language, at: YamlNode
) -> list[tuple[bool, LayerSpec]]:
    """Returns the layers of one language, each with whether it comes after the user's layers."""
    try:
        drafts = language.layers(draft, stack.project)
    except SpecError as error:
        work.problems_of(stack.section, stack.env).include(at.source.order, error.problems)
        return []
    except UsageError as error:  # a file of the project that may not be read
        message = f"language `{language.name}`: {error.message}"
        work.problems_of(stack.section, stack.env).add(at, message, code=error.code, hint=error.hint)
        return []
    specs = [
        (added.after, make_added_layer(work, f"language `{language.name}`", added, at, stack.directory))
        for added in drafts
    ]
    return [(after, spec) for after, spec in specs if spec is not None]


def check_keys(
    work: LoadContext,
    label: str,
    node: YamlNode,
    fields: Mapping[str, YamlNode],
    entries: Sequence[LanguageEntry] = (),
) -> None:
    """Notes keys that belong to a language other than those of the env; `label` is the env in words."""
    if fields.keys() <= ENV_KEYS:
        return
    languages = [work.registry.languages.get(entry.name) for entry in entries]
    own = {key for language in languages if language is not None for key in language.options}
    owners: dict[str, list[str]] = {}
    for other in work.registry.languages.values():
        for key in other.options:
            owners.setdefault(key, []).append(other.name)
    for key in fields:
        if key in ENV_KEYS or key not in owners or key in own:
            continue
        if entries and None in languages:  # the unknown language has been reported, and the key may belong to it
            continue
        listed = " or ".join(f"`{owner}`" for owner in sorted(owners[key]))
        names = " and ".join(f"`{entry.name}`" for entry in entries)
        has = f"has language{'s' if len(entries) > 1 else ''} {names}" if entries else "has no `language`"
        message = f"the key `{key}` belongs to language {listed}, and {label} {has}"
        wanted = min(owners[key])
        both = ", ".join([*(entry.name for entry in entries), wanted])
        hint = f"add `language: {wanted}`"
        if entries:
            keys = ", ".join(f"`{name}`" for name in sorted(own)) or "none"
            hint = f"remove it: keys of {names} are {keys}; or, for an env of both languages, `language: [{both}]`"
        work.problems.add(node.key(key), message, code="unknown-key", hint=hint)
