"""The notes of an import, which say how the spec differs from the compose file, and the state of one import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from envtool.lazy_dataclass import dataclass, field
from envtool.spec.node import Problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool.model import Where
    from envtool.project.source_files import ProjectFiles
    from envtool.spec.node import YamlNode

# "left-out": it is not in the spec. "changed": it is, with another meaning. "meaningless": it has no effect here.
Effect: TypeAlias = "Literal['left-out', 'changed', 'meaningless']"


COPIED_HINT = "take what is a secret out of the spec before you commit it"
_MAX_NAMES = 8


def listed_names(names: Iterable[str]) -> str:
    """Returns names for a message: the first of them, and how many more there are."""
    every = [f"`{name[:60]}`" for name in names]
    more = f" and {len(every) - _MAX_NAMES} more" if len(every) > _MAX_NAMES else ""
    return ", ".join(every[:_MAX_NAMES]) + more


class Note(NamedTuple):
    """A note on a key that is imported with another meaning, or not at all. `service` is "" for a key at the top; in a
    file without services it is the env."""

    where: Where
    service: str
    key: str
    effect: Effect
    message: str  # what it means here
    hint: str = ""  # what to do


@dataclass(slots=True, kw_only=True)
class ImportState:
    """One import: the project whose files may be read, the errors and notes so far."""

    project: ProjectFiles
    problems: Problems = field(default_factory=Problems)
    notes: dict[tuple[int, int, int, str, str, str], Note] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # of `.env` and of the caller's `--set`
    dotenv: frozenset[str] = frozenset()  # the names of those that are `.env`'s
    used: dict[str, None] = field(default_factory=dict)  # names of variables that were looked up
    secrets: Mapping[str, YamlNode] = field(default_factory=dict)  # those at the top, by name
    configs: Mapping[str, YamlNode] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # of services in the compose file -> in the spec
    other_names: Mapping[str, str] = field(
        default_factory=dict
    )  # further names that compose has for services -> in the spec
    service: str = ""  # the name of the service that is being read
    files: frozenset[str] | None = None  # of the project, with their directories; None: not listed yet

    def note(self, node: YamlNode, key: str, effect: Effect, message: str, hint: str = "") -> None:
        """Adds a note. The same note at the same position (through an alias) is added once for each service."""
        note = Note(node.where, self.service, key, effect, message, hint)
        self.notes.setdefault((node.source.order, note.where.line, note.where.column, self.service, key, message), note)

    def look_up(self, name: str) -> str | None:
        """Returns the value of `${NAME}`; None if it has none."""
        self.used[name] = None
        return self.variables.get(name)

    def ordered_notes(self) -> tuple[Note, ...]:
        """Returns all notes, in the order of the files."""
        return tuple(self.notes[key] for key in sorted(self.notes))

    def has_file(self, path: str) -> bool:
        """Returns whether a path is a file of the project, or a directory with one in it. Raises EnvtoolError (code
        project-git)."""
        if self.files is None:
            listed = self.project.listed()
            self.files = frozenset((*listed, *_directories(listed)))
        return path in self.files


def _directories(paths: Iterable[str]) -> set[str]:
    directories = {"."}
    for directory in {path.rpartition("/")[0] for path in paths}:
        while directory and directory not in directories:
            directories.add(directory)
            directory = directory.rpartition("/")[0]  # noqa: PLW2901 - up to one that is in the set
    return directories
