"""Checks a base or layer by the spec and the project's files alone, before anything is resolved, fetched or built: a
missing file is reported at once, and not after all layers below are built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NoReturn

from envtool.api import Base, Kind, Request, Secret
from envtool.build import resolution
from envtool.build.context import DEFAULT_EPOCH, Context
from envtool.build.project_site import ProjectSite
from envtool.errors import EnvtoolError, Interrupted, PluginError, Problem, ResolveError, SpecError, UsageError
from envtool.plan.graph import Node, part_previews
from envtool.project import inputs
from envtool.project.host_access import HostAccess


def check_nodes(nodes: Iterable[Node], context: Context, *, is_read: bool = False) -> None:
    """Raises SpecError for all inputs, texts and options of these nodes that are missing, forbidden or wrong. Raises
    Interrupted. `is_read`: inputs and texts were read for the requests of these nodes, without an error."""
    problems: dict[Problem, None] = {}
    of_project = () if is_read else (_check_input_patterns, resolution.read_texts)
    for node in nodes:
        for check in (*of_project, _run_kind_check, _check_foreseen_parts):
            try:
                check(context, node)
            except PluginError as error:
                error.locate(f"{node.subject} `{node.spec.name}`", node.spec.where)
                raise
            except SpecError as error:
                problems |= dict.fromkeys(error.problems)
                if check is resolution.read_texts:
                    break  # the kind's own check needs the texts
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda problem: problem.where)))


def check_secrets(nodes: Iterable[Node], context: Context) -> None:
    """Reads the secrets of layers that will be built. Raises SpecError with all that the caller does not give. A layer
    that may come from the team cache is asked for its secrets when it is built after all."""
    named = [node for node in nodes if names_secrets(node)] if context.share is None else []
    if not named:
        return
    from envtool.build.secret_values import layer_use  # few layers have secrets

    wanted = []
    for node in named:
        shown = node.kind.build(_request(context, node), None).shown
        uses = [layer_use(mount, node.spec.where) for mount in shown if isinstance(mount, Secret) and mount.from_caller]
        wanted += [(f"{node.subject} `{node.spec.name}`", use) for use in uses]
    context.secrets().read(wanted)


def names_secrets(node: Node) -> bool:
    """Returns whether a layer is built with secrets of `secrets:`."""
    options = node.spec.options
    return not node.of and isinstance(options, dict) and bool(options.get("secrets")) and "run" in options


def has_limits(node: Node) -> bool:
    """Returns whether the spec limits the build of a layer."""
    return bool(getattr(node.spec, "limits", {}))  # a base has none


def check_limits(node: Node) -> None:
    """Raises SandboxError for a limit of a layer's build that must be enforced, and cannot be here. The build itself
    has the notes about others."""
    from envtool.build import limit_checks  # few layers have limits

    limits = getattr(node.spec, "limits", {})
    limit_checks.check_limits(f"{node.subject} `{node.spec.name}`", limits, lambda _: None, on_disk=True)


def _check_input_patterns(context: Context, node: Node) -> None:
    """Raises SpecError for a required pattern that matches no file. Raises Interrupted."""
    wanted = resolution.project_inputs(node)
    if not wanted:
        return
    try:
        inputs.check_inputs(
            context.root,
            wanted,
            apart=(*context.files, *context.logs),
            access=HostAccess(context.root, context.allowed),
            cancel=context.cancel.reader,
            listed=context.listed,
        )
    except (SpecError, Interrupted):
        raise
    except EnvtoolError as error:
        raise resolution.to_spec_error(node.spec, error) from error


def _run_kind_check(context: Context, node: Node) -> None:
    """Runs the check of the kind itself. Raises SpecError."""
    kind, spec = node.kind, node.spec
    if node.of or type(kind).check is Kind.check:
        return
    try:
        kind.check(_request(context, node), NoNetworkSite(context))
    except (SpecError, PluginError, Interrupted):
        raise
    except EnvtoolError as error:
        raise resolution.to_spec_error(spec, error) from error


def _request(context: Context, node: Node) -> Request:
    spec = node.spec
    return Request(
        name=spec.name,
        options=spec.options,
        inputs=(),
        where=spec.where,
        directory=spec.directory,
        arch=context.arch,
        epoch=DEFAULT_EPOCH,
        texts=resolution.read_texts(context, node),
    )


def _check_foreseen_parts(context: Context, node: Node) -> None:
    """Checks what the sublayers that a base will have need of the project. Raises SpecError, Interrupted."""
    if not isinstance(node.kind, Base) or type(node.kind).foreseen is Base.foreseen:
        return
    problems: dict[Problem, None] = {}
    for part in part_previews(node, node.kind.foreseen(_request(context, node))):
        try:
            _check_input_patterns(context, part)
        except SpecError as error:
            problems |= dict.fromkeys(error.problems)
        if context.share is None:  # a layer from the team cache is not built here, and needs no secret here
            problems |= dict.fromkeys(_missing_secrets(context, part))
    if problems:
        raise SpecError(tuple(problems))


def _missing_secrets(context: Context, part: Node) -> Iterator[Problem]:
    """Yields a problem for each required secret that is a file of the project and does not exist."""
    access = context.host_access()
    for mount in part.kind.build(_request(context, part), None).shown:
        if isinstance(mount, Secret) and mount.required and mount.source.startswith("file:"):
            try:
                exists = access.secret(mount.id, mount.source) is not None
            except UsageError:
                continue  # the caller may still allow it: the build reports it
            if not exists:
                message, hint = access.lacking(mount.id, mount.source)
                yield Problem(where=part.spec.where, message=message, code="secret-missing", hint=hint)


class NoNetworkSite(ProjectSite):
    """`api.Site` that refuses every question."""

    def get(self, *_: object, **__: object) -> NoReturn:
        """Raises ResolveError."""
        raise ResolveError("nobody may be asked now", code="nobody")

    fetch = learn = run = keep = shared = registries = packages_with = host_pip = get

    def seen(self, sha256: str, url: str) -> None:
        """Does nothing."""

    def cancelled(self) -> bool:
        """Returns False: nothing takes long."""
        return False

    def note(self, text: str) -> None:
        """Does nothing."""
