"""A program: what a machine of another architecture says of a project's lock, and whether this machine's own stack
answers in the place of another as it answers for itself. `tests/e2e/test_lock_platforms.py` starts it.

    other_machine.py locked MACHINE   the codes of the errors with which `test --locked` ends on such a machine, as JSON
    other_machine.py alike            name -> [pins, pins by a stack that stands in], as JSON: for this architecture
    other_machine.py unsatisfied MACHINE   dependencies of locked debs that no locked deb satisfies, as JSON
"""

from __future__ import annotations

import json
import operator
import os
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from debian.deb822 import PkgRelation
from debian.debian_support import Version

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building, open_project
from envtool.build import locking
from envtool.build.context import Cancel
from envtool.build.lock_platforms import PlatformLock
from envtool.build.scheduler import Scheduler
from envtool.errors import SpecError
from envtool.kinds.debian import pins, suite_index
from envtool.lock.lock import Lock
from envtool.store import blobs
from envtool.store.store import open_store

COMPARE = {">=": operator.ge, "<=": operator.le, "=": operator.eq, ">>": operator.gt, "<<": operator.lt}


def locked_errors(machine: str) -> list[str]:
    real = os.uname()
    known = {name: getattr(real, name) for name in ("sysname", "nodename", "release", "version")}
    os.uname = lambda: SimpleNamespace(**known, machine=machine)  # type: ignore[assignment, return-value]
    try:
        project = open_project(CommandRequest(directory=".", locked=True))
    except SpecError as error:
        return [problem.code for problem in error.problems]
    assert project.context.arch == machine
    return []


def alike() -> dict[str, list[object]]:
    request = CommandRequest(directory=".", locked=False)
    with open_for_building(request, lambda event: None, Cancel.make(), parts=False) as project:
        scheduler = Scheduler(project.graph, project.context)
        for env in project.graph.stacks:
            scheduler.stack(env)
        own = locking.lock_entries(scheduler.graph(), scheduler.finished_layers())
        other = PlatformLock(project.graph, replace(project.context, lock=Lock()), project.context.arch)
        other.resolve_without_stacks()
        there = {entry.question.name: entry.pins for entry in other.entries(scheduler)}
    return {entry.question.name: [entry.pins, there[entry.question.name]] for entry in own}


def unsatisfied(machine: str) -> list[str]:
    """Reads the index of the locked `debian` base, and asks no resolver."""
    with open("envtool.lock") as file:
        entries = [entry for entry in json.load(file)["entries"] if entry["platform"] == machine]
    base = next(entry["pins"] for entry in entries if entry["kind"] == "debian")
    stored, lists = open_store(), pins.package_lists(base)
    index = suite_index.read_index(lists, [blobs.path(stored, item.sha256) for item in lists])
    debs = [deb for entry in entries if entry["kind"] in ("debian", "apt") for deb in entry["pins"]["debs"]]
    packages = [next(item for item in index.versions(deb["name"]) if item.sha256 == deb["sha256"]) for deb in debs]
    there = {(package.name, package.version) for package in packages}
    for package in packages:
        for (item,) in PkgRelation.parse_relations(package.provides) if package.provides else ():
            there.add((item["name"], (item.get("version") or ("=", ""))[1]))
    relations = [
        group
        for package in packages
        for text in (package.depends, package.pre_depends)
        for group in (PkgRelation.parse_relations(text) if text else ())
    ]
    return [str(group) for group in relations if not any(_fits(item, there) for item in group)]


def _fits(item: dict[str, Any], there: set[tuple[str, str]]) -> bool:
    versions = [version for name, version in there if name == item["name"]]
    if not item.get("version"):
        return bool(versions)
    sign, wanted = item["version"]
    return any(COMPARE[sign](Version(version), Version(wanted)) for version in versions if version)


if __name__ == "__main__":
    modes = {"locked": locked_errors, "unsatisfied": unsatisfied}
    print(json.dumps(modes[sys.argv[1]](sys.argv[2]) if sys.argv[1] in modes else alike()))
