"""How an error reads: what, where, why, what now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from envtool.errors import BuildError, EnvtoolError, NotCachedError, SpecError
from envtool.report.text import safe

if TYPE_CHECKING:
    from envtool.plan.why import Explanation
    from envtool.report.words import Style

TAIL = 40  # lines of a failed build's output


def _spec(error: SpecError, style: Style) -> list[str]:
    from envtool.spec.render import explain

    lines: list[str] = []
    for problem in error.problems:
        for number, line in enumerate(safe(explain(problem)).rstrip("\n").split("\n")):
            if number == 0:
                lines.append(line.replace("error:", style.paint("1;31", "error:"), 1))
            elif found := re.match(r"[\s│|]*(\^+.*)", line):
                lines.append(line[: found.start(1)] + style.paint("31", found[1]))
            else:
                lines.append(line)
    return lines


def render(error: EnvtoolError, *, style: Style) -> str:
    """The whole text of an error, without the last newline."""
    if isinstance(error, SpecError):
        hint = [f"{style.paint('36', 'hint:')} {safe(error.hint)}"] if error.hint else []
        return style.glyphs("\n".join([*_spec(error, style), *hint]))
    lines: list[str] = []
    if isinstance(error, NotCachedError):
        import time

        from envtool.report.why import explanations

        lines += [explanations(cast("tuple[Explanation, ...]", error.misses), style, now=time.time()), ""]
    if isinstance(error, BuildError) and error.output:
        output = safe(error.output, color=style.color).strip("\n").split("\n")
        if len(output) > TAIL:
            lines.append(style.glyphs(f"… {len(output) - TAIL} lines before"))
        lines += output[-TAIL:]
    lines.append(f"{style.paint('1;31', 'error:')} {safe(error.message)}")
    if error.hint:
        lines.append(f"{style.paint('36', 'hint:')} {safe(error.hint)}")
    return "\n".join(lines)
