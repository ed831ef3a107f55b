"""A node whose ground is known -> its pins, its files and its key.

Remembered pins come from the store's memo: the question is everything that `resolve` may look at, so an answer is
never used for another question. The lock file comes first: it is that same memory, written down where it can be
reviewed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from envtool import keys, pin_schemas
from envtool.api import Fetch, InputFile, Kind, Request, Site
from envtool.build.context import DEFAULT_EPOCH, Context
from envtool.build.variables import overlay_variables
from envtool.errors import (
    EnvtoolError,
    FetchError,
    Interrupted,
    MakeError,
    PluginError,
    Problem,
    ResolveError,
    SpecError,
)
from envtool.lock.lock import LockEntry, LockQuestion, parents_digest
from envtool.lock.text_format import wrong_pins_error
from envtool.model import BaseSpec, Json, LayerSpec
from envtool.plan.graph import Node, is_composite
from envtool.plugin_calls import with_location
from envtool.project import inputs, source_files
from envtool.project.host_access import HostAccess
from envtool.store import answer_cache
from envtool.store.layers import Layer

PINS = 3  # raise it when pins of our own kinds look otherwise: what older stores remember is then asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNode:
    """A node with everything that decides it."""

    node: Node
    request: Request
    pins: Json
    fetches: tuple[Fetch, ...]
    document: Mapping[str, Json]
    key: str
    epoch: int

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """What of the project its build sees."""
        return tuple(item for item in self.request.inputs if item.built)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """A node that stands in the store."""

    settled: ResolvedNode
    layer: Layer


class RecordingSite(Site, Protocol):
    """A site that can tell afterwards where files were seen."""

    @property
    def found(self) -> Mapping[str, str]:
        """sha256 -> URL, as `seen` was told."""


def request_for(
    node: Node, below: Sequence[MadeLayer], setting: Context, beside: Mapping[str, Sequence[MadeLayer]] | None = None
) -> Request:
    """The request of a node on what it stands on. Raises SpecError for inputs that are not there."""
    request = request_from_resolved(node, [made.settled for made in below], stack_diff_ids(below), setting)
    return (
        replace(request, beside={name: stack_diff_ids(stack) for name, stack in beside.items()}) if beside else request
    )


def stack_diff_ids(stack: Sequence[MadeLayer]) -> tuple[str, ...]:
    """Content addresses, bottom first."""
    return tuple(made.layer.diff_id for made in stack)


def request_from_resolved(
    node: Node, below: Sequence[ResolvedNode], diff_ids: tuple[str, ...], setting: Context
) -> Request:
    """The same where nothing below need stand: without diff IDs it does for what a lock is asked. Raises SpecError."""
    with with_location(f"{node.subject} `{node.spec.name}`", node.spec.where):
        return _request_on(node, below, diff_ids, setting)


def _request_on(node: Node, below: Sequence[ResolvedNode], diff_ids: tuple[str, ...], setting: Context) -> Request:
    spec = node.spec
    base = below[0] if below else None
    said = {} if node.of else stack_variables(below)  # a part has what it needs of them in its options
    return Request(
        name=spec.name,
        options=spec.options,
        inputs=_inputs(setting, node),
        where=spec.where,
        directory=spec.directory,
        arch=setting.arch,
        epoch=base.epoch if base else DEFAULT_EPOCH,
        below=diff_ids,
        base_kind=base.node.kind.name if base else "",
        base_name=base.node.spec.name if base else "",
        base_pins=base.pins if base else None,
        variables={name: value for name, value in said.items() if value is not None},
        unset=tuple(sorted(name for name, value in said.items() if value is None)),
        texts=read_texts(setting, node),
    )


def stack_variables(
    stack: Sequence[ResolvedNode], below: Mapping[str, str | None] | None = None
) -> dict[str, str | None]:
    """What the layers of a stack set for everything above them, bottom first, on what is set `below`; None for what is
    taken away. What a base says counts as it is, also of lists: that is all there is in it."""
    merged = dict(below or {})
    for settled in stack:
        said = settled.node.kind.variables(settled.request, settled.pins)
        if settled.node.subject == "base":
            merged.update(said)
        else:
            overlay_variables(merged, said)
        if isinstance(settled.node.spec, LayerSpec):
            overlay_variables(merged, settled.node.spec.set)
    return merged


def needs_resolution(kind: Kind) -> bool:
    """Whether there is anything to settle."""
    return type(kind).resolve is not Kind.resolve


def question_for_lock(node: Node, request: Request, below: Sequence[ResolvedNode]) -> LockQuestion:
    """What a lock is asked about a node: see lock.lock."""
    base = below[0] if below else None
    own = base.node.kind.platform(base.pins) if base and not base.node.kind.pinned else ""
    return LockQuestion(
        subject=node.subject,
        name=request.name,
        kind=node.kind.name,
        platform=f"{request.arch} {own}".strip(),
        asked=node.kind.question(request),
        ground=parents_digest(
            each.pins for each in below if needs_resolution(each.node.kind) and each.node.kind.pinned
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A request with what is known of its answer: `known` when no one has to be asked, since nothing floats, or it is
    locked, or remembered and still fits this host. `again`: ask, whatever is remembered."""

    request: Request
    known: bool
    pins: Json = None
    again: bool = False
    locked: LockEntry | None = None  # the answer in the lock


