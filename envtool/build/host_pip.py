"""Runs this machine's pip: the one of this Python, else the one in PATH."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping

from envtool import proc
from envtool.api import Completed, ResolveError, find_program, search_path
from envtool.build import pip_config_files

_SECONDS = 600.0  # pip ends much earlier: its own time limits are 15 s for an answer, and five retries


def run_host_pip(arguments: tuple[str, ...], variables: Mapping[str, str] | None, *, cancel: int = -1) -> Completed:
    """Runs pip with the caller's environment, since its configuration and the keyring that it asks are the caller's.
    With `variables`, pip reads no other configuration. `pip config list` is answered without starting pip where the
    answer is certain. Raises ResolveError if this machine has no pip, Interrupted when the descriptor `cancel` becomes
    readable."""
    program, prefix = [sys.executable, "-P", "-m", "pip"], sys.prefix  # -P: no pip.py of the current directory
    if importlib.util.find_spec("pip") is None:
        path = search_path()
        program = [found for name in ("pip3", "pip") if (found := find_program(name, path))][:1]
        prefix = pip_config_files.prefix_of_script(program[0]) if program else ""
    if not program:
        hint = "install pip: its configuration says where packages are"
        raise ResolveError("this machine has no pip", code="pip", hint=hint)
    env = dict(os.environ)
    if variables is not None:
        env = {name: value for name, value in env.items() if not name.startswith("PIP_")}
        env |= {"PIP_CONFIG_FILE": os.devnull, **variables}
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if arguments == ("config", "list") and prefix and "PYTHONHOME" not in env:
        listing = pip_config_files.config_listing(prefix, env)
        if listing is not None:
            return Completed(status=0, stdout=listing, stderr=b"")
    result = proc.run([*program, *arguments], env=env, cwd="/", timeout=_SECONDS, cancel=cancel)
    return Completed(status=result.status, stdout=result.stdout, stderr=result.stderr)
