"""The hooks: what this distribution adds to envtool."""

from __future__ import annotations

from envtool import api
from envtool_node.kinds import TOOLCHAIN, NodeToolchain, Npm, Pnpm, Yarn
from envtool_node.language import NodeLanguage, detect

envtool_api = 1  # of docs/api-changelog.md


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`npm`, `pnpm`, `yarn`, and what `toolchain: {node: …}` adds."""
    return [Npm(), Pnpm(), Yarn(), NodeToolchain()]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: node`."""
    return [NodeLanguage()]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`node`."""
    return [TOOLCHAIN]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with package.json is a Node.js project."""
    return detect(project)


@api.hook
def envtool_packages(tree: api.Tree) -> list[api.Package]:
    """The npm packages in every directory where Node looks for them."""
    from envtool_node.installed import installed_packages

    return installed_packages(tree)


@api.hook
def envtool_owners(tree: api.Tree, path: str) -> list[api.Package]:
    """The npm package in whose directory a file lies."""
    from envtool_node.installed import owners

    return owners(tree, path)


@api.hook
def envtool_output_readers() -> list[api.OutputReader]:
    """Readers of node --test, Jest, Mocha and Vitest."""
    from envtool_node.test_output import READERS

    return [*READERS]
