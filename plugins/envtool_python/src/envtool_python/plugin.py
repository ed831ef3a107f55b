"""The hooks: what this distribution adds to envtool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool import api
from envtool_python.kinds import Pip, PythonProject
from envtool_python.language import COVERAGE, Python
from envtool_python.python_toolchain import TOOLCHAIN, PythonToolchain
from envtool_python.sdist import Sdist

if TYPE_CHECKING:
    from envtool.api import FailedTask

envtool_api = 1  # of docs/api-changelog.md


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`pip`, `python-project` and `sdist`, and what `toolchain: {python: …}` adds."""
    return [Pip(), PythonProject(), Sdist(), PythonToolchain()]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: python`."""
    return [Python()]


@api.hook
def envtool_env_keys() -> list[api.EnvKey]:
    """`coverage`."""
    return [COVERAGE]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`python`."""
    return [TOOLCHAIN]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with pyproject.toml, setup.py, setup.cfg or requirements.txt is a Python project."""
    from envtool_python.detect import detect

    return detect(project)


@api.hook
def envtool_packages(tree: api.Tree) -> list[api.Package]:
    """Python distributions, in any directory of the stack."""
    from envtool_python.installed import installed_packages

    return installed_packages(tree)


@api.hook
def envtool_owners(tree: api.Tree, path: str) -> list[api.Package]:
    """Python distributions whose RECORD names a file."""
    from envtool_python.installed import owners

    return owners(tree, path)


@api.hook
def envtool_output_readers() -> list[api.OutputReader]:
    """Readers of pytest and unittest."""
    from envtool_python.test_output import READERS

    return [*READERS]


@api.hook
def envtool_failure_hint(failure: FailedTask) -> str:
    """Says how an env gets a module that Python did not find."""
    from envtool_python.missing_modules import missing_module_hint

    return missing_module_hint(failure.output)
