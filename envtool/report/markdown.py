"""A report in Markdown (GitHub's dialect), for the summary page of a CI run or a comment: a table of all tasks, and
for each that did not pass the tests that failed and the end of its output.

All names and outputs are strangers': they are escaped, and cut so that the report stays below MAX_LENGTH.
"""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from envtool.report.test_counts.sums import format_parts
from envtool.report.text import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envtool.events import Case, Report, ReportedTask

MAX_LENGTH = 500_000  # characters: GitHub takes a summary of 1 MiB
MAX_CASES = 50  # failed tests that are listed for a task
MAX_LINES = 50  # lines of output that are shown for a task
MAX_COLUMNS = 300  # characters of a line, a name or a message
SIGNS = {"passed": "✅", "flaky": "⚠️", "cached": "✅", "skipped": "⏭️", "interrupted": "⏭️"}  # all others: ❌
WORDS = {"cached": "unchanged", "timeout": "timed out"}
ORDER = ("failed", "timeout", "error", "interrupted", "skipped", "flaky", "passed", "cached")
_SPECIAL = re.compile(r"[^A-Za-z0-9 ,/=\"'-]")  # `_` as well: `_0_` is emphasis


def markdown(report: Report) -> bytes:
    """Returns the report as Markdown in UTF-8."""
    parts, length = [_title(report), "", _table(report)], 0
    left_out = 0
    for task in report.tasks:
        if task.outcome in SIGNS and task.outcome not in ("interrupted", "flaky"):
            continue
        detail = "\n".join(_details(task)) if length < MAX_LENGTH else ""
        if not detail or length + len(detail) > MAX_LENGTH:
            left_out, length = left_out + 1, MAX_LENGTH
        else:
            parts += ["", detail]
            length += len(detail)
    if left_out:
        parts += ["", f"{left_out} more did not pass."]
    return ("\n".join(parts) + "\n").encode()


def _title(report: Report) -> str:
    numbers: Counter[str] = Counter(task.outcome for task in report.tasks)
    counts = ", ".join(f"{numbers[word]} {WORDS.get(word, word)}" for word in ORDER if numbers[word])
    return f"### envtool: {counts or 'nothing ran'} in {format_seconds(report.seconds)}"


def _table(report: Report) -> str:
    rows = ["| env | task | result | tests | time |", "|---|---|---|---|---|"]
    length = 0
    for number, task in enumerate(report.tasks):
        word = WORDS.get(task.outcome, task.outcome)
        cells = (
            _plain(task.env), _plain(task.task), f"{SIGNS.get(task.outcome, '❌')} {word}",
            _plain(format_parts(task.counts)), format_seconds(task.seconds),
        )  # fmt: skip
        length += sum(map(len, cells))
        if length > MAX_LENGTH // 2:
            return "\n".join([*rows, f"| {len(report.tasks) - number} more | | | | |"])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _details(task: ReportedTask) -> Iterator[str]:
    message = task.message.split("\n", 1)[0]
    yield f"<details><summary>{escape(_cut(f'{task.env} {task.task}: {message or task.outcome}'))}</summary>\n"
    failed = [case for case in task.cases if case.outcome in ("failed", "error")]
    yield from map(_case, failed[:MAX_CASES])
    if len(failed) > MAX_CASES:
        yield f"- and {len(failed) - MAX_CASES} more"
    if task.outputs:
        more = f" and {len(task.outputs) - 1} more" if len(task.outputs) > 1 else ""
        yield f"- the project has the outputs of this run, which did not pass: {_plain(task.outputs[0])}{more}"
    yield ""
    for text in (task.message if "\n" in task.message else "", task.output):
        lines = [_cut(line) for line in text.rstrip("\n").rsplit("\n", MAX_LINES)[-MAX_LINES:]]
        if any(lines):
            fence = _fence("\n".join(lines), 3)
            yield from (f"{fence}text", *lines, fence)
    yield "\n</details>"


def _case(case: Case) -> str:
    name, fence = _cut(case.id), _fence(case.id, 1)
    space = " " if "`" in name else ""
    return f"- {fence}{space}{name}{space}{fence}" + (f": {_plain(case.message)}" if case.message else "")


def _fence(text: str, least: int) -> str:
    """Returns more backticks than any run of them in the text has."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))


def _plain(text: str) -> str:
    """Returns a text as Markdown that shows it as it is."""
    line = _cut(text.replace("\n", " "))
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_COLUMNS else f"{text[: MAX_COLUMNS - 1]}…"
