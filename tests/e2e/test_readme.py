"""README as a stranger reads it: its figure is what the program prints, and its first commands lead to a green test."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.e2e.test_dockerfile import TOP as SCRATCH
from tests.e2e.test_dockerfile import system  # noqa: F401 - a fixture
from tests.places import LONG, outside

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.dear(cases=2)]

README = Path(__file__).parents[2] / "README.md"
FIGURE = re.compile(r"^```\n(\$ envtool .*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPEC = """
bases:
  bookworm: {debian: bookworm}
  trixie: {debian: trixie}
layers:
  python: {apt: [python3]}
envs:
  unit:
    matrix: {suite: [bookworm, trixie]}
    base: "{{ matrix.suite }}"
    layers: [python]
    tasks: {test: python3 -m unittest}
"""
# What has left Python between the two suites' own
TEST = """import unittest


class Forms(unittest.TestCase):
    def test_form(self):
        import cgi

        self.assertEqual(cgi.parse_header("text/html; q=1"), ("text/html", {"q": "1"}))

    def test_other(self):
        self.assertTrue(True)
"""
COMMANDS = ("envtool test", "envtool test -e 'unit[bookworm]'")
PROJECTS = {
    "Python": {
        "pyproject.toml": '[project]\nname = "words"\nversion = "1"\n',
        "words.py": "def count(text):\n    return len(text.split())\n",
        "tests/test_words.py": "from words import count\n\n\ndef test_count():\n    assert count('a b') == 2\n",
    },
    "Node.js": {
        "package.json": '{"name": "words", "version": "1.0.0", "scripts": {"test": "node --test"}}\n',
        "package-lock.json": '{"name": "words", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "words",'
        ' "version": "1.0.0"}}}\n',
        "words.test.js": "require('node:test')('counts', () => {})\n",
    },
    "C": {
        "Makefile": "check: hello\n\t./hello | grep -q hello\n",
        "hello.c": '#include <stdio.h>\n\nint main(void)\n{\n\tputs("hello");\n\treturn 0;\n}\n',
    },
    "Dockerfile": {"run-tests": "#!/bin/sh\ntest -f /made\n", "Dockerfile": f"{SCRATCH}RUN touch /made\n"},
}  # fmt: skip


def printed(place) -> str:
    """What the commands of the figure print to somebody who watches: announcements are for those who cannot see anything
    move."""
    text = ""
    for command in COMMANDS:
        done = place.envtool(*command.replace("'", "").split()[1:])
        lines = [line for line in done.err.splitlines() if not line.endswith("…")]
        text += "\n".join([f"$ {command}", *lines, ""])
    return text


def normal(text: str) -> list[str]:
    """Lines without times, sizes and counts of packages, which each machine and day has others of; what runs side by side
    ends in any order."""
    text = re.sub(r"\d+ packages?, [\d.]+ .?B", "N packages, N MB", text)
    text = re.sub(r"\b(\d+m)?\d+(\.\d+)?s\b", "TIME", text)
    text = re.sub(r"\d\d:\d\d", "HH:MM", text)
    text = re.sub(r"0x[0-9a-f]+|line \d+|/usr/lib/\S+", "X", text)
    return sorted(" ".join(line.split()) for line in text.splitlines())


def test_the_figure_is_what_the_program_prints(fresh):
    fresh.limit = LONG
    fresh.environ |= outside()
    fresh.spec(SPEC)
    fresh.write("test_forms.py", TEST)
    (shown,) = FIGURE.findall(README.read_text())
    text = printed(fresh)
    if os.environ.get("ENVTOOL_UPDATE"):
        README.write_text(README.read_text().replace(shown, text))
        shown = text
    assert normal(text) == normal(shown), text


@pytest.mark.parametrize("name", PROJECTS)
def test_its_first_commands_lead_to_a_green_test(name, common, request):
    blocks = [block for block in BLOCK.findall(README.read_text()) if f"# {name}\n" in block]
    assert len(blocks) == 1
    (block,) = blocks
    assert len(block.splitlines()) <= 8
    for path, text in PROJECTS[name].items():
        common.write(path, text, mode=0o755 if path == "run-tests" else 0o644)
    if name == "Dockerfile":
        common.write("root.tar", request.getfixturevalue("system"))
    command = " ".join(common.caller.command)
    script = re.sub(r"(?m)^\$ ", "", re.sub(r"(?m) +# .*$", "", block))
    said = common.shell(f'envtool() {{ {command} "$@"; }}\nset -x\n{script}')
    assert re.search(r"^ ✓ \S+ +test .*\n── 1 passed in", said, re.MULTILINE), said
