"""Each `$ envtool …` line of the README and of every page under docs/, run as a reader would type it.

They run in a project that has the names which the pages use, on this machine's own system, so that the whole takes seconds.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.dear]

TOP = Path(__file__).parents[2]
PAGES = sorted(
    [TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").rglob("*.md"), *(TOP / "plugins").rglob("*.md")]
)
PAGES.remove(TOP / "docs" / "services.md")  # a project of its own, which each step changes: test_services_page.py
SPEC = """
layers:
  deps: {pip: [iniconfig]}
envs:
  unit:
    matrix: {suite: [bookworm, trixie]}
    layers: [deps]
    tasks:
      test: "true {{ args }}"
      build: {run: "mkdir -p dist && echo built > dist/{{ env.name }}", outputs: [dist/*]}
  lint:
    tasks: {test: "true"}
"""
# What asks a person, or changes the machine
NOT_RUN = ("envtool shell", "sudo ", ".venv/bin/", "pipx ")
STATUS = {"envtool doctor": (0, 3)}
# Lines that mean what a project like the reader's has
STANDS_FOR = {
    "-- gcc --version": "-- cat --version",
    "exec unit --writable -- ruff format src": "exec lint --writable -- touch report.txt",
    "--upgrade bookworm": "--upgrade deps",
    "--upgrade attrs": "--upgrade iniconfig",
    "lock --platform linux/arm64": "lock -e lint --platform linux/arm64",
    "-p no:motd": "-p no:java",
    "sbom unit": "sbom lint",
}


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            if "envtool init" in block or "<<'END'" in block:  # in projects of their own: test_readme.py
                continue
            for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
                text = re.sub(r"\s+# .*$", "", line).strip()
                if not any(word in text for word in NOT_RUN):
                    found.append((str(page.relative_to(TOP)), text))
    return found


def test_every_command_of_every_page(place):
    """In the order in which they are read; one project for all, as a reader has one."""
    for answer in (place.store / "memo").glob("*"):
        answer.unlink()  # another test of this process damages what is remembered, and `store verify` says so
    place.spec(SPEC)
    place.write("report.txt", "")
    done = {}
    for page, line in commands():
        if line in done:
            continue
        text = line
        for said, meant in STANDS_FOR.items():
            text = text.replace(said, meant)
        words = shlex.split(text)
        variables = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        assert words[0] == "envtool", f"{page}: {line}: not one of ours: mark it in this test"
        place.environ.update(variables)
        ended = place.envtool(*words[1:])
        for name in variables:
            del place.environ[name]
        done[line] = ended.status
        allowed = STATUS.get(" ".join(words[:2]), (0,))
        assert ended.status in allowed, f"{page}: {line}: {ended.said}"
    assert len(done) > 8
