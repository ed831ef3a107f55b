"""The kinds that come with envtool, offered through the same hooks as any plugin's."""

from __future__ import annotations

from envtool.api import Kind, hook
from envtool.kinds.copy import Copy
from envtool.kinds.debian.apt import Apt
from envtool.kinds.debian.base import Debian
from envtool.kinds.fetch import FetchLayer
from envtool.kinds.host import Host
from envtool.kinds.run import RunLayer
from envtool.kinds.tarball import Tarball


@hook
def envtool_base_kinds() -> list[Kind]:
    """Host, Debian, tarball."""
    return [Host(), Debian(), Tarball()]


@hook
def envtool_layer_kinds() -> list[Kind]:
    """Apt, copy, fetch, run."""
    return [Apt(), Copy(), FetchLayer(), RunLayer()]
