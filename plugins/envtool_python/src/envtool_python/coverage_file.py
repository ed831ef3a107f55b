"""The key `coverage`: a data file of coverage.py for each env, so that `coverage combine` finds all of them."""

from __future__ import annotations

import posixpath
import re

from envtool import api


def add(env: api.EnvDraft, value: api.Json, project: api.Project) -> api.Additions:
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
    add=add,
)