def find_resolution(node: Node, request: Request, below: Sequence[MadeLayer], setting: Context) -> Resolution:
    """What is known of a node's pins: from the lock first, then from the store. Where they have to be settled, the
    request says which earlier answer to stay near to."""
    if not needs_resolution(node.kind):
        return Resolution(request=request, known=True)
    if setting.refresh:
        return Resolution(request=request, known=False, again=True)
    if node.kind.pinned:
        asked = question_for_lock(node, request, [made.settled for made in below])
        if asked.id in setting.moving:
            return Resolution(request=replace(request, keep=setting.moving[asked.id]), known=False, again=True)
        locked = find_locked_answer(node, request, asked, setting)
        if locked is not None:
            return Resolution(request=request, known=True, pins=locked.pins, locked=locked)
        near = setting.lock.nearest(asked)
        if near is not None:
            request = replace(request, keep=near.pins)
    known, pins = find_cached_pins(node, request, setting)
    return Resolution(request=request, known=known, pins=pins)


def find_locked_answer(node: Node, request: Request, asked: LockQuestion, setting: Context) -> LockEntry | None:
    """What the lock answers, None where it does not. All that a kind makes of pins is tried on them first: a schema
    cannot say everything (a number that counts something else's rows), and a plugin may have none. Raises SpecError
    (code lock-pins)."""
    entry = setting.lock.answer(asked)
    if entry is None or asked.id in setting.tried:
        return entry
    kind, pins = node.kind, entry.pins
    try:
        found = settled(node, request, pins)
        for hook in (kind.variables, kind.in_project, kind.generated, kind.summary, kind.image_config):
            hook(request, pins)
        if node.subject == "base":
            kind.parts(request, pins)
        kind.watches(pins)
        inside = {**kind.in_project(request, pins), **kind.generated(request, pins)}
        if any(posixpath.normpath(path).split("/")[0] in ("", "..") for path in inside):
            raise ValueError("a path that leaves the project")
        for fetch in found.fetches:
            check_fetch(fetch)
    except PluginError as error:  # of pins that came from a lock: whoever edited it, and not the plugin
        raise wrong_pins_error(entry, error.reason) from error
    except MakeError as error:
        raise wrong_pins_error(entry, error.message) from error
    except _BAD_PINS_ERRORS as error:
        raise wrong_pins_error(entry, f"{type(error).__name__}: {error}"[:300]) from error
    setting.tried.add(asked.id)
    return entry


_BAD_PINS_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def check_fetch(fetch: Fetch) -> None:
    """Raise ValueError for a file that no build can be shown, whatever a kind made of its pins."""
    if not fetch.name or fetch.name in (".", "..") or "/" in fetch.name or "\0" in fetch.name or len(fetch.name) > 255:
        raise ValueError(f"no name of a file: {fetch.name[:100]!r}")
    if len(fetch.sha256) != 64 or not set(fetch.sha256) <= set("0123456789abcdef"):
        raise ValueError(f"no sha256: {fetch.sha256[:100]!r}")
    if type(fetch.size) is not int or not 0 <= fetch.size < 1 << 63:
        raise ValueError("no size")


