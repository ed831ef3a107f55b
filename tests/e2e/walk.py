"""Prints which files a value walks through: the files of envtool that are entered, in order, by frames that hold the
name of an env (of a layer), or what was made from it.

    python tests/e2e/walk.py exec|test|build [--tree DIRECTORY] [--list]

It runs one command on the long way, in a project and a store of its own, under `sys.setprofile`. `--tree` is another
checkout of envtool, of another age: both are counted by the same rules (docs/decisions/0142-walks.md).

A frame counts if one of its arguments holds the name: a string that contains it, an object made before by a counted
frame, or a tuple, list or mapping with such a value. What a counted frame returns, and an object whose `__init__` was
counted, is made from the name; plain values (None, numbers, booleans, strings without the name) are not.

    files    different files that were entered
    stays    entries of a file: consecutive frames of one file are one stay
    climbs   entries of a file that had been entered before the last one was: back up the way
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ENV, LAYER, TASK = "zqenv", "zqlayer", "zqtask"
SPEC = f"""version: 1
envs:
  {ENV}:
    base: host
    layers:
      - run: echo {LAYER}
    tasks:
      {TASK}: 'true'
      test: 'true'
"""
# The name that is followed, what prepares the store, and the command that is walked.
WALKS = {
    "exec": (ENV, ["exec", ENV, "--", "true"], ["exec", ENV, "--", "true"]),
    "test": (ENV, ["exec", ENV, "--", "true"], ["test", "-q"]),
    "build": (LAYER, None, ["exec", ENV, "--", "true"]),
}
PLAIN = (type(None), bool, int, float, complex, bytes)
DEPTH = 2  # containers in containers


class Walk:
    """Follows one name through the calls of this process, in all its threads."""

    def __init__(self, name: str, tree: Path) -> None:
        self.name, self.tree, self.process = name, f"{tree}/", os.getpid()
        self.made: dict[int, object] = {}  # by id; the objects are kept, so that no id is used twice
        self.entries: list[str] = []  # files, in the order in which frames of them were entered; no two in a row
        self.climbs = 0
        self.first: dict[str, int] = {}  # which of the files was entered first, second …
        self.thread = threading.local()  # `file`: the one that its last counted frame was in
        self.counted: set[int] = set()  # ids of the frames that are running
        self.files: dict[str, str] = {}

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        if event not in ("call", "return") or os.getpid() != self.process:
            return
        file = self._file(frame.f_code.co_filename)
        if not file:
            return
        if event == "return":
            if id(frame) in self.counted:
                self.counted.discard(id(frame))
                self._keep(frame, value)
            return
        code = frame.f_code
        if code.co_name in ("<module>", "<lambda>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"):
            return
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        if any(self._holds(frame.f_locals.get(name), DEPTH) for name in code.co_varnames[:count]):
            self.counted.add(id(frame))
            self._enter(file)

    def _file(self, name: str) -> str:
        """Returns the path of a file of envtool or its plugins, relative to the tree; "" for others."""
        if name not in self.files:
            inside = name.startswith(self.tree) and "/.venv/" not in name and "/tests/" not in name
            self.files[name] = name.removeprefix(self.tree) if inside else ""
        return self.files[name]

    def _holds(self, value: object, depth: int) -> bool:
        if isinstance(value, PLAIN):
            return False
        if isinstance(value, str):
            return self.name in value
        if id(value) in self.made:
            return True
        if depth and isinstance(value, tuple | list | set | frozenset):
            return any(self._holds(item, depth - 1) for item in list(value))
        if depth and isinstance(value, dict):
            return any(self._holds(key, 0) or self._holds(item, depth - 1) for key, item in list(value.items()))
        return False

    def _keep(self, frame: FrameType, value: object) -> None:
        if frame.f_code.co_name == "__init__":
            value = frame.f_locals.get(frame.f_code.co_varnames[0])
        if not isinstance(value, (*PLAIN, str, type)):
            self.made[id(value)] = value

    def _enter(self, file: str) -> None:
        last = getattr(self.thread, "file", "")
        self.thread.file = file
        if file == last:
            return
        self.entries.append(file)
        first = self.first.setdefault(file, len(self.first))
        self.climbs += last in self.first and first < self.first[last]


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """A directory with the spec, a store beside it and an environment that names it."""
    with tempfile.TemporaryDirectory(prefix="envtool-walk-") as name:
        directory = Path(name) / "project"
        directory.mkdir()
        (directory / "envtool.yaml").write_text(SPEC)
        os.environ["ENVTOOL_STORE"] = f"{name}/store"
        os.chdir(directory)
        try:
            yield directory
        finally:
            os.chdir("/")
            with contextlib.suppress(ImportError):  # an older tree has another name for it
                from envtool.container import userns

                userns.remove_as_root(f"{name}/store")  # its layers may belong to other ids


def run(arguments: list[str]) -> int:
    """Runs one command on the long way, in a process of its own; returns its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _main(arguments)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _main(arguments: list[str]) -> int:
    from envtool.cli.main import main

    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        try:
            return main(arguments) or 0
        except SystemExit as stop:
            return int(stop.code or 0)


def walk(name: str, tree: Path) -> Walk:
    """Runs the command of one walk; raises RuntimeError where it fails."""
    followed, before, command = WALKS[name]
    with project():
        if before is not None and run(before) != 0:
            raise RuntimeError(f"{before} failed")
        result = Walk(followed, tree)
        threading.setprofile(result)
        sys.setprofile(result)
        try:
            status = _main(command)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
        if status != 0:
            raise RuntimeError(f"{command} failed: {status}")
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("walk", choices=WALKS)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--list", action="store_true", help="print the files in the order in which they are entered")
    asked = parser.parse_args()
    tree = asked.tree.resolve()
    sys.path[:0] = [str(tree), *(str(source) for source in sorted(tree.glob("plugins/*/src")))]
    result = walk(asked.walk, tree)
    if asked.list:
        print(*result.entries, sep="\n")
    print(f"{asked.walk}: {len(result.first)} files, {len(result.entries)} stays, {result.climbs} climbs")


if __name__ == "__main__":
    main()
