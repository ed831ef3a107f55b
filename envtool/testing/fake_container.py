"""A container of a FakeRunner, as the function that stands in for it sees it."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

from envtool.container.messages import Exit

if TYPE_CHECKING:
    from envtool.container.program import Program
    from envtool.container.started import TcpSocket

POLL_SECONDS = 0.002


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
        self.signals: list[int] = []  # that came while it ran
        self.stopping = threading.Event()  # set by HUP, INT, QUIT, TERM and KILL
        self.listening: dict[int, int] = {}  # ports of TCP -> the status that they answer HTTP requests with
        self.files: set[str] = set()  # paths that exist in it
        self.connections: list[TcpSocket] = []  # that are open
        self.handled: set[int] = set()  # signals that do not end it
        self._stdout = stdout
        self._cancel = cancel

    def print(self, output: str | bytes) -> None:
        """Writes to the output of the steps."""
        data = memoryview(output.encode() if isinstance(output, str) else output)
        while data:
            data = data[os.write(self._stdout, data) :]

    def listen(self, port: int, status: int = 200) -> None:
        """Accepts connections at a port in its pod, and answers HTTP requests with a status."""
        self.listening[port] = status

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
            if self.stopping.is_set():
                self.exit.status = 128 + self.signals[-1]
                return
            if self._cancel >= 0 and select.select([self._cancel], [], [], POLL_SECONDS)[0]:
                self.exit.interrupted, self.exit.status = True, 130
                return

    def close_output(self) -> None:
        """Closes the output of the steps: there will be no more."""
        os.close(self._stdout)

    @staticmethod
    def _write(path: str, content: str | bytes, mode: int) -> None:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)
