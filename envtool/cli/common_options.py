"""The options of every verb, which may stand before or after its name; types of option values; the layout of help."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click

from envtool.errors import UsageError
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from click.shell_completion import CompletionItem

    from envtool.app.command_request import CommandRequest
    from envtool.cli.option_values import RequestOptions
    from envtool.model import Spec


Color: TypeAlias = Literal["auto", "always", "never"]
Function = TypeVar("Function", bound="Callable[..., object]")  # the function of a verb
_META = "envtool."
MAX_JOBS = 1 << 16  # a greater number is a typing error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The global options. Where one is given twice, the one after the verb wins."""

    directory: str = "."
    file: str = ""
    verbosity: int = 0  # -1: quiet, 1: verbose, 2: twice so (of `exec` and `shell` the container too)
    json: bool = False
    color: Color = "auto"
    allow_secret: tuple[str, ...] = ()
    allow_pass: tuple[str, ...] = ()
    allow_file: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # "no:NAME": plugins that are left out
    called: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # the words up to the verb, and those after it

    def request(self, *, jobs: int | None = None, **options: Unpack[RequestOptions]) -> CommandRequest:
        """What a verb asks of the app: the project of the global options, and the verb's own options."""
        from envtool.app.command_request import CommandRequest

        return CommandRequest(
            directory=self.directory,
            file=self.file,
            jobs=jobs or 0,
            allow_secret=self.allow_secret,
            allow_pass=self.allow_pass,
            allow_file=self.allow_file,
            called=self.called,
            **options,
        )

    def top(self) -> str:
        """The directory of the spec. Links below it are the project's, not the caller's (see fs/caller_paths.py)."""
        from envtool.cli import fastpath
        from envtool.fs import beneath

        if project := beneath.current_project():
            return project
        if self.file:
            return os.path.dirname(os.path.abspath(os.path.join(self.directory, self.file)))
        return os.path.dirname(fastpath.find_nearest_spec(self.directory)) or os.path.abspath(self.directory)

    def again(self) -> str:
        """The command `envtool` with the options that name this project, for hints that can be pasted."""
        from shlex import quote

        words = ["envtool"]
        words += ["-C", quote(self.directory)] if self.directory != "." else []
        words += ["-f", quote(self.file)] if self.file else []
        words += [f"-p {quote(name)}" for name in self.without]
        return " ".join(words)

    def typed(self) -> str:
        """The whole command line, as one would type it."""
        return typed((*self.called[0], *self.called[1])) or self.again()


def typed(words: Sequence[str]) -> str:
    """A command line as one would type it; empty if it has characters that cannot be typed on one line."""
    from shlex import join

    from envtool.report.text import one_line

    line = join(("envtool", *words))
    return line if line == one_line(line) else ""


