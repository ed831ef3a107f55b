"""The errors of services, with their place in the spec and the last lines of their logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.build import limit_messages
from envtool.errors import ServiceError

if TYPE_CHECKING:
    from envtool.container.messages import Exit
    from envtool.services.service_request import ServiceRequest

_SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 15: "TERM"}
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_UNKNOWN_USER = re.compile(r"^envtool: (there is no (?:user|group) .* in /etc/\w+)$", re.MULTILINE)  # fs/passwd.py


def describe_exit(status: int) -> str:
    """Returns an exit status in words: "exit 1", "exit 137 (signal KILL)"."""
    signal = _SIGNALS.get(status - 128, "")
    return f"exit {status} (signal {signal})" if signal else f"exit {status}"


def describe_end(request: ServiceRequest, ended: Exit) -> str:
    """Returns how a container ended, or which limit ended it."""
    if ended.exceeded is None:
        return describe_exit(ended.status)
    return f"it {limit_messages.describe_end(ended, request.limits, None)}"


def ended_error(request: ServiceRequest, replica: str, ended: Exit, log: str, *, ready: bool) -> ServiceError:
    """Returns the error for a replica that ended too early. `ready`: it had been ready before."""
    name, result = _name(request, replica), describe_end(request, ended)
    code = "service-ended"
    if request.once:
        message = f"{name} failed: {result}"
        code = "service-failed"
    elif ready:
        message = f"{name} ended while it was needed: {result}"
    else:
        message = f"{name} ended before it was ready: {result}, after {ended.seconds:.1f} s"
    hint = ""
    if ended.status == 0 and not request.once:
        hint = "its command must stay in the foreground; give it `once: true` if it is to end"
    elif ended.status == _NOT_EXECUTABLE and (reason := _UNKNOWN_USER.search(log)):
        hint = f"{reason[1]} of its stack: let `user:` name another, or add a layer that makes it"
    elif ended.status in (_NOT_FOUND, _NOT_EXECUTABLE):
        hint = f"its command is `{' '.join(request.command)[:200]}`; does its stack have that program?"
    return _error(request, message, log, _needs_hint(request) or hint, code=code)


def not_ready_error(request: ServiceRequest, replica: str, place: str, reason: str, log: str) -> ServiceError:
    """Returns the error for a replica that was not ready in time; `place` is that of the check in the spec, and
    `reason` what the last probe found."""
    message = f"{_name(request, replica)} is not ready after {request.within:g} s: {reason}"
    hint = _needs_hint(request) or "`within:` beside the check gives it more time"
    return _error(request, message, log, hint, place, code="service-not-ready")


def not_ended_error(request: ServiceRequest, replica: str, log: str) -> ServiceError:
    """Returns the error for a one-shot that did not end in time."""
    message = f"{_name(request, replica)} has not ended after {request.within:g} s"
    hint = _needs_hint(request) or "`ready: {within: …}` gives it more time; a service that stays has no `once:`"
    return _error(request, message, log, hint, code="service-not-ready")


def restarts_error(request: ServiceRequest, replica: str, ended: Exit, count: int, log: str) -> ServiceError:
    """Returns the error for a replica that ended `count` times in a row."""
    message = f"{_name(request, replica)} ended {count} times in a row: {describe_end(request, ended)} at the last"
    return _error(request, message, log, _needs_hint(request), code="service-restarts")


def not_stopped_note(request: ServiceRequest, replica: str) -> str:
    """Returns the note about a replica that had to be killed: each run waits until then."""
    return (
        f"{_name(request, replica)} did not end {request.grace:g} s after {request.stop_signal}, and was killed"
        f" ({request.where}): `stop: {{signal: …, grace: …}}` says by which signal it ends"
    )


def taken_port_error(request: ServiceRequest, where: str, port: int, holder: str) -> ServiceError:
    """Returns the error for a published port of this machine that is in use; `holder` is the process that uses it, or
    empty."""
    by = f" by {holder}" if holder else ""
    message = f"{_name(request, request.name)} cannot be published: port {port} of this machine is in use{by}"
    hint = "publish another one; without it, as in `publish: 8000`, the port of this machine is any free one"
    return _error(request, message, "", hint, where, code="service-port")


def localhost_error(request: ServiceRequest, port: int, reason: str) -> ServiceError:
    """Returns the error for a port that a task's own loopback cannot have."""
    message = f"{_name(request, request.name)} cannot be at 127.0.0.1:{port} of the task: {reason}"
    hint = f"remove its `localhost`, and use it as `{request.name}:{port}`"
    return _error(request, message, "", hint, code="service-localhost")


def unknown_service_error(name: str, known: list[str]) -> ServiceError:
    """Returns the error for an unknown name of a service."""
    from envtool.errors import near_name_hint

    hint = near_name_hint(name, known) if known else "there are none"
    return ServiceError(f"there is no service `{name}` here", code="service-unknown", hint=hint, service=name)


def _needs_hint(request: ServiceRequest) -> str:
    """Returns the hint that a service names others that it does not need; "" if it names none."""
    if not request.unneeded:
        return ""
    named = " and ".join(f"`{name}`" for name in request.unneeded[:3])
    return (
        f"its command or variables name {named}, and it may have started before that was ready, or without it: "
        f"`needs: [{', '.join((*request.needs, *request.unneeded[:3]))}]`"
    )


def _name(request: ServiceRequest, replica: str) -> str:
    of = f" (replica {replica})" if request.replicas > 1 else ""
    return f"service `{request.name}`{of}"


def _error(
    request: ServiceRequest, message: str, log: str, hint: str = "", place: str = "", *, code: str
) -> ServiceError:
    at = f"{message} ({place or request.where})"
    return ServiceError(at, code=code, hint=hint, output=log, service=request.name)
