"""Resolves a node whose parents are known to its pins, its files and its key.

Pins come from the lock file, then from the store's answer cache. The question that an answer is stored under holds all
that `resolve` may look at, so an answer is never used for another question.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from envtool import keys
from envtool.api import Base, InputFile, Kind, Request, Site
from envtool.build.context import DEFAULT_EPOCH, Context
from envtool.build.stack import KnownLayer, ResolvedNode, stack_variables
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
from envtool.model import BaseSpec, Input, Json, LayerSpec
from envtool.plan.graph import Node, is_composite
from envtool.project import inputs, source_files
from envtool.project.host_access import HostAccess
from envtool.store import answer_cache
from envtool.store.answer_cache import StoredPins

if TYPE_CHECKING:
    from envtool.api import Fetch

PINS = 3  # raise it when pins of our own kinds change their form: answers in older stores are then not used


class RecordingSite(Site, Protocol):
    """A site that records where `resolve` saw files."""

    @property
    def found(self) -> Mapping[str, str]:
        """sha256 -> URL, from the calls of `seen`."""


def request_for(
    node: Node, below: Sequence[KnownLayer], context: Context, beside: Mapping[str, Sequence[KnownLayer]] | None = None
) -> Request:
    """Returns the request of a node on its parents. Raises SpecError for inputs that do not exist."""
    diff_ids = tuple(layer.diff_id for layer in below)
    request = request_from_resolved(node, [layer.resolved for layer in below], diff_ids, context)
    if not beside:
        return request
    return replace(request, beside={name: tuple(layer.diff_id for layer in stack) for name, stack in beside.items()})


def request_from_resolved(
    node: Node, below: Sequence[ResolvedNode], diff_ids: tuple[str, ...], context: Context
) -> Request:
    """Returns the request of a node whose parents need not be built. Without diff IDs it is enough to ask a lock.
    Raises SpecError."""
    try:
        return _request_on(node, below, diff_ids, context)
    except PluginError as error:
        error.locate(f"{node.subject} `{node.spec.name}`", node.spec.where)
        raise


def _request_on(node: Node, below: Sequence[ResolvedNode], diff_ids: tuple[str, ...], context: Context) -> Request:
    spec = node.spec
    base = below[0] if below else None
    variables = {} if node.of else stack_variables(below)  # a part's options hold the variables that it needs
    reads = bool(node.kind.inputs(spec.options))  # most layers read no file of the project
    return Request(
        name=spec.name,
        options=spec.options,
        inputs=_inputs(context, node) if reads else (),
        where=spec.where,
        directory=spec.directory,
        arch=context.arch,
        epoch=base.epoch if base else DEFAULT_EPOCH,
        below=diff_ids,
        base_kind=base.node.kind.name if base else "",
        base_name=base.node.spec.name if base else "",
        base_pins=base.pins if base else None,
        variables={name: value for name, value in variables.items() if value is not None} if variables else {},
        unset=tuple(sorted(name for name, value in variables.items() if value is None)) if variables else (),
        texts=read_texts(context, node) if reads else {},
    )


def needs_resolution(kind: Kind) -> bool:
    """Whether a kind has pins: whether it overrides `resolve`."""
    return type(kind).resolve is not Kind.resolve


def question_for_lock(node: Node, request: Request, below: Sequence[ResolvedNode]) -> LockQuestion:
    """Returns the question that a lock answers for a node: see lock.lock."""
    base = below[0] if below else None
    base_platform = "" if base is None or base.node.is_pinned else base.node.base_kind.platform(base.pins)
    return LockQuestion(
        subject=node.subject,
        name=request.name,
        kind=node.kind.name,
        platform=f"{request.arch} {base_platform}".strip(),
        asked=node.kind.question(request),
        ground=parents_digest(
            parent.pins for parent in below if needs_resolution(parent.node.kind) and parent.node.is_pinned
        ),
    )


class Resolution(NamedTuple):
    """A request and what is known of its pins. `known`: nobody has to be asked, since the kind has no pins, or they are
    locked, or the answer cache has them and they still fit this machine. `again`: ask, whatever the cache has."""

    request: Request
    known: bool
    pins: Json = None
    again: bool = False
    locked: LockEntry | None = None  # the answer in the lock
    file: str = ""  # of the answer cache, where it has the pins


def find_resolution(
    node: Node, request: Request, below: Sequence[ResolvedNode], context: Context, *, use_cache: bool = True
) -> Resolution:
    """Looks for a node's pins in the lock, then in the answer cache. Where there are none, the request says which
    earlier pins to prefer (`keep`)."""
    if not needs_resolution(node.kind):
        return Resolution(request=request, known=True)
    if context.refresh:
        return Resolution(request=request, known=False, again=True)
    if node.is_pinned:
        question = question_for_lock(node, request, below)
        if question.id in context.upgrading:
            return Resolution(request=replace(request, keep=context.upgrading[question.id]), known=False, again=True)
        locked = find_locked_answer(node, request, question, context)
        if locked is not None:
            return Resolution(request=request, known=True, pins=locked.pins, locked=locked)
        nearest = context.lock.nearest(question)
        if nearest is not None:
            request = replace(request, keep=nearest.pins)
    cached = _find_cached_pins(node, request, pins_question(node, request), context) if use_cache else None
    if cached is None:
        return Resolution(request=request, known=False)
    return Resolution(request=request, known=True, pins=cached.pins, file=cached.file)


def find_locked_answer(node: Node, request: Request, asked: LockQuestion, context: Context) -> LockEntry | None:
    """Returns the lock's answer, or None. Every hook of the kind that takes pins is called with them first: a schema
    cannot check everything (a number that counts rows elsewhere), and a plugin may have none. Raises SpecError (code
    lock-pins)."""
    entry = context.lock.answer(asked)
    if entry is None or asked.id in context.tried:
        return entry
    kind, pins = node.kind, entry.pins
    try:
        resolved = apply_pins(node, request, pins)
        for hook in (kind.variables, kind.in_project, kind.generated, kind.summary):
            hook(request, pins)
        if isinstance(kind, Base):
            kind.image_config(request, pins)
            kind.parts(request, pins)
            kind.watches(pins)
        paths = {**kind.in_project(request, pins), **kind.generated(request, pins)}
        if any(posixpath.normpath(path).split("/")[0] in ("", "..") for path in paths):
            raise ValueError("a path that leaves the project")
        for fetch in resolved.fetches:
            check_fetch(fetch)
    except PluginError as error:  # the pins came from a lock: an edit of it is at fault, and not the plugin
        raise wrong_pins_error(entry, error.reason) from error
    except MakeError as error:
        raise wrong_pins_error(entry, error.message) from error
    except _BAD_PINS_ERRORS as error:
        raise wrong_pins_error(entry, f"{type(error).__name__}: {error}"[:300]) from error
    context.tried.add(asked.id)
    return entry


_BAD_PINS_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def check_fetch(fetch: Fetch) -> None:
    """Raises ValueError for a file that cannot be staged for a build, whatever the kind made of its pins."""
    if not fetch.name or fetch.name in (".", "..") or "/" in fetch.name or "\0" in fetch.name or len(fetch.name) > 255:
        raise ValueError(f"no name of a file: {fetch.name[:100]!r}")
    if len(fetch.sha256) != 64 or not set(fetch.sha256) <= set("0123456789abcdef"):
        raise ValueError(f"no sha256: {fetch.sha256[:100]!r}")
    if type(fetch.size) is not int or not 0 <= fetch.size < 1 << 63:
        raise ValueError("no size")


def lock_mismatch(answer: Resolution, key: str, diff_id: str) -> str:
    """Returns a note for a layer whose diff ID is not the lock's; empty where it is, or where the lock has none."""
    locked = answer.locked
    if locked is None or locked.key != key or not locked.diff_id or locked.diff_id == diff_id:
        return ""
    return f"not as locked: `envtool verify {answer.request.name}` says what differs"


