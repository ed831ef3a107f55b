"""The packages of a stack, as the plugins report them, and its bill of materials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from envtool import keys
from envtool.api import Package, Tree
from envtool.build.scheduler import Stack
from envtool.build.stack_files import StackTree
from envtool.container.runner import Runner
from envtool.errors import EnvtoolError, UsageError

if TYPE_CHECKING:
    from envtool.report.sbom.document import Sbom, SbomLayer

RELEASES = ("/usr/lib/os-release", "/etc/os-release")


def stack_digest(stack: Stack) -> str:
    """Returns the name of a stack: the digest (hex) of its diff IDs, bottom first."""
    return keys.digest([*stack.diff_ids])


def sbom_layers(stack: Stack) -> tuple[SbomLayer, ...]:
    """Returns the stack's base and layers, bottom first."""
    from envtool.report.sbom.document import SbomLayer

    return tuple(
        SbomLayer(
            name=made.resolved.node.spec.name,
            kind=made.resolved.node.kind.name,
            key=made.layer.key,
            diff_id=made.layer.diff_id,
            summary=made.resolved.node.kind.summary(made.resolved.request, made.resolved.pins),
            pinned=made.resolved.node.is_pinned,
        )
        for made in stack.layers
    )


def make_sbom(env: str, stack: Stack, plugins: Sequence[object], runner: Runner) -> Sbom:
    """Returns the bill of materials of a built stack. Raises UsageError naming the plugin that fails."""
    from envtool.report.sbom.document import Sbom, merge_packages

    tree = StackTree([made.layer for made in stack.layers], runner)
    system, release = _release(tree)
    files = [(fetch.name, fetch.sha256) for made in stack.layers for fetch in made.resolved.fetches]
    return Sbom(
        env=env,
        digest=stack_digest(stack),
        epoch=stack.epoch,
        steps=sbom_layers(stack),
        items=merge_packages(list_packages(tree, plugins), files),
        system=system,
        release=release,
    )


def list_packages(tree: Tree, plugins: Sequence[object]) -> list[Package]:
    """Returns all packages installed in a tree. Raises UsageError naming the plugin that fails."""
    return [*call_hook("envtool_packages", plugins, tree=tree)]


def call_hook(hook: str, plugins: Sequence[object], **arguments: Any) -> Iterator[Package]:
    """Yields the packages that each plugin with this hook returns, in the order of the plugins. Raises UsageError
    naming the plugin that fails."""
    for plugin in plugins:
        function = getattr(plugin, hook, None)
        if function is None:
            continue
        try:
            yield from function(**arguments)
        except EnvtoolError:
            raise
        except Exception as error:
            name = getattr(plugin, "__name__", type(plugin).__name__)
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UsageError(f"the plugin {name} failed in {hook}: {text}", code="plugin") from error


def _release(tree: Tree) -> tuple[str, str]:
    """Returns ID and VERSION_ID of os-release(5), as in ("debian", "12"); empty if there is no such file."""
    for content in tree.read(RELEASES).values():
        fields = dict(line.split("=", 1) for line in content.decode(errors="replace").splitlines() if "=" in line)
        return fields.get("ID", "").strip("\"' "), fields.get("VERSION_ID", "").strip("\"' ")
    return "", ""
