"""How an error reads: what, where, why, what now."""

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
            elif found := re.match(r"[\s│|]*(\^+.*)", line):
                lines.append(line[: found.start(1)] + style.paint("31", found[1]))
            else:
                lines.append(line if re.match(r" *\d* │", line) else wrap(line, columns))
    return lines


def format_error(error: EnvtoolError, *, style: Style, columns: int = 0) -> str:
    """The whole text of an error, without the last newline; of our own words no line is wider than `columns` (0: a line
    has no end)."""
    if isinstance(error, SpecError):
        hint = f"{style.paint('36', 'hint:')} {sanitize(error.hint)}" if error.hint else ""
        more = [wrap(hint, columns, indent="  ")] if hint else []
        return style.glyphs("\n".join([*_format_problems(error, style, columns), *more]))
    lines: list[str] = []
    if isinstance(error, NotCachedError):
        import time

        from envtool.report.why import format_explanations

        lines += [format_explanations(cast("tuple[Explanation, ...]", error.misses), style, now=time.time()), ""]
    if error.output:
        output = sanitize(error.output, color=style.color).strip("\n").split("\n")
        if len(output) > TAIL_LINES:
            lines.append(style.glyphs(f"… {len(output) - TAIL_LINES} lines before"))
        lines += output[-TAIL_LINES:]
    lines.append(wrap(f"{style.paint('1;31', 'error:')} {sanitize(error.message)}", columns, indent="  "))
    if error.hint:
        lines.append(wrap(f"{style.paint('36', 'hint:')} {sanitize(error.hint)}", columns, indent="  "))
    return "\n".join(lines)
