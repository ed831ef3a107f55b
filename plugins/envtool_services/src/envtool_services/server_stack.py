"""The base and layers of a server, and the directory of its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envtool import api
from envtool_services.debian_versions import Release

USER_ID = 1000  # of the ordinary user that services run as


def stack_of(kind: str, release: Release, packages: Sequence[str], commands: Sequence[str] = ()) -> dict[str, Any]:
    """Returns `base_kind`, `base_options` and `layers` of a draft: Debian with these packages, and above it a layer
    that `commands` build: shell lines. By default they make a directory for the server's data, which its user may
    write, whatever ids this machine has."""
    layers: list[api.LayerDraft] = []
    if release.installs:
        layers.append(api.LayerDraft(name=f"{kind}-server", kind="apt", options=[*packages]))
    steps: list[api.Json] = [*commands] or [make_directories(data_directory(kind), mode="700")]
    layers.append(api.LayerDraft(name=f"{kind}-user", kind="run", options={"run": steps}))
    return {"base_kind": "debian", "base_options": release.suite or "bookworm", "layers": tuple(layers)}


def data_directory(kind: str) -> str:
    """Returns the directory of the server's data."""
    return f"/srv/{kind}"


def make_directories(*paths: str, mode: str = "755") -> str:
    """Returns a shell line that makes directories of the ordinary user, or gives them to it."""
    return f"install -d -o {USER_ID} -g {USER_ID} -m {mode} {' '.join(paths)}"
