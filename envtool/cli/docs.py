"""Writes docs/cli.md from the command line: `python -m envtool.cli.docs > docs/cli.md`."""

from __future__ import annotations

import click

from envtool.cli.main import VERBS, group

HEAD = """\
# The command line

Written by `python -m envtool.cli.docs`; a test holds it to the code.

Global options may stand before or after the verb; where one is given twice, the one after the verb wins. Words after
`--` belong to the task (they reach the spec as `{{ args }}`) or are the command of `exec`; envtool does not read them.
Standard output has data (`list`, `plan`, `why`, `schema`, `--json`, and the output of a command of `exec`), standard
error has messages.

Plugins add verbs, too; `envtool --help` lists them below the others, with the plugin that each is from. envtool-python
adds `envtool requirements ENV`: the Python packages of an env as a requirement file with hashes.

## Reports

`--report FORMAT=FILE` writes how the tasks of a run ended, also after an interrupt; it may be repeated. The formats are
`junit` (`--junit FILE` is the same), `markdown`, and those of plugins. `junit` has each task, and each test that its
output names ([json.md](json.md) has the details). `markdown` is a table of all tasks, with the
tests that failed by name and the end of the output of each task that failed. In GitHub Actions,
`envtool test --report "markdown=$GITHUB_STEP_SUMMARY"` shows it on the page of the run; the report takes the place of
what the step wrote to that file before.

Every file that a verb writes where you say (`--junit`, `--report`, `--provenance`, `--output`, `export PATH`, `vendor`,
`cache key FILE`, `init -f`) follows one rule: missing directories are made, 0755, and a file that cannot be written is
an error (2) before anything is built or run.

## Exit status

| status | meaning |
|---|---|
| 0 | all passed |
| 1 | a task failed or ran out of time, `verify` or `diff` found a difference, `store verify` damage that is left, or \
`plugins` one that cannot be used |
| 2 | the command line or the spec is wrong: for all envs, and nothing was run, or for some, and the others were |
| 3 | an environment could not be built (or is not cached: `--expect-cached`), `doctor` found that containers cannot \
run, or envtool has a bug |
| 130 | interrupted: ^C, SIGTERM, or the terminal went away |
| 141 | the reader of standard output closed it (`envtool list \\| head -1`) |

130 outweighs 1, 1 outweighs 2, and 2 outweighs 3. `exec` and `shell` end with the
command's own status (128 + n when signal n ended it); 2, 3 and 130 are then possible before it has started.

The first ^C ends the tasks (TERM, then KILL), keeps their outputs and writes the reports; the second ends at once.

## Environment

| variable | effect |
|---|---|
| `NO_COLOR` | no colours, and no display that redraws itself (`--color always` wins for colours) |
| `FORCE_COLOR` | colours also where standard output or error is no terminal |
| `CI`, `TERM=dumb` | no display that redraws itself |
| `ENVTOOL_CACHE_KEY` | the key that signs what is pushed to the team cache: its content, or the path of its file |
| `ENVTOOL_CACHE=off` | the team cache is neither read nor written |
| `ENVTOOL_BLOBS` | URLs or directories, separated by spaces, that hold pinned files as `<ab>/<sha256>`; tried last |
| `ENVTOOL_INSECURE_REGISTRIES` | registries, `HOST[:PORT]` separated by commas, that are reached by plain HTTP |
| `ENVTOOL_STORE` | where the store is (default: `envtool` in `$XDG_CACHE_HOME` or `~/.cache`) |
| `ENVTOOL_KEEP_FREE` | what stays free on the store's disk: `2GB`, `5%`, `0`: none (default: 5 %, at most 2 GB) |
| `ENVTOOL_STORE_SIZE` | how big the store may become: `20GB` (default: no limit) |
| `ENVTOOL_DEBUG=1` | a bug shows its traceback |
"""


def render_docs() -> str:
    """The page in Markdown. It is about envtool's own verbs, whatever plugins are installed."""
    group.shows_plugins = False
    try:
        parts = [HEAD, "## envtool", _help(_context(group, "envtool", None))]
    finally:
        group.shows_plugins = True
    for name in VERBS:
        root = _context(group, "envtool", None)
        command = group.get_command(root, name)
        assert command is not None
        context = _context(command, name, root)
        parts += [f"## envtool {name}", _help(context)]
        for name_below, verb in command.commands.items() if isinstance(command, click.Group) else ():
            parts += [f"### envtool {name} {name_below}", _help(_context(verb, name_below, context))]
    return "\n".join(parts)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _help(context: click.Context) -> str:
    context.terminal_width = 100
    return f"\n```text\n{context.get_help().rstrip()}\n```\n"


if __name__ == "__main__":
    print(render_docs(), end="")
