"""Reads the tasks of one env."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.model import Command, Task
from envtool.spec import scalar_types
from envtool.spec.declarations import WrittenNeed, check_pattern, note_outside_project
from envtool.spec.limits import merge_times, render_limits
from envtool.spec.template import is_arguments, is_template, uses_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.model import CacheUse, Env, Limits, SecretUse
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

USERS = ("user", "root")
INPUTS = ("all", "observed")


def make_tasks(
    work: LoadContext, env: Mapping[str, YamlNode], scope: Scope, args: str, directory: str
) -> tuple[Task, ...]:
    """Returns the tasks of an env, whose entries are `env`, in the order written. `args` is the text for `{{ args }}`
    in a line for sh. Notes all errors."""
    tasks = env.get("tasks")
    if tasks is None:
        return ()
    entries = [(verb, node, node.mapping(), tasks.key(verb).where) for verb, node in tasks.mapping().items()]
    if not entries:
        return ()
    scope = {**scope, "args": args}
    limits = _render_limits(work, (env.get("limits"),), scope) if "limits" in env else {}
    timeout = render_duration(work, env.get("timeout"), scope)
    timeout = merge_times(work.problems, env, timeout, limits, "this env")
    limit = render_size(work, env.get("outputs_limit"), scope)
    user = _user(work, env.get("user"), scope)
    inputs = _inputs(work, env.get("inputs"), scope)
    made_tasks: list[Task] = []
    for verb, node, fields, where in entries:
        run = fields.get("run") if isinstance(node.value, dict) else node
        if run is None:
            continue
        own_limits = _limits(work, env, fields, limits, scope)
        own_timeout = render_duration(work, fields.get("timeout"), scope)
        uses = any(uses_args(text) for text in _command_texts(run))
        _add_needs(work, fields.get("needs"), scope, verb)
        outputs, when = _split_outputs(fields.get("outputs"))
        own_timeout = merge_times(work.problems, fields, own_timeout, own_limits, f"task `{verb}`")
        own_limit = render_size(work, fields.get("outputs_limit"), scope)
        own_user = _user(work, fields.get("user"), scope) or user or USERS[0]
        made_tasks.append(
            Task(
                name=verb,
                commands=make_commands(work, run, scope, f"task `{verb}`"),
                where=where,
                outputs=render_patterns(work, outputs, scope, directory, outputs=True),
                outputs_when=when,
                outputs_limit=own_limit if own_limit is not None else limit,
                timeout=own_timeout if own_timeout is not None else timeout,
                user=own_user,
                inputs=_inputs(work, fields.get("inputs"), scope) or inputs or INPUTS[0],
                retries=_retries(fields.get("retries")),
                limits=own_limits,
                secrets=make_secrets(work, fields.get("secrets"), scope, f"task `{verb}`"),
                caches=_caches(work, (env.get("caches"), fields.get("caches")), scope, own_user, directory, outputs),
                uses_args=uses,
                plain_commands=_plain_commands(work, run, scope, verb) if uses and args else None,
            )
        )
    return tuple(made_tasks)


def _limits(
    work: LoadContext, env: Mapping[str, YamlNode], fields: Mapping[str, YamlNode], of_env: Limits, scope: Scope
) -> Limits:
    """Returns the limits of a task: its own over those of its env. Its `timeout` replaces the time of its env."""
    own = fields.get("limits")
    limits = _render_limits(work, (env.get("limits"), own), scope) if own is not None else of_env
    if fields.get("timeout") is not None and (own is None or own.get("time") is None):
        limits = {name: limit for name, limit in limits.items() if name != "time"}
    return limits


def _render_limits(work: LoadContext, nodes: tuple[YamlNode | None, ...], scope: Scope) -> Limits:
    return render_limits(work.problems, nodes, lambda node: work.text(node, scope))


def make_secrets(work: LoadContext, node: YamlNode | None, scope: Scope, label: str) -> tuple[SecretUse, ...]:
    """Returns the secrets that a task or service (`label`) names. Notes all errors."""
    if node is None:
        return ()
    from envtool.spec.declared_secrets import render_secrets  # few specs have secrets

    return render_secrets(work, node, scope, label)


def _caches(
    work: LoadContext,
    nodes: tuple[YamlNode | None, ...],
    scope: Scope,
    user: str,
    directory: str,
    outputs: YamlNode | None,
) -> tuple[CacheUse, ...]:
    if not any(nodes):
        return ()
    from envtool.spec.declared_caches import render_caches  # few specs have caches

    patterns = {}
    for item in outputs.items() if outputs is not None else ():
        text = work.text(item, scope) if isinstance(item.value, str) else ""
        if (pattern := scalar_types.resolve_project_path(text, directory)) is not None:
            patterns[pattern] = item
    return render_caches(work, nodes, scope, user if user in USERS else USERS[0], directory, patterns)


def render_duration(work: LoadContext, node: YamlNode | None, scope: Scope) -> float | None:
    """Returns a duration in seconds; None if there is none, or if it is wrong, which is noted."""
    if node is None or isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
        return None
    value = work.text(node, scope) if isinstance(node.value, str) else node.value
    seconds = scalar_types.parse_duration(value)
    if seconds is None and value != "":
        hint = "write 30s, 5m, 1h30m, or a number of seconds"
        work.problems.add(node, f"`{value}` is no duration", code="duration", hint=hint)
    return seconds


def render_size(work: LoadContext, node: YamlNode | None, scope: Scope) -> int | None:
    """Returns a size in bytes; None if there is none, or if it is wrong, which is noted."""
    if node is None or isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
        return None
    value = work.text(node, scope) if isinstance(node.value, str) else node.value
    size = scalar_types.parse_size(value) if isinstance(value, str | int) else None  # 2.0 is an integer to JSON Schema
    if size is None and value != "":
        hint = "write 500MB, 2GiB, or a number of bytes"
        work.problems.add(node, f"`{value}` is no size", code="size", hint=hint)
    return size


def _plain_commands(work: LoadContext, run: YamlNode, scope: Scope, verb: str) -> tuple[Command, ...]:
    """Returns the commands of a task without the arguments of the command line, as a need of another task."""
    return make_commands(work, run, {**scope, "args": ""}, f"task `{verb}`")


def _add_needs(work: LoadContext, node: YamlNode | None, scope: Scope, verb: str) -> None:
    """Adds the needs of a task to those of all, which are resolved once all envs are made."""
    for item in node.items() if node is not None else ():
        if not isinstance(item.value, str):
            continue
        env = scope["env"]
        assert isinstance(env, dict)
        if text := work.text(item, scope):
            work.task_needs.append(WrittenNeed(env=env["name"], task=verb, node=item, text=text))


def _retries(node: YamlNode | None) -> int:
    """Returns the number of a node that the schema has checked; 0 if there is none, or if it is wrong."""
    value = node.value if node is not None else 0
    if not isinstance(value, int | float) or not 0 <= value < 1 << 31:  # no infinity, which is no int
        return 0
    return int(value) if value == int(value) else 0


def _user(work: LoadContext, node: YamlNode | None, scope: Scope) -> str:
    return _choice(work, node, scope, USERS)


def _inputs(work: LoadContext, node: YamlNode | None, scope: Scope) -> str:
    return _choice(work, node, scope, INPUTS)


def _choice(work: LoadContext, node: YamlNode | None, scope: Scope, words: tuple[str, str]) -> str:
    """Returns one of two words; empty if there is none. The schema has checked all but templates."""
    if node is None:
        return ""
    chosen = work.text(node, scope)
    if chosen not in words and is_template(node.value) and chosen:
        work.problems.add(node, f"expected `{words[0]}` or `{words[1]}`, got `{chosen}`", code="value")
    return chosen


def _command_texts(run: YamlNode) -> list[str]:
    if isinstance(run.value, str):
        return [run.value]
    return [text for item in run.items() for text in _command_texts(item)]


def make_commands(work: LoadContext, run: YamlNode, scope: Scope, label: str) -> tuple[Command, ...]:
    """Returns one command, or those of a list. Notes those that are empty; `label` says whose they are."""
    nodes = run.items() if isinstance(run.value, list) else [run]
    commands = [make_command(work, node, scope) for node in nodes]
    for node, command in zip(nodes, commands, strict=True):
        blank = isinstance(node.value, str) and node.value != "" and not node.value.strip()
        if command is None and (blank or (node.items() and not any(text.strip() for text in _command_texts(node)[:1]))):
            work.problems.add(node, f"a command of {label} is empty", code="empty", hint="remove it")
    return tuple(command for command in commands if command is not None)


def make_command(work: LoadContext, node: YamlNode, scope: Scope) -> Command | None:
    """Returns a line for sh, or an argv; None if it is empty."""
    if isinstance(node.value, str):
        line = work.text(node, scope)
        return Command(shell=line) if line.strip() else None
    words: list[str] = []
    for item in node.items():
        if isinstance(item.value, str) and is_arguments(item.value.strip()) and "args" in scope:
            words += _split_args(scope)
        else:
            words.append(work.text(item, scope))
    return Command(argv=tuple(words)) if words and words[0] else None


def _split_args(scope: Scope) -> list[str]:
    """Returns the words for `{{ args }}` alone in an argv: one for each argument."""
    import shlex

    args = scope["args"]
    assert isinstance(args, str)
    return shlex.split(args)


def _split_outputs(node: YamlNode | None) -> tuple[YamlNode | None, str]:
    """Returns the patterns under `outputs:`, and when they are copied back."""
    if node is None or not isinstance(node.value, dict):
        return node, "always"
    when = node.get("when")
    return node.get("paths"), "passed" if when is not None and when.value == "passed" else "always"


def render_patterns(
    work: LoadContext, node: YamlNode | None, scope: Scope, directory: str, *, outputs: bool = False
) -> tuple[str, ...]:
    """Returns a list of patterns of the project's files, relative to the project. Notes one that leads out of it, and
    among `outputs` one of git's own files."""
    patterns: list[str] = []
    for item in node.items() if node is not None else []:
        if not isinstance(item.value, str):
            continue
        path = work.text(item, scope)
        pattern = scalar_types.resolve_project_path(path, directory)
        if outputs and pattern is not None and ".git" in pattern.casefold().split("/"):
            hint = "git obeys what is in it: a task that has to change it does so outside of envtool"
            work.problems.add(item, f"`{path}` is never an output", code="output", hint=hint)
        elif pattern is not None:
            check_pattern(work, item, path)
            patterns.append(pattern)
        elif path or not is_template(item.value):
            note_outside_project(work, item, path)
    return tuple(patterns)


def resolve_needs(
    work: LoadContext, envs: Sequence[Env], files: Sequence[YamlNode]
) -> tuple[Sequence[Env], tuple[str, ...]]:
    """Returns the envs with the needs of their tasks, and the names under `pipeline:`. Notes all errors."""
    if not work.task_needs and all(node.get("pipeline") is None for node in files):
        return envs, ()
    from envtool.spec.task_needs import resolve_tasks  # few specs have needs

    return resolve_tasks(work.task_needs, envs, files, work.problems)
