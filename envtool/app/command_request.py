"""The values of the command line; finds the spec."""

from __future__ import annotations

import os
import shlex

from envtool.errors import UsageError, near_name_hint
from envtool.fs.beneath import hold_project
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Spec
from envtool.project import discovery
from envtool.spec.select_envs import env_option_hint, matching_envs

SPEC = discovery.SPEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """The values of one command line. `jobs` 0: as run_graph.py says. `file` empty: the nearest envtool.yaml upward."""

    directory: str = "."
    file: str = ""
    envs: tuple[str, ...] = ()  # names, groups or globs; none: all
    jobs: int = 0
    fail_fast: bool = False
    args: tuple[str, ...] = ()
    refresh: bool = False
    again: bool = False  # run tasks although their results are cached
    audit: str = ""  # "5%": the part of the tasks that `inputs: observed` skips which run all the same
    locked: bool | None = None  # whether a lock that does not fit the spec is an error; None: in CI only
    offline: bool = False
    expect_cached: bool = False
    limits: tuple[str, ...] = ()  # `--limit NAME=VALUE`, over those of the spec
    writable: bool = False  # a command of `exec` or `shell` writes to the checkout itself
    learn_network: bool = False  # everything may be connected to, and the run says what was
    reports: tuple[str, ...] = ()  # paths of files that this run writes: JUnit, provenance
    allow_secret: tuple[str, ...] = ()  # what the caller allows the project to have of this machine: see permissions.py
    allow_pass: tuple[str, ...] = ()
    allow_file: tuple[str, ...] = ()
    # the words up to the verb, and those after it: for hints
    called: tuple[tuple[str, ...], tuple[str, ...]] = field(default=((), ()), compare=False)

    @property
    def leaves_lock(self) -> bool:
        """Whether the run may use other pins than the lock has, where a run without these options would not."""
        return self.refresh or self.locked is False


def find_spec(request: CommandRequest) -> str:
    """The absolute path of the spec: the named file, else the nearest `envtool.yaml` upward that discovery accepts. The
    project's directory is held by a descriptor from here on (fs/beneath.py). Raises UsageError."""
    path = _find_spec_path(request)
    try:
        hold_project(os.path.dirname(path))
    except OSError as error:
        raise UsageError(f"{os.path.dirname(path)}: {error.strerror}", code="no-spec") from error
    return path


def _find_spec_path(request: CommandRequest) -> str:
    start = os.path.abspath(request.directory)
    if not os.path.isdir(start):
        if os.path.lexists(start):
            hint = f"`-C` takes a directory; `-f {request.directory}` takes a spec" if os.path.isfile(start) else ""
            raise UsageError(f"`{request.directory}` is not a directory", code="no-directory", hint=hint)
        raise UsageError(f"no directory `{request.directory}`", code="no-directory")
    if request.file:
        path = os.path.join(start, request.file)
        if not os.path.isfile(path):
            raise UsageError(f"no file `{request.file}`", code="no-spec")
        return os.path.abspath(path)
    discovered = discovery.find_spec(start)
    if discovered.passed_over:
        directory = os.path.dirname(discovered.passed_over)
        raise UsageError(
            f"no {SPEC} in {start}, and {discovered.passed_over} is passed over: {discovered.why}",
            code="no-spec",
            hint=f"if you mean that one, and trust it: `envtool -C {shlex.quote(directory)} …`",
        )
    if not discovered.path:
        hint = "`envtool init` writes one for this project"
        raise UsageError(f"no {SPEC} in {start} or above it", code="no-spec", hint=hint)
    return discovered.path


def unknown_task_error(spec: Spec, task: str) -> UsageError:
    """The error for a task that no env has."""
    single = len(spec.envs) == 1
    message = f"env `{spec.envs[0].name}` has no task `{task}`" if single else f"no env has a task `{task}`"
    known = sorted({known_task.name for env in spec.envs for known_task in env.tasks})
    hint = near_name_hint(task, known, "`envtool list` shows envs and their tasks")
    if matching_envs(spec, task) or ":" in task:
        hint = env_option_hint(spec, [task]) or hint
    return UsageError(message, code="no-task", hint=hint)
