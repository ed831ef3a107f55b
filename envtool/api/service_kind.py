"""Kinds of services: what the one line `db: {postgres: 15}` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from envtool.api.env_expansion import Project
    from envtool.api.service_draft import ServiceDeclaration, ServiceDraft
    from envtool.model import Json


class ServiceKind:
    """A key of a service that stands for its base, layers, command and all else. Pure.

    `schema` is the JSON Schema of the value under the kind's name, with a description. A template gives a string, so a
    version should be allowed to be one.
    """

    name: ClassVar[str]
    schema: ClassVar[Json]
    options: ClassVar[Mapping[str, Json]] = {}  # keys beside the kind: name -> JSON Schema with description

    def service(self, declaration: ServiceDeclaration, project: Project) -> ServiceDraft:
        """Returns the service. Called for each env that uses it if it has templates, else once. Raises SpecError,
        UsageError."""
        raise NotImplementedError(self.name)
