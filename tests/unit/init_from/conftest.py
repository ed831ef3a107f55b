"""Takes files of other tools over, for the tests of this directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from envtool.app.command_request import CommandRequest
from envtool.app.compose.notes import Note
from envtool.app.init_from.take_over import take_over
from envtool.errors import SpecError

PROJECT = '[project]\nname = "x"\nversion = "1"\noptional-dependencies = {test = ["pytest"], docs = []}\n'


@dataclass(frozen=True)
class Taken:
    text: str
    notes: tuple[Note, ...]

    @property
    def envs(self) -> dict[str, Any]:
        return yaml.safe_load(self.text)["envs"]

    @property
    def env(self) -> dict[str, Any]:
        """The only env, or the first."""
        return next(iter(self.envs.values()))

    @property
    def test(self) -> Any:
        return self.env["tasks"]["test"]

    def said(self, effect: str) -> list[str]:
        return [f"{note.where.line} {note.key}: {note.message}" for note in self.notes if note.effect == effect]


@pytest.fixture
def take(tmp_path):
    """Call it with a file's name, its text and other files of the project: it returns the spec, or the errors' text."""

    def call(name: str, text: str, files: dict[str, str] | None = None) -> Taken:
        for path, content in {"pyproject.toml": PROJECT, name: text, **(files or {})}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content)
        result = take_over(CommandRequest(directory=str(tmp_path)), name, str(tmp_path))
        return Taken(result.text, result.notes)

    return call


@pytest.fixture
def errors(take):
    """As `take`, for a file that is refused: its errors, each with its line."""

    def call(name: str, text: str, files: dict[str, str] | None = None) -> list[str]:
        with pytest.raises(SpecError) as caught:
            take(name, text, files)
        return [f"{problem.where.file}:{problem.where.line}: {problem.message}" for problem in caught.value.problems]

    return call
