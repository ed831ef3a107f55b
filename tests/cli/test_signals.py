"""Signals that ask envtool to stop, wherever the main thread is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from envtool.cli import signals


def _raise(number):
    raise KeyboardInterrupt(number)


def test_a_handler_raises_at_once_and_the_old_one_comes_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals.catch_signals(_raise):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", signals.STOP_SIGNALS)
def test_a_signal_within_the_import_system_comes_after_it(number, monkeypatch):
    """An exception between taking a module's lock and what releases it would leave the lock taken."""
    handled: list[int] = []
    looked, sleep = threading.Event(), time.sleep
    monkeypatch.setattr(signals.time, "sleep", lambda seconds: looked.wait(30))  # it is not sent before we have looked
    frame = type("Frame", (), {"f_code": type("Code", (), {"co_filename": "<frozen importlib._bootstrap>"})})
    old = signal.signal(number, signal.SIG_DFL)  # nohup has SIGHUP ignored
    try:
        with signals.catch_signals(handled.append):
            signal.getsignal(number)(number, frame)
            assert handled == []
            looked.set()
            deadline = time.monotonic() + 30
            while not handled and time.monotonic() < deadline:
                sleep(0.001)
            assert handled == [number]
    finally:
        signal.signal(number, old)


def test_an_interrupt_before_the_handler_is_there_ends_the_process_without_a_word():
    code = """
import os, signal
from envtool import __main__ as command
command._end_at_interrupt()
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
    ignored = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}print('goes on')"
    ended = subprocess.run([sys.executable, "-c", ignored], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "goes on\n")
