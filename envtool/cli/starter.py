"""The text of a first envtool.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.api import Detection
    from envtool.model import Json


def starter(found: Sequence[Detection], test: str = "") -> str:
    """A spec with an env for each detection that has one. `test` is the command of the first one's task `test`; where
    nothing was found, of an env that has this machine's programs. Empty where there is nothing to be written."""
    from yaml import safe_dump

    envs: dict[str, Json] = {}
    for each in found:
        if each.tested:
            free = each.language if each.language not in envs else f"{each.language}{len(envs)}"
            envs["unit" if not envs else free] = each.env
    if test:
        known = next((each.env for each in found if each.env is not None), {"base": "host"})
        first = envs.get("unit", known)
        envs["unit"] = {**first, "tasks": {"test": test}} if isinstance(first, dict) else first
    if not envs:
        return ""
    text: str = safe_dump({"envs": envs}, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 16)
    return f"version: 1\n\n{text}"
