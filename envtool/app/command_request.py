"""What the command line asks for, and which spec and envs it means."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace

from envtool.errors import UsageError, closest_name
from envtool.fs import globs
from envtool.fs.beneath import hold_project
from envtool.model import Env, Spec
from envtool.project import discovery

SPEC = discovery.SPEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """What the command line asks for. `jobs` 0: one a processor. `file` empty: the nearest envtool.yaml upward."""

    directory: str = "."
    file: str = ""
    envs: tuple[str, ...] = ()  # names, groups or globs; none: all
    jobs: int = 0
    fail_fast: bool = False
    args: tuple[str, ...] = ()
    refresh: bool = False
    again: bool = False  # run tasks whose result is remembered
    locked: bool | None = None  # a lock that no longer fits is an error; None: in CI it is
    offline: bool = False
    expect_cached: bool = False
    reports: tuple[str, ...] = ()  # files that are written about this run: JUnit, provenance
    allow_secret: tuple[str, ...] = ()  # what the caller lets the project have of this machine: see consent.py
    allow_pass: tuple[str, ...] = ()
    allow_file: tuple[str, ...] = ()
    # the command line up to the verb, and after it: for advice
    called: tuple[tuple[str, ...], tuple[str, ...]] = field(default=((), ()), compare=False)


def find_spec(request: CommandRequest) -> str:
    """Absolute path of the spec: the file named, else the nearest `envtool.yaml` upward that counts
    (above.py). From here on its directory is
    the one that it is now (beneath.py). Raises UsageError."""
    path = _find_spec_path(request)
    try:
        hold_project(os.path.dirname(path))
    except OSError as error:
        raise UsageError(f"{os.path.dirname(path)}: {error.strerror}", code="no-spec") from error
    return path


def _find_spec_path(request: CommandRequest) -> str:
    start = os.path.abspath(request.directory)
    if not os.path.isdir(start):
        raise UsageError(f"no directory `{request.directory}`", code="no-directory")
    if request.file:
        path = os.path.join(start, request.file)
        if not os.path.isfile(path):
            raise UsageError(f"no file `{request.file}`", code="no-spec")
        return os.path.abspath(path)
    found = discovery.find_spec(start)
    if found.passed_over:
        directory = os.path.dirname(found.passed_over)
        raise UsageError(
            f"no {SPEC} in {start}, and {found.passed_over} is passed over: {found.why}",
            code="no-spec",
            hint=f"if you mean that one, and trust it: `envtool -C {shlex.quote(directory)} …`",
        )
    if not found.path:
        hint = "`envtool init` writes one for this project"
        raise UsageError(f"no {SPEC} in {start} or above it", code="no-spec", hint=hint)
    return found.path


def select_envs(spec: Spec, patterns: tuple[str, ...]) -> Spec:
    """The spec with the envs that patterns mean (none: all): names, groups, globs. Raises UsageError."""
    if not patterns:
        return spec
    wanted: set[str] = set()
    for pattern in patterns:
        wild = globs.name_pattern(pattern).fullmatch
        found = {env.name for env in spec.envs if env.group == pattern or wild(env.name)}
        if not found:
            raise _unknown_env_error(spec, pattern)
        wanted |= found
    return replace(spec, envs=tuple(env for env in spec.envs if env.name in wanted))


def find_env(spec: Spec, name: str) -> Env:
    """The one env of a name, or of a group that has one. Raises UsageError."""
    exact = [env for env in spec.envs if env.name == name] or [env for env in spec.envs if env.group == name]
    if not exact:
        raise _unknown_env_error(spec, name)
    if len(exact) > 1:
        names = ", ".join(env.name for env in exact)
        raise UsageError(f"`{name}` is a matrix: say which of {names}", code="env-ambiguous")
    return exact[0]


def _unknown_env_error(spec: Spec, name: str) -> UsageError:
    names = [env.name for env in spec.envs]
    near = closest_name(name, [*names, *{env.group for env in spec.envs}])
    hint = f"did you mean `{near}`?" if near else f"envs: {', '.join(names[:12])}"
    return UsageError(f"no env `{name}`", code="no-env", hint=hint)


def unknown_task_error(spec: Spec, task: str) -> UsageError:
    """What to say where no env has a task."""
    one = len(spec.envs) == 1
    message = f"env `{spec.envs[0].name}` has no task `{task}`" if one else f"no env has a task `{task}`"
    known = sorted({each.name for env in spec.envs for each in env.tasks})
    near = closest_name(task, known)
    hint = f"did you mean `{near}`?" if near else "`envtool list` shows envs and their tasks"
    return UsageError(message, code="no-task", hint=hint)
