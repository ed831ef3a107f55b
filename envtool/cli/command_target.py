"""What `exec` and `shell` run in: an env of a project, or a stack that needs no project (`--base`)."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import click

from envtool.cli.common_options import read_settings
from envtool.errors import EnvtoolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from envtool.cli.common_options import Settings

    Function = TypeVar("Function", bound=Callable[..., object])

_META = "envtool.one_off"  # where click's context keeps the values of the options
_EXAMPLE = "for example `envtool exec --base debian:trixie --with 'apt: [jq]' -- jq --version`"


class OneOff(NamedTuple):
    """The values of the options of `--base`."""

    base: str = ""
    layers: tuple[str, ...] = ()
    network: bool = False
    printed: bool = False


class Target(NamedTuple):
    """An env, and the project that has it."""

    settings: Settings
    env: str
    one_off: OneOff | None = None  # None: the project is the caller's


def one_off_options(function: Function) -> Function:
    """Add the options for a stack without a project."""
    for option in (
        _option("--print", "printed", is_flag=True, help="With --base: only print the spec that it stands for."),
        _option("--network", is_flag=True, help="With --base: let the command use this machine's network."),
        _option(
            "--with",
            "layers",
            metavar="LAYER",
            multiple=True,
            help="With --base: a layer as in a spec, in YAML, such as 'apt: [jq]'; may be repeated.",
        ),
        _option(
            "--base",
            metavar="BASE",
            help="In place of ENV: a stack without a project: debian:SUITE, image:NAME, host.",
        ),
    ):
        function = option(function)
    return function


def writable_option(function: Function) -> Function:
    """Add the option by which a command writes to the checkout."""
    return click.option(
        "--writable", is_flag=True,
        help="Write to the checkout itself, but not to what git and envtool obey. Nothing of it is hidden then.",
    )(function)  # fmt: skip


def _option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, callback=_keep, **attributes)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        ctx.meta[_META] = ctx.meta.get(_META, OneOff())._replace(**{str(param.name): value})


def read_target(ctx: click.Context, env: str | None) -> Target | None:
    """Returns what a command line runs in; `env` is its ENV. Returns None after `--print`. Raises UsageError,
    StoreError, OSError, and click's own error where there is neither ENV nor `--base`."""
    settings, one_off = read_settings(ctx), ctx.meta.get(_META, OneOff())
    if not one_off.base:
        if one_off != OneOff():
            option = "--with" if one_off.layers else "--network" if one_off.network else "--print"
            hint = f"{_EXAMPLE}; `--base host` is this machine, to whose system `apt` cannot add packages"
            message = f"`{option}` needs `--base`, which is not `host` by itself, as it is in a spec"
            raise UsageError(message, code="usage.base", hint=hint)
        if env is None:
            raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
        return Target(settings, env)
    if ctx.params.get("writable"):
        raise UsageError("`--base` has no checkout for `--writable`", code="usage.contradiction")
    if settings.directory != "." or settings.file:
        message = f"`--base` needs no project, and `{'-f' if settings.file else '-C'}` names one"
        raise UsageError(message, code="usage.contradiction")
    if env is not None:
        message = f"`--base` stands in place of an env, and `{env}` is given, too"
        raise UsageError(message, code="usage.contradiction", hint="the command comes after `--`")
    return _provide(settings, one_off)


def _provide(settings: Settings, one_off: OneOff) -> Target | None:
    from dataclasses import replace

    from envtool.app import one_off_spec
    from envtool.project import one_off_directory

    base, layers, network, printed = one_off
    if printed:
        sys.stdout.write(one_off_spec.spec_text(base, layers, network=network))
        return None
    directory = one_off_spec.provide_project(base, layers, network=network)
    settings = replace(settings, directory=directory, file=one_off_directory.SPEC)
    return Target(settings, one_off_directory.ENV, one_off)


@contextmanager
def errors_of(target: Target) -> Iterator[None]:
    """A context in which errors about the spec of a one-off name the options that it stands for."""
    try:
        yield
    except EnvtoolError as error:
        if target.one_off is None:
            raise
        from envtool.app import one_off_spec

        base, layers, network, _ = target.one_off
        raise one_off_spec.name_options(error, base, layers, network=network) from error
