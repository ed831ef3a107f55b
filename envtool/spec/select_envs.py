"""Finds the envs that names and patterns on a command line mean. Pure.

A pattern is the name of an env, that of a group (all points of a matrix), or a glob (`*`, `?`) that matches one of the
two; brackets are plain characters, since names have them (`unit[trixie]`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from envtool.errors import UsageError, closest_name, near_name_hint
from envtool.fs.globs import matches_name
from envtool.model import Env, Service, Spec, Task


def select_envs(spec: Spec, patterns: Sequence[str], *, needed: bool = False) -> Spec:
    """Returns the spec with the envs that the patterns match, in its order, and the services that these use; without
    patterns all. With `needed` also the envs of the tasks that theirs need, which are not `is_selected`. Raises
    UsageError (code no-env) for a pattern that matches none."""
    if not patterns:
        return spec
    selected: set[str] = set()
    for pattern in patterns:
        names = {env.name for env in matching_envs(spec, pattern)}
        if not names:
            raise _unknown_env_error(spec, pattern)
        selected |= names
    kept = add_needed(spec.envs, selected) if needed else selected
    envs = tuple(
        env if env.name in selected else replace(env, is_selected=False) for env in spec.envs if env.name in kept
    )
    used = {service.name for env in envs for service in env.services}
    return replace(spec, envs=envs, services=tuple(service for service in spec.services if service.name in used))


def add_needed(envs: Sequence[Env], selected: set[str]) -> set[str]:
    """Returns the names of envs, with those that have a task which a task of theirs needs, directly or not."""
    by_name = {env.name: env for env in envs}
    names, pending = {*selected}, [*selected]
    while pending:
        for task in by_name[pending.pop()].tasks:
            new = {env for env, _ in task.needs} - names
            names |= new
            pending += new
    return names


def matching_envs(spec: Spec, pattern: str) -> list[Env]:
    """Returns the envs that one pattern matches."""
    return [env for env in spec.envs if matches_name(pattern, env.name, env.group)]


def find_env(spec: Spec, name: str) -> Env:
    """Returns the env of this name, or the only env of the group of this name. Raises UsageError (codes no-env,
    env-ambiguous)."""
    envs = [env for env in spec.envs if env.name == name] or [env for env in spec.envs if env.group == name]
    if not envs:
        raise _unknown_env_error(spec, name)
    if len(envs) > 1:
        names = ", ".join(env.name for env in envs)
        raise UsageError(f"`{name}` is a matrix: say which of {names}", code="env-ambiguous")
    return envs[0]


def all_services(spec: Spec) -> tuple[Service, ...]:
    """Returns the services that envs use, then the others that the spec declares: one of each stack."""
    used = (service for env in spec.envs for service in env.services)
    return tuple({service.env.name: service for service in (*used, *spec.services)}.values())


def stack_envs(spec: Spec) -> tuple[Env, ...]:
    """Returns all that has a stack: the envs, then the services, each as an env without tasks."""
    return (*spec.envs, *(service.env for service in all_services(spec)))


def layer_warnings(envs: Iterable[Env]) -> tuple[str, ...]:
    """Returns what every run says about layers (`LayerDraft.warning`), each warning with the first env that has it."""
    return _with_first_env((layer.warning, env.name) for env in envs for layer in env.layers)


def layer_notes(envs: Iterable[Env]) -> tuple[str, ...]:
    """Returns what `plan` says about layers (`LayerDraft.note`), each note with the first env that has it."""
    return _with_first_env((layer.note, env.name) for env in envs for layer in env.layers)


def _with_first_env(texts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Takes texts, "" for none, with the names of their envs."""
    first: dict[str, str] = {}
    for text, env in texts:
        if text:
            first.setdefault(text, env)
    return tuple(f"env `{env}`: {text}" for text, env in first.items())


def used_services(env: Env, task: Task | None = None) -> tuple[Service, ...]:
    """Returns the services beside a task, or (None) beside `exec` and `shell`, with all that they need; needed ones
    come first."""
    if not env.services:
        return ()
    names = {*env.uses, *(task.services if task else ())}
    for service in reversed(env.services):  # what it needs comes before it
        if service.name in names:
            names.update(service.needs)
    return tuple(service for service in env.services if service.name in names)


def stack_names(env: Env, task: Task | None = None) -> tuple[str, ...]:
    """Returns the names of all stacks that a task needs: its own, and those of its services."""
    return (env.name, *dict.fromkeys(service.env.name for service in used_services(env, task)))


