"""What a command or service with a writable checkout tries there: it is refused all that git and envtool obey."""

from __future__ import annotations

from pathlib import Path

OBEYED = ("envtool.yaml", "envtool.lock", ".git/config", "sub/repo/.git/config")  # `sub/repo` moves to `sub/elsewhere`
MADE = "exec 2>&1\necho made > made && mkdir -p deep/er && echo two > deep/er/file\n"
REFUSED = """
echo no > .git/config
mv .git moved
mv sub/repo/.git sub/repo/moved
rm -rf sub/repo/.git
echo no > envtool.yaml
mv made envtool.lock
rm -f envtool.lock
touch .envtool/x
mv sub/repo sub/elsewhere && touch sub/elsewhere/.git/hooks/post-checkout
ln .git/config linked
mkdir .git/hooks/pre
"""


def contents(project: Path) -> dict[str, bytes]:
    """The files that git and envtool obey, under the names that they have after the script."""
    return {name.replace("sub/repo", "sub/elsewhere"): (project / name).read_bytes() for name in OBEYED}


def check_untouched(project: Path, before: dict[str, bytes], output: str) -> None:
    """Fails if the script changed one of them, or was not refused as often as it must be."""
    assert output.count("Read-only file system") >= 4, output
    assert output.count("busy") >= 4, output
    assert before == {name: (project / name).read_bytes() for name in before}
    names = ("hooks/post-checkout", "hooks/pre", ".envtool/x", "moved")
    assert not [path for name in names for path in project.rglob(name)]
