"""The text of a first envtool.yaml, and of those that it includes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api import Detection
    from envtool.model import Json


INCLUDED_NAME = (
    "envtool.package.yaml"  # of a project below: no name that `envtool` looks for, so it finds the one above
)


def render_spec_files(found: Sequence[Detection], test: str = "") -> dict[str, str]:
    """The files of a spec: path -> text. An env for each detection that has one, those of directories below in files of
    their own, which the first includes. `test` is the command of the first one's task `test`; where nothing was found,
    of an env that has this machine's programs. Empty where there is nothing to be written."""
    here = [each for each in found if not each.directory]
    below: dict[str, list[Detection]] = {}
    for each in found:
        if each.directory and each.tested and not test:
            below.setdefault(each.directory, []).append(each)
    envs = _envs_mapping(here, test)
    if not envs and not below:
        return {}
    includes: dict[str, Json] = {_include_name(place, [*below]): f"{place}/{INCLUDED_NAME}" for place in below}
    first: dict[str, Json] = {**({"include": includes} if includes else {}), **({"envs": envs} if envs else {})}
    parts = {f"{place}/{INCLUDED_NAME}": _dump_yaml({"envs": _envs_mapping(each, "")}) for place, each in below.items()}
    return {"envtool.yaml": _dump_yaml(first), **parts}


def _include_name(place: str, places: Sequence[str]) -> str:
    """The last part of a directory; the whole, where another ends so too. A name begins with a letter."""
    last = place.rpartition("/")[2]
    name = last if [each.rpartition("/")[2] for each in places].count(last) == 1 else place
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return name if name[:1].isalpha() else f"in-{name}"


def _envs_mapping(found: Sequence[Detection], test: str) -> dict[str, Json]:
    envs: dict[str, Json] = {}
    for each in found:
        if each.tested:
            free = each.language if each.language not in envs else f"{each.language}{len(envs)}"
            envs["unit" if not envs else free] = each.env
    if test:
        known = next((each.env for each in found if each.env is not None), {"base": "host"})
        first = envs.get("unit", known)
        envs["unit"] = {**first, "tasks": {"test": test}} if isinstance(first, dict) else first
    return envs


def _dump_yaml(document: Mapping[str, Json]) -> str:
    from yaml import safe_dump

    text: str = safe_dump({**document}, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 16)
    return f"version: 1\n\n{text}"
