"""An env that was taken over from another tool's file, and the text of the spec with such envs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose.spec_text import comment_lines, entry_lines, escape_templates, note_sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envtool.app.compose.notes import Note
    from envtool.model import Json

# Stands for `{{ args }}` in a command, with a default after the colon. A source with NUL is refused, so that no text of
# a project can be taken for it.
ARGS = "\0args\0"
_MARK = re.compile("\0args(?::([^\0]*))?\0")
_BLANK = "\3"
_LETTERS = re.compile(r"[^A-Za-z0-9_.-]+")


class CannotTakeError(Exception):
    """A part of a file that a spec cannot express. The env that it belongs to is left out as a whole: an env without
    it could pass where the original fails."""

    def __init__(self, message: str, hint: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.hint = hint
        self.line = line  # 0: that of what was being read


class TakenEnv(NamedTuple):
    """An env of the spec. `reasons` explain its keys: key -> a comment. `services` are those that it names: name -> the
    keys of the service."""

    name: str
    keys: Mapping[str, Json]
    reasons: Mapping[str, str]
    services: Mapping[str, Json] = {}


class TakenSpec(NamedTuple):
    """The spec for a file, and how it differs from the file."""

    text: str
    envs: tuple[str, ...]
    notes: tuple[Note, ...]
    services: tuple[str, ...] = ()
    override: str = ""  # a file that the other tool reads over this one by itself
    next_verb: str = "up"  # what to type after `envtool`


def args_with_default(default: str) -> str:
    """Returns the mark of `{{ args or 'DEFAULT' }}`. Raises CannotTakeError for a default that a template
    cannot have."""
    if not default:
        return ARGS
    if re.search(r"['\"\\{}%#\n\0]", default):
        raise CannotTakeError(f"the default `{default[:40]}` of its arguments has a quote, a brace or a backslash")
    return f"\0args:{default.replace(' ', _BLANK)}\0"  # a mark stays whole where a command is split into words


def env_name(text: str, used: Iterable[str]) -> str:
    """Returns a name of an env for a name of another tool, unlike those in use."""
    name = _LETTERS.sub("-", text).strip("-.") or "unit"
    name = (name if name[0].isalpha() else f"env-{name}")[:60]
    number, unused = 2, name
    while unused in used:
        number, unused = number + 1, f"{name}-{number}"
    return unused


def write_taken_spec(source: str, envs: Sequence[TakenEnv], notes: Iterable[Note]) -> str:
    """Returns the text of the spec. `source` is the file that was taken over, for the comment at the top. Notes that
    have no effect are left out, and those of no env stand at the top."""
    by_env: dict[str, list[Note]] = {}
    names = {env.name for env in envs}
    for note in notes:
        if note.effect != "meaningless":
            by_env.setdefault(note.service if note.service in names else "", []).append(note)
    lines = comment_lines(f"Written by `envtool init --from {source}`.")
    lines += comment_lines("Tasks have no network here: an env that needs one says `network: true`.")
    for note in by_env.get("", ()):
        subject = f"{note.service}: " if note.service else ""
        lines += comment_lines(f"{subject}{note_sentence(note)}")
    lines += ["version: 1", ""]
    envs, services = share_services(envs)
    if services:
        lines.append("services:")
        lines += [line for name, keys in services.items() for line in entry_lines(name, escape_templates(keys), "  ")]
        lines.append("")
    lines.append("envs:")
    for env in envs:
        if lines[-1] != "envs:":
            lines.append("")
        lines += entry_lines(env.name, {}, "  ")
        lines[-1] = lines[-1].removesuffix(" {}")
        lines += [line for note in by_env.get(env.name, ()) for line in comment_lines(note_sentence(note), "    ")]
        for key, value in env.keys.items():
            if reason := env.reasons.get(key):
                lines += comment_lines(f"{key}: {reason}", "    ")
            lines += entry_lines(key, _with_args(escape_templates(value)), "    ")
    return "\n".join(lines) + "\n"


def share_services(envs: Sequence[TakenEnv]) -> tuple[Sequence[TakenEnv], Mapping[str, Json]]:
    """Returns the envs and the services of all, each once. Where services of one name differ, the later has a number:
    `postgres-2`."""
    services: dict[str, Json] = {}
    shared: list[TakenEnv] = []
    for env in envs:
        names: dict[str, str] = {}
        for name, keys in env.services.items():
            unused, number = name, 2
            while unused in services and services[unused] != keys:
                unused, number = f"{name}-{number}", number + 1
            services[unused] = keys
            names[name] = unused
        listed = [names[name] for name in env.services]
        shared.append(env._replace(keys={**env.keys, "services": [*listed]}) if names else env)
    return shared, services


def _with_args(value: Json) -> Json:
    """Returns a value with templates in the place of the marks."""
    if isinstance(value, str):
        return _MARK.sub(
            lambda mark: f"{{{{ args or '{mark[1].replace(_BLANK, ' ')}' }}}}" if mark[1] else "{{ args }}", value
        )
    if isinstance(value, list):
        return [_with_args(member) for member in value]
    if isinstance(value, dict):
        return {key: _with_args(member) for key, member in value.items()}
    return value
