"""Finds the envs that names and patterns on a command line mean. Pure.

A pattern is the name of an env, that of a group (all points of a matrix), or a glob (`*`, `?`) that matches one of the
two; brackets are plain characters, since names have them (`unit[trixie]`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from envtool.errors import UsageError, near_name_hint
from envtool.fs.globs import matches_name
from envtool.model import Env, Spec


def select_envs(spec: Spec, patterns: Sequence[str]) -> Spec:
    """Returns the spec with the envs that the patterns match, in its order; without patterns all. Raises UsageError
    (code no-env) for a pattern that matches none."""
    if not patterns:
        return spec
    selected: set[str] = set()
    for pattern in patterns:
        names = {env.name for env in matching_envs(spec, pattern)}
        if not names:
            raise _unknown_env_error(spec, pattern)
        selected |= names
    return replace(spec, envs=tuple(env for env in spec.envs if env.name in selected))


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


def env_names(envs: Iterable[Env]) -> list[str]:
    """Returns all names that mean envs: their own first, then those of their groups."""
    candidates = tuple(envs)
    return [*dict.fromkeys((*(env.name for env in candidates), *(env.group for env in candidates)))]


def _unknown_env_error(spec: Spec, name: str) -> UsageError:
    names = f"envs: {', '.join(env.name for env in spec.envs[:12])}"
    return UsageError(f"no env `{name}`", code="no-env", hint=near_name_hint(name, env_names(spec.envs), names))
