"""Runs programs on the host, such as credential helpers. (git and containers are started elsewhere.)"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from envtool.errors import Interrupted
from envtool.lazy_dataclass import dataclass
from envtool.project import programs

PASSED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
)  # names of the caller's variables that a program gets
NOT_FOUND, TIMED_OUT = 127, 124


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessResult:
    """A process that ended. `status` is as in a shell: 128+n for signals, 127 not found, 124 timed out."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    cwd: str = ""

    def failure(self) -> str:
        """Returns the command line for a shell, the reason, and the last line of the error output."""
        line = shlex.join(self.argv)
        if self.cwd:
            line = f"(cd {shlex.quote(self.cwd)} && {line})"
        error_lines = self.stderr.decode(errors="replace").strip().splitlines()
        reason = {NOT_FOUND: "not found", TIMED_OUT: "timed out"}.get(self.status, f"exit {self.status}")
        return f"{line}: {reason}" + (f": {error_lines[-1]}" if error_lines else "")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Returns the caller's values of PASSED_VARIABLES, and `more`."""
    return {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ} | dict(more)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    input: bytes = b"",  # noqa: A002 - what subprocess calls it
    timeout: float | None = 60.0,
    cancel: int = -1,
) -> ProcessResult:
    """Runs a program to its end. Its environment is PASSED_VARIABLES and `env`; its stdin is `input`. A name without a
    slash is searched as in project/programs.py, also for programs that this program starts.

    A failure of the program raises nothing: see the status. `timeout` is in seconds. With a descriptor `cancel` the
    program has no stdin, and a session of its own: a Ctrl-C does not end it by itself, and a program that asks for a
    password finds no terminal, where in the background it would be stopped. When `cancel` becomes readable, the
    processes of the session's group are killed. Raises Interrupted then.
    """
    environ = environment(env or {})
    environ["PATH"] = programs.search_path(environ.get("PATH"))
    words = tuple(argv)
    program = words[0] if "/" in words[0] else programs.find_program(words[0])
    if not program:
        return _ended(words, NOT_FOUND, b"", b"", cwd)
    try:
        if cancel >= 0:
            return _run_until_cancelled(words, program, environ, cwd, timeout, cancel)
        process = subprocess.run(  # noqa: PLW1510 - the status is the answer
            words, executable=program, env=environ, cwd=cwd, input=input, capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        return _ended(words, TIMED_OUT, error.stdout or b"", error.stderr or b"", cwd)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return _ended(words, NOT_FOUND, b"", str(error).encode(), cwd)
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return _ended(words, status, process.stdout, process.stderr, cwd)


def _run_until_cancelled(
    words: tuple[str, ...],
    program: str,
    environ: Mapping[str, str],
    cwd: str | None,
    timeout: float | None,
    cancel: int,
) -> ProcessResult:
    """Runs a program to its end, or kills it: see `run`. What it prints is held in memory, never in a file."""
    with open(os.memfd_create("stdout"), "w+b") as stdout, open(os.memfd_create("stderr"), "w+b") as stderr:
        process = subprocess.Popen(
            words, executable=program, env=environ, cwd=cwd, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        )  # fmt: skip
        ended = os.pidfd_open(process.pid)
        poll, ready = select.poll(), set[int]()
        for descriptor in (ended, cancel):
            poll.register(descriptor, select.POLLIN)
        try:
            ready = {descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)}
        finally:
            if ended not in ready:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            os.close(ended)
            status = process.wait()
        if cancel in ready:
            raise Interrupted
        stdout.seek(0)
        stderr.seek(0)
        status = TIMED_OUT if not ready else status if status >= 0 else 128 - status
        return _ended(words, status, stdout.read(), stderr.read(), cwd)


def stream(
    argv: Sequence[str],
    hear: Callable[[bytes], None],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    umask: int = -1,
    input: bytes = b"",  # noqa: A002 - what subprocess calls it
    cancel: int = -1,
) -> ProcessResult:
    """Runs a program to its end, with exactly the environment `env`. `hear` gets each line of its standard output as it
    arrives; the result has no stdout. The program is killed when the descriptor `cancel` becomes readable, or when
    `hear` raises."""
    import tempfile

    words = tuple(argv)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(input)
        stdin.seek(0)
        with subprocess.Popen(
            words, env=dict(env), cwd=cwd, umask=umask, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
        ) as process:
            assert process.stdout is not None
            try:
                if not _forward_lines(process.stdout.fileno(), hear, cancel):
                    process.kill()
            except BaseException:
                process.kill()
                raise
            status = process.wait()
        stderr.seek(0)
        error_output = stderr.read()
    return _ended(words, status if status >= 0 else 128 - status, b"", error_output, cwd)


def _forward_lines(descriptor: int, hear: Callable[[bytes], None], cancel: int) -> bool:
    """Passes each line from a descriptor to `hear`. Returns whether the end was reached."""
    remaining = b""
    while True:
        ready, _, _ = select.select([descriptor, *([cancel] if cancel >= 0 else [])], [], [])
        if cancel in ready:
            return False
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        *lines, remaining = (remaining + piece).split(b"\n")
        for line in lines:
            hear(line)
    if remaining:
        hear(remaining)
    return True


def _ended(argv: tuple[str, ...], status: int, stdout: bytes, stderr: bytes, cwd: str | None) -> ProcessResult:
    return ProcessResult(argv=argv, status=status, stdout=stdout, stderr=stderr, cwd=cwd or "")
