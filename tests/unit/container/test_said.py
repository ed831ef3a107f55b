"""What is said of a step that failed: sentences for people, and no places in our code unless they are asked for."""

from __future__ import annotations

import pytest

from envtool.container import messages, step_call
from envtool.errors import BuildError
from envtool.kinds.debian.deb import ArchiveError
from envtool.kinds.dockerfile.copy_inside import CopyError


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - a traceback is wanted
    except BaseException as caught:
        return caught


SAID = [
    (CopyError("there is no `x`", hint="make it"), "there is no `x`\nmake it"),
    (BuildError("it is damaged"), "it is damaged"),
    (ArchiveError("a tar is cut short"), "a tar is cut short"),
    (FileNotFoundError(2, "No such file or directory", "/a/b"), "/a/b: No such file or directory"),
    (IsADirectoryError(21, "Is a directory", b"/a/\xff"), "/a/\udcff: Is a directory"),
    (OSError(22, "Invalid argument", 7), "Invalid argument"),  # of a descriptor, whose number says nothing
    (OSError(28, "No space left on device"), "No space left on device"),
    (KeyError("x"), "KeyError: 'x' (ENVTOOL_DEBUG=1 shows where)"),
    (OSError("a library's own"), "OSError: a library's own (ENVTOOL_DEBUG=1 shows where)"),
]


@pytest.mark.parametrize(("error", "said"), SAID)
def test_what_is_said(error, said):
    assert step_call.describe_error(raised(error)) == said


@pytest.mark.parametrize("error", [error for error, _ in SAID[3:]])
def test_places_are_for_who_asks(error, monkeypatch):
    monkeypatch.setattr(messages, "_DEBUG", True)
    assert "test_said.py:" in step_call.describe_error(raised(error))
