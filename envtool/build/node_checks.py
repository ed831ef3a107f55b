"""What the spec and the project's files alone tell of a base or layer, before anything is asked, fetched or made for
it: a file that is not there is told at once, and not only when all that stands below is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NoReturn

from envtool.api import Kind, Request, Secret
from envtool.build import resolution
from envtool.build.context import DEFAULT_EPOCH, Context
from envtool.build.project_site import ProjectSite
from envtool.errors import EnvtoolError, Interrupted, PluginError, Problem, ResolveError, SpecError, UsageError
from envtool.plan.graph import Node, part_previews
from envtool.plugin_calls import with_location
from envtool.project import inputs
from envtool.project.host_access import HostAccess


def check_nodes(nodes: Iterable[Node], setting: Context) -> None:
    """Raise SpecError for all that these nodes ask of the project's files and that is not there, may not be had, or is
    wrong in itself. Raises Interrupted."""
    found: dict[Problem, None] = {}
    for node in nodes:
        for ask in (_check_input_patterns, resolution.read_texts, _run_kind_check, _foreseen):
            try:
                with with_location(f"{node.subject} `{node.spec.name}`", node.spec.where):
                    ask(setting, node)
            except SpecError as error:
                found |= dict.fromkeys(error.problems)
                if ask is resolution.read_texts:
                    break  # the kind would look at what it could not be told
    if found:
        raise SpecError(tuple(sorted(found, key=lambda each: each.where)))


def _check_input_patterns(setting: Context, node: Node) -> None:
    """Whether each pattern that is needed means something. Raises SpecError, Interrupted."""
    patterns = resolution.project_patterns(node.spec, node.kind.inputs(node.spec.options))
    if not patterns:
        return
    try:
        inputs.check_inputs(
            setting.root,
            patterns,
            keeps=resolution.input_filter(node),
            apart=(*setting.files, *setting.logs),
            access=HostAccess(setting.root, setting.allowed),
            cancel=setting.cancel.reader,
            listed=setting.listed,
        )
    except (SpecError, Interrupted):
        raise
    except EnvtoolError as error:
        raise resolution.to_spec_error(node.spec, error) from error


def _run_kind_check(setting: Context, node: Node) -> None:
    """What the kind itself finds wrong. Raises SpecError."""
    kind, spec = node.kind, node.spec
    if node.of or type(kind).check is Kind.check:
        return
    try:
        kind.check(_request(setting, node), NoNetworkSite(setting))
    except (SpecError, PluginError, Interrupted):
        raise
    except EnvtoolError as error:
        raise resolution.to_spec_error(spec, error) from error


def _request(setting: Context, node: Node) -> Request:
    spec = node.spec
    return Request(
        name=spec.name,
        options=spec.options,
        inputs=(),
        where=spec.where,
        directory=spec.directory,
        arch=setting.arch,
        epoch=DEFAULT_EPOCH,
        texts=resolution.read_texts(setting, node),
    )


def _foreseen(setting: Context, node: Node) -> None:
    """What the parts that a base will have ask of the project. Raises SpecError, Interrupted."""
    if node.of or type(node.kind).foreseen is Kind.foreseen:
        return
    found: dict[Problem, None] = {}
    for part in part_previews(node, node.kind.foreseen(_request(setting, node))):
        try:
            _check_input_patterns(setting, part)
        except SpecError as error:
            found |= dict.fromkeys(error.problems)
        if setting.share is None:  # a layer that the team has is not made with a secret here
            found |= dict.fromkeys(_lacking(setting, part))
    if found:
        raise SpecError(tuple(found))


def _lacking(setting: Context, part: Node) -> Iterator[Problem]:
    """Secrets that are required, and that the spec says to be files of the project that are not there."""
    gate = setting.host_access()
    for each in part.kind.build(_request(setting, part), None).shown:
        if isinstance(each, Secret) and each.required and each.source.startswith("file:"):
            try:
                there = gate.secret(each.id, each.source) is not None
            except UsageError:
                continue  # the caller's to allow: said where it is built
            if not there:
                message, hint = gate.lacking(each.id, each.source)
                yield Problem(where=part.spec.where, message=message, code="secret-missing", hint=hint)


class NoNetworkSite(ProjectSite):
    """`api.Site` where nobody may be asked."""

    def get(self, *_: object, **__: object) -> NoReturn:
        """Refuses. Raises ResolveError."""
        raise ResolveError("nobody may be asked now", code="nobody")

    fetch = learn = run = keep = shared = packages_with = get

    def seen(self, sha256: str, url: str) -> None:
        """Nothing is seen."""

    def cancelled(self) -> bool:
        """There is nothing to wait for."""
        return False

    def note(self, text: str) -> None:
        """Nobody listens either."""
