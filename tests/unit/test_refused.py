"""What the operating system refuses is a sentence that names the file and says what to do."""

from __future__ import annotations

import errno
import os

import pytest

from envtool.cli import main
from envtool.errors import to_store_error
from envtool.fs.beneath import DirectoryReplacedError


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.EISDIR, errno.ELOOP]
)
def test_it_is_said(number, capsys, monkeypatch):
    error = OSError(number, os.strerror(number), "/store/memo/x")
    said = to_store_error(error)
    assert said.message.startswith("/store/memo/x: ")
    assert said.hint
    monkeypatch.setattr(main, "run_command_line", lambda words: (_ for _ in ()).throw(error))
    assert main.main(["test"]) == 3
    told = capsys.readouterr().err
    assert "/store/memo/x" in told
    assert "internal" not in told


def test_what_is_nobodys_refusal_is_a_bug(capsys, monkeypatch):
    assert to_store_error(OSError("of a library")) is None
    monkeypatch.setattr(main, "run_command_line", lambda words: (_ for _ in ()).throw(OSError("of a library")))
    assert main.main(["test"]) == 3
    assert "internal error" in capsys.readouterr().err


def test_a_project_that_was_moved_is_said_in_a_sentence():
    said = to_store_error(DirectoryReplacedError("/home/me/app"))
    assert said.message == "the project's directory was moved or replaced meanwhile: /home/me/app"
    assert (said.code, said.hint) == ("project-replaced", "run it again")
