"""A version for projects whose build backend asks version control: builds see the project's files, not its history.

The newest version tag is asked for when pins are made; the pins keep it. A source distribution's PKG-INFO comes first:
such backends read it themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool import api
    from envtool_python.facts import Facts

FALLBACK = "0"
_TAG = re.compile(r"^(?:.*[-_/])?[vV]?(\d+(?:\.\d+)+(?:\.?(?:post|rev)\d+)?)$")
_VARIABLES = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "PBR_VERSION", "UV_DYNAMIC_VERSIONING_BYPASS")


def pretended(site: api.Site, facts: Facts, prefix: str, said: str | None) -> dict[str, str]:
    """Variables that tell such a backend the version; none for other projects. `said` is the spec's."""
    if not (facts.versioned or said):
        return {}
    version = said or f"{newest(site.tags(prefix)) or FALLBACK}+envtool"
    return {**dict.fromkeys(_VARIABLES, version), "POETRY_DYNAMIC_VERSIONING_BYPASS": version}


def newest(tags: Iterable[str]) -> str:
    """The highest released version among tags; "" when there is none."""
    found = [match.group(1) for match in (_TAG.match(tag) for tag in tags) if match]
    return max(found, key=_order, default="")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,18}", version))
