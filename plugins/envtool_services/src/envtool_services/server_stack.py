"""The base and layers of a server, and the directory of its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envtool import api
from envtool_services.debian_versions import Release

USER_ID = 1000  # of the ordinary user that services run as


def stack_of(kind: str, release: Release, packages: Sequence[str], *commands: str) -> dict[str, Any]:
    """Returns `base_kind`, `base_options` and `layers` of a draft: Debian with these packages, and above it a directory
    for the server's data, which its user may write. `commands` are shell lines that change more of the system."""
    make_directory = f"install -d -o {USER_ID} -g {USER_ID} -m 700 {data_directory(kind)}"
    layers: list[api.LayerDraft] = []
    if release.installs and packages:
        layers.append(api.LayerDraft(name=f"{kind}-server", kind="apt", options=[*packages]))
    steps: list[api.Json] = [make_directory, *commands]
    layers.append(api.LayerDraft(name=f"{kind}-data", kind="run", options={"run": steps}))
    return {"base_kind": "debian", "base_options": release.suite or "bookworm", "layers": tuple(layers)}


def data_directory(kind: str) -> str:
    """Returns the directory of the server's data: the ordinary user's own, whatever ids this machine has."""
    return f"/srv/{kind}"
