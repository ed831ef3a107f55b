"""A `Runner` without a kernel: for tests of what builds layers and runs tasks."""

from __future__ import annotations

import os
import select
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any, TypeAlias

from envtool.container import program_json
from envtool.container.program import ContainerStep, Program
from envtool.container.supervisor import Exit

Match: TypeAlias = str | Callable[[Program], bool]

POLL_SECONDS = 0.002
_working_directory = threading.Lock()  # held while the process is in another directory


class FakeContainer:
    """What a function that stands in for a container gets. `program` is what is to be run; `exit` is how it will have
    ended, and may be changed; `outputs_to` and `protected` are as in `Runner.run`."""

    def __init__(self, program: Program, stdout: int, cancel: int, outputs_to: str, protected: tuple[str, ...]) -> None:
        self.program = program
        self.outputs_to = outputs_to
        self.protected = protected
        self.exit = Exit()
        self.exit.status = 0
        self.exit.opened = () if program.watch else None
        self._stdout = stdout
        self._cancel = cancel

    def print(self, output: str | bytes) -> None:
        """Writes to the output of the steps."""
        data = memoryview(output.encode() if isinstance(output, str) else output)
        while data:
            data = data[os.write(self._stdout, data) :]

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file of the layer that is built, at an absolute path of the container."""
        assert self.program.root.upper, "this container keeps nothing: only the build of a layer does"
        self._write(os.path.join(self.program.root.upper, path.lstrip("/")), content, mode)

    def output(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes an output of the task, at a path relative to the project."""
        self.exit.outputs = (*self.exit.outputs, path)
        if self.outputs_to:
            self._write(os.path.join(self.outputs_to, path), content, mode)

    def wait(self, until: threading.Event | None = None, seconds: float = 60.0) -> None:
        """Waits as a step that runs: until the event is set, the run is cancelled, or the time has passed."""
        deadline = time.monotonic() + seconds
        while not (until is not None and until.is_set()) and time.monotonic() < deadline:
            if self._cancel >= 0 and select.select([self._cancel], [], [], POLL_SECONDS)[0]:
                self.exit.interrupted, self.exit.status = True, 130
                return

    @staticmethod
    def _write(path: str, content: str | bytes, mode: int) -> None:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    match: Match
    do: Callable[[FakeContainer], int | None] | None
    files: Mapping[str, str | bytes]
    outputs: Mapping[str, str | bytes]
    output: str | bytes
    status: int
    error: BaseException | None


@dataclass(eq=False)
class FakeRunner:
    """A `Runner` (container/runner.py) that starts no process. It records every program in `programs`, and answers by
    the rules that `on` adds; what no rule matches succeeds and writes nothing.

    Each program is also sent through JSON: AssertionError if another process would not get the same container.
    `called` has the names of the functions that were to be called as the root of containers. They are called in this
    process, with its rights: files belong to whoever runs the test. Safe in threads.
    """

    single_id: bool = True
    programs: list[Program] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    running: int = 0  # containers that have not ended
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(
        self,
        match: Match,
        do: Callable[[FakeContainer], int | None] | None = None,
        *,
        files: Mapping[str, str | bytes] | None = None,
        outputs: Mapping[str, str | bytes] | None = None,
        output: str | bytes = "",
        status: int = 0,
        error: BaseException | None = None,
    ) -> None:
        """Adds a rule. It answers programs in one of whose steps the text `match` is (see `describe_step`), or for
        which the function `match` returns True; of several rules that match, the one that was added last counts.

        `files` are written into the layer that is built, `outputs` into the project; `output` is printed; `status` is
        that of the first step that fails; `error` is raised instead. `do` may do all that (see FakeContainer) and
        return a status.
        """
        rule = _Rule(
            match=match, do=do, files=files or {}, outputs=outputs or {}, output=output, status=status, error=error
        )
        self._rules.append(rule)

    def run(
        self,
        program: Program,
        *,
        stdout: int,
        stderr: int,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[mmap] = (),
    ) -> Exit:
        """See Runner."""
        del stderr, counters
        assert program_json.from_json(program_json.to_json(program)) == program
        with self._lock:
            self.programs.append(program)
            self.running += 1
        try:
            began = time.monotonic()
            container = FakeContainer(program, stdout, cancel, outputs_to, protected)
            self._answer(container)
        finally:
            with self._lock:
                self.running -= 1
        container.exit.seconds = time.monotonic() - began
        return container.exit

    def _answer(self, container: FakeContainer) -> None:
        rule = next((rule for rule in reversed(self._rules) if _matches(rule.match, container.program)), None)
        if rule is None:
            return
        if rule.output:
            container.print(rule.output)
        if rule.error is not None:
            raise rule.error
        for path, content in rule.files.items():
            container.write(path, content)
        for path, content in rule.outputs.items():
            container.output(path, content)
        status = (rule.do(container) if rule.do else None) or rule.status
        if not container.exit.status:
            container.exit.status = status

    def as_root(self, function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1) -> Any:
        """See Runner. One function is called at a time: `at` becomes the working directory of the whole process."""
        del cancel
        with _working_directory:
            self.called.append(function.__name__)
            before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if at:
                    os.chdir(at)
                return function(*arguments)
            finally:
                os.fchdir(before)
                os.close(before)

    def remove(self, path: str) -> None:
        """See Runner."""
        if os.path.lexists(path):
            shutil.rmtree(path)

    def give_to_root(self, path: str) -> None:
        """See Runner."""


def describe_step(step: ContainerStep) -> str:
    """Returns a step as the text that the rules of a FakeRunner are compared with: the command, or the name of the
    function and its arguments."""
    return " ".join(step.argv) if step.argv else " ".join([step.call.partition(" ")[0], *map(str, step.arguments)])


def _matches(match: Match, program: Program) -> bool:
    if callable(match):
        return match(program)
    return any(match in describe_step(step) for step in program.steps)