def matching_stacks(spec: Spec, pattern: str) -> list[Env]:
    """Returns the envs, and services as `service:NAME`, that one pattern matches."""
    return [env for env in stack_envs(spec) if matches_name(pattern, env.name, env.group)]


def find_stack(spec: Spec, name: str) -> Env:
    """Returns the stack of a service, `service:NAME`, as an env, or else the env as `find_env` does. Raises
    UsageError."""
    services = [service.env for service in all_services(spec)]
    found = [env for env in services if env.name == name] or [env for env in services if env.group == name]
    if len(found) > 1:
        names = ", ".join(f"`{env.name}`" for env in found)
        raise UsageError(f"`{name}` differs between envs: say which of {names}", code="env-ambiguous")
    return found[0] if found else find_env(spec, name)


def env_names(envs: Iterable[Env]) -> list[str]:
    """Returns all names that mean envs: their own first, then those of their groups."""
    candidates = tuple(envs)
    return [*dict.fromkeys((*(env.name for env in candidates), *(env.group for env in candidates)))]


def env_option_hint(spec: Spec, words: Sequence[str]) -> str:
    """The hint for words that a command line has no place for, as far as they are names: those of envs belong to `-e`,
    a task to `run`. "" for anything else."""
    options = " ".join(f"-e {shlex.quote(word)}" for word in words)
    if words and all(matching_envs(spec, word) for word in words):
        named = ", ".join(f"`{word}`" for word in words)
        return f"{named} {'is an env' if len(words) == 1 else 'are envs'}: `{options}`"
    if len(words) != 1:
        return ""
    env, colon, task = words[0].rpartition(":")
    if colon and any(task == known.name for selected in matching_envs(spec, env) for known in selected.tasks):
        return f"`{words[0]}` is a task: `envtool run {shlex.quote(task)} -e {shlex.quote(env)}`"
    if any(words[0] == known.name for selected in spec.envs for known in selected.tasks):
        return f"`{words[0]}` is a task: `envtool run {shlex.quote(words[0])}`"
    close = closest_name(words[0], env_names(spec.envs), 0.75)
    return f"did you mean `-e {shlex.quote(close)}`?" if close else ""


def meaning_hint(spec: Spec, name: str) -> str:
    """The hint for a name that is none of an env, but means something else: a task, a layer or a service, of which
    envs. "" if it means nothing."""
    env, colon, task = name.rpartition(":")
    if colon and any(task == known.name for of in matching_envs(spec, env) for known in of.tasks):
        return f"`{name}` is a task of the env `{env}`"
    if env == "env" and matching_envs(spec, task):  # as in `inspect`
        return f"did you mean `{task}`?"
    for what, having in (
        ("a task", [of.name for of in spec.envs if name in (known.name for known in of.tasks)]),
        ("a layer", [of.name for of in spec.envs if name in (known.name for known in of.layers)]),
        ("the base", [of.name for of in spec.envs if name == of.base.name]),
        ("a service", [of.name for of in spec.envs if name in (service.name for service in of.services)]),
    ):
        if having and what == "a service":
            return (
                f"`{name}` is a service of {', '.join(f'`{of}`' for of in having[:12])}: its stack is `service:{name}`"
            )
        if having:
            return f"`{name}` is {what} of {', '.join(f'`{of}`' for of in having[:12])}"
    return ""


def _unknown_env_error(spec: Spec, name: str) -> UsageError:
    hint = meaning_hint(spec, name)
    names = f"envs: {', '.join(env.name for env in spec.envs[:12])}"
    return UsageError(f"no env `{name}`", code="no-env", hint=hint or near_name_hint(name, env_names(spec.envs), names))


def secret_names(spec: Spec | None) -> list[str]:
    """Returns the secrets that tasks, services and layers name, sorted; none without a spec."""
    if spec is None:
        return []
    services = [*spec.services, *(service for env in spec.envs for service in env.services)]
    names = {use.name for env in spec.envs for task in env.tasks for use in task.secrets}
    names |= {use.name for service in services for use in service.secrets}
    for env in (*spec.envs, *(service.env for service in services)):
        for layer in env.layers:
            if isinstance(layer.options, dict) and isinstance(secrets := layer.options.get("secrets"), dict):
                names |= secrets.keys()
    return sorted(names)
