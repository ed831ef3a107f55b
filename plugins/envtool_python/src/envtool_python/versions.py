"""A version for projects whose build backend asks version control: builds see the project's files, not its history.

The newest version tag is read from the repository's own files (packed-refs, refs/tags), without git, when pins are
made; the pins keep it. A source distribution's PKG-INFO comes first: such backends read it themselves.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from envtool_python.facts import Facts

FALLBACK = "0"
_TAG = re.compile(r"^(?:.*[-_/])?[vV]?(\d+(?:\.\d+)+(?:\.?(?:post|rev)\d+)?)$")
_TAG_REF = re.compile(r"^[0-9a-f]{40,64} refs/tags/(\S+)$", re.MULTILINE)
_VARIABLES = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "PBR_VERSION", "UV_DYNAMIC_VERSIONING_BYPASS")


def pretended(project: Path, facts: Facts, prefix: str, said: str | None) -> dict[str, str]:
    """Variables that tell such a backend the version; none for other projects. `said` is the spec's."""
    if not (facts.versioned or said):
        return {}
    version = said or f"{newest_tag(project, prefix) or FALLBACK}+envtool"
    return {**dict.fromkeys(_VARIABLES, version), "POETRY_DYNAMIC_VERSIONING_BYPASS": version}


def newest_tag(project: Path, prefix: str = "") -> str:
    """The highest released version among the repository's tags; "" when there is none."""
    directory = _git_directory(project, project / prefix)
    if directory is None:
        return ""
    tags = set()
    packed = directory / "packed-refs"
    if packed.is_file():
        tags.update(_TAG_REF.findall(packed.read_text(encoding="utf-8", errors="replace")))
    loose = directory / "refs" / "tags"
    for parent, _, names in os.walk(loose):
        tags.update(os.path.relpath(os.path.join(parent, name), loose) for name in names)
    found = [match.group(1) for match in (_TAG.match(tag) for tag in tags) if match]
    return max(found, key=_order, default="")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,18}", version))


def _git_directory(project: Path, start: Path) -> Path | None:
    """The repository's own directory, shared by its worktrees; looked for from `start` up to above `project`."""
    for directory in (start, *start.parents):
        git = directory / ".git"
        if git.is_dir():
            return git
        if git.is_file():
            git = directory / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            common = git / "commondir"
            return git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        if directory == project.parent:
            return None
    return None
