"""`language: python`: what a test env of a Python project needs, read from the project's own files; the key
`coverage`. Pure.

The layers, in order:

    python3          apt: [python3 …], on a `debian` base and where `python:` names no other interpreter
    requirements     pip: the requirements of the project and its tests, and pytest where they do not bring it
    project-NAME     python-project: each project of the checkout that a requirement comes from (dependency_sources)
    project          python-project: the project itself, replacing any copy that a requirement brought

project_layers makes them; it is imported for the first env of this language, since every verb imports this module.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from envtool import api
from envtool_python.source_values import INSTALLER, LOCKED, SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool_python.decode import DecodedFiles


def _strings(description: str) -> api.Json:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


_NOWHERE = api.Where(file="", line=0, column=0)


class Python(api.Language):
    """An env that runs a Python project's tests."""

    name: ClassVar[str] = "python"
    options: ClassVar[Mapping[str, api.Json]] = {
        "python": {"type": "string", "description": "the interpreter in the env (default: python3)"},
        "packages": _strings("further requirements, as in `pytest-cov>=5`"),
        "requirements": _strings("requirement files (default: those found by name)"),
        "constraints": _strings("constraint files"),
        "groups": _strings(
            "dependency groups (default: test, tests, testing, else dev, or the smallest that brings pytest)"
        ),
        "extras": _strings(
            "extras of the project (default: test, tests, testing, else dev, or the smallest that brings pytest)"
        ),
        "install": {
            "enum": ["editable", "wheel", "none"],
            "description": "how the project itself is installed (default: editable, but a wheel where the build "
            "backend compiles and is no setuptools, and none where there is nothing to install)",
        },
        "installer": INSTALLER,
        "locked": LOCKED,
        "sources": SOURCES,
        "version": {
            "type": "string",
            "description": "the project's version, where its build backend asks version control (default: by its tags)",
        },
    }

    def __init__(self) -> None:
        self._project: api.Project | None = None
        self._texts: DecodedFiles | None = None  # of that project
        self._answers: dict[str, tuple[api.LayerDraft, ...]] = {}

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """See the module. Raises SpecError if the project's own files are wrong."""
        if self._project is not project:
            self._project, self._texts, self._answers = project, None, {}
        # the env's name and position are for errors alone: all points of a matrix share one answer
        question = repr(replace(env, name="", where=_NOWHERE))
        if question not in self._answers:
            from envtool_python.decode import DecodedFiles
            from envtool_python.project_layers import layers_of_project

            self._texts = self._texts or DecodedFiles(project)
            self._answers[question] = layers_of_project(env, project, self._texts)
        return self._answers[question]


# ---- `coverage`: a data file of coverage.py for each env, so that `coverage combine` finds all of them ---------------


def add_coverage_file(env: api.EnvDraft, value: api.Json, project: api.Project) -> api.Additions:
    """Returns the variable COVERAGE_FILE with a file that no other env has, beside the spec. Pure."""
    del project
    if not value:
        return api.Additions()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", env.name).strip("-.")
    path = posixpath.normpath(posixpath.join(api.PROJECT, env.directory, f".coverage.{name}"))
    return api.Additions(variables={"COVERAGE_FILE": path})


COVERAGE = api.EnvKey(
    name="coverage",
    schema={
        "type": "boolean",
        "description": "Whether coverage.py writes a data file of its own for this env, `.coverage.ENV` beside the "
        "spec (COVERAGE_FILE). With `outputs: [.coverage.*]` in the task it is copied back, and `coverage combine` "
        "joins the files of all envs. Default: false.",
    },
    add=add_coverage_file,
)
