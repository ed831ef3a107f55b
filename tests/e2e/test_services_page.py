"""docs/services.md as a reader follows it: every command of it, in its order, in one directory that is empty at the start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.dear]

PAGE = Path(__file__).parents[2] / "docs" / "services.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUILD = 1200  # seconds


def script() -> str:
    """What is typed: the blocks without the prompt. Here-documents are typed as they stand."""
    return re.sub(r"(?m)^\$ ", "", "\n".join(BLOCK.findall(PAGE.read_text())))


def test_every_command_works(common):
    common.limit = BUILD
    command = " ".join(common.caller.command)
    try:
        said = common.shell(f'set -ex\nenvtool() {{ {command} "$@"; }}\n{script()}')
    finally:
        common.envtool("down")
    assert said.count(" passed in ") == 6, said
    assert "it works" in said
    assert "1 unchanged" in said
    assert "1000 again" in said
    assert "from beside the server" in said
    assert re.search(r"left out:\n.*`volumes`.*\n.*\n.*`shm_size`", said), said
    assert "db: {postgres: 15, role: app, password: tea, database: app}" in said
    common.check_nothing_left(seconds=20)


def test_each_verb_of_services_is_on_the_page():
    typed = {*re.findall(r"(?m)^envtool (?:-\S+ \S+ )*([a-z]+)", script())}
    assert {"test", "exec", "up", "ps", "scale", "logs", "down", "import"} <= typed
