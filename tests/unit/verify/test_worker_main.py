"""The process that makes one side ends with the one that started it, also where that was gone before it could ask."""

from __future__ import annotations

import os
import subprocess
import sys

from envtool.container import syscalls
from envtool.verify import worker_client

ORPHAN = """
import os, subprocess, sys
words = [sys.executable, "-c", "import os, sys, time\\nwhile os.getppid() == int(sys.argv[1]): time.sleep(0.01)\\n" + sys.argv[1]]
subprocess.Popen([*words, str(os.getpid())])
"""


def test_a_worker_whose_parent_is_gone_does_no_job():
    reader, writer = os.pipe()
    words = [sys.executable, "-c", ORPHAN, worker_client.WORKER_CODE]
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, check=True)
    os.close(writer)
    with open(reader, "rb") as said:
        assert said.read() == b"", "it would say that there is no job in its empty input"


def test_a_process_that_was_left_alone_ends_at_once():
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent(parent + 1)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent(parent)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
