"""Takes compose files over, for the tests of this directory."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from envtool.app.command_request import CommandRequest
from envtool.app.compose.notes import Note
from envtool.app.import_compose import import_compose


@dataclass(frozen=True)
class Taken:
    text: str
    notes: tuple[Note, ...]

    @property
    def spec(self) -> Any:
        return yaml.safe_load(self.text)

    @property
    def service(self) -> Any:
        """The only service, or the first."""
        return next(iter(self.spec["services"].values()))

    def said(self, effect: str) -> list[str]:
        return [
            f"{note.where.line}:{note.where.column} {note.key}: {note.message}"
            for note in self.notes
            if note.effect == effect
        ]


def _take(place, text, *more, given=(), kinds=False, **files):
    names = []
    for number, content in enumerate((text, *more)):
        names.append("compose.yaml" if not number else f"over{number}.yaml")
        (place / names[-1]).write_text(content)
    for name, content in files.items():
        path = place / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    result = import_compose(CommandRequest(directory=str(place)), names, dict(given), str(place), kinds=kinds)
    return Taken(result.text, result.notes)


@pytest.fixture
def take():
    """Call it with a directory and the text of compose.yaml: it returns the spec. Further texts are files to merge over it;
    keywords are other files of the project, whose names have `__` for a slash and `_` for a dot."""
    return _take


@pytest.fixture
def git():
    """Run git in a directory."""

    def run(directory, *words):
        subprocess.run(["git", "-C", str(directory), *words], check=True, stdin=subprocess.DEVNULL)

    return run
