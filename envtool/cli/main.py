"""Parses argv, calls the verb, and turns errors into messages and exit statuses (docs/cli.md)."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from envtool.cli import signals
from envtool.cli.common_options import Settings, common_options, complete_verbose_twice, fit, read_settings, typed
from envtool.errors import EnvtoolError, Interrupted, UsageError, closest_name, forget_faults, internal, to_store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from envtool.distributions import EntryPoint

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")

# In the order of help. The texts are here so that `envtool --help` does not import the verbs.
VERBS = {
    "test": "Run the task `test` of every env that has one.",
    "build": "Run the task `build` and copy its outputs back.",
    "run": "Run any other task.",
    "ci": "Run the pipeline: all tasks that the spec names, by their needs.",
    "exec": "Run a command in an env.",
    "shell": "Open a shell in an env.",
    "env": "Print the variables of an env, for an editor or direnv.",
    "shim": "Write shims: scripts that run programs of an env.",
    "up": "Start the services of the project, or replace what changed.",
    "down": "Stop them; nothing of them is left.",
    "ps": "Show the services that run.",
    "logs": "Show what they print.",
    "scale": "Let a service have more or fewer replicas.",
    "list": "Show the envs with their bases, layers and tasks.",
    "plan": "Show what a run would do for each base and layer, and why.",
    "why": "Explain why a layer is cached, or what changed.",
    "lock": "Write the exact versions and hashes that everything resolved to.",
    "fetch": "Fetch every pinned file into the store.",
    "vendor": "Write every pinned file to a folder or archive that builds without a network.",
    "export": "Write an env as an image that docker, podman and skopeo load.",
    "push": "Push an env as an image to a registry.",
    "sbom": "Write the bill of materials of an env.",
    "cache": "Show the team cache, or create a key for it.",
    "verify": "Build layers twice, varied, and name what differs.",
    "inspect": "Show what is in an env or layer, and who put a file there.",
    "diff": "Show in what packages and files two envs or layers differ.",
    "gc": "Remove from the store what nothing needs.",
    "store": "Show where the store is and how big, check or remove it.",
    "init": "Write a first envtool.yaml for this project.",
    "import": "Write an envtool.yaml from the file of another program: compose.",
    "schema": "Print the JSON Schema of envtool.yaml.",
    "doctor": "Show what this machine can do, and how to fix what it cannot.",
    "plugins": "Show the installed plugins, from where, and what each adds.",
    "version": "Show the versions that matter in a bug report.",
    "completion": "Print the completion script of a shell.",
}
# a word of Python names no module, and a name of a module means one thing (envtool/plugins.py)
MODULES = {"import": "import_spec", "plugins": "plugin_list"}
GROUPS = {  # the headings of help
    "Run": ("test", "build", "run", "ci", "exec", "shell", "env", "shim"),
    "Services": ("up", "down", "ps", "logs", "scale"),
    "Inspect": ("list", "plan", "why", "inspect", "diff", "verify"),
    "Pin": ("lock", "fetch", "vendor"),
    "Publish": ("export", "push", "sbom", "cache"),
    "Maintain": ("init", "import", "store", "gc", "doctor", "schema", "plugins", "version", "completion"),
}
SYNONYMS = {  # what other programs call a verb
    "ls": "list", "sh": "shell", "bash": "shell", "enter": "shell", "check": "test",
    "start": "up", "stop": "down", "log": "logs",
    "clean": "gc", "prune": "gc", "rm": "gc", "update": "lock", "upgrade": "lock",
}  # fmt: skip
EXAMPLES = """
  envtool test                        every test env, in throw-away containers
  envtool test -e 'unit*' -- -k slow  some envs, with arguments for the task
  envtool shell unit                  look around in one
"""
EXCLUDED = "ENVTOOL_NO_PLUGINS"  # as in distributions.py
STATUSES = """
  0 all passed    1 a task failed    2 the spec or the command line is wrong
  3 an environment could not be made    130 interrupted
  exec and shell: the command's own
