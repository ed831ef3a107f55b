"""What is said when all is over: the failing commands' output, where nobody has to search for it, and the sum."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from envtool.errors import ResolveError
from envtool.project import rundir
from envtool.report import formatting
from envtool.report.text import one_line, safe, shortened, width, wrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from envtool.report.stream import ReportedResult

WHOLE = 200  # lines of output that are shown whole
LAST = 100  # lines shown of an output that is longer


def _titled(results: Sequence[ReportedResult], columns: int) -> str:
    """Tasks by name: the first three, as far as they have room side by side, and how many more there are."""
    names = [f"{each.env} {each.task}" for each in results]
    for count in range(min(3, len(names)), 0, -1):
        more = f" and {len(names) - count} more" if len(names) > count else ""
        if count == 1 or width(", ".join(names[:count]) + more) <= columns - 6:
            break
    if count == 1:
        return shortened(names[0], max(1, columns - 6 - len(more))) + more
    return ", ".join(names[:count]) + more


READ = 1 << 20  # bytes read from the end of a log


def _read(path: str) -> tuple[str, bool]:
    """The end of a log and whether something before it was left out. A missing log is an empty one."""
    try:
        with rundir.opened(path) as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - READ))
            return file.read().decode(errors="replace"), length > READ
    except OSError:
        return "", False


def output(path: str, *, style: formatting.Style) -> str:
    """The output that a log holds as it may be shown: whole, or its last lines and the path of the rest."""
    text, cut = _read(path)
    lines = safe(text, color=style.color).strip("\n").split("\n")
    if cut or len(lines) > WHOLE:
        left = "what came before" if cut else f"{len(lines) - LAST} lines before"
        lines = [style.glyphs(f"… {left}: {path}"), *lines[-LAST:]]
    return "\n".join(lines) if any(lines) else ""


def failure(
    result: ReportedResult,
    *,
    again: str,
    shown: bool,
    title: bool = True,
    style: formatting.Style,
    columns: int,
    screen: int = 0,
    others: Sequence[ReportedResult] = (),
) -> str:
    """All about one task that did not pass, and `others` that the same keeps from running."""
    names = _titled((result, *others), screen or columns)
    parts = [formatting.rule(names, max(columns, width(names) + 6), style=style)] if title else []
    told = isinstance(result.error, ResolveError)  # in words of ours: what was printed can be read in the log
    text = "" if shown or told or not result.log else output(result.log, style=style)
    if text:
        parts.append(text)
    message = re.sub(r"\Aexit \d+(\n|\Z)", "", result.message)  # the line of the task said so already
    if message:
        message = safe(message, color=False).rstrip("\n").replace("\n", "\n   ")
        parts.append(wrapped(f"   {message}", screen))
    if told and result.log:
        parts.append(f"   all that was printed: {result.log}")
    if result.outcome in ("failed", "timeout"):
        if result.log and not text and not shown and not message:
            parts.append("   it printed nothing")
        parts += _again(f"{again} shell {shlex.quote(result.env)}", result, columns, screen, style)
    return "\n".join(parts)


def _again(shell: str, result: ReportedResult, columns: int, screen: int, style: formatting.Style) -> list[str]:
    """What to type, on one line where that fits. A command is never cut: a longer one has a line of its own, which the
    terminal breaks only where it is wider than that, and of one of many lines it is said where it stands."""
    first = f"   again, inside:  {shell}"
    columns = screen or columns
    if 0 < screen < width(first):  # nothing is broken in the middle of a name that has room elsewhere
        first = f"   again, inside:\n{_alone(shell, screen)}"
    if not result.commands:
        return [first]
    if any(each != one_line(each) for each in result.commands):
        return [first, style.glyphs(f"            then:  the commands of the task, {result.where}")]
    joined = _joined(result.commands)
    if joined and "\n" not in first and width(first) + width(joined) + 9 <= columns:
        return [f"{first}   then: {joined}"]
    commands = (joined,) if joined and width(joined) + 19 <= columns else result.commands
    longest = max(map(width, commands))
    if longest <= screen < longest + 19:
        return [first, "            then:", *(_alone(each, screen) for each in commands)]
    return [first, *(f"{'then:' if not index else '':>17}  {each}" for index, each in enumerate(commands))]


def _alone(command: str, columns: int) -> str:
    """A command on a line of its own, as far to the right as it has room."""
    return " " * max(0, min(5, columns - width(command))) + command


def _joined(commands: Sequence[str]) -> str:
    """Commands as one line that ends with the first that fails; empty where a shell could read them otherwise."""
    if len(commands) == 1:
        return commands[0]
    if any(re.search(r"#|<<|\\\Z|&\s*\Z", each) for each in commands):
        return ""
    return " && ".join(f"({each})" if re.search(r"[;|&]", each) else each for each in commands)


def closing(
    results: Sequence[ReportedResult],
    spent: float,
    *,
    interrupted: bool,
    again: str,
    typed: str = "",
    kept: Sequence[str] = (),
    shown: Collection[tuple[str, str]],
    style: formatting.Style,
    columns: int,
    screen: int = 0,
) -> str:
    """The whole end, without the last newline. `again` is how this envtool was called ("envtool -C dir"), `typed` the
    whole command, `shown` the (env, task) whose output is on the screen already, `spent` seconds, `kept` what is of
    a run that was interrupted. Rules are as wide as `columns`, prose no wider than the `screen` (0: that has no end).
    """
    bad = [result for result in results if result.outcome in ("failed", "timeout", "error")]
    # one alone, whose output was shown as it came, has its title above that
    titled = len(bad) > 1 or any((each.env, each.task) not in shown for each in bad)
    alike: dict[object, list[ReportedResult]] = {}  # what keeps several envs from being made is told once
    for each in bad:
        alike.setdefault(each.message if each.outcome == "error" else (each.env, each.task), []).append(each)
    parts = [
        failure(
            each,
            others=others,
            again=again,
            shown=(each.env, each.task) in shown,
            title=titled,
            style=style,
            columns=columns,
            screen=screen,
        )
        for each, *others in alike.values()
    ]
    last = formatting.total(results, spent, interrupted=interrupted, style=style, columns=screen)
    return "\n".join(
        [*([""] if titled else []), *filter(None, parts), last, *_next(results, typed, kept, interrupted, screen)]
    )


def _next(
    results: Sequence[ReportedResult], typed: str, kept: Sequence[str], interrupted: bool, columns: int
) -> list[str]:
    """What is kept of a run that did not come to its end, and what to type to go on. A command is never cut."""
    if interrupted or any(each.outcome == "interrupted" for each in results):
        tasks = sum(bool(each.outputs) for each in results)
        kept = [*kept, *([f"the outputs of {formatting.counted(tasks, 'task')}"] if tasks else [])]
        lines = [wrapped(f"   kept:   {', '.join(kept)}", columns, indent=" " * 8)] if kept else []
        return [*lines, *to_type("again:", typed, columns)]
    if typed and any(each.error is not None and each.error.code == "store-space" for each in results):
        return to_type("again, on another disk:", f"ENVTOOL_STORE=DIR {typed}", columns)
    return []


def to_type(label: str, command: str, columns: int) -> list[str]:
    """What to type, on a line of its own where it has no room beside the label; nothing where there is nothing."""
    if not command:
        return []
    line = f"   {label}  {command}"
    return [line] if not columns or width(line) <= columns else [f"   {label}", _alone(command, columns)]
