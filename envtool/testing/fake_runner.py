"""A `Runner` without a kernel: for tests of what builds layers and runs tasks."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from typing import TYPE_CHECKING, Any, TypeAlias

from envtool.container import program_json
from envtool.container.messages import Exit
from envtool.container.program import ContainerStep, Program
from envtool.lazy_dataclass import dataclass, field
from envtool.testing.fake_container import FakeContainer
from envtool.testing.fake_pod import FakePod, FakeStartedContainer

if TYPE_CHECKING:
    from envtool.container.join import Namespaces

Match: TypeAlias = str | Callable[[Program], bool]

_working_directory = threading.Lock()  # held while the process is in another directory


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
    process, with its rights: files belong to the user of the test. Safe in threads.
    """

    single_id: bool = True
    programs: list[Program] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    running: int = 0  # containers that have not ended
    pods: list[FakePod] = field(default_factory=list)
    started: list[FakeContainer] = field(default_factory=list)  # that were started and have not ended
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
        joins: Namespaces | None = None,
    ) -> Exit:
        """See Runner."""
        del stderr, counters, joins
        assert program_json.from_json(program_json.to_json(program)) == program
        with self._lock:
            self.programs.append(program)
            self.running += 1
        try:
            began = time.monotonic()
            container = FakeContainer(program, stdout, cancel, outputs_to, protected)
            self.answer(container)
        finally:
            with self._lock:
                self.running -= 1
        container.exit.seconds = time.monotonic() - began
        return container.exit

    def begin(self, program: Program, stdout: int, *, started: bool = True) -> FakeContainer:
        """Notes that a container begins; `started`: others may connect to it."""
        assert program_json.from_json(program_json.to_json(program)) == program
        container = FakeContainer(program, stdout, -1, "", ())
        with self._lock:
            self.programs.append(program)
            self.running += 1
            self.started += [container] if started else []
        return container

    def end(self, container: FakeContainer) -> None:
        """Notes that such a container has ended."""
        with self._lock:
            self.running -= 1
            if container in self.started:
                self.started.remove(container)

    def answer(self, container: FakeContainer, *, stays: bool = False) -> None:
        """Does what the rule for a container says. Without a rule one that `stays` runs until it is to end."""
        rule = next((rule for rule in reversed(self._rules) if _matches(rule.match, container.program)), None)
        if rule is None:
            if stays:
                container.wait()
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

    def start(
        self, program: Program, *, stdout: int, stderr: int, joins: Namespaces | None = None
    ) -> FakeStartedContainer:
        """See Runner. The rule that matches runs in a thread of its own, in which `FakeContainer.wait` returns when the
        container is to end; without one it stays until then."""
        del stderr, joins
        return FakeStartedContainer(self, program, stdout)

    def pod(self, *, user: bool = True, spare: int = 0, **options: Any) -> FakePod:
        """See Runner."""
        pod = FakePod(self, {"user": user, "spare": spare, **options})
        self.pods.append(pod)
        return pod

    def confirm_task(self, newest: Callable[[], int | None], trees: tuple[str, ...]) -> int:
        """See Runner: nothing began early."""
        return 0

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

    def expect(self, containers: int) -> None:
        """See Runner: nothing is started ahead."""

    def close(self) -> None:
        """See Runner: nothing was started."""

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
