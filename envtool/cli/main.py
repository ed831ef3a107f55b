"""From argv to an exit status. The only place that turns errors into words and numbers (docs/cli.md)."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from envtool.cli import signals
from envtool.cli.common_options import Settings, common_options, fit, read_settings, typed
from envtool.errors import EnvtoolError, Interrupted, UsageError, closest_name, internal, to_store_error

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order of help. The text stands here so that `envtool --help` need not import a verb.
VERBS = {
    "test": "Run the task `test` of every env that has one.",
    "build": "Run the task `build` and copy its outputs back.",
    "run": "Run any other task.",
    "exec": "Run a command in an env.",
    "shell": "Open a shell in an env.",
    "list": "Show envs, what they stand on, and their tasks.",
    "plan": "Show what would be built, and what is cached.",
    "why": "Say why a layer is cached, or what changed so that it is not.",
    "lock": "Write down exactly what everything was settled to.",
    "fetch": "Bring every pinned file into the store.",
    "vendor": "Write every pinned file to a folder or archive that builds without a network.",
    "export": "Write an env as an image that docker, podman and skopeo load.",
    "push": "Put an env as an image into a registry.",
    "sbom": "Write the bill of materials of an env.",
    "cache": "Show the team cache, or make a key for it.",
    "verify": "Build layers twice, varied, and name what differs.",
    "inspect": "Show what is in an env or layer, and who put a file there.",
    "diff": "Show in what packages and files two envs or layers differ.",
    "gc": "Remove from the store what nothing needs.",
    "store": "Show where the store is, what it takes, and whether it is whole.",
    "init": "Write a first envtool.yaml for this project.",
    "schema": "Print the JSON Schema of envtool.yaml.",
    "doctor": "Show what this machine can do, and how to mend what it cannot.",
    "version": "Show the versions that matter in a report.",
    "completion": "Print the completion script of a shell.",
}
GROUPS = {  # as help shows them
    "Run": ("test", "build", "run", "exec", "shell"),
    "Look": ("list", "plan", "why", "inspect", "diff", "verify"),
    "Pin": ("lock", "fetch", "vendor"),
    "Give away": ("export", "push", "sbom", "cache"),
    "Look after": ("init", "store", "gc", "doctor", "schema", "version", "completion"),
}
SYNONYMS = {  # words that other programs have
    "ls": "list", "sh": "shell", "bash": "shell", "enter": "shell", "up": "test", "check": "test",
    "clean": "gc", "prune": "gc", "rm": "gc", "update": "lock", "upgrade": "lock",
}  # fmt: skip
EXAMPLES = """
  envtool test                        every test env, in throw-away containers
  envtool test -e 'unit*' -- -k slow  some envs, with arguments for the task
  envtool shell unit                  look around in one
"""
STATUSES = """
  0 all passed    1 a task failed    2 the spec or the command line is wrong
  3 an environment could not be made    130 interrupted
  exec and shell: the command's own
