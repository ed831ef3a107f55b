"""What the build of a project needs, where pyproject.toml says all of it. Pure; with_uv.py decides the same inside.

Such requirements are resolved together with those of the layer below, so that no container has to be started for them.
"""

from __future__ import annotations

import tomllib
from typing import Any

from envtool_python.with_uv import SELF_CONTAINED


def declared_requirements(text: str) -> tuple[str, ...]:
    """Returns `build-system.requires` of a pyproject.toml whose backend asks for nothing beyond; () if it may ask for
    more, or needs nothing, or the text is no TOML."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
        system, table = document.get("build-system", {}), document.get("project", {})
        requires, backend = tuple(system.get("requires", ())), system.get("build-backend")
        declares_all = backend in SELF_CONTAINED or (
            backend == "flit_core.buildapi" and {"version", "description"} <= {*table} and not table.get("dynamic")
        )
        plain = not system.get("backend-path") and all(isinstance(line, str) for line in requires)
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return ()
    return requires if declares_all and plain else ()
