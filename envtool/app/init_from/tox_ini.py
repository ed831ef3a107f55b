"""The environments of a tox.ini as envs. Source: tox's documentation, "Configuration"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.app.compose.notes import Note
from envtool.app.init_from.ini_lines import read_ini
from envtool.app.init_from.python_env import PROJECT_FILES
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv, env_name
from envtool.app.init_from.tox_envs import ToxFile, take_environment
from envtool.app.init_from.tox_factors import expand_names
from envtool.errors import Problem, SpecError
from envtool.model import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.api import Project
    from envtool.app.compose.notes import Effect
    from envtool.app.init_from.ini_lines import IniValue, Section

# Keys of [tox] without an effect here, and the reason.
_MEANINGLESS = {
    "minversion": "tox is not called", "min_version": "tox is not called",
    "skip_missing_interpreters": "each base has its Python", "isolated_build": "the project is built in a layer",
    "toxworkdir": "stacks are in envtool's store", "work_dir": "stacks are in envtool's store",
    "ignore_basepython_conflict": "the base decides", "no_package": "", "labels": "`-e` takes patterns of names",
}  # fmt: skip
_READ = frozenset({"envlist", "env_list", "skipsdist", "no_package", "isolated_build"})
_LEFT_OUT = "the env is left out: "
_YES = frozenset({"true", "yes", "1", "on"})


def take_tox_ini(project: Project, path: str, text: str) -> tuple[list[TakenEnv], list[Note]]:
    """Returns the envs of a tox.ini, and what differs. Raises SpecError, with the place, for a text that is no tox.ini,
    or of which no environment can be taken over."""
    sections = read_ini(text, path)
    if not any(name == "testenv" or name.startswith("testenv:") for name in sections):
        raise _error(path, 1, f"`{path}` has no section [testenv]")
    notes: list[Note] = []

    def note(env: str, line: int, key: str, effect: Effect, message: str, hint: str = "") -> None:
        notes.append(Note(Where(file=path, line=line, column=1), env, key, effect, message, hint))

    tox = sections.get("tox", {})
    for key, value in tox.items():
        if key == "requires":
            note("", value.line, key, "left-out", "plugins of tox are not called")
        elif reason := _MEANINGLESS.get(key):
            note("", value.line, key, "meaningless", reason)
        elif key not in _READ:
            note("", value.line, key, "left-out", "it is no key of tox that envtool knows")
    names = _names(path, sections)
    for name, section in sections.items():
        other = name.removeprefix("testenv:")
        if name.startswith("testenv:") and other not in names and not other.startswith("."):
            line = min((value.line for value in section.values()), default=1)
            message = f"`{other}` is not in `env_list`: tox runs it only if it is named"
            note("", max(1, line - 1), name, "left-out", message, "add it to `env_list` for the time of the import")
    packaged = not _is_packageless(tox) and any(project.read(name) is not None for name in PROJECT_FILES)
    file = ToxFile(sections, project, packaged)
    envs: list[TakenEnv] = []
    for name, line in names.items():
        unused = env_name(name, [env.name for env in envs])
        try:
            taken = take_environment(file, name, lambda *words, env=unused: note(env, *words))
        except CannotTakeError as error:
            note(unused, error.line or line, name, "left-out", f"{_LEFT_OUT}{error}", error.hint)
            continue
        envs.append(taken._replace(name=unused))
    if not envs:
        reasons = [entry for entry in notes if entry.message.startswith(_LEFT_OUT)]
        raise SpecError(tuple(
            Problem(where=entry.where, message=f"`{entry.key}`: {entry.message}", code="init-from", hint=entry.hint)
            for entry in reasons
        ) or _error(path, 1, f"`{path}` has no environment").problems)  # fmt: skip
    return envs, notes


def _names(path: str, sections: Mapping[str, Section]) -> dict[str, int]:
    """Returns the environments that tox runs without `-e`, with their lines: without a list, `py`."""
    tox = sections.get("tox", {})
    value: IniValue | None = tox.get("env_list") or tox.get("envlist")
    try:
        names = expand_names(value)
    except CannotTakeError as error:
        raise _error(path, error.line, str(error)) from None
    return names or {"py": min((entry.line for entry in sections.get("testenv", {}).values()), default=1)}


def _is_packageless(tox: Section) -> bool:
    return any(tox[key].text.strip().lower() in _YES for key in ("skipsdist", "no_package") if key in tox)


def _error(path: str, line: int, message: str) -> SpecError:
    return SpecError((Problem(where=Where(file=path, line=line, column=1), message=message, code="init-from"),))
