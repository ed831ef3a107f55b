"""The toolchain python: its kind of layer, and how it goes with a base.

A Debian suite has one Python, which is the suite's alone: `toolchain: {python: …}` puts another one before it in PATH.
Packages of Debian (python3-numpy) are for the suite's Python, and the toolchain's does not see them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from envtool import api

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envtool.api.toolchains import ToolchainSource


class PythonToolchain(api.MirroredToolchainKind):
    """A build of CPython that runs in any directory, as uv installs them."""

    name: ClassVar[str] = "python-toolchain"
    tool: ClassVar[str] = "python"
    title: ClassVar[str] = "Python"
    elsewhere: ClassVar[str] = (
        "bases have Pythons of their own: 3.11 in `{debian: bookworm}`, 3.13 in trixie, or an image"
    )

    def sources_for(self, request: api.Request) -> Sequence[ToolchainSource]:
        """The lists of builds."""
        from envtool_python.python_releases import PythonBuilds

        return (PythonBuilds(self.mirror(request)),)

    def accepts(self, wanted: str, version: str) -> bool:
        """Also for `requires-python`, which no pre-release fits."""
        from envtool.api.version_choice import plain_version

        if plain_version(wanted):
            return super().accepts(wanted, version)
        from envtool_python.python_versions import fits

        return version == wanted or (version.replace(".", "").isdigit() and fits(wanted, version))

    def package(self, file: str) -> tuple[str, str]:
        """As in `cpython-3.12.6+20240909-x86_64-unknown-linux-gnu-install_only.tar.gz`."""
        name, version, *_ = [*file.split("-"), ""]
        return name, version.partition("+")[0]


def wants(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .python-version says, and `requires-python`; the core reads the files of version managers."""
    from envtool_python.python_version_files import PYTHON_VERSION, supported_pythons, wanted_pythons

    yield from (wanted for wanted in wanted_pythons(project) if wanted.file == PYTHON_VERSION)
    yield from supported_pythons(project)


TOOLCHAIN = api.Toolchain(
    name="python",
    kind=PythonToolchain.name,
    wants=wants,
    files=(".python-version", "pyproject.toml"),
    mirror="uv's list of Pythons, download-metadata.json (UV_PYTHON_DOWNLOADS_JSON_URL, UV_PYTHON_INSTALL_MIRROR)",
)
