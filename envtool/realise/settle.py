"""A node whose ground is known -> its pins, its files and its key.

Remembered pins come from the store's memo: the question is everything that `resolve` may look at, so an answer is
never used for another question. The lock file is that same memory, written down where it can be reviewed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envtool import keys, project
from envtool.api import Fetch, InputFile, Kind, Request, Site
from envtool.errors import EnvtoolError, Problem, ResolveError, SpecError
from envtool.model import BaseSpec, Json, LayerSpec
from envtool.plan.graph import Node
from envtool.realise.setting import DEFAULT_EPOCH, Setting, add_variables
from envtool.store import memo
from envtool.store.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A node with everything that decides it."""

    node: Node
    request: Request
    pins: Json
    fetches: tuple[Fetch, ...]
    document: Mapping[str, Json]
    key: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A node that stands in the store."""

    settled: Settled
    layer: Layer


def request_for(node: Node, below: Sequence[Made], setting: Setting) -> Request:
    """The request of a node on what it stands on. Raises SpecError for inputs that are not there."""
    spec = node.spec
    kind, options = node.kind, spec.options
    patterns, optional, named = (
        tuple(posixpath.join(spec.directory, pattern) for pattern in some)
        for some in (kind.inputs(options), kind.optional_inputs(options), kind.named_inputs(options))
    )
    base = below[0].settled if below else None
    return Request(
        name=spec.name,
        options=spec.options,
        inputs=_inputs(setting.root, (patterns, optional, named), spec) if patterns or optional or named else (),
        where=spec.where,
        directory=spec.directory,
        arch=setting.arch,
        epoch=base.epoch if base else DEFAULT_EPOCH,
        below=tuple(made.layer.diff_id for made in below),
        base_kind=base.node.kind.name if base else "",
        base_pins=base.pins if base else None,
        variables=variables(below),
    )


def variables(stack: Sequence[Made]) -> dict[str, str]:
    """What the layers of a stack set for everything above them, bottom first."""
    merged: dict[str, str] = {}
    for made in stack:
        add_variables(merged, dict(made.settled.node.kind.variables(made.settled.request)))
        if isinstance(made.settled.node.spec, LayerSpec):
            add_variables(merged, dict(made.settled.node.spec.set))
    return merged


def remembered(node: Node, request: Request, setting: Setting) -> tuple[bool, Json]:
    """(True, pins) when no one has to be asked: nothing floats, or the answer is known and still fits this host."""
    if type(node.kind).resolve is Kind.resolve:
        return True, None
    known = memo.get(setting.store, question(node, request))
    if known is None or not node.kind.fresh(request, known["pins"]):
        return False, None
    return True, known["pins"]


def resolve(node: Node, request: Request, setting: Setting, site: Site, *, again: bool) -> Json:
    """The pins of a node, asked for once: other processes with the same question wait for this answer."""
    asked = question(node, request)
    with memo.asking(setting.store, asked):
        if not again:
            known, pins = remembered(node, request, setting)
            if known:
                return pins
        try:
            pins = node.kind.resolve(request, site)
        except SpecError:
            raise
        except EnvtoolError as error:
            error.message = (
                f"{request.where.file}:{request.where.line}: {node.subject} `{request.name}`: {error.message}"
            )
            error.args = (error.message,)
            raise
        memo.put(setting.store, asked, {"pins": pins})
        return pins


def settled(node: Node, request: Request, pins: Json) -> Settled:
    """Everything that decides the node, and its key. Pure."""
    kind = node.kind
    epoch = request.epoch
    if node.subject == "base":
        own = kind.epoch(pins)
        epoch = DEFAULT_EPOCH if own is None else own
    fetches = kind.fetches(request, pins)
    names = [fetch.name for fetch in fetches]
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ResolveError(f"layer `{request.name}` fetches two files named `{double}`", code="fetch-names")
    document = keys.layer_document(
        kind=f"{node.subject}:{kind.name}",
        version=kind.version,
        material=kind.material(request, pins),
        files=[[fetch.name, fetch.sha256] for fetch in sorted(fetches, key=lambda fetch: fetch.name)],
        inputs=[[item.path, item.sha256, item.executable, item.link] for item in request.inputs],
        variables=dict(request.variables),
        arch=request.arch,
        epoch=epoch,
        below=[*request.below],
    )
    return Settled(
        node=node,
        request=request,
        pins=pins,
        fetches=fetches,
        document=document,
        key=keys.digest(document),
        epoch=epoch,
    )


def memory(made: Made, setting: Setting) -> str:
    """The file that remembers the pins of a node: while it is unchanged, so are they."""
    return memo.path(setting.store, question(made.settled.node, made.settled.request))


def question(node: Node, request: Request) -> dict[str, Json]:
    """All that the answer of `resolve` depends on: pins are remembered under it."""
    return {
        "kind": f"{node.subject}:{node.kind.name}",
        "version": node.kind.version,
        "question": node.kind.question(request),
        "arch": request.arch,
        "below": [*request.below],
    }


def _inputs(root: str, patterns: tuple[tuple[str, ...], ...], spec: BaseSpec | LayerSpec) -> tuple[InputFile, ...]:
    try:
        return project.inputs(root, *patterns)
    except SpecError:
        raise
    except EnvtoolError as error:
        problem = Problem(where=spec.where, message=error.message, code=error.code, hint=error.hint)
        raise SpecError((problem,)) from error