def _find_cached_pins(node: Node, request: Request, question: Json, context: Context) -> StoredPins | None:
    """Returns pins of the answer cache that still fit this machine."""
    cached = answer_cache.get_pins(context.store, question, node.kind.pins)
    if cached is None or (isinstance(node.kind, Base) and not node.kind.fresh(request, cached.pins)):
        return None
    return cached


def resolve_pins(node: Node, answer: Resolution, context: Context, site: RecordingSite) -> Resolution:
    """Asks the kind for the pins of a node, stores them and returns them; other processes with the same question wait
    for it. With `again` stored pins are not used. Raises ResolveError (code offline) where --offline forbids to ask."""
    request = answer.request
    question = pins_question(node, request)
    if context.offline and node.is_pinned:
        raise ResolveError(
            f"{request.where}: {node.subject} `{request.name}` is not resolved yet, and --offline uses no network",
            code="offline",
            hint="`envtool lock && envtool fetch`, with a network, resolves and fetches everything",
        )
    failed = context.shared.get("questions that failed", dict[str, EnvtoolError])
    with answer_cache.lock_question(context.store, question, cancelled=context.cancel.is_set) as name:
        stored = None if answer.again else _find_cached_pins(node, request, question, context)
        if stored is not None:
            return answer._replace(known=True, pins=stored.pins, file=stored.file)
        try:
            pins = _call_resolve(node, request, site, failed, name)
        except (SpecError, PluginError):
            raise
        except EnvtoolError as error:
            error.message = f"{request.where}: {node.subject} `{request.name}`: {error.message}"
            error.args = (error.message,)
            raise
        stored = answer_cache.put_pins(context.store, question, pins, node.kind.pins, seen=site.found)
        return answer._replace(known=True, pins=pins, file=stored.file)


