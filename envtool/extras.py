"""What an extra of ours requires, and the command that installs that beside this very envtool.

By the names of what is required: `pip install envtool-core[…]` would ask an index for our own name, which is on none
(docs/decisions/0001), so that whoever registered it there would be asked for the code that runs here.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec

DISTRIBUTION = "envtool-core"


def extra_requirements(extra: str) -> tuple[str, ...]:
    """Requirements, as the metadata of our distribution has them; none where we are not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        parted = [line.partition(";") for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return ()
    return tuple(
        line.strip() for line, _, marker in parted if marker.replace('"', "'").strip() == f"extra == '{extra}'"
    )


def install_command(extra: str) -> str:
    """The command, for the environment that this envtool runs in: pipx's own, or that of a Python."""
    names = " ".join(map(shlex.quote, extra_requirements(extra)))
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject {shlex.quote(os.path.basename(sys.prefix))} {names}"
    python = shlex.quote(sys.executable)
    if find_spec("pip") is None:  # environments of uv have none
        return f"uv pip install --python {python} {names}"
    return f"{python} -m pip install {names}"
