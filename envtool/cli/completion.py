"""`envtool completion SHELL`."""

from __future__ import annotations

import click

from envtool.cli.common_options import Choice, Verb

EXAMPLES = """
eval "$(envtool completion bash)"
envtool completion zsh > ~/.zfunc/_envtool
envtool completion fish > ~/.config/fish/completions/envtool.fish
"""


@click.command("completion", cls=Verb, examples=EXAMPLES, stdout="has the script")
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL: verbs, options, and the envs and tasks of the spec at hand."""
    from click.shell_completion import get_completion_class

    completion_class = get_completion_class(shell)
    assert completion_class is not None
    completion = completion_class(ctx.find_root().command, {}, "envtool", "_ENVTOOL_COMPLETE")
    print(completion.source_template % completion.source_vars())
