"""The projects of a checkout by their names, and those of the repository around it. Pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python.decode import WrongFileError
from envtool_python.metadata import read_facts
from envtool_python.poetry import table
from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from envtool_python.decode import DecodedFiles, FileReader, SubdirectoryReader

PROJECTS = ("pyproject.toml", "setup.cfg", "setup.py")  # a directory with one of these files has a project
NON_PROJECT_DIRECTORIES = frozenset(
    ["tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "fixtures", "vendor", "_vendor",
     "third_party"]
)  # fmt: skip
_MAX_PROJECTS = 300  # projects that are looked for by name; in a larger checkout, the first ones by path


class MappedFiles(dict[str, str]):
    """Texts of files by their paths, as a FileReader."""

    def read(self, path: str) -> str | None:
        """See FileReader."""
        return self.get(path)


class CheckoutProjects:
    """Directories of projects by the projects' normalised names. The files are read once, when a name is asked for."""

    def __init__(self, project: DecodedFiles | SubdirectoryReader | Any, depth: int = 0) -> None:
        """`depth`: how many directories above the spec's still belong to the project."""
        self._project = project
        self._depth = depth
        self._inner: dict[str, list[str]] | None = None
        self._outer: dict[str, list[str]] | None = None

    def named(self, name: str) -> list[str]:
        """Directories of the checkout, relative to the spec's, whose project has this name."""
        if self._inner is None:
            glob = getattr(self._project, "glob", None)
            up = "../" * self._depth
            paths = [path for file in PROJECTS for path in (glob(f"{up}**/{file}") if glob else ())]
            directories = {posixpath.dirname(path) or "." for path in paths}
            members = self._workspace_members(glob) & directories if glob else set()
            ordered = sorted({*project_directories(directories), *members})
            self._inner = _by_name(self._project, ordered[:_MAX_PROJECTS])
        return self._inner.get(name, [])

    def _workspace_members(self, glob: Callable[[str], Sequence[str]]) -> set[str]:
        """Directories that a uv workspace names as its members, whatever they are called: an `examples` that is named
        there is no test data (https://docs.astral.sh/uv/concepts/projects/workspaces/)."""
        members: set[str] = set()
        for prefix in ("../" * count for count in range(self._depth, -1, -1)):
            try:
                workspace = table(table(read_facts(self._project, prefix).tools, "uv"), "workspace")
            except (WrongFileError, api.UsageError):  # it is reported where the file counts
                continue
            members |= _matching(glob, prefix, workspace.get("members"))
            members -= _matching(glob, prefix, workspace.get("exclude"))
        return members

    def outside(self, name: str) -> list[str]:
        """Directories of the repository around the project whose project has this name."""
        if self._outer is None:
            around = getattr(self._project, "around", None)
            files = {path: text for file in PROJECTS for path, text in (around(file) if around else {}).items()}
            directories = {posixpath.dirname(path) for path in files}
            self._outer = _by_name(MappedFiles(files), project_directories(directories))
        return self._outer.get(name, [])


def _matching(glob: Callable[[str], Sequence[str]], prefix: str, patterns: object) -> set[str]:
    """The directories of projects that match the patterns of a workspace at `prefix`."""
    names = [pattern for pattern in patterns if isinstance(pattern, str)] if isinstance(patterns, list) else []
    inside = [name.strip("/") for name in names if ".." not in name.split("/") and not name.startswith("/")]
    return {posixpath.dirname(path) or "." for name in inside for path in glob(f"{prefix}{name}/pyproject.toml")}


def project_directories(directories: Iterable[str]) -> list[str]:
    """The directories, sorted, without those below `tests`, `docs` and the like: projects there are test data."""
    return sorted(directory for directory in directories if not NON_PROJECT_DIRECTORIES & {*directory.split("/")})


def _by_name(files: FileReader, directories: Iterable[str]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for directory in directories:
        try:
            name = normal(read_facts(files, "" if directory == "." else f"{directory}/").name)
        except (WrongFileError, api.UsageError):  # the env is not about this project
            continue
        if name:
            by_name.setdefault(name, []).append(directory)
    return by_name
