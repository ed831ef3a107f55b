"""The end of a run's report: the output of the tasks that failed, what to type next, and the totals."""

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
    """Returns the names of up to three tasks that fit on one line, and the number of the others."""
    names = [f"{result.env} {result.task}" for result in results]
    for count in range(min(3, len(names)), 0, -1):
        suffix = f" and {len(names) - count} more" if len(names) > count else ""
        if count == 1 or visible_width(", ".join(names[:count]) + suffix) <= columns - 6:
            break
    if count == 1:
        return elide_middle(names[0], max(1, columns - 6 - len(suffix))) + suffix
    return ", ".join(names[:count]) + suffix


MAX_READ = 1 << 20  # bytes read from the end of a log


def _read_log_end(path: str) -> tuple[str, bool]:
    """Returns the end of a log, and whether there is more before it. A missing log counts as empty."""
    try:
        with rundir.open_file(path) as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - MAX_READ))
            return file.read().decode(errors="replace"), length > MAX_READ
    except OSError:
        return "", False


def format_output(path: str, *, style: formatting.Style) -> str:
    """Returns a log's output, safe for a terminal: all of it, or the last lines and the path of the log."""
    text, cut = _read_log_end(path)
    lines = sanitize(text, color=style.color).strip("\n").split("\n")
    if cut or len(lines) > MAX_LINES:
        omitted = "what came before" if cut else f"{len(lines) - TAIL_LINES} lines before"
        lines = [style.glyphs(f"… {omitted}: {path}"), *lines[-TAIL_LINES:]]
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
    """Returns the report of a task that did not pass, and of `others` that did not run for the same reason."""
    names = _join_titles((result, *others), screen or columns)
    parts = [formatting.draw_rule(names, max(columns, visible_width(names) + 6), style=style)] if title else []
    is_explained = isinstance(result.error, ResolveError)  # the message explains the error; the log has the output
    text = "" if shown or is_explained or not result.log else format_output(result.log, style=style)
    if text:
        parts.append(text)
    message = re.sub(r"\Aexit \d+(\n|\Z)", "", result.message)  # the line of the task has the exit status already
    if message:
        message = sanitize(message, color=False).rstrip("\n").replace("\n", "\n   ")
        parts.append(wrap(f"   {message}", screen))
    if is_explained and result.log:
        parts.append(f"   all that was printed: {result.log}")
    if result.outcome in ("failed", "timeout"):
        if result.outputs:
            more = f" and {len(result.outputs) - 1} more" if len(result.outputs) > 1 else ""
            left = (
                f"   the project has the outputs of this run, which did not pass: {one_line(result.outputs[0])}{more}"
            )
            parts.append(wrap(left, screen))
        if result.log and not text and not shown and not message:
            parts.append("   it printed nothing")
        parts += _rerun_lines(f"{again} shell {shlex.quote(result.env)}", result, columns, screen, style)
    return "\n".join(parts)


def _rerun_lines(shell: str, result: ReportedResult, columns: int, screen: int, style: formatting.Style) -> list[str]:
    """Returns what to type to run the task again, on one line if that fits.

    A command is never cut. A longer one has a line of its own, which the terminal breaks only if it is wider than the
    screen; for a command of several lines, the text says where the spec has it.
    """
    shell_line = f"   again, inside:  {shell}"
    columns = screen or columns
    if 0 < screen < visible_width(shell_line):  # the command gets its own line rather than a break in a name
        shell_line = f"   again, inside:\n{_indent_command(shell, screen)}"
    if not result.commands:
        return [shell_line]
    if any(command != one_line(command) for command in result.commands):
        each = f"the commands of the task, {result.where}, each by `sh -ec`"
        return [shell_line, style.glyphs(f"            then:  {each}")]
    typed = [_as_typed(command, is_alone=len(result.commands) == 1) for command in result.commands]
    joined = _join_commands(typed)
    if joined and "\n" not in shell_line and visible_width(shell_line) + visible_width(joined) + 9 <= columns:
        return [f"{shell_line}   then: {joined}"]
    commands = (joined,) if joined and visible_width(joined) + 19 <= columns else typed
    longest = max(map(visible_width, commands))
    if longest <= screen < longest + 19:
        return [shell_line, "            then:", *(_indent_command(command, screen) for command in commands)]
    return [shell_line, *(f"{'then:' if not index else '':>17}  {command}" for index, command in enumerate(commands))]


