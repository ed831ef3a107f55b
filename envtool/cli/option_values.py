"""The values of options, as types: for type checkers alone."""

from __future__ import annotations

from typing import TypedDict


class ResolveOptions(TypedDict):
    """The values of resolve_options."""

    offline: bool
    locked: bool | None
    refresh: bool


class CommandOptions(ResolveOptions):
    """The values of the options of verbs that run something in an env."""

    learn_network: bool
    limits: tuple[str, ...]


class WritableOptions(CommandOptions):
    """The values of the options of `exec` and `shell`."""

    writable: bool


class RunOptions(CommandOptions):
    """The values of run_options, but for the reports."""

    envs: tuple[str, ...]
    jobs: int | None
    fail_fast: bool
    again: bool
    audit: str
    expect_cached: bool


class RequestOptions(TypedDict, total=False):
    """The fields of a CommandRequest that a verb's own options give, but for `jobs`."""

    envs: tuple[str, ...]
    args: tuple[str, ...]
    fail_fast: bool
    refresh: bool
    again: bool
    audit: str
    locked: bool | None
    offline: bool
    expect_cached: bool
    learn_network: bool
    limits: tuple[str, ...]
    writable: bool
    reports: tuple[str, ...]
