from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from envtool import api
from envtool.errors import Problem, SpecError
from envtool.model import Where
from envtool.plugins import PluginRegistry
from envtool.spec import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from envtool.model import Spec

STRINGS: Any = {"type": "array", "items": {"type": "string"}}


class Host(api.Base):
    name = "host"
    schema = {"description": "This machine.", "type": "object", "additionalProperties": False}
    pinned = False


class Debian(api.Base):
    name = "debian"
    schema = {
        "description": "A suite.",
        "anyOf": [
            {"type": "string", "pattern": "^[a-z]+$"},
            {
                "type": "object",
                "properties": {"suite": {"type": "string", "description": "Its name."}, "mirror": {"type": "string"}},
                "required": ["suite"],
                "additionalProperties": False,
            },
        ],
    }


class Apt(api.Kind):
    name = "apt"
    schema = STRINGS


class Pip(api.Kind):
    name = "pip"
    schema = {
        "anyOf": [
            STRINGS,
            {
                "type": "object",
                "properties": {"requirements": STRINGS, "packages": STRINGS},
                "additionalProperties": False,
            },
        ]
    }
    needs_only = True

    def inputs(self, options: Any) -> tuple[api.Input, ...]:
        return tuple(map(api.Input, options.get("requirements", ()))) if isinstance(options, dict) else ()


class Run(api.Kind):
    name = "run"
    schema = {"type": ["string", "array"]}
    siblings = {"inputs": STRINGS, "network": {"type": "boolean", "description": "May it use the network."}}

    def inputs(self, options: Any) -> tuple[api.Input, ...]:
        return tuple(map(api.Input, options.get("inputs", ())))


class Python(api.Language):
    name = "python"
    options = {"requirements": {**STRINGS, "description": "Files."}}

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        project.read("pyproject.toml")
        if project.glob("bad"):
            raise SpecError(
                (Problem(where=Where(file="pyproject.toml", line=3, column=1), message="bad", code="toml"),)
            )
        files = [*env.options.get("requirements", [])]  # type: ignore[misc]
        return (
            api.LayerDraft(name="interpreter", kind="apt", options=["python3"], after=False),
            api.LayerDraft(name="venv", kind="pip", options={"requirements": files}, needs=("interpreter",)),
        )


class Files:
    """A project in a dict."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def read_bytes(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return text if text is None else text.encode()

    def glob(self, pattern: str) -> list[str]:
        return sorted(path for path in self.files if path == pattern)

    def around(self, name: str) -> dict[str, bytes]:
        return {}


@pytest.fixture(scope="session")
def registry() -> PluginRegistry:
    return PluginRegistry(
        bases={kind.name: kind for kind in (Host(), Debian())},
        layers={kind.name: kind for kind in (Apt(), Pip(), Run())},
        languages={"python": Python()},
    )


@pytest.fixture(scope="session")
def read(registry: PluginRegistry) -> Callable[..., Spec]:
    """Load a text, or several as keywords with `files`."""

    def read(text: str = "", *, files: dict[str, str] | None = None, **options: Any) -> Spec:
        project = Files({"envtool.yaml": text, **(files or {})})
        return load(project, "envtool.yaml", root="/r", registry=registry, **options)

    return read


@pytest.fixture(scope="session")
def wrong(read: Callable[..., Spec]) -> Callable[..., list[tuple[str, str, str]]]:
    """What is wrong with a text: (line:column, code, message and hint)."""

    def wrong(text: str, **options: Any) -> list[tuple[str, str, str]]:
        try:
            read(text, **options)
        except SpecError as error:
            return [
                (f"{p.where.line}:{p.where.column}", p.code, f"{p.message} -- {p.hint}".removesuffix(" -- "))
                for p in error.problems
            ]
        return []

    return wrong
