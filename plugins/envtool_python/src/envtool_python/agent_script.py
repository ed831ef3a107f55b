"""Our program that runs under the container's Python (inside.py): how it is called, and where it stands there."""

from __future__ import annotations

import json
import posixpath

from envtool import api

TOOLS = "/run/envtool/python"
INSIDE = f"{TOOLS}/inside.py"
NO_PYTHON = 97


def inside_command(python: str, mode: str, document: api.Json) -> api.Command:
    """Our program under the container's Python; status NO_PYTHON where there is none."""
    script = f'command -v "$0" >/dev/null 2>&1 || exit {NO_PYTHON}; unset PYTHONSAFEPATH; exec "$0" "$@"'
    return api.Command(argv=("/bin/sh", "-c", script, python, INSIDE, mode, json.dumps(document, sort_keys=True)))


def inside_binds() -> tuple[api.Bind, ...]:
    """Our program and what it imports, where `inside_command` expects them; versioned by `Kind.version`."""
    here = posixpath.dirname(__file__)
    modules = (f"envtool_python/{name}.py" for name in ("__init__", "beside", "calls", "compiling", "tagged"))
    return (
        api.Bind(source=f"{here}/inside.py", target=INSIDE),
        *(api.Bind(source=f"{posixpath.dirname(here)}/{name}", target=f"{TOOLS}/{name}") for name in modules),
    )
