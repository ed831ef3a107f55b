"""The command `wordcount`."""

import click

from wordcount import count


@click.command()
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
@click.option("-n", "--top", default=10, show_default=True, help="How many words to show.")
def main(file, top: int) -> None:
    """Show the most frequent words of FILE, or of standard input."""
    for word, times in sorted(count(file.read()).items(), key=lambda pair: (-pair[1], pair[0]))[:top]:
        click.echo(f"{times:7} {word}")
