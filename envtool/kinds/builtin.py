"""Registers envtool's own kinds by the hooks that a plugin uses: `registry.discover()` loads this module by its
name."""

from __future__ import annotations

from envtool import api


@api.hook
def envtool_base_kinds() -> list[api.Kind]:
    from envtool.kinds.debian.base import Debian
    from envtool.kinds.dockerfile.base import Dockerfile
    from envtool.kinds.host import Host
    from envtool.kinds.image.base import ImageBase
    from envtool.kinds.tarball import Tarball

    return [Host(), Debian(), Tarball(), ImageBase(), Dockerfile()]


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    from envtool.kinds.copy import Copy
    from envtool.kinds.debian.apt import Apt, SourcePackage
    from envtool.kinds.fetch import FetchLayer
    from envtool.kinds.run import RunLayer

    return [Apt(), Copy(), FetchLayer(), RunLayer(), SourcePackage()]


@api.hook
def envtool_packages(tree: api.Tree) -> list[api.Package]:
    from envtool.kinds.debian import installed

    return installed.installed_packages(tree)


@api.hook
def envtool_owners(tree: api.Tree, path: str) -> list[api.Package]:
    from envtool.kinds.debian import installed

    return installed.owners(tree, path)