def _call_resolve(
    node: Node, request: Request, site: RecordingSite, failed: dict[str, EnvtoolError], question: str
) -> Json:
    """Calls the kind's `resolve`. A question that failed in this run is not asked again: the same error is raised,
    since all attempts were made already."""
    if (earlier := failed.get(question)) is not None:
        raise _copy_error(earlier)
    try:
        return node.kind.resolve(request, site)
    except (FetchError, ResolveError) as error:
        failed[question] = _copy_error(error)
        raise


def _copy_error(error: EnvtoolError) -> EnvtoolError:
    """Copies an error: each caller adds the place of its own node to the message."""
    copy = type(error)(error.message, code=error.code, hint=error.hint)
    copy.output = error.output
    return copy


def seen_urls(node: Node, request: Request, context: Context) -> Mapping[str, str]:
    """Returns sha256 -> URL of the files that `resolve` saw on this machine."""
    answer = answer_cache.get(context.store, pins_question(node, request))
    urls = answer.get("seen") if isinstance(answer, dict) else None
    return {sha256: url for sha256, url in urls.items() if isinstance(url, str)} if isinstance(urls, dict) else {}


def apply_pins(node: Node, request: Request, pins: Json, *, file: str = "", keyed: bool = True) -> ResolvedNode:
    """Derives everything that decides a node from its pins, and its key. Pure. `file` is that of the answer cache with
    the pins. Without `keyed` the document and the key are empty: they would mean nothing for a node whose parents are
    not known. Raises ResolveError for two files of one name, and what the kind raises."""
    kind = node.kind
    epoch = request.epoch
    if node.subject == "base":
        base_epoch = node.base_kind.epoch(pins)
        epoch = DEFAULT_EPOCH if base_epoch is None else base_epoch
    fetches = kind.fetches(request, pins)
    names = [fetch.name for fetch in fetches]
    if len(set(names)) != len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ResolveError(f"layer `{request.name}` fetches two files named `{duplicate}`", code="fetch-names")
    archive = kind.build(request, pins).archive if node.of or is_composite(kind) else None
    material = None if archive else kind.material(request, pins)
    document: dict[str, Json] = {}
    if keyed and archive:
        document = keys.archive_document(archive.diff_id)
    elif keyed:
        document = keys.layer_document(
            kind=f"{node.subject}:{kind.name}",
            version=kind.version,
            material=material,
            files=[[fetch.name, fetch.sha256] for fetch in sorted(fetches, key=lambda fetch: fetch.name)],
            inputs=[[item.path, item.sha256, item.executable, item.link] for item in request.inputs if item.built],
            variables={**request.variables, **dict.fromkeys(request.unset)},
            arch=request.arch,
            epoch=epoch,
            below=[*request.below],
            beside={name: [*stack] for name, stack in request.beside.items()},
        )
    return ResolvedNode(
        node=node,
        request=request,
        pins=pins,
        pins_file=file,
        fetches=fetches,
        document=document,
        key=keys.digest(document) if keyed else "",
        epoch=epoch,
    )


