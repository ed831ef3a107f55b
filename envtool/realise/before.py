"""What the spec and the project's files alone tell of a base or layer, before anything is asked, fetched or made for
it: a file that is not there is told at once, and not only when all that stands below is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from envtool import inputs
from envtool.api import Kind, Request
from envtool.errors import EnvtoolError, Interrupted, PluginError, Problem, ResolveError, SpecError
from envtool.gate import Gate
from envtool.plan.graph import Node
from envtool.plugged import placed
from envtool.realise import settle
from envtool.realise.inproject import InProject
from envtool.realise.setting import DEFAULT_EPOCH, Setting


def check(nodes: Iterable[Node], setting: Setting) -> None:
    """Raise SpecError for all that these nodes ask of the project's files and that is not there, may not be had, or is
    wrong in itself. Raises Interrupted."""
    found: dict[Problem, None] = {}
    for node in nodes:
        for ask in (_named, settle.texts, _own):
            try:
                with placed(f"{node.subject} `{node.spec.name}`", node.spec.where):
                    ask(setting, node)
            except SpecError as error:
                found |= dict.fromkeys(error.problems)
                if ask is settle.texts:
                    break  # the kind would look at what it could not be told
    if found:
        raise SpecError(tuple(sorted(found, key=lambda each: each.where)))


def _named(setting: Setting, node: Node) -> None:
    """Whether each pattern that is needed means something. Raises SpecError, Interrupted."""
    patterns = settle.within(node.spec, node.kind.inputs(node.spec.options))
    if not patterns:
        return
    try:
        inputs.check(
            setting.root,
            patterns,
            keeps=settle.keeps(node),
            apart=(*setting.files, *setting.logs),
            door=Gate(setting.root, setting.allowed),
            cancel=setting.cancel.reader,
            listed=setting.listed,
        )
    except (SpecError, Interrupted):
        raise
    except EnvtoolError as error:
        raise settle.said_of(node.spec, error) from error


def _own(setting: Setting, node: Node) -> None:
    """What the kind itself finds wrong. Raises SpecError."""
    kind, spec = node.kind, node.spec
    if node.of or type(kind).check is Kind.check:
        return
    request = Request(
        name=spec.name,
        options=spec.options,
        inputs=(),
        where=spec.where,
        directory=spec.directory,
        arch=setting.arch,
        epoch=DEFAULT_EPOCH,
        texts=settle.texts(setting, node),
    )
    try:
        kind.check(request, Nobody(setting))
    except (SpecError, PluginError, Interrupted):
        raise
    except EnvtoolError as error:
        raise settle.said_of(spec, error) from error


class Nobody(InProject):
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
