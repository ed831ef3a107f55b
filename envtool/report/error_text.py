"""Formats an error: what is wrong, where, why, and what to type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from envtool.errors import EnvtoolError, NotCachedError, SpecError
from envtool.report.text import sanitize, wrap

if TYPE_CHECKING:
    from envtool.plan.why import Explanation
    from envtool.report.formatting import Style

TAIL_LINES = 40  # lines of a failed build's output


def _format_problems(error: SpecError, style: Style, columns: int) -> list[str]:
    from envtool.report.source_excerpt import explain

    lines: list[str] = []
    for problem in error.problems:
        for number, line in enumerate(sanitize(explain(problem, columns)).rstrip("\n").split("\n")):
            if number == 0:
                painted = line.replace("error:", style.paint("1;31", "error:"), 1)
                lines.append(wrap(painted, columns, indent="  "))
            elif carets := re.match(r"[\s│|]*(\^+.*)", line):
                lines.append(line[: carets.start(1)] + style.paint("31", carets[1]))
            else:
                lines.append(line if re.match(r" *\d* │", line) else wrap(line, columns))
    return lines


def format_error(error: EnvtoolError, *, style: Style, columns: int = 0) -> str:
    """Returns the whole text of an error, without the last newline. Lines of messages and hints are at most `columns`
    wide (0: no limit); output of builds keeps its lines."""
    if isinstance(error, SpecError):
        hint = f"{style.paint('36', 'hint:')} {sanitize(error.hint)}" if error.hint else ""
        hint_lines = [wrap(hint, columns, indent="  ")] if hint else []
        return style.glyphs("\n".join([*_format_problems(error, style, columns), *hint_lines]))
    lines: list[str] = []
    if isinstance(error, NotCachedError):
        import time

        from envtool.report.why import format_explanations

        lines += [format_explanations(cast("tuple[Explanation, ...]", error.misses), style, now=time.time()), ""]
    if error.output:
        output = sanitize(error.output, color=style.color).strip("\n").split("\n")
        if (hidden := len(output) - TAIL_LINES) > 0:
            lines.append(style.glyphs(f"… {hidden} line{'s' if hidden > 1 else ''} before"))
        lines += output[-TAIL_LINES:]
    lines.append(wrap(f"{style.paint('1;31', 'error:')} {sanitize(error.message)}", columns, indent="  "))
    if error.hint:
        lines.append(wrap(f"{style.paint('36', 'hint:')} {sanitize(error.hint)}", columns, indent="  "))
    return "\n".join(lines)