def lock_mismatch(wanted: Resolution, key: str, diff_id: str) -> str:
    """What to say of a layer that did not come out as the lock says; empty when it did, or the lock does not say."""
    locked = wanted.locked
    if locked is None or locked.key != key or not locked.diff_id or locked.diff_id == diff_id:
        return ""
    return f"not as locked: `envtool verify {wanted.request.name}` says what differs"


def find_cached_pins(node: Node, request: Request, setting: Context) -> tuple[bool, Json]:
    """What the store remembers of a question."""
    known = answer_cache.get(setting.store, pins_question(node, request))
    if not isinstance(known, dict) or "pins" not in known or pin_schemas.fault(known["pins"], node.kind.pins):
        return False, None
    return (True, known["pins"]) if node.kind.fresh(request, known["pins"]) else (False, None)


def resolve_pins(node: Node, request: Request, setting: Context, site: RecordingSite, *, again: bool) -> Json:
    """The pins of a node, asked for once: other processes with the same question wait for this answer. Raises
    ResolveError (code offline) where it would have to be asked offline."""
    question = pins_question(node, request)
    if setting.offline and node.kind.pinned:
        raise ResolveError(
            f"{request.where.file}:{request.where.line}: {node.subject} `{request.name}` is not settled yet, and"
            " --offline asks nobody",
            code="offline",
            hint="`envtool lock && envtool fetch`, with a network, settles and fetches everything",
        )
    failed = setting.shared.get("questions that failed", dict[str, EnvtoolError])
    with answer_cache.lock_question(setting.store, question, cancelled=setting.cancel.is_set):
        if not again:
            known, pins = find_cached_pins(node, request, setting)
            if known:
                return pins
        try:
            pins = _resolved(node, request, site, failed, keys.digest(question))
        except (SpecError, PluginError):
            raise
        except EnvtoolError as error:
            error.message = (
                f"{request.where.file}:{request.where.line}: {node.subject} `{request.name}`: {error.message}"
            )
            error.args = (error.message,)
            raise
        answer_cache.put(setting.store, question, {"pins": pins, "seen": dict(site.found)})
        return pins


def _resolved(
    node: Node, request: Request, site: RecordingSite, failed: dict[str, EnvtoolError], question: str
) -> Json:
    """What the kind says; where it could not say it in this run, the same error again: whoever asked has waited for its
    attempts already."""
    if (said := failed.get(question)) is not None:
        raise _anew(said)
    try:
        return node.kind.resolve(request, site)
    except (FetchError, ResolveError) as error:
        failed[question] = _anew(error)
        raise


def _anew(error: EnvtoolError) -> EnvtoolError:
    """One of its own: whoever is told names a place in it."""
    said = type(error)(error.message, code=error.code, hint=error.hint)
    said.output = error.output
    return said


def seen(node: Node, request: Request, setting: Context) -> Mapping[str, str]:
    """Where `resolve` saw files, on this machine: sha256 -> URL."""
    known = answer_cache.get(setting.store, pins_question(node, request))
    found = known.get("seen") if isinstance(known, dict) else None
    return {key: url for key, url in found.items() if isinstance(url, str)} if isinstance(found, dict) else {}


def settled(node: Node, request: Request, pins: Json) -> ResolvedNode:
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
    archive = kind.build(request, pins).archive if node.of or is_composite(kind) else None
    document = (
        keys.archive_document(archive.diff_id)
        if archive
        else keys.layer_document(
            kind=f"{node.subject}:{kind.name}",
            version=kind.version,
            material=kind.material(request, pins),
            files=[[fetch.name, fetch.sha256] for fetch in sorted(fetches, key=lambda fetch: fetch.name)],
            inputs=[[item.path, item.sha256, item.executable, item.link] for item in request.inputs if item.built],
            variables={**request.variables, **dict.fromkeys(request.unset)},
            arch=request.arch,
            epoch=epoch,
            below=[*request.below],
            beside={name: [*stack] for name, stack in request.beside.items()},
        )
    )
    return ResolvedNode(
        node=node,
        request=request,
        pins=pins,
        fetches=fetches,
        document=document,
        key=keys.digest(document),
        epoch=epoch,
    )


