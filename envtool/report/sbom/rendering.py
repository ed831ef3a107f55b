"""A bill as text, in one of the two formats. The library of a format is imported only when it is needed."""

from __future__ import annotations

from typing import Literal, TypeAlias

from envtool.distributions import install_command
from envtool.errors import UsageError
from envtool.report.sbom.document import Sbom

Format: TypeAlias = Literal["cyclonedx", "spdx"]
FORMATS: tuple[Format, ...] = ("cyclonedx", "spdx")


def render_sbom(bill: Sbom, form: Format) -> str:
    """Returns the document: JSON with sorted keys and a newline at its end. Raises UsageError if the format's library
    is not installed."""
    try:
        if form == "cyclonedx":
            from envtool.report.sbom import cyclonedx

            return cyclonedx.render(bill)
        from envtool.report.sbom import spdx

        return spdx.render(bill)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"`envtool sbom` needs `{(error.name or '').partition('.')[0]}`, which is not installed",
            code="sbom-library",
            hint=f"`{install_command('sbom')}` installs what it needs",
        ) from error
