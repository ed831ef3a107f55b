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
    includes: dict[str, Json] = {**include_names([f"{directory}/{INCLUDED_NAME}" for directory in below])}
    first: dict[str, Json] = {**({"include": includes} if includes else {}), **({"envs": envs} if envs else {})}
    included = {
        f"{directory}/{INCLUDED_NAME}": _render({"envs": _envs_mapping(detections_below, "")}, detections_below)
        for directory, detections_below in below.items()
    }
    return {"envtool.yaml": _render(first, own, test), **included}


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


def include_names(paths: Sequence[str]) -> dict[str, str]:
    """Returns the value of `include` for specs of projects below: name -> path."""
    directories = [path.rpartition("/")[0] for path in paths]
    return {_include_name(directory, directories): path for directory, path in zip(directories, paths, strict=True)}


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


def _render(document: Mapping[str, Json], detections: Sequence[Detection], test: str = "") -> str:
    """Returns the text of a spec, with a comment for each choice."""
    from envtool.app.compose.spec_text import comment_lines, entry_lines

    lines = comment_lines("Written by `envtool init`, which has executed nothing of the project.")
    lines += ["version: 1", ""]
    if include := document.get("include"):
        lines += comment_lines("each project below has a spec of its own: `envtool test -e NAME/*`")
        lines += [*entry_lines("include", include, ""), ""]
    envs = document.get("envs")
    reasons = {_json_text(detection.env): detection for detection in detections if detection.tested}
    if isinstance(envs, dict):
        lines.append("envs:")
        for name, env in envs.items():
            if not isinstance(env, dict):
                continue
            lines += ["", f"  {name}:"] if lines[-1] != "envs:" else [f"  {name}:"]
            detection = reasons.get(_json_text(env))
            for comment in _env_comments(env, detection, test):
                lines += comment_lines(comment, "    ")
            for key, value in env.items():
                lines += comment_lines(_KEYS[key], "    ") if key in _KEYS else []
                lines += entry_lines(key, value, "    ")
    while not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n"


# What `init` writes, and why.
_KEYS = {
    "language": "adds the layers that the project's own files ask for: `envtool plan` lists them",
    "caches": "directories that are kept from run to run: they are no part of a result",
    "sources": "requirements that are projects of this checkout, not packages of an index",
    "extras": "those for tests, and those whose modules the test files import",
    "toolchain": "a version that the base does not have: `envtool lock` pins the newest release of it",
    "layers": "Debian's packages of the programs that the build calls",
    "tasks": "`envtool test` runs `test`; arguments after `--` stand where `args` is",
}


def _env_comments(env: Mapping[str, Json], detection: Detection | None, test: str) -> list[str]:
    base = env.get("base")
    found = f"{detection.language}: {detection.reason}" if detection is not None else ""
    if test:
        found = f"`--test` has given the command{f'; found {found}' if found else ''}"
    if isinstance(base, dict) and "debian" in base:
        reason = f"base: the packages of Debian {base['debian']}, which are the same on every machine"
    else:
        reason = "base: the programs of this machine, which are new enough; `base: {debian: …}` is the same everywhere"
    return [*([f"found {found}" if not test else found] if found else []), reason]


def _json_text(value: Json) -> str:
    """Returns a value as text that is equal for equal values."""
    import json

    return json.dumps(value, sort_keys=True)
