"""The hooks: what this distribution adds to envtool."""

from __future__ import annotations

from envtool import api
from envtool_java.kinds import TOOLCHAIN, JavaLanguage, JavaToolchain, Maven

envtool_api = 1  # of docs/api-changelog.md


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`maven`, and what `toolchain: {java: …}` adds."""
    return [Maven(), JavaToolchain()]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: java`."""
    return [JavaLanguage()]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`java`."""
    return [TOOLCHAIN]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with pom.xml is a Java project."""
    from envtool_java.language import detect

    return detect(project)
