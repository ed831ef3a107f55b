"""The text of a first envtool.yaml and of the files that it includes, and the JSON of `init`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api import Detection
    from envtool.model import Json


# the spec of a project below: not a name that `envtool` looks for, so that it finds the spec above
INCLUDED_NAME = "envtool.package.yaml"


def render_spec_files(detections: Sequence[Detection], test: str = "") -> dict[str, str]:
    """The files of a spec: path -> text. Each tested detection gets an env; those of directories below are in files of
    their own, which the first file includes. `test` is the command of the task `test` of the first env, which without
    detections is an env with this machine's programs. Empty if there is nothing to write."""
    own = [detection for detection in detections if not detection.directory]
    below: dict[str, list[Detection]] = {}
    for detection in detections:
        if detection.directory and detection.tested and not test:
            below.setdefault(detection.directory, []).append(detection)
    envs = _envs_mapping(own, test)
    if not envs and not below:
        return {}
    includes: dict[str, Json] = {
        _include_name(directory, [*below]): f"{directory}/{INCLUDED_NAME}" for directory in below
    }
    first: dict[str, Json] = {**({"include": includes} if includes else {}), **({"envs": envs} if envs else {})}
    included = {
        f"{directory}/{INCLUDED_NAME}": _dump_yaml({"envs": _envs_mapping(detection, "")})
        for directory, detection in below.items()
    }
    return {"envtool.yaml": _dump_yaml(first), **included}


def init_json(written: Sequence[str], used: Sequence[Detection], left_out: Sequence[Detection]) -> dict[str, Json]:
    """The JSON of `init` (docs/json.md): the paths that were written, the spec first, and what was detected, with
    whether the spec has it."""
    found: list[Json] = [
        {
            "language": detection.language,
            "directory": detection.directory,
            "reason": detection.reason,
            "used": is_used,
        }
        for detections, is_used in ((used, True), (left_out, False))
        for detection in detections
    ]
    return {"file": written[0], "written": [*written], "found": found}


def _include_name(directory: str, directories: Sequence[str]) -> str:
    """The name of an include: the last part of its directory, or all of it where another directory ends the same. A
    name begins with a letter."""
    last_part = directory.rpartition("/")[2]
    name = last_part if [other.rpartition("/")[2] for other in directories].count(last_part) == 1 else directory
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return name if name[:1].isalpha() else f"in-{name}"


def _envs_mapping(detections: Sequence[Detection], test: str) -> dict[str, Json]:
    envs: dict[str, Json] = {}
    for detection in detections:
        if detection.tested:
            unused_name = detection.language if detection.language not in envs else f"{detection.language}{len(envs)}"
            envs["unit" if not envs else unused_name] = detection.env
    if test:
        fallback = next((detection.env for detection in detections if detection.env is not None), {"base": "host"})
        first = envs.get("unit", fallback)
        envs["unit"] = {**first, "tasks": {"test": test}} if isinstance(first, dict) else first
    return envs


def _dump_yaml(document: Mapping[str, Json]) -> str:
    from yaml import safe_dump

    text: str = safe_dump({**document}, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 16)
    return f"version: 1\n\n{text}"
