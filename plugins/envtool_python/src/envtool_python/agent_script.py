"""The agent script inside.py, which runs under the container's Python: its command and its paths there."""

from __future__ import annotations

import json
import posixpath

from envtool import api

TOOLS = "/run/envtool/python"
INSIDE = f"{TOOLS}/inside.py"
NO_PYTHON = 97


def inside_command(python: str, mode: str, document: api.Json) -> api.Command:
    """Returns the command that runs inside.py under the container's Python; it exits with NO_PYTHON without one."""
    script = f'command -v "$0" >/dev/null 2>&1 || exit {NO_PYTHON}; unset PYTHONSAFEPATH; exec "$0" "$@"'
    return api.Command(argv=("/bin/sh", "-c", script, python, INSIDE, mode, json.dumps(document, sort_keys=True)))


def inside_binds() -> tuple[api.Bind, ...]:
    """Returns the binds of inside.py and its modules, for `inside_command`. `Kind.version` is their version in keys."""
    directory = posixpath.dirname(__file__)
    modules = (f"envtool_python/{name}.py" for name in ("__init__", "beside", "calls", "compiling", "tagged"))
    return (
        api.Bind(source=f"{directory}/inside.py", target=INSIDE),
        *(api.Bind(source=f"{posixpath.dirname(directory)}/{name}", target=f"{TOOLS}/{name}") for name in modules),
    )
