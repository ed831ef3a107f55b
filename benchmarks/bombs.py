"""How long a second envtool takes to start while a task of another one takes all that its limits let it have.

In turns: a warm `envtool exec ENV -- true` by itself, and the same while a bomb runs, half a second after its start.
Then the bomb has to end by its limit, and be reported as that; `until its end` is from its start to the end of its run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from _bench import Failed, Table, options, run, seconds, workspace


class Bomb(NamedTuple):
    """A task, and the limit that ends it."""

    script: str
    limit: str
    tiny: str  # the same limit, smaller


PYTHON = "exec python3 -S -E -c '{}'"
BOMBS = {
    "memory": Bomb(
        PYTHON.format('lumps = []\nwhile True: lumps.append(bytearray(b"x" * (1 << 20)))'),
        "memory: 256MiB", "memory: 64MiB",
    ),
    "pids": Bomb(
        PYTHON.format("import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.01)"),
        "pids: 200", "pids: 40",
    ),
    "disk": Bomb("head -c 2000000000 /dev/zero > /tmp/much; sleep 30", "disk: 128MiB", "disk: 16MiB"),
    "files": Bomb(
        PYTHON.format(
            'import time\nfiles = []\ntry:\n  while True: files.append(open("/dev/null"))\n'
            'except OSError: time.sleep(30)'
        ),
        "files: 1024", "files: 64",
    ),
    "idle": Bomb("echo begun; sleep 60", "idle: 1s", "idle: 1s"),
    "time": Bomb("while :; do :; done", "time: 2s", "time: 1s"),
}  # fmt: skip


class Runner:
    """Starts one bomb, and waits for its end."""

    def __init__(self, envtool: str, project: Path, name: str, limit: str) -> None:
        self._envtool, self._name, self._project = envtool, name, project
        project.mkdir()
        script = "\n".join(f"          {line}" for line in BOMBS[name].script.splitlines())
        spec = f"version: 1\nenvs:\n  unit:\n    base: host\n    tasks:\n      test:\n        limits: {{{limit}}}\n"
        (project / "envtool.yaml").write_text(f"{spec}        run: |\n{script}\n")
        self.ends: list[float] = []
        self.peaks: list[int] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A context that begins half a second after the bomb, and waits for it at its end. Raises Failed where another
        limit ended it."""
        began = time.perf_counter()
        words = (self._envtool, "test", "--json")
        with subprocess.Popen(words, cwd=self._project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            time.sleep(0.5)
            yield
            output, _ = process.communicate(timeout=60)
        self.ends.append(time.perf_counter() - began)
        (result,) = json.loads(output.splitlines()[-1])["results"]
        if result["limit"] != self._name:
            raise Failed(f"{self._name}: ended by `{result['limit']}`: {result['message']}")
        self.peaks.append(result["memory"])


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each bomb in turn."""
    with workspace(asked.envtool) as top:
        calm = top / "calm"
        calm.mkdir()
        (calm / "envtool.yaml").write_text("version: 1\nenvs: {unit: {base: host, tasks: {test: 'true'}}}\n")

        def start() -> float:
            return seconds(asked.envtool, "exec", "unit", "--", "true", cwd=calm)

        for _ in range(3):
            start()
        for name, bomb in BOMBS.items():
            limit = bomb.tiny if asked.tiny else bomb.limit
            runner = Runner(asked.envtool, top / name, name, limit)

            def beside(runner: Runner = runner) -> float:
                with runner.running():
                    return start()

            ways = {"envtool: alone": start, "envtool: beside the bomb": beside}
            table.measure(limit, ways, asked.rounds, base="envtool: alone")
            for spent in runner.ends:
                table.add(f"{limit}: until its end", "envtool", spent)
            if name == "memory":
                print(
                    f"{limit}: the peak of {name} was {max(runner.peaks) / (1 << 20):.0f} MiB at most", file=sys.stderr
                )


if __name__ == "__main__":
    os.umask(0o022)
    run(main, options(__doc__, rounds=9))
