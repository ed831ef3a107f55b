"""What is said when all is over: the failing commands' output, where nobody has to search for it, and the sum."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING

from envtool import evidence
from envtool.report import words
from envtool.report.text import one_line, safe

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from envtool.report.stream import Result

WHOLE = 200  # lines of output that are shown whole
LAST = 100  # lines shown of an output that is longer
READ = 1 << 20  # bytes read from the end of a log


def _read(path: str) -> tuple[str, bool]:
    """The end of a log and whether something before it was left out. A missing log is an empty one."""
    try:
        with evidence.opened(path) as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - READ))
            return file.read().decode(errors="replace"), length > READ
    except OSError:
        return "", False


def output(path: str, *, style: words.Style) -> str:
    """The output that a log holds as it may be shown: whole, or its last lines and the path of the rest."""
    text, cut = _read(path)
    lines = safe(text, color=style.color).strip("\n").split("\n")
    if cut or len(lines) > WHOLE:
        left = "what came before" if cut else f"{len(lines) - LAST} lines before"
        lines = [style.glyphs(f"… {left}: {path}"), *lines[-LAST:]]
    return "\n".join(lines) if any(lines) else ""


def failure(
    result: Result, *, again: str, shown: bool, style: words.Style, columns: int, others: Sequence[Result] = ()
) -> str:
    """All about one task that did not pass, and `others` that the same keeps from running."""
    title = ", ".join(f"{each.env} {each.task}" for each in (result, *others[:2]))
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    parts = [words.rule(f"{title}{more}", columns, style=style)]
    text = "" if shown or not result.log else output(result.log, style=style)
    if text:
        parts.append(text)
    message = re.sub(r"\Aexit \d+(\n|\Z)", "", result.message)  # the line of the task said so already
    if message:
        message = safe(message, color=False).rstrip("\n").replace("\n", "\n   ")
        parts.append(f"   {message}")
    if result.outcome in ("failed", "timeout"):
        if result.log and not text and not shown and not message:
            parts.append("   it printed nothing")
        parts += _again(f"{again} shell {shlex.quote(result.env)}", result.commands, columns, style)
    return "\n".join(parts)


def _again(shell: str, commands: Sequence[str], columns: int, style: words.Style) -> list[str]:
    """What to type, on one line where that fits."""
    first = f"   again, inside:  {shell}"
    if not commands:
        return [first]
    text = _typed(commands, max(columns - 19, 20), style.glyphs("…"))
    if len(first) + len(text) + 9 <= columns:
        return [f"{first}   then: {text}"]
    return [first, f"            then:  {text}"]


def _typed(commands: Sequence[str], most: int, more: str) -> str:
    """Commands as one types them, in at most so many columns: as many whole ones as there is room for, of the first at
    least its first words."""
    whole = [one_line(each) for each in takewhile(lambda each: "\n" not in each, commands)]
    if len(commands) > 1:  # one that is several itself stays together
        whole = [f"({each})" if re.search(r"[;|&]", each) else each for each in whole]
    for count in range(len(whole), 0, -1):
        text = " && ".join([*whole[:count], *([more] if count < len(commands) else [])])
        if len(text) <= most:
            return text
    cut = one_line(commands[0].split("\n")[0])[: most - 2]
    return f"{cut.rpartition(' ')[0] or cut} {more}"


def closing(
    results: Sequence[Result],
    spent: float,
    *,
    interrupted: bool,
    again: str,
    shown: Collection[tuple[str, str]],
    style: words.Style,
    columns: int,
) -> str:
    """The whole end, without the last newline. `again` is how this envtool was called ("envtool -C dir"),
    `shown` the (env, task) whose output is on the screen already, `spent` seconds.
    """
    bad = [result for result in results if result.outcome in ("failed", "timeout", "error")]
    alike: dict[object, list[Result]] = {}  # what keeps several envs from being made is told once
    for each in bad:
        alike.setdefault(each.message if each.outcome == "error" else (each.env, each.task), []).append(each)
    parts = [
        failure(each, others=others, again=again, shown=(each.env, each.task) in shown, style=style, columns=columns)
        for each, *others in alike.values()
    ]
    return "\n".join(
        [*(["", *parts] if parts else []), words.total(results, spent, interrupted=interrupted, style=style)]
    )