def _store_option(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if isinstance(value, tuple):  # values before the verb and after it all count
        value += ctx.meta.get(_META + str(param.name), ())
    elif param.name == "verbose" and isinstance(value, int):
        value += ctx.meta.get(_META + str(param.name), 0)
    if value not in (None, False, ()):
        ctx.meta[_META + str(param.name)] = value


def _leave_out(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
    """Leaves out plugins for the rest of the command line. Raises UsageError for a plugin that is not installed."""
    _store_option(ctx, param, value)
    if not value:
        return
    from envtool import distributions

    distributions.exclude(value)


def complete_plugin_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the installed plugins, each as `no:NAME`."""
    from envtool.distributions import plugin_names

    return [f"no:{name}" for name in plugin_names() if f"no:{name}".startswith(incomplete)]


def common_options(*, json: bool = True, container: bool = True, short_file: bool = True) -> list[click.Parameter]:
    """New copies of the options that the group and every verb take. `json`: help has `--json`; `container`: `-vv` means
    more than `-v`; `short_file`: `-f` is `--file`."""
    option = partial(click.Option, expose_value=False, callback=_store_option)
    verbose = "Show all output as it comes" + ("; -vv: also how a container is made." if container else ".")
    return [
        option(("-C", "directory"), metavar="DIR", type=click.Path(), help="Work in the project of this directory."),
        option(
            ("-f", "--file") if short_file else ("--file",),
            metavar="FILE",
            type=click.Path(),
            help="The spec (default: envtool.yaml).",
        ),
        option(("-v", "--verbose"), count=True, help=verbose),
        option(("-q", "--quiet"), is_flag=True, help="Show failures and the last line only."),
        option(("--json",), is_flag=True, hidden=not json, help="Write JSON to standard output (docs/json.md)."),
        option(("--color",), type=Choice(["auto", "always", "never"]), metavar="WHEN", help="auto, always or never."),
        option(
            ("--allow-secret",),
            metavar="NAME",
            multiple=True,
            shell_complete=complete_secret_names,
            help="Give the project a secret: NAME=env:VARIABLE, NAME=file:PATH, or NAME (its variable, or the source "
            "in a Dockerfile's `secrets:`).",
        ),
        option(
            ("--allow-pass",),
            metavar="NAME",
            multiple=True,
            help="Allow `pass:` a variable, or glob, even with a network.",
        ),
        option(
            ("--allow-file",),
            metavar="PATH",
            multiple=True,
            help="Allow the project to use a file or directory outside of it.",
        ),
        click.Option(
            ("-p", "without"),
            metavar="no:NAME",
            multiple=True,
            expose_value=False,
            callback=_leave_out,
            shell_complete=complete_plugin_names,
            help="Leave a plugin out; `envtool plugins` lists them.",
        ),
    ]


def read_settings(ctx: click.Context) -> Settings:
    """The global options of a command line. Raises UsageError if they contradict each other."""
    values = {name.removeprefix(_META): value for name, value in ctx.meta.items() if name.startswith(_META)}
    if values.get("verbose") and values.get("quiet"):
        raise UsageError("`-v` and `-q` contradict each other", code="usage.contradiction")
    return Settings(
        directory=values.get("directory", "."),
        file=values.get("file", ""),
        verbosity=min(values.get("verbose", 0), 2) or -bool(values.get("quiet")),
        json=bool(values.get("json")),
        color=values.get("color", "auto"),
        allow_secret=values.get("allow_secret", ()),
        allow_pass=values.get("allow_pass", ()),
        allow_file=values.get("allow_file", ()),
        without=values.get("without", ()),
        called=values.get("called", ((), ())),
    )


def fit(help_text: str) -> str:
    """A text of help, in lines no wider than the terminal; unchanged if standard output is no terminal."""
    if not sys.stdout.isatty():
        return help_text
    from envtool.report import text

    return text.fit_lines(help_text, text.terminal_columns(sys.stdout))


def complete_verbose_twice(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Completion: `-vv`, which click knows as `-v` given twice; none where it was given already, or `-q`."""
    if not incomplete or not "-vv".startswith(incomplete) or ctx.meta.keys() & {f"{_META}verbose", f"{_META}quiet"}:
        return []
    from click.shell_completion import CompletionItem

    return [CompletionItem("-vv", help="As -v, and show how a container is made.")]


class Verb(click.Command):
    """A verb with its examples. `tail`: whether it takes words after `--`. `stdout`: what standard output does where
    it never has JSON. `container`: whether `-vv` shows how the container is made. `short_file`: whether `-f` is
    `--file`."""

    def __init__(
        self,
        *args: Any,
        examples: str,
        tail: bool = False,
        stdout: str = "",
        container: bool = False,
        short_file: bool = True,
        **attributes: Any,
    ) -> None:
        attributes["context_settings"] = {"help_option_names": ["-h", "--help"]}
        super().__init__(*args, **attributes)
        self.examples = examples
        self.tail = tail
        self.stdout, self.container = stdout, container
        self.params += common_options(json=not stdout, container=container, short_file=short_file)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The options that begin so, with `-vv` where it means more than `-v`."""
        more = complete_verbose_twice(ctx, incomplete) if self.container else []
        return super().shell_complete(ctx, incomplete) + more

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            for line in self.examples.strip().splitlines():
                formatter.write(fit(f"  {line.strip()}") + "\n")

    def invoke(self, ctx: click.Context) -> object:
        """Call the verb. Raises UsageError for words after `--` that the verb does not take, and for `--json` where
        standard output has none."""
        if self.stdout and self.container and read_settings(ctx).json:  # `completion` has always ignored it
            raise UsageError(f"`--json` means nothing here: standard output {self.stdout}", code="usage.json")
        if ctx.obj and not self.tail:
            raise UsageError(
                f"`{self.name}` takes nothing after `--`: {' '.join(ctx.obj)}",
                code="usage.tail",
                hint=f"see `envtool {self.name} --help`",
            )
        return super().invoke(ctx)


def complete_env_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the envs of the spec. No completion raises: a spec that cannot be read has no names."""
    return [name for name in _env_and_task_names(ctx)[0] if name.startswith(incomplete)]


def complete_task_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the tasks of the spec."""
    return [name for name in _env_and_task_names(ctx)[1] if name.startswith(incomplete)]


def complete_service_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the services of the spec."""
    if (spec := _load_spec(ctx)) is None:
        return []
    services = (*spec.services, *(service for env in spec.envs for service in env.services))
    return [name for name in dict.fromkeys(service.name for service in services) if name.startswith(incomplete)]


def complete_secret_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the secrets that tasks, services and layers of the spec name."""
    from envtool.spec.select_envs import secret_names

    return [name for name in secret_names(_load_spec(ctx)) if name.startswith(incomplete)]


def complete_report_formats(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the formats of reports."""
    try:
        from envtool.app.read_spec import run_offers

        return [f"{name}=" for name in run_offers().formats if f"{name}=".startswith(incomplete)]
    except Exception:
        return []


def complete_subject_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: bases, layers, envs, and tasks of envs."""
    return _subject_names(ctx, incomplete, tasks=True)


def complete_stack_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's call
    """Completion: the bases, layers and envs of the spec."""
    return _subject_names(ctx, incomplete, tasks=False)


def misplaced_names_hint(ctx: click.Context, words: Sequence[str]) -> str:
    """The hint for words that a verb has no place for, "" where the spec has no such names."""
    if (spec := _load_spec(ctx)) is None:
        return ""
    from envtool.spec.select_envs import env_option_hint

    return env_option_hint(spec, words)


def env_choice_hint(ctx: click.Context) -> str:
    """The hint for a command line without its env; "" where the spec has none, or cannot be read."""
    names = _env_and_task_names(ctx)[0]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"say which of {', '.join(names[:12])}{more}" if names else ""


def _subject_names(ctx: click.Context, incomplete: str, *, tasks: bool) -> list[str]:
    if (spec := _load_spec(ctx)) is None:
        return []
    from envtool.spec.select_envs import stack_envs

    stacks = stack_envs(spec)
    names = {name for env in stacks for name in (env.name, env.base.name, *(layer.name for layer in env.layers))}
    names |= {f"{env.name}:{task.name}" for env in spec.envs for task in env.tasks if tasks}
    return sorted(name for name in names if name.startswith(incomplete))


def _load_spec(ctx: click.Context) -> Spec | None:
    """The spec, or None if it cannot be read."""
    try:
        from envtool.app import read_spec

        return read_spec.load(read_settings(ctx).request())
    except Exception:
        return None


def _env_and_task_names(ctx: click.Context) -> tuple[list[str], list[str]]:
    if (spec := _load_spec(ctx)) is None:
        return [], []
    return [env.name for env in spec.envs], sorted({task.name for env in spec.envs for task in env.tasks})


def complete_limits(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completion: the names of limits, each with `=`."""
    from click.shell_completion import CompletionItem

    from envtool.spec.limits import NAMES

    return [CompletionItem(f"{name}=") for name in NAMES if f"{name}=".startswith(incomplete)]


def envs_option(help_text: str) -> Callable[[Function], Function]:
    """The option `-e ENV`, which may be repeated."""
    return click.option(
        "-e", "--env", "envs", metavar="ENV", multiple=True, shell_complete=complete_env_names, help=help_text
    )


def resolve_options(function: Function) -> Function:
    """Add the options that decide how layers are resolved."""
    for option in (
        click.option("--offline", is_flag=True, help="Use only what is in the store: no network, no mirror."),
        click.option(
            "--locked/--no-locked",
            default=None,
            help="Fail if the lock file does not fit the spec (default: if the variable CI is set).",
        ),
        click.option("--refresh", is_flag=True, help="Resolve versions and suites again, and ignore the lock."),
    ):
        function = option(function)
    return function


def command_options(function: Function) -> Function:
    """Add the options of verbs that run something in an env."""
    function = click.option(
        "--limit",
        "limits",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=complete_limits,
        help="Limit what it may use, as `limits:` in the spec: memory=2G, cpus=1.5, pids=500, disk=1G, files=1024, "
        "time=10m or idle=2m.",
    )(function)
    return click.option(
        "--learn-network", is_flag=True, help="Allow all of the network, and print what to allow in the spec."
    )(resolve_options(function))


def image_options(function: Function) -> Function:
    """Add the options that decide what an image contains."""
    for option in (
        click.option(
            "--project", is_flag=True, help="Include the project's files: the image runs without the checkout."
        ),
        click.option("--bare", is_flag=True, help="Only the stack, to be run as its base image says."),
    ):
        function = option(function)
    return function


def _check_audit(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """Returns the part; "" without the option. An empty value, as of a variable that is not set, is none."""
    if value == "":
        from envtool.run.audit import parse_share

        parse_share(value)
    return value or ""


def run_options(function: Function) -> Function:
    """Add the options of verbs that run a task in many envs."""
    function = command_options(function)
    for option in (
        click.option(
            "--expect-cached", is_flag=True, help="Build nothing: fail, and explain, if a layer is not cached."
        ),
        click.option(
            "--audit",
            metavar="PERCENT",
            default=None,
            callback=_check_audit,
            help="Run this part of what `inputs: observed` skips, and fail if a skip was wrong: 5%.",
        ),
        click.option("--again", is_flag=True, help="Also run tasks that passed and are unchanged since."),
        click.option(
            "--report",
            metavar="FORMAT=FILE",
            type=ReportFile(),
            multiple=True,
            shell_complete=complete_report_formats,
            help="Write a report: markdown, junit, or a format of a plugin; may be repeated.",
        ),
        click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write JUnit XML."),
        click.option("-x", "--fail-fast", is_flag=True, help="Start no more tasks after the first failure."),
        click.option("-j", "--jobs", metavar="N", type=Count(), help="Run at most N at once (default: CPUs + 1)."),
        envs_option("Only envs of this name or glob; may be repeated."),
    ):
        function = option(function)
    return function


class ReportFile(click.ParamType[tuple[str, str]]):
    """A report to write: the name of a format, and the path of a file."""

    name = "report"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the path. Fails for a value without one of them, and for a directory."""
        if isinstance(value, tuple):
            return value
        name, _, path = str(value).partition("=")
        if not name or not path:
            self.fail(f"`{value}` is no report: say FORMAT=FILE, as in markdown=summary.md", param, ctx)
        if os.path.isdir(path):
            self.fail(f"`{path}` is a directory: say FORMAT=FILE", param, ctx)
        return name, path


class Count(click.ParamType[int]):
    """A number of jobs, from 1 to MAX_JOBS."""

    name = "count"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Fails for anything else."""
        from envtool.fs.sizes import natural

        number = value if isinstance(value, int) else natural(str(value).strip(), MAX_JOBS)
        if not number:
            self.fail(f"`{value}` is no number for it: say a whole number from 1 to {MAX_JOBS}", param, ctx)
        return number


class Size(click.ParamType[int]):
    """A size in bytes, as in `20GB` or `512MiB`."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes. Fails for anything else."""
        from envtool.fs.sizes import parse_size as size

        number = value if isinstance(value, int) else size(str(value))
        if number is None:
            self.fail(f"`{value}` is not a size: say 20GB or 512MiB", param, ctx)
        return number


class Choice(click.Choice[str]):
    """One of a few words; the error lists them."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word. Fails for any other."""
        if value not in self.choices:
            *first, last = self.choices
            self.fail(f"`{value}` is not possible: say {', '.join(first)}{' or ' if first else ''}{last}", param, ctx)
        return str(value)
