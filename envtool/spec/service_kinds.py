"""Gets the draft of a service from the plugin that has its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from envtool.errors import SpecError, UsageError
from envtool.model import BaseSpec, LayerSpec
from envtool.plugins import SERVICE_KEYS
from envtool.spec.envs import KindOfStack
from envtool.spec.plugin_keys import make_added_layer

if TYPE_CHECKING:
    from envtool.api import Project, ServiceDraft, ServiceKind
    from envtool.model import Json
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope


class DraftedService(NamedTuple):
    """The draft that a kind returns for a service, and the part of the draft that belongs to the stack."""

    kind: str
    draft: ServiceDraft
    stack: KindOfStack


def find_kind(work: LoadContext, node: YamlNode, label: str) -> ServiceKind | None:
    """Returns the kind of service that a mapping names; None if it names none. Notes a mapping that names several."""
    known = work.registry.services
    names = [key for key in node.mapping() if key in known]
    if len(names) == 2:  # one key may be a kind of its own and a sibling key of the other kind
        names = [name for name in names if not any(name in known[other].options for other in names)] or names
    if len(names) > 1:
        message = f"{label} has {len(names)} kinds: {', '.join(f'`{name}`' for name in names)}"
        work.problems.add(node.key(names[1]), message, code="kinds", hint="make them services of their own")
    return known[names[0]] if len(names) == 1 else None


def check_options(work: LoadContext, node: YamlNode, kind: ServiceKind | None, label: str) -> None:
    """Notes keys that belong to a kind of service other than this one's."""
    owners: dict[str, list[str]] = {}
    for other in work.registry.services.values():
        for key in other.options:
            owners.setdefault(key, []).append(other.name)
    languages = {key for language in work.registry.languages.values() for key in language.options}
    for key in node.mapping():
        if key in SERVICE_KEYS or key not in owners or key in languages or key in work.registry.env_keys:
            continue
        if kind is None or (key not in kind.options and key != kind.name):
            listed = " or ".join(f"`{owner}`" for owner in sorted(owners[key]))
            has = f"is of the kind `{kind.name}`" if kind is not None else "has no kind"
            message = f"the key `{key}` belongs to the kind of service {listed}, and {label} {has}"
            hint = work.problems.nearest_hint(key, kind.options) if kind is not None and kind.options else ""
            work.problems.add(
                node.key(key), message, code="unknown-key", hint=hint or f"remove it, or write `{min(owners[key])}: …`"
            )


def draft_service(
    work: LoadContext,
    kind: ServiceKind,
    node: YamlNode,
    scope: Scope,
    *,
    name: str,
    host: str,
    base: BaseSpec | None,
    project: Project,
    directory: str,
) -> DraftedService | None:
    """Returns what a kind makes of a service; None after an error, which is noted. `base` is the user's own base, and
    `project` is seen from the directory of the spec file."""
    from envtool.api import ServiceDeclaration

    at = node.key(kind.name)
    noted = len(work.problems.noted)
    keys = [key for key in node.mapping() if key == kind.name or key in kind.options]
    values: dict[str, Json] = {key: work.json(node.mapping()[key], scope) for key in keys}
    if len(work.problems.noted) > noted:
        return None
    if not work.fits({kind.name: kind.schema, **kind.options}, values, node, ("services", name), kind.name):
        return None
    declaration = ServiceDeclaration(
        name=name,
        host=host,
        value=values.pop(kind.name),
        options=values,
        where=at.where,
        base_kind=base.kind if base is not None else "",
        base_options=base.options if base is not None else None,
        directory=directory,
    )
    try:
        draft = kind.service(declaration, project)
    except SpecError as error:
        work.problems.include(at.source.order, error.problems)
        return None
    except UsageError as error:  # a file of the project that may not be read
        work.problems.add(at, f"service `{name}`: {error.message}", code=error.code, hint=error.hint)
        return None
    stack = _stack(work, kind.name, draft, at, directory)
    return DraftedService(kind.name, draft, stack) if stack is not None else None


def _stack(work: LoadContext, kind: str, draft: ServiceDraft, at: YamlNode, directory: str) -> KindOfStack | None:
    """Returns what a draft gives the stack; None if it names an unknown kind, which is noted."""
    owner = f"the kind of service `{kind}`"
    drafts = (make_added_layer(work, owner, layer, at, directory) for layer in draft.layers)
    layers: tuple[LayerSpec, ...] = tuple(layer for layer in drafts if layer is not None)
    base: BaseSpec | None = None
    if draft.base_kind and draft.base_kind not in work.registry.bases:
        message = f"{owner} is on a base of the unknown kind `{draft.base_kind}`"
        hint = "is the plugin that has this kind installed?"
        work.problems.add(at, message, code="unknown-kind", hint=hint)
        return None
    if len(layers) < len(draft.layers):
        return None
    if draft.base_kind:
        options = draft.base_options
        name = f"{draft.base_kind}:{options}" if isinstance(options, str) and options else draft.base_kind
        base = BaseSpec(name=name, kind=draft.base_kind, options=options, where=at.where, directory=directory)
    return KindOfStack(at=at, base=base, layers=layers, variables=draft.variables)
