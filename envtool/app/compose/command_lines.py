"""`command`, `entrypoint`, `working_dir`, `user` and `healthcheck` of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.app.compose import compose_values as values
from envtool.app.compose.host_names import note_host_names
from envtool.app.compose.image_defaults import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.compose.image_defaults import ImageDefaults
    from envtool.app.compose.notes import ImportState
    from envtool.model import Json
    from envtool.spec.node import YamlNode

SHELL = ("/bin/sh", "-c")
MIN_WITHIN = 60.0  # seconds: the default of `ready`
_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3  # compose's defaults of a health check


def read_argv(state: ImportState, node: YamlNode | None, key: str) -> tuple[str, ...] | None:
    """Returns the words of a command; () for one that is cleared; None if there is none."""
    if node is None or node.value is None:
        return None
    if isinstance(node.value, list):
        return tuple(text for _, text in values.read_texts(state, node, key))
    text = values.read_text(state, node, key)
    try:
        return split_words(text)
    except ValueError:
        state.problems.add(node, f"`{key}`: a quote is not closed", code="compose", hint="close it, or write a list")
        return ()


def read_command(state: ImportState, service: YamlNode, defaults: ImageDefaults) -> tuple[str, ...] | None:
    """Returns the whole argv of a service; None for the image's own ENTRYPOINT and CMD, in its own WORKDIR."""
    entrypoint = read_argv(state, service.get("entrypoint"), "entrypoint")
    command = read_argv(state, service.get("command"), "command")
    directory = values.read_text(state, service.get("working_dir"), "working_dir")
    if entrypoint is None and command is None:
        if directory:
            message = "it is for a command of the service alone: the image's own starts in the image's WORKDIR"
            state.note(service.key("working_dir"), "working_dir", "left-out", message, "write `command`, too")
        return None
    if entrypoint is None:
        entrypoint = _image_entrypoint(state, service, defaults)
    elif not entrypoint and not command:
        message = "`entrypoint` removes the image's ENTRYPOINT and CMD, and there is no command"
        state.problems.add(service.key("entrypoint"), message, code="compose", hint="write `command`")
    argv = (*entrypoint, *(command or ()))
    for key in ("entrypoint", "command"):
        for node, text in values.read_texts(state, service.get(key), key):
            note_host_names(state, node, key, text)
    directory = directory or defaults.workdir or ""
    return (*SHELL, 'cd "$0" && exec "$@"', directory, *argv) if argv and directory else argv or None


def _image_entrypoint(state: ImportState, service: YamlNode, defaults: ImageDefaults) -> tuple[str, ...]:
    if defaults.entrypoint is None:
        message = "a command here is all that runs: if the image has an ENTRYPOINT, its words have to come first"
        hint = "`docker image inspect` shows it; write it before the command"
        state.note(service.key("command"), "command", "changed", message, hint)
    return defaults.entrypoint or ()


def read_user(state: ImportState, service: YamlNode, defaults: ImageDefaults, *, has_command: bool) -> str:
    """Returns the user of a service; "" for that of the image, which counts with the image's own command alone."""
    node = service.get("user")
    user, _, group = values.read_text(state, node, "user").partition(":")
    if node is not None and group and group not in ("0", "root", user):
        message = f"the group `{group}` is not taken: a user has the groups of its /etc/group"
        state.note(node, "user", "left-out", message)
    if user in ("0", "root"):
        return "root"
    if user:
        return user
    if not has_command:
        return ""
    if defaults.user is None:
        message = "it runs as root, as images do that say nothing else"
        state.note(service.key("command"), "command", "changed", message, "write `user:` if the image has a USER")
    name = (defaults.user or "root").partition(":")[0]
    return "root" if name == "0" else name


def read_ready(state: ImportState, service: YamlNode, *, once: bool) -> Json:
    """Returns `ready` of a service; None for the default: its first port answers, within 60s."""
    node = service.get("healthcheck")
    if once:
        if node is not None:
            message = "others wait for its end: it is not asked"
            state.note(service.key("healthcheck"), "healthcheck", "meaningless", message)
        return {"within": "10m"}
    if node is None or node.value is None:
        return None
    if not isinstance(node.value, dict):
        values.wrong_type(state, node, "healthcheck", "a mapping")
        return None
    words = _health_words(state, node)
    if not words:
        return None
    interval = values.read_duration(state, node.get("interval"), "interval", _INTERVAL) or _INTERVAL
    timeout = values.read_duration(state, node.get("timeout"), "timeout", _TIMEOUT) or _TIMEOUT
    retries = values.read_number(state, node.get("retries"), "retries", _RETRIES) or _RETRIES
    start = values.read_duration(state, node.get("start_period"), "start_period", 0.0)
    values.read_duration(state, node.get("start_interval"), "start_interval", 0.0)
    within = min(values.MAX_DURATION, max(MIN_WITHIN, start + retries * (interval + timeout)))
    return {"command": words, "within": values.format_duration(within)}


def _health_words(state: ImportState, node: YamlNode) -> Json:
    """Returns the command of a health check: a line for `sh`, or words; None if there is none."""
    test = node.get("test")
    if values.read_flag(state, node.get("disable"), "disable"):
        _note_no_check(state, node.key("disable"))
        return None
    if test is None or test.value is None:
        message = "the image's own check is not known here: it is ready when its first port answers"
        state.note(node, "healthcheck", "changed", message, "write `ready: {command: …}`")
        return None
    if not isinstance(test.value, list):
        return _shell(values.read_text(state, test, "test"))
    words = [text for _, text in values.read_texts(state, test, "test")]
    how, *rest = words or [""]
    if how == "NONE":
        _note_no_check(state, test)
        return None
    if how == "CMD-SHELL" and len(rest) == 1:
        return _shell(rest[0])
    if how == "CMD" and rest:
        return [*rest]
    hint = 'write ["CMD", WORD, …], or a line for `sh`'
    state.problems.add(test, "`test` begins with CMD, CMD-SHELL or NONE", code="compose", hint=hint)
    return None


def _note_no_check(state: ImportState, node: YamlNode) -> None:
    message = "without a check it is ready when its first port answers"
    state.note(node, "healthcheck", "changed", message, "or say how: `ready: {log: REGEX}`, `{file: PATH}`")


def _shell(line: str) -> Json:
    """Returns a line for `sh -ec`; where `-e` could end it earlier than `sh -c` does, the words of the latter."""
    if not line.strip():
        return None
    words: Sequence[str] = (*SHELL, line)
    return [*words] if ";" in line or "\n" in line.strip() else line.strip()
