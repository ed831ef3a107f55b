"""Asks a plugin which layers `language: NAME` adds to an env."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from envtool.api import EnvDraft
from envtool.errors import SpecError, UsageError
from envtool.model import LayerSpec
from envtool.plugins import ENV_KEYS
from envtool.spec.plugin_keys import make_added_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.api import Language, Project
    from envtool.model import BaseSpec, Json
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

AddedLayers = tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...]]


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
    scope: Scope,
    *,
    base: BaseSpec | None,
    below: tuple[str, ...],
    layers: list[tuple[LayerSpec, YamlNode]],
    above: frozenset[str],
    project: Project,
    directory: str,
    section: str,
) -> AddedLayers:
    """Returns the layers that the language adds before and after the user's layers. The user's layers in `above` come
    after all of them; `below` are the names of layers that keys of plugins add below. `project` is seen from the
    directory of the spec file; `section` is "envs", or "services" for the stack of a service. Notes all errors."""
    at = node.get("language")
    name = work.text(at, scope) if at is not None else ""
    language = work.registry.languages.get(name)
    _check_keys(work, f"{section[:-1]} `{env}`", node, name, language)
    if at is None:
        return (), ()
    if language is None:
        if name and not (work.registry.languages and name == at.value):  # else the schema has reported it
            hint = work.problems.nearest_hint(name, work.registry.languages) or "is its plugin installed?"
            work.problems.add(at, f"unknown language `{name}`", code="unknown-language", hint=hint)
        return (), ()
    before = len(work.problems.noted)
    options: dict[str, Json] = {
        key: work.json(value, scope) for key, value in node.mapping().items() if key in language.options
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
        layer_names=(*below, *(spec.name for spec, _ in layers if spec.name not in above)),
        above=tuple(spec.name for spec, _ in layers if spec.name in above),
        where=at.where,
    )
    return _expand_draft(work, language, draft, at, project=project, directory=directory)


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


def _check_keys(work: LoadContext, label: str, node: YamlNode, name: str, language: Language | None) -> None:
    """Notes keys that belong to a language other than that of the env; `label` is the env in words."""
    owners: dict[str, list[str]] = {}
    for other in work.registry.languages.values():
        for key in other.options:
            owners.setdefault(key, []).append(other.name)
    for key in node.mapping():
        if key in ENV_KEYS or key not in owners or (language is not None and key in language.options):
            continue
        if name and language is None:  # the unknown language has been reported, and the key may belong to it
            continue
        listed = " or ".join(f"`{owner}`" for owner in sorted(owners[key]))
        has = f"has language `{name}`" if name else "has no `language`"
        message = f"the key `{key}` belongs to language {listed}, and {label} {has}"
        work.problems.add(node.key(key), message, code="unknown-key", hint=f"add `language: {min(owners[key])}`")
