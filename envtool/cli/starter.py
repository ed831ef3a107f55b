"""The text of a first envtool.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.api import Detection
    from envtool.model import Json

EMPTY = """\
version: 1

envs:
  unit:
    base: host             # this machine's system, read-only; or {debian: bookworm}
    tasks:
      test: echo "write the test command here" && false
"""


def starter(found: Sequence[Detection]) -> str:
    """A spec with an env for each detection; without any, one to be filled in."""
    if not found:
        return EMPTY
    from yaml import safe_dump

    envs: dict[str, Json] = {}
    for each in found:
        envs["unit" if not envs else each.language if each.language not in envs else f"{each.language}{len(envs)}"] = (
            each.env
        )
    text: str = safe_dump({"envs": envs}, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return f"version: 1\n\n{text}"