"""


class VerbGroup(click.Group):
    """The group of all verbs: imports a verb's module when the verb is called."""

    shows_plugins = True  # False: help has envtool's own verbs alone, for docs/cli.md

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of help."""
        return [*VERBS, *(name for name in _plugin_verbs() if name not in VERBS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb. Raises UsageError, with the closest name, if there is none of this name."""
        if cmd_name in VERBS:
            command: click.Command = import_module(f"envtool.cli.{MODULES.get(cmd_name, cmd_name)}").command
            return command
        if cmd_name.startswith("-"):
            return None
        names = self.list_commands(ctx)
        if cmd_name in names:
            from envtool.cli import plugin_verbs

            return plugin_verbs.load_command(cmd_name)
        if ctx.resilient_parsing:
            return None
        close = closest_name(cmd_name, names) or SYNONYMS.get(cmd_name, "")
        hint = f"did you mean `envtool {close}`?" if close else "`envtool --help` lists the verbs"
        if not close or sorted(close) != sorted(cmd_name):  # not two letters swapped: perhaps the word is a task
            from envtool.cli.common_options import complete_task_names, misplaced_names_hint

            tasks = complete_task_names(ctx, ctx.command.params[0], "")
            if task := cmd_name if cmd_name in tasks else "" if close else closest_name(cmd_name, tasks):
                hint = f"did you mean the task: `envtool run {task}`?"
            elif (env_hint := misplaced_names_hint(ctx, [cmd_name])).startswith(f"`{cmd_name}` is an env"):
                hint = env_hint.replace("`-e", "`envtool test -e")
        raise UsageError(f"unknown verb `{cmd_name}`", code="usage.verb", hint=hint)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Read `help VERB` as `VERB --help`, and `help` alone as `--help`, whatever options precede it."""
        if args[:1] == ["help"] and not ctx.resilient_parsing:
            if args[1:2] in ([], ["help"]):
                click.echo(ctx.get_help())
                ctx.exit()
            args = [args[1], "--help"]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs and options that begin so, with `-vv`."""
        return super().shell_complete(ctx, incomplete) + complete_verbose_twice(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, without importing them. Of a plugin's verb this shows only whose it is: the text is in the
        plugin, and importing plugins would double the time that `envtool --help` takes."""
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(max(map(len, VERBS))), VERBS[verb]) for verb in verbs])
        if self.shows_plugins and (found := _plugin_verbs()):
            with formatter.section("Plugins"):
                formatter.write_dl(
                    [(verb.ljust(max(map(len, VERBS))), _describe_owners(verb, found[verb])) for verb in found]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and exit statuses."""
        for title, text in (("Examples", EXAMPLES), ("Exit status", STATUSES)):
            with formatter.section(title):
                formatter.write(fit(text.strip("\n")) + "\n")


def _plugin_verbs() -> dict[str, list[EntryPoint]]:
    """The verbs of plugins, by their entry points. Imports no plugin."""
    from envtool.distributions import verb_entry_points

    return verb_entry_points()


def _describe_owners(verb: str, entries: Sequence[EntryPoint]) -> str:
    """Whose verb it is, in words: "from envtool-python"."""
    owners = [entry.dist.name if entry.dist else entry.value for entry in entries]
    if verb in VERBS:
        return f"of {' and '.join(owners)}: not usable, since envtool has a verb of this name"
    return f"from {owners[0]}" if len(owners) == 1 else f"not usable, since several have it: {', '.join(owners)}"


def _is_verb(word: str) -> bool:
    return word in VERBS or word in _plugin_verbs()


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
    """Click's error about a command line, in envtool's words."""
    context = getattr(error, "ctx", None)
    verb = next((word for word in words if _is_verb(word)), "")
    path = context.command_path if context else f"envtool {verb}".rstrip()
    hint = f"see `{path} --help`"
    if isinstance(error, click.NoSuchOption):
        message = f"unknown option `{error.option_name}`"
        close = closest_name(error.option_name, error.possibilities or (), 0.75)
        if close:
            hint = f"did you mean `{close}`?"
        elif path == "envtool":
            hint = "options of a verb stand after it; `envtool VERB --help` shows them"
        elif path.endswith(" shell") and error.option_name == "-c":
            hint = "`envtool exec ENV -- sh -c 'COMMAND'` runs a command"
        elif path.endswith((" exec", " test", " build", " run")):
            hint = f"what belongs to the command goes after `--`; see `{path} --help`"
    elif isinstance(error, click.MissingParameter):
        name = error.param.make_metavar(context).strip("[]") if error.param and context else "a value"
        message = f"`{path}` needs {name}"
        if context and error.param and error.param.name == "env":
            from envtool.cli.common_options import env_choice_hint

            hint = env_choice_hint(context) or hint
    elif isinstance(error, click.BadOptionUsage) and error.option_name:
        needs_value = "does not take" not in error.message
        message = f"`{path} {error.option_name}` {'needs a value' if needs_value else 'takes no value'}"
    elif isinstance(error, click.BadParameter) and error.param:
        name = path if isinstance(error.param, click.Argument) else max(error.param.opts, key=len)
        message = f"`{name}`: {error.message.rstrip('.')}"
        quoted = re.match(r"`(.*?)` is not possible", error.message)
        if close := closest_name(quoted[1], getattr(error.param.type, "choices", ())) if quoted else "":
            hint = f"did you mean `{close}`?"
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
        if extra := re.match(r"got unexpected extra arguments? \((.*)\)", message):
            message = f"`{path}` has no use for `{extra[1]}`"
            if path.endswith((" test", " build", " run")):
                hint = "`-e ENV` chooses envs, and what belongs to the task goes after `--`"
            elif path.endswith(" shell") and context:
                command = typed(("exec", str(context.params["env"]), "--", *extra[1].split(" "), *context.obj))
                hint = f"`{command}` runs a command" if command else hint
            if context and "envs" in context.params:
                from envtool.cli.common_options import misplaced_names_hint

                hint = misplaced_names_hint(context, extra[1].split(" ")) or hint
    return UsageError(message, code="usage", hint=hint)


def _split_at_verb(words: Sequence[str], tail: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words up to the verb, and those after it: a hint can insert options between them."""
    plain = [word for word in words if not word.startswith("-")]
    names = VERBS.keys() if VERBS.keys() & {*plain} or not plain else _plugin_verbs().keys()
    end = next((number for number, word in enumerate(words, 1) if word in names), len(words))
    return tuple(words[:end]), (*words[end:], *(("--", *tail) if tail else ()))


def call_with_room(function: Callable[[Argument], Answer], argument: Argument) -> Answer:
    """Calls a function so that its calls, and theirs, find room in one chunk of CPython's data stack, which has the
    frames of Python functions.

    That stack grows by chunks of 16 KB, and gives a chunk back as soon as the first frame in it ends: a loop whose
    calls cross the end of a chunk maps and unmaps memory in each turn, 10 µs (python/cpython#142183). Where a chunk
    ends depends on all frames below. `plan` met such an end 1,600 times in the import of yaml alone.
    """
    return function(argument)


# A chunk has at least twice the size of its first frame, of which only the locals are written to: that leaves 512 KB,
# a thousand nested calls, in one chunk. The kernel gives memory only to pages that frames reach.
call_with_room.__code__ = call_with_room.__code__.replace(co_stacksize=65_536)


def run_command_line(argv: Sequence[str]) -> int:
    """Parse and run one command line; returns the exit status. Raises EnvtoolError; any other exception is a bug."""
    words = list(argv)
    tail: tuple[str, ...] = ()
    if "--" in words:  # click would parse options of the command as envtool's
        index = words.index("--")
        words, tail = words[:index], tuple(words[index + 1 :])
    if instruction := os.environ.get("_ENVTOOL_COMPLETE"):
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "envtool", "_ENVTOOL_COMPLETE", instruction)
    try:
        # Not group.main(), which handles broken pipes and ^C in its own way.
        called = _split_at_verb(words, tail)  # before click removes options from the list
        with group.make_context("envtool", words, obj=tail) as context:
            context.meta["envtool.called"] = called
            status: object = call_with_room(group.invoke, context)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        raise _translate_click_error(error, words) from error
    return status if isinstance(status, int) else 0


def _parse_global_options(argv: Sequence[str]) -> Settings:
    """The global options, parsed again to print an error: the first parsing may have stopped before them."""
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

    settings = _parse_global_options(argv)
    if settings.json:
        from envtool.report import json_lines

        json_lines.write_line(sys.stdout, json_lines.error_json(error))
    text = (
        over() + _interrupted_text(argv)
        if isinstance(error, Interrupted)
        else format_error(error, style=detect_style(sys.stderr, settings.color), columns=terminal_width())
    )
    with suppress(OSError):  # the terminal was closed: nobody reads why, and the status is that of the error
        print(text, file=sys.stderr)
    return error.exit_status


def _interrupted_text(argv: Sequence[str]) -> str:
    from envtool.cli.console import terminal_width
    from envtool.report.summary import to_type

    return "\n".join(
        ["interrupted", *to_type("again:", typed(argv) if any(map(_is_verb, argv)) else "", terminal_width())]
    )


def report_unexpected(error: Exception, argv: Sequence[str]) -> int:
    """Print an unexpected exception, and return the exit status: an OSError (a full disk, a path that is no file) as
    one sentence, any other exception as a bug."""
    explained = _explain_os_error(error) if isinstance(error, OSError) else None
    show_traceback = bool(os.environ.get("ENVTOOL_DEBUG") or _parse_global_options(argv).verbosity > 0)
    if show_traceback:
        import traceback

        traceback.print_exception(error)
    return _print_error(explained or internal(error, shown=show_traceback), argv)


def _explain_os_error(error: OSError) -> EnvtoolError | None:
    from envtool.store.disk_errors import translate_os_error
    from envtool.store.store import store_directory

    try:
        root = store_directory()
    except EnvtoolError:
        return to_store_error(error)
    return translate_os_error(root, error)


def _raise_interrupt(number: int) -> NoReturn:
    raise KeyboardInterrupt(f"signal {number}")  # not an Exception: `except Exception` does not catch it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status. Prints every error."""
    words = sys.argv[1:] if argv is None else argv
    forget_faults()
    left_out = os.environ.get(EXCLUDED)  # `-p no:NAME` adds to it: for this command line, and what it starts
    try:
        return _main(words)
    finally:
        if left_out is None:
            os.environ.pop(EXCLUDED, None)
        else:
            os.environ[EXCLUDED] = left_out


def _main(words: Sequence[str]) -> int:
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
        # The reader of standard output has gone (`envtool list | head -1`): print nothing, and return the status that a
        # shell gives SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # of standard output, while the result or an error was written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with suppress(OSError):
            sys.stderr.write(f"error: standard output cannot be written: {(error.strerror or str(error)).lower()}\n")
            sys.stderr.flush()
        return 3
    except (KeyboardInterrupt, Interrupted):
        return 130
    except BaseException as error:
        # An interrupt during the import of an extension module in Rust is raised as a PanicException of PyO3.
        if type(error).__name__ == "PanicException" and "Interrupt" in str(error):
            return 130
        raise
    return status