def image_diff_id(settled: ResolvedNode) -> str:
    """The diff ID of an image's own layer, empty for any other."""
    found = settled.node.kind.build(settled.request, settled.pins).archive
    return found.diff_id if found else ""


def pins_cache_path(made: MadeLayer, setting: Context) -> str:
    """The file that remembers the pins of a node: while it is unchanged, so are they."""
    return answer_cache.path(setting.store, pins_question(made.settled.node, made.settled.request))


def pins_question(node: Node, request: Request) -> dict[str, Json]:
    """What pins are remembered under in the store: all that `resolve` may look at."""
    return {
        "format": PINS,
        "kind": f"{node.subject}:{node.kind.name}",
        "version": node.kind.version,
        "question": node.kind.question(request),
        "arch": request.arch,
        "below": [*request.below],
        **({"keep": keys.digest(request.keep)} if request.keep is not None else {}),
    }


def input_problems(node: Node, setting: Context) -> tuple[Problem, ...]:
    """All that is wrong with what a node asks of the project's files. Raises Interrupted."""
    found: list[Problem] = []
    for ask in (_inputs, read_texts):
        try:
            ask(setting, node)
        except SpecError as error:
            found += error.problems
    return tuple(found)


def project_patterns(spec: BaseSpec | LayerSpec, patterns: Iterable[str]) -> tuple[str, ...]:
    """Patterns of a spec's own directory as those of the project."""
    return tuple(posixpath.normpath(posixpath.join(spec.directory, pattern)) for pattern in patterns)


def _prefix(spec: BaseSpec | LayerSpec) -> str:
    return "" if spec.directory in ("", ".") else f"{spec.directory}/"


def input_filter(node: Node) -> Callable[[str], bool] | None:
    """Which of the files that its patterns mean count for a node, by their paths in the project; None: all."""
    kind, options, prefix = node.kind, node.spec.options, _prefix(node.spec)
    if type(kind).keeps is Kind.keeps:
        return None
    return lambda path: path.startswith(prefix) and kind.keeps(options, path[len(prefix) :])


def _inputs(setting: Context, node: Node) -> tuple[InputFile, ...]:
    kind, spec = node.kind, node.spec
    options = spec.options
    some = (
        kind.inputs(options),
        kind.optional_inputs(options),
        kind.named_inputs(options),
        kind.asked_inputs(options),
    )
    patterns = tuple(project_patterns(spec, each) for each in some)
    if not any(patterns):
        return ()
    follows, prefix = None, _prefix(spec)
    if type(kind).follows is not Kind.follows:

        def follows(link: str, path: str) -> bool:
            both = (link.startswith(prefix), path.startswith(prefix))
            return all(both) and kind.follows(spec.options, link[len(prefix) :], path[len(prefix) :])

    cancel = setting.cancel
    try:
        return inputs.find_inputs(
            setting.root,
            *patterns,
            keeps=input_filter(node),
            follows=follows,
            apart=(*setting.files, *setting.logs),
            access=HostAccess(setting.root, setting.allowed),
            cancel=cancel.reader,
            check=cancel.check,
            listed=setting.listed,
        )
    except (SpecError, Interrupted):
        raise
    except EnvtoolError as error:
        raise to_spec_error(spec, error) from error


def read_texts(setting: Context, node: Node) -> dict[str, str]:
    """Text of the files that a kind reads. Raises SpecError."""
    spec = node.spec
    found: dict[str, str] = {}
    for path in node.kind.texts(spec.options):
        try:
            text = source_files.ProjectFiles(setting.root, setting.host_access()).read(
                posixpath.join(spec.directory, path)
            )
        except EnvtoolError as error:
            raise to_spec_error(spec, error) from error
        if text is not None:
            found[path] = text
    return found


def to_spec_error(spec: BaseSpec | LayerSpec, error: EnvtoolError) -> SpecError:
    errors = error.errors if isinstance(error, inputs.WrongInputsError) else (error,)
    return SpecError(
        tuple(Problem(where=spec.where, message=each.message, code=each.code, hint=each.hint) for each in errors)
    )
