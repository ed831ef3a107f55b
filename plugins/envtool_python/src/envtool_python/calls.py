"""Calls of pip that go into one environment, one after the other. Runs in containers, like inside.py."""

from __future__ import annotations

import json
import os
import re
import subprocess

from envtool_python.beside import WORK


def write_lines(name: str, lines: list[str]) -> str:
    """A file of lines below WORK; its path."""
    path = os.path.join(WORK, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))
    return path


def pretend_installed(report: str, python: str, env: dict[str, str]) -> dict[str, str]:
    """Metadata of what a report would install, for the next call of pip to find: name -> version."""
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        env=env,
        universal_newlines=True,
    ).strip()
    found = {}
    with open(report, encoding="utf-8") as file:
        items = json.load(file)["install"]
    for item in items:
        about = item["metadata"]
        fields = [("Metadata-Version", "2.1"), ("Name", about["name"]), ("Version", about["version"])]
        fields += [("Requires-Dist", line) for line in about.get("requires_dist", ())]
        fields += [("Provides-Extra", line) for line in about.get("provides_extra", ())]
        directory = os.path.join(site, "{}-{}.dist-info".format(about["name"].replace("-", "_"), about["version"]))
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "METADATA"), "w", encoding="utf-8") as file:
            file.write("".join(f"{key}: {value}\n" for key, value in fields))
        with open(os.path.join(directory, "INSTALLER"), "w", encoding="utf-8") as file:
            file.write("pip\n")
        found[normal(about["name"])] = about["version"]
    return found


def normal(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_before(line: str) -> str:
    """The normal name that a requirement line begins with."""
    return normal(re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0])
