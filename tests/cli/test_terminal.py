"""The command line on a real terminal (a pty): what moves, what ^C does, what is put back."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

DRIVER = str(Path(__file__).parent / "driver.py")


def _take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where a shell started this suite in the background


class Terminal:
    """A child whose controlling terminal is a pty of ours."""

    def __init__(self, *argv, scenario, rows=24, columns=80, env=()):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        environ = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
        environ |= {"FAKE_SCENARIO": scenario, "TERM": "xterm-256color", "PYTHONUTF8": "1", **dict(env)}
        self.child = subprocess.Popen(
            [sys.executable, DRIVER, *argv],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environ,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no threads here
        )
        self.seen = ""

    def read(self, until=None, timeout=20.0):
        """Read until a text is there, or until the child has ended."""
        end = time.monotonic() + timeout
        while until is None or until not in self.seen:
            assert time.monotonic() < end, f"no {until!r} in {self.seen!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            elif self.child.poll() is not None:
                assert until is None or until in self.seen, f"no {until!r} in {self.seen!r}"
                break
        return self.seen

    def type(self, text):
        os.write(self.master, text.encode())

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self.master)
        os.close(self.slave)

    def restored(self):
        shown = self.seen.rfind("\x1b[?25h") >= self.seen.rfind("\x1b[?25l")
        return shown and termios.tcgetattr(self.slave) == self.before


@pytest.fixture
def terminal():
    made = []

    def start(*argv, **rest):
        made.append(Terminal(*argv, **rest))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_what_lasts_moves_and_leaves_no_trace(terminal):
    shown = terminal("test", scenario="moving")
    text = shown.read()
    assert shown.child.wait() == 0
    assert len(set(re.findall("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", text))) > 1, text
    assert re.search("━━━━╌╌╌╌.* 10 MB of 40 MB|━━━━━━━━╌╌╌╌╌╌╌╌ 20 MB of 40 MB", text)
    assert shown.restored()
    # What stands on the screen in the end: only the lines of what has ended.
    assert screen(text, 80) == [
        " layer  deps              pip: 12 wheels                    built 0.6s",
        "── lint test " + "─" * 49,
        "all good",
        " ✓ lint           test                                      0.2s",
        "── 1 passed in TIME ──",
    ]


def test_a_lone_task_is_seen_while_it_works_and_interrupted_once(terminal):
    shown = terminal("test", scenario="slow")
    shown.read(until="working")
    assert shown.child.poll() is None
    shown.type("\x03")
    text = shown.read()
    assert shown.child.wait() == 130
    assert "interrupted: stopping" in text
    assert "stopped" in text, "the task was not waited for"
    assert shown.restored()
    *_, total, again = screen(text, 80)
    assert total == "── 1 interrupted in TIME ──"
    assert again == "   again:  envtool test"


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize("columns", [50, 60, 100])
def test_what_an_interrupt_says_is_written_over_what_the_terminal_echoes(terminal, columns, env):
    shown = terminal("-v" if env else "--color=auto", "test", "-e", "u*", scenario="deaf", columns=columns, env=env)
    shown.read(until="working\r\n")
    shown.type("\x03")
    shown.read(until="at once)")
    shown.type("\x03")
    left = screen(shown.read(), columns)
    assert shown.child.wait() == 130
    assert "interrupted: stopping (Ctrl-C again: at once)" in left
    assert not any("^C" in line for line in left), left
    assert left[-1] == f"   again:  envtool {'-v' if env else '--color=auto'} test -e 'u*'"
    assert left[-2] == "── interrupted in TIME ──"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_is_an_interrupt(terminal, number):
    shown = terminal("test", scenario="slow")
    shown.read(until="working")
    shown.child.send_signal(number)
    shown.read()
    assert shown.child.wait() == 130


def test_exec_hands_a_signal_on_and_says_so(terminal):
    shown = terminal("exec", "lint", "wait", scenario="mixed")
    shown.read(until="waiting")
    shown.type("\x03")
    shown.read()
    assert shown.child.wait() == 130
    assert shown.restored()


def test_narrow_and_low_terminals_are_not_overrun(terminal):
    shown = terminal("test", scenario="moving", rows=3, columns=30)
    text = shown.read()
    assert shown.child.wait() == 0
    for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", text)):
        if any(frame in line for frame in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"):
            assert len(line) <= 30, line


@pytest.mark.parametrize("columns", [40, 60, 62])
def test_an_interrupt_that_the_terminal_echoes_leaves_no_line_behind(terminal, columns):
    shown = terminal("test", scenario="moving", columns=columns)
    shown.read(until="0 MB")
    shown.type("\x03")
    text = shown.read()
    shown.child.wait()
    left = screen(text, columns)
    assert not any(frame in line for line in left for frame in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"), left
    assert max(map(len, left)) <= columns
    assert shown.restored()


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"CI": "true"}])
def test_terminals_that_should_not_move_get_plain_lines(terminal, env):
    shown = terminal("test", scenario="moving", env=env)
    text = shown.read()
    assert shown.child.wait() == 0
    assert not re.search("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]|\x1b\\[\\?", text)
    assert "layer  deps" in text


def screen(text, columns):
    """The lines that a terminal of so many columns would show (cursor up, erase line, CR, LF and wrapping understood)."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\x1b.|.|\n", text, re.DOTALL):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            while len(lines) <= row:
                lines.append("")
        elif token.endswith("A") and token[0] == "\x1b":
            row = max(0, row - int(token[2:-1] or 1))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] != "\x1b":
            if column == columns:
                row, column = row + 1, 0
                while len(lines) <= row:
                    lines.append("")
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
    shown = [line.rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return [re.sub(r"in \d+\.\ds ──", "in TIME ──", line) for line in shown]