def _indent_command(command: str, columns: int) -> str:
    """Returns a command for a line of its own, indented by up to five columns if it fits."""
    return " " * max(0, min(5, columns - visible_width(command))) + command


def _as_typed(command: str, *, is_alone: bool) -> str:
    """Returns what does in a shell the same as the task did, whose commands run by `/bin/sh -ec`, each in a shell of
    its own: `-e` changes what stands before a `;`, and what changes a shell is for that command alone."""
    plain = re.sub(r"'[^']*'", "", command) if not re.search(r'["\\]', command) else command
    if ";" in plain:
        return f"sh -ec {shlex.quote(command)}"
    changes = (_LEAVES_SHELL if is_alone else _CHANGES_SHELL).search(plain)
    return f"({command})" if changes and "#" not in command else command


_LEAVES_SHELL = re.compile(r"(?:^|&&|\|\|)\s*(?:exit|exec)\b")
_CHANGES_SHELL = re.compile(
    r"(?:^|&&|\|\|)\s*(?:(?:exit|exec|cd|export|set|unset|readonly|source|eval|alias|trap|umask|ulimit|shift)\b"
    r"|\.\s|\w+=\S*\s*(?:$|&))"
)


def _join_commands(commands: Sequence[str]) -> str:
    """Joins commands with `&&`; returns "" if a shell could read the joined line in another way."""
    if len(commands) == 1:
        return commands[0]
    if any(re.search(r"#|<<|\\\Z|&\s*\Z", command) for command in commands if not command.startswith("sh -ec ")):
        return ""
    return " && ".join(
        f"({command})" if re.search(r"[|&]", command) and not command.startswith(("(", "sh -ec ")) else command
        for command in commands
    )


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
    """Returns the end of a run's report, without the last newline.

    `again` is how envtool was called ("envtool -C dir"), `typed` the whole command, `shown` the (env, task) whose
    output is on the screen already, `spent` the seconds of the run, `kept` what an interrupted run keeps. Rules are
    `columns` wide, prose is at most as wide as the `screen` (0: no limit).
    """
    failed = [result for result in results if result.outcome in ("failed", "timeout", "error")]
    # a single failed task whose output was shown as it came has its title above that output
    titled = len(failed) > 1 or any((result.env, result.task) not in shown for result in failed)
    groups: dict[object, list[ReportedResult]] = {}  # an error of several envs is reported once
    for result in failed:
        groups.setdefault(result.message if result.outcome == "error" else (result.env, result.task), []).append(result)
    parts = [
        format_failure(
            result,
            others=others,
            again=again,
            shown=(result.env, result.task) in shown,
            title=titled,
            style=style,
            columns=columns,
            screen=screen,
        )
        for result, *others in groups.values()
    ]
    total = formatting.format_total(results, spent, interrupted=interrupted, style=style, columns=screen)
    return "\n".join(
        [
            *([""] if titled else []),
            *filter(None, parts),
            total,
            *_next_steps(results, typed, kept, interrupted, screen),
        ]
    )


def _next_steps(
    results: Sequence[ReportedResult], typed: str, kept: Sequence[str], interrupted: bool, columns: int
) -> list[str]:
    """Returns what an interrupted run keeps, and what to type to go on. A command is never cut."""
    if interrupted or any(result.outcome == "interrupted" for result in results):
        tasks = sum(bool(result.outputs) for result in results)
        kept = [*kept, *([f"the outputs of {formatting.pluralize(tasks, 'task')}"] if tasks else [])]
        lines = [wrap(f"   kept:   {', '.join(kept)}", columns, indent=" " * 8)] if kept else []
        return [*lines, *to_type("again:", typed, columns)]
    if typed and any(result.error is not None and result.error.code == "store-space" for result in results):
        return to_type("again, on another disk:", f"ENVTOOL_STORE=DIR {typed}", columns)
    return []


def to_type(label: str, command: str, columns: int) -> list[str]:
    """Returns the label and what to type, on two lines if one is too narrow; nothing without a command."""
    if not command:
        return []
    line = f"   {label}  {command}"
    return (
        [line] if not columns or visible_width(line) <= columns else [f"   {label}", _indent_command(command, columns)]
    )
