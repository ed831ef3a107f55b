"""The agent scripts inside.py and with_uv.py, which run under the container's Python: their commands, and their paths
there."""

from __future__ import annotations

import json
import posixpath

from envtool import api

TOOLS = "/run/envtool/python"
INSIDE = f"{TOOLS}/inside.py"
WITH_UV = f"{TOOLS}/with_uv.py"
UV_PROGRAM = f"{TOOLS}/uv"  # decompressed, if the container has it
NO_PYTHON = 97


def inside_command(python: str, mode: str, document: api.Json) -> api.Command:
    """Returns the command that runs inside.py under the container's Python; it exits with NO_PYTHON without one."""
    return _command(INSIDE, python, mode, document)


def uv_command(python: str, mode: str, document: api.Json) -> api.Command:
    """Returns the command that runs with_uv.py, likewise."""
    return _command(WITH_UV, python, mode, document)


def _command(script_path: str, python: str, mode: str, document: api.Json) -> api.Command:
    script = f'command -v "$0" >/dev/null 2>&1 || exit {NO_PYTHON}; unset PYTHONSAFEPATH; exec "$0" "$@"'
    return api.Command(argv=("/bin/sh", "-c", script, python, script_path, mode, json.dumps(document, sort_keys=True)))


def inside_binds() -> tuple[api.Bind, ...]:
    """Returns the binds of inside.py and its modules, for `inside_command`. `Kind.version` is their version in keys."""
    directory = posixpath.dirname(__file__)
    modules = (f"envtool_python/{name}.py" for name in ("__init__", "beside", "calls", "compiling", "tagged"))
    return (
        api.Bind(source=f"{directory}/inside.py", target=INSIDE),
        *(api.Bind(source=f"{posixpath.dirname(directory)}/{name}", target=f"{TOOLS}/{name}") for name in modules),
    )


def uv_binds() -> tuple[api.Bind, ...]:
    """Returns the binds of with_uv.py and its modules, for `uv_command` with the mode `build`."""
    return _uv_binds("as_pip_writes", "inside")


def uv_resolving_binds() -> tuple[api.Bind, ...]:
    """Returns the binds of with_uv.py and its modules, for `uv_command` with every other mode."""
    return _uv_binds("as_pip_writes", "inside", "uv_metadata")


def _uv_binds(*modules: str) -> tuple[api.Bind, ...]:
    directory = posixpath.dirname(__file__)
    return (
        *inside_binds(),
        api.Bind(source=f"{directory}/with_uv.py", target=WITH_UV),
        *(api.Bind(source=f"{directory}/{name}.py", target=f"{TOOLS}/envtool_python/{name}.py") for name in modules),
    )
