"""Keys that plugins add to envs, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envtool.api import Project
    from envtool.model import EnvDraft, Json, LayerDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What a key adds to an env. `layers` are built and keyed like those of the spec. The env's tasks get `variables`
    (None removes one of the layers'), which enter the keys of their results; the env's own `set` outweighs them."""

    layers: tuple[LayerDraft, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvKey:
    """A key that any env may have, whatever its language.

    `schema` is the JSON Schema of its value, with a description. `add` gets the env, the rendered value and the
    project, and returns what the key adds. It is called for each point of a matrix, and is pure. Raises SpecError,
    UsageError.
    """

    name: str
    schema: Json
    add: Callable[[EnvDraft, Json, Project], Additions]