def image_diff_id(resolved: ResolvedNode) -> str:
    """Returns the diff ID of a layer that an image's archive is, empty for any other node."""
    archive = resolved.node.kind.build(resolved.request, resolved.pins).archive
    return archive.diff_id if archive else ""


def pins_question(node: Node, request: Request) -> dict[str, Json]:
    """Returns the question that pins are stored under: all that `resolve` may look at."""
    return {
        "format": PINS,
        "kind": f"{node.subject}:{node.kind.name}",
        "version": node.kind.version,
        "question": node.kind.question(request),
        "arch": request.arch,
        "below": [*request.below],
        **({"keep": keys.digest(request.keep)} if request.keep is not None else {}),
    }


def input_problems(node: Node, context: Context) -> tuple[Problem, ...]:
    """Returns all that is wrong with a node's inputs and texts. Raises Interrupted."""
    problems: list[Problem] = []
    for read in (_inputs, read_texts):
        try:
            read(context, node)
        except SpecError as error:
            problems += error.problems
    return tuple(problems)


def project_inputs(node: Node) -> tuple[Input, ...]:
    """Returns a node's inputs, with paths relative to the project instead of the directory of the spec file."""
    declared = tuple(node.kind.inputs(node.spec.options))
    if not declared:  # most layers have none
        return ()
    directory = node.spec.directory
    prefix = "" if directory in ("", ".") else f"{directory}/"

    @functools.cache  # inputs with one filter have one filter afterwards
    def keeps_at(keeps: Callable[[str], bool]) -> Callable[[str], bool]:
        return lambda path: path.startswith(prefix) and keeps(path[len(prefix) :])

    @functools.cache
    def follows_at(follows: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
        def follows_in_project(link: str, path: str) -> bool:
            inside = link.startswith(prefix) and path.startswith(prefix)
            return inside and follows(link[len(prefix) :], path[len(prefix) :])

        return follows_in_project

    return tuple(
        replace(
            item,
            pattern=posixpath.normpath(posixpath.join(directory, item.pattern)),
            keeps=item.keeps and keeps_at(item.keeps),
            follows=item.follows and follows_at(item.follows),
        )
        for item in declared
    )


def _inputs(context: Context, node: Node) -> tuple[InputFile, ...]:
    spec, wanted = node.spec, project_inputs(node)
    if not wanted:
        return ()
    try:
        return inputs.find_inputs(
            context.root,
            wanted,
            apart=(*context.files, *context.logs),
            access=HostAccess(context.root, context.allowed),
            cancel=context.cancel.reader,
            check=context.cancel.check,
            listed=context.listed,
        )
    except (SpecError, Interrupted):
        raise
    except EnvtoolError as error:
        raise to_spec_error(spec, error) from error


def read_texts(context: Context, node: Node) -> dict[str, str]:
    """Reads a node's inputs for "text": path, as the kind gave it -> text. Raises SpecError."""
    spec = node.spec
    texts: dict[str, str] = {}
    for item in node.kind.inputs(spec.options):
        if item.use != "text":
            continue
        path, files = item.pattern, source_files.ProjectFiles(context.root, context.host_access())
        try:
            text = files.read(posixpath.join(spec.directory, path))
            if text is None and item.required:
                raise inputs.missing_error(path, None)
        except EnvtoolError as error:
            raise to_spec_error(spec, error) from error
        if text is not None:
            texts[path] = text
    return texts


def to_spec_error(spec: BaseSpec | LayerSpec, error: EnvtoolError) -> SpecError:
    errors = error.errors if isinstance(error, inputs.WrongInputsError) else (error,)
    return SpecError(
        tuple(Problem(where=spec.where, message=item.message, code=item.code, hint=item.hint) for item in errors)
    )
