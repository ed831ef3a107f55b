"""The errors of services name what is wrong with the spec, where the container said it."""

from __future__ import annotations

import pytest

from envtool.container.messages import Exit
from envtool.services import service_errors
from envtool.services.service_request import ServiceRequest

REQUEST = ServiceRequest(
    name="x", where="envtool.yaml:2:12", stack=(), command=("/bin/sh", "-ec", "serve"), variables={}
)
UNKNOWN = "some output\nenvtool: there is no user `nosuch` in /etc/passwd\n"


@pytest.mark.parametrize(
    ("status", "log", "hint"),
    [
        (126, UNKNOWN, "there is no user `nosuch` in /etc/passwd of its stack: let `user:` name another"),
        (126, "sh: serve: Permission denied", "does its stack have that program?"),
        (127, UNKNOWN, "does its stack have that program?"),
    ],
)
def test_a_command_that_could_not_start(status, log, hint):
    ended = Exit()
    ended.status = status
    error = service_errors.ended_error(REQUEST, "x-1", ended, log, ready=False)
    assert hint in error.hint
