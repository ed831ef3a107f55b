"""The hooks: what this distribution adds to envtool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool import api
from envtool_cc.kinds import TOOLCHAIN_KINDS, TOOLCHAINS, Cc, CcLanguage

if TYPE_CHECKING:
    from envtool.api import FailedTask

envtool_api = 1  # of docs/api-changelog.md


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`cc`, and what `toolchain:` adds for build tools."""
    return [Cc(), *TOOLCHAIN_KINDS]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: cc`."""
    return [CcLanguage()]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`cmake`, `meson`, `ninja` and `zig`."""
    return [*TOOLCHAINS]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with build files of CMake, Meson, autotools or make."""
    from envtool_cc.detection import detect

    return detect(project)


@api.hook
def envtool_failure_hint(failure: FailedTask) -> str:
    """Names the packages of headers, libraries, modules and programs that a configure or compile missed."""
    from envtool_cc.missing import missing_package_hint

    return missing_package_hint(failure.output, failure.base_kind, failure.packages_with, failure.installed)