"""


class VerbGroup(click.Group):
    """The group: a verb's module is imported when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of help."""
        return [*VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb; an unknown one is an error with the near name."""
        if cmd_name in VERBS:
            command: click.Command = import_module(f"envtool.cli.{cmd_name}").command
            return command
        if ctx.resilient_parsing or cmd_name.startswith("-"):
            return None
        near = closest_name(cmd_name, VERBS) or SYNONYMS.get(cmd_name, "")
        hint = f"did you mean `envtool {near}`?" if near else "`envtool --help` lists the verbs"
        if not near or sorted(near) != sorted(cmd_name):  # no slip of the fingers: perhaps it is a task
            from envtool.cli.common_options import complete_task_names

            tasks = complete_task_names(ctx, ctx.command.params[0], "")
            if task := cmd_name if cmd_name in tasks else "" if near else closest_name(cmd_name, tasks):
                hint = f"did you mean the task: `envtool run {task}`?"
        raise UsageError(f"unknown verb `{cmd_name}`", code="usage.verb", hint=hint)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`help VERB` is `VERB --help`, and `help` alone `--help`, whatever options stand before it."""
        if args[:1] == ["help"] and not ctx.resilient_parsing:
            if args[1:2] in ([], ["help"]):
                click.echo(ctx.get_help())
                ctx.exit()
            args = [args[1], "--help"]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, without importing them."""
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(max(map(len, VERBS))), VERBS[verb]) for verb in verbs])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples and exit statuses."""
        for title, text in (("Examples", EXAMPLES), ("Exit status", STATUSES)):
            with formatter.section(title):
                formatter.write(fit(text.strip("\n")) + "\n")


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001 - click's signature
    if value and not ctx.resilient_parsing:
        from envtool import __version__

        click.echo(f"envtool {__version__}")
        ctx.exit()


@click.group(cls=VerbGroup, subcommand_metavar="VERB ...", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
def group() -> None:
    """Test and build commands in throw-away containers, from one YAML file."""


group.params += common_options()


def _translate_click_error(error: click.ClickException, words: Sequence[str]) -> UsageError:
    """Click's error about a command line in our words."""
    context = getattr(error, "ctx", None)
    verb = next((word for word in words if word in VERBS), "")
    path = context.command_path if context else f"envtool {verb}".rstrip()
    hint = f"see `{path} --help`"
    if isinstance(error, click.NoSuchOption):
        message = f"unknown option `{error.option_name}`"
        near = closest_name(error.option_name, error.possibilities or (), 0.75)
        if near:
            hint = f"did you mean `{near}`?"
        elif path == "envtool":
            hint = "options of a verb stand after it; `envtool VERB --help` shows them"
        elif path.endswith((" exec", " test", " build", " run")):
            hint = f"what belongs to the command goes after `--`; see `{path} --help`"
    elif isinstance(error, click.MissingParameter):
        name = error.param.make_metavar(context) if error.param and context else "a value"
        message = f"`{path}` needs {name}"
    elif isinstance(error, click.BadOptionUsage) and error.option_name:
        takes = "does not take" not in error.message
        message = f"`{path} {error.option_name}` {'needs a value' if takes else 'takes no value'}"
    elif isinstance(error, click.BadParameter) and error.param:
        name = path if isinstance(error.param, click.Argument) else max(error.param.opts, key=len)
        message = f"`{name}`: {error.message.rstrip('.')}"
        written = re.match(r"`(.*?)` is no choice", error.message)
        if near := closest_name(written[1], getattr(error.param.type, "choices", ())) if written else "":
            hint = f"did you mean `{near}`?"
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
        if found := re.match(r"got unexpected extra arguments? \((.*)\)", message):
            message = f"`{path}` has no use for `{found[1]}`"
            if path.endswith((" test", " build", " run")):
                hint = "`-e ENV` chooses envs, and what belongs to the task goes after `--`"
    return UsageError(message, code="usage", hint=hint)


def _split_at_verb(words: Sequence[str], tail: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command line up to its verb, and what comes after: further options go in between."""
    at = next((number for number, word in enumerate(words, 1) if word in VERBS), len(words))
    return tuple(words[:at]), (*words[at:], *(("--", *tail) if tail else ()))


def run_command_line(argv: Sequence[str]) -> int:
    """Parse and run one command line. Raises EnvtoolError; whatever else is a bug."""
    words = list(argv)
    tail: tuple[str, ...] = ()
    if "--" in words:  # click would mix the two up, and would parse options of the command as ours
        at = words.index("--")
        words, tail = words[:at], tuple(words[at + 1 :])
    if instruction := os.environ.get("_ENVTOOL_COMPLETE"):
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "envtool", "_ENVTOOL_COMPLETE", instruction)
    try:
        # Not group.main(): it has its own mind about broken pipes and ^C.
        called = _split_at_verb(words, tail)  # click takes options out of the list
        with group.make_context("envtool", words, obj=tail) as context:
            context.meta["envtool.called"] = called
            status: Any = group.invoke(context)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        raise _translate_click_error(error, words) from error
    return status if isinstance(status, int) else 0


def _parse_global_options(argv: Sequence[str]) -> Settings:
    """The global options once more, for an error's sake: parsing may have stopped before them."""
    words = list(argv)[: list(argv).index("--")] if "--" in argv else list(argv)
    try:
        context = group.make_context("envtool", words, resilient_parsing=True)
        if words := [*context._protected_args, *context.args]:  # noqa: SLF001 - click's own completion reads it so
            command = group.get_command(context, words[0])
            if command:
                context = command.make_context(words[0], words[1:], parent=context, resilient_parsing=True)
        return read_settings(context)
    except Exception:
        return Settings()


def _print_error(error: EnvtoolError, argv: Sequence[str]) -> int:
    from envtool.cli.console import detect_style, over, terminal_width
    from envtool.report.error_text import format_error

    said = _parse_global_options(argv)
    if said.json:
        from envtool.report import json_lines

        json_lines.write_line(sys.stdout, json_lines.error_json(error))
    text = (
        over() + _stopped(argv)
        if isinstance(error, Interrupted)
        else format_error(error, style=detect_style(sys.stderr, said.color), columns=terminal_width())
    )
    print(text, file=sys.stderr)
    return error.exit_status


def _stopped(argv: Sequence[str]) -> str:
    from envtool.cli.console import terminal_width
    from envtool.report.summary import to_type

    return "\n".join(
        ["interrupted", *to_type("again:", typed(argv) if VERBS.keys() & {*argv} else "", terminal_width())]
    )


def report_unexpected(error: Exception, argv: Sequence[str]) -> int:
    """The system refused something (a full disk, a file that is none): one sentence. Else it is a bug."""
    said = _explain_os_error(error) if isinstance(error, OSError) else None
    shown = bool(os.environ.get("ENVTOOL_DEBUG") or _parse_global_options(argv).verbosity > 0)
    if shown:
        import traceback

        traceback.print_exception(error)
    return _print_error(said or internal(error, shown=shown), argv)


def _explain_os_error(error: OSError) -> EnvtoolError | None:
    from envtool.store.disk_errors import translate_os_error
    from envtool.store.store import store_directory

    try:
        root = store_directory()
    except EnvtoolError:
        return to_store_error(error)
    return translate_os_error(root, error)


def _raise_interrupt(number: int) -> NoReturn:
    raise KeyboardInterrupt(f"signal {number}")  # no Exception: whoever passes over errors does not pass over this


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of one command line. Never raises, whatever happens."""
    words = sys.argv[1:] if argv is None else argv
    try:
        try:
            with signals.catch_signals(_raise_interrupt):
                status = run_command_line(words)
        except EnvtoolError as error:
            status = _print_error(error, words)
        except KeyboardInterrupt:
            status = _print_error(Interrupted(), words)
        except BrokenPipeError:
            raise
        except Exception as error:
            status = report_unexpected(error, words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone (`envtool list | head -1`): no words, and the status that a shell gives SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (KeyboardInterrupt, Interrupted):
        return 130
    except BaseException as error:
        # Raised while an extension module in Rust imports something, an interrupt comes out as its panic (PyO3).
        if type(error).__name__ == "PanicException" and "Interrupt" in str(error):
            return 130
        raise
    return status
