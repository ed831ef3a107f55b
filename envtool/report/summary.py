"""What is said when all is over: the failing commands' output, where nobody has to search for it, and the sum."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from envtool.errors import ResolveError
from envtool.project import rundir
from envtool.report import formatting
from envtool.report.text import elide_middle, one_line, sanitize, visible_width, wrap

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from envtool.report.stream import ReportedResult

MAX_LINES = 200  # lines of output that are shown whole
TAIL_LINES = 100  # lines shown of an output that is longer


def _join_titles(results: Sequence[ReportedResult], columns: int) -> str:
    """Tasks by name: the first three, as far as they have room side by side, and how many more there are."""
    names = [f"{each.env} {each.task}" for each in results]
    for count in range(min(3, len(names)), 0, -1):
        more = f" and {len(names) - count} more" if len(names) > count else ""
        if count == 1 or visible_width(", ".join(names[:count]) + more) <= columns - 6:
            break
    if count == 1:
        return elide_middle(names[0], max(1, columns - 6 - len(more))) + more
    return ", ".join(names[:count]) + more


MAX_READ = 1 << 20  # bytes read from the end of a log


def _read_log_end(path: str) -> tuple[str, bool]:
    """The end of a log and whether something before it was left out. A missing log is an empty one."""
    try:
        with rundir.open_file(path) as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - MAX_READ))
            return file.read().decode(errors="replace"), length > MAX_READ
    except OSError:
        return "", False


def format_output(path: str, *, style: formatting.Style) -> str:
    """The output that a log holds as it may be shown: whole, or its last lines and the path of the rest."""
    text, cut = _read_log_end(path)
    lines = sanitize(text, color=style.color).strip("\n").split("\n")
    if cut or len(lines) > MAX_LINES:
        left = "what came before" if cut else f"{len(lines) - TAIL_LINES} lines before"
        lines = [style.glyphs(f"… {left}: {path}"), *lines[-TAIL_LINES:]]
    return "\n".join(lines) if any(lines) else ""


def format_failure(
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
    names = _join_titles((result, *others), screen or columns)
    parts = [formatting.draw_rule(names, max(columns, visible_width(names) + 6), style=style)] if title else []
    told = isinstance(result.error, ResolveError)  # in words of ours: what was printed can be read in the log
    text = "" if shown or told or not result.log else format_output(result.log, style=style)
    if text:
        parts.append(text)
    message = re.sub(r"\Aexit \d+(\n|\Z)", "", result.message)  # the line of the task said so already
    if message:
        message = sanitize(message, color=False).rstrip("\n").replace("\n", "\n   ")
        parts.append(wrap(f"   {message}", screen))
    if told and result.log:
        parts.append(f"   all that was printed: {result.log}")
    if result.outcome in ("failed", "timeout"):
        if result.log and not text and not shown and not message:
            parts.append("   it printed nothing")
        parts += _rerun_lines(f"{again} shell {shlex.quote(result.env)}", result, columns, screen, style)
    return "\n".join(parts)


def _rerun_lines(shell: str, result: ReportedResult, columns: int, screen: int, style: formatting.Style) -> list[str]:
    """What to type, on one line where that fits. A command is never cut: a longer one has a line of its own, which the
    terminal breaks only where it is wider than that, and of one of many lines it is said where it stands."""
    first = f"   again, inside:  {shell}"
    columns = screen or columns
    if 0 < screen < visible_width(first):  # nothing is broken in the middle of a name that has room elsewhere
        first = f"   again, inside:\n{_alone(shell, screen)}"
    if not result.commands:
        return [first]
    if any(each != one_line(each) for each in result.commands):
        return [first, style.glyphs(f"            then:  the commands of the task, {result.where}")]
    joined = _join_commands(result.commands)
    if joined and "\n" not in first and visible_width(first) + visible_width(joined) + 9 <= columns:
        return [f"{first}   then: {joined}"]
    commands = (joined,) if joined and visible_width(joined) + 19 <= columns else result.commands
    longest = max(map(visible_width, commands))
    if longest <= screen < longest + 19:
        return [first, "            then:", *(_alone(each, screen) for each in commands)]
    return [first, *(f"{'then:' if not index else '':>17}  {each}" for index, each in enumerate(commands))]


def _alone(command: str, columns: int) -> str:
    """A command on a line of its own, as far to the right as it has room."""
    return " " * max(0, min(5, columns - visible_width(command))) + command


def _join_commands(commands: Sequence[str]) -> str:
    """Commands as one line that ends with the first that fails; empty where a shell could read them otherwise."""
    if len(commands) == 1:
        return commands[0]
    if any(re.search(r"#|<<|\\\Z|&\s*\Z", each) for each in commands):
        return ""
    return " && ".join(f"({each})" if re.search(r"[;|&]", each) else each for each in commands)


def format_summary(
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
        format_failure(
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
    last = formatting.format_total(results, spent, interrupted=interrupted, style=style, columns=screen)
    return "\n".join(
        [*([""] if titled else []), *filter(None, parts), last, *_next(results, typed, kept, interrupted, screen)]
    )


def _next(
    results: Sequence[ReportedResult], typed: str, kept: Sequence[str], interrupted: bool, columns: int
) -> list[str]:
    """What is kept of a run that did not come to its end, and what to type to go on. A command is never cut."""
    if interrupted or any(each.outcome == "interrupted" for each in results):
        tasks = sum(bool(each.outputs) for each in results)
        kept = [*kept, *([f"the outputs of {formatting.pluralize(tasks, 'task')}"] if tasks else [])]
        lines = [wrap(f"   kept:   {', '.join(kept)}", columns, indent=" " * 8)] if kept else []
        return [*lines, *to_type("again:", typed, columns)]
    if typed and any(each.error is not None and each.error.code == "store-space" for each in results):
        return to_type("again, on another disk:", f"ENVTOOL_STORE=DIR {typed}", columns)
    return []


def to_type(label: str, command: str, columns: int) -> list[str]:
    """What to type, on a line of its own where it has no room beside the label; nothing where there is nothing."""
    if not command:
        return []
    line = f"   {label}  {command}"
    return [line] if not columns or visible_width(line) <= columns else [f"   {label}", _alone(command, columns)]
