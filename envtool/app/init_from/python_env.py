"""What a Python environment of tox or nox installs and runs, as the keys of an env."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from envtool.app import makefile
from envtool.app.init_from.debian_pythons import suite_for_project, suite_of_python
from envtool.app.init_from.quoted_words import shell_command
from envtool.app.init_from.taken_spec import CannotTakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envtool.api import Project
    from envtool.app.init_from.install_words import Installed
    from envtool.model import Json

VENV = "/opt/venv"  # where the layers of envtool-python install
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
# Programs that are no package of Python, and which a container without a network and its own services cannot use.
_OUTSIDE = {"docker", "docker-compose", "podman", "sudo", "systemctl", "apt", "apt-get", "brew", "gh", "conda", "mamba"}


def stack_keys(
    project: Project, installed: Installed, python: str, programs: Iterable[str], where: str
) -> tuple[dict[str, Json], dict[str, str]]:
    """Returns `base`, `language` or `layers` of an env, and the reasons of each. `python` is the name of a Python, ""
    for any; `programs` are those that its commands start; `where` names the environment for the reasons. Raises
    CannotTakeError."""
    suite = suite_of_python(python) if python else suite_for_project(project)
    keys: dict[str, Json] = {"base": {"debian": suite}}
    if python:
        reasons = {"base": f"the release of Debian whose Python is that of `{python}`"}
    else:
        reasons = {"base": f"{where} names no Python: one that the project supports"}
    _check_files(project, installed)
    packages = _debian_packages(programs)
    if installed.install and not any(project.read(name) is not None for name in PROJECT_FILES):
        raise CannotTakeError("it installs the project, which has no pyproject.toml, setup.py or setup.cfg")
    if installed.install or installed.groups:
        keys |= {"language": "python", "install": installed.install or "none"}
        reasons["language"] = f"Python, what {where} installs, and the project: all of it, and nothing by guess"
        keys |= {"packages": [*installed.packages]} if installed.packages else {}
        keys |= {"requirements": [*installed.requirements]}
        keys |= {"constraints": [*installed.constraints]} if installed.constraints else {}
        keys |= {"extras": [*dict.fromkeys(installed.extras)], "groups": [*dict.fromkeys(installed.groups)]}
        keys |= {"layers": [{"apt": [*packages]}]} if packages else {}
    else:
        keys["layers"] = _plain_layers(installed, packages)
        reasons["layers"] = f"{where} does not install the project"
    if packages:
        programs_reason = f"the packages of Debian with the programs that it calls: {', '.join(packages)}"
        reasons["layers"] = "; ".join(filter(None, [reasons.get("layers", ""), programs_reason]))
    return keys, reasons


def _plain_layers(installed: Installed, packages: Sequence[str]) -> list[Json]:
    options: dict[str, Json] = {
        key: [*value]
        for key, value in (
            ("packages", installed.packages),
            ("requirements", installed.requirements),
            ("constraints", installed.constraints),
        )
        if value
    }
    if not installed.packages and not installed.requirements:
        return [{"apt": ["python3", "python-is-python3", *packages]}]
    pip: Json = [*installed.packages] if options.keys() == {"packages"} else {**options}
    return [{"apt": ["python3", *packages]}, {"pip": pip}]


def _check_files(project: Project, installed: Installed) -> None:
    for path in (*installed.requirements, *installed.constraints):
        if project.read(path) is None:
            raise CannotTakeError(f"there is no file `{path[:60]}` in the project")


def _debian_packages(programs: Iterable[str]) -> list[str]:
    """Returns the packages of programs that are not installed by pip. Raises CannotTakeError for a program that a
    container cannot have."""
    packages: list[str] = []
    for program in programs:
        name = posixpath.basename(program)
        if name in _OUTSIDE:
            raise CannotTakeError(f"it calls `{name}`, which a task cannot use", "write a task without it")
        if name in makefile.PACKAGES and name not in ("python3", "pytest", "cmake", "ninja", "meson"):
            packages.append(makefile.PACKAGES[name])
        elif name in ("git", "make", "gcc", "cc"):
            packages += {"git": ["git"], "make": ["make"]}.get(name, ["gcc", "libc6-dev"])
    return [*dict.fromkeys(packages)]


def task_keys(commands: Sequence[Sequence[str]]) -> Mapping[str, Json]:
    """Returns `tasks` of an env that runs these commands, each a list of words. A first word `-` runs a command whose
    failure does not count, `!` one that has to fail."""
    lines: list[str] = []
    for words in commands:
        prefix = words[0] if words and words[0] in ("-", "!") else ""
        line = shell_command(words[1:] if prefix else words)
        lines.append({"-": f"{line} || true", "!": f"! {line}"}.get(prefix, line))
    return {"tasks": {"test": lines[0] if len(lines) == 1 else [*lines]}}
