"""The text of `envtool plan`: what is done for which base and layer, why, and the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from envtool.report.formatting import Style, describe_settings
from envtool.report.text import elide_middle, fit_lines, one_line, pad, visible_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envtool.plan.plan import Plan, PlannedEnv, PlannedStep

NAME = 10  # columns for a name, at least; a longer one loses its middle only where the screen has no more
DESCRIPTION = 36  # columns beside the name without which a description is shown below it
FOLDED = 12  # names of reused steps, or of envs, that are shown without -v
_LEAD = 16  # columns before a name: two blanks, the action, the subject
_COLORS = {"reuse": "32", "pull": "34", "unpack": "34", "resolve": "36", "build": "33"}
_SECOND_ROUND = "second round:"


def format_plan(plan: Plan, style: Style, columns: int = 0, typed: str = "", verbosity: int = 0) -> str:
    """Returns what is done, each step once: below the first env or service that needs it, in the order of the stack;
    then what is reused, folded unless `verbosity` is 1; the notes; and the sum with the command (`typed`) that does it,
    which is all that is left with -1."""
    done, reused = _split_steps(plan)
    total = _format_sum(plan, [step for _, steps in done for step in steps], reused, typed, columns)
    if verbosity < 0:
        return total
    names = [_format_name(step, env.name) for env, steps in done for step in steps]
    names += [_format_name(step) for step in reused] if verbosity else []
    layout = _StepLayout(style=style, columns=columns, name=_name_width(names, columns), keys=verbosity > 0)
    lines: list[str] = []
    for env, steps in done:
        if steps:
            lines += [*_env_lines(env, steps, layout), ""]
    if reused and verbosity:
        lines.append(style.paint("1", "reused"))
        lines += [line for step in reused for line in layout.format(step)]
    elif reused:
        names = [f"{_format_name(step)}{'' if step.pinned else ' (not pinned)'}" for step in reused]
        lines.append(fit_lines(f"reused: {_fold(names)}", columns))
    idle = [one_line(env.name) for env, steps in done if not steps]
    if idle and len(idle) < len(done):
        lines.append(fit_lines(f"nothing more for {_fold(idle, whole=verbosity > 0)}", columns))
    notes = [fit_lines(f"note: {one_line(note)}", columns) for note in plan.notes]
    return "\n".join([*lines, *([""] if lines and lines[-1] else []), *notes, total])


def _split_steps(plan: Plan) -> tuple[list[tuple[PlannedEnv, list[PlannedStep]]], list[PlannedStep]]:
    """Returns the steps that are done, by the first env that needs them, and those that are reused. A run does each
    node and each key once, however many envs have it."""
    seen: set[str] = set()
    done: list[tuple[PlannedEnv, list[PlannedStep]]] = []
    reused: list[PlannedStep] = []
    for env in (*plan.envs, *plan.services):
        new = [step for step in env.steps if (step.key or step.node) not in seen]
        seen |= {step.key or step.node for step in new}
        done.append((env, [step for step in new if step.action != "reuse"]))
        reused += [step for step in new if step.action == "reuse"]
    return done, reused


def _env_lines(env: PlannedEnv, steps: Sequence[PlannedStep], layout: _StepLayout) -> list[str]:
    columns = layout.columns
    title = elide_middle(one_line(env.name), columns) if columns else one_line(env.name)
    settings = {task.name: describe_settings(task, env.name) for task in env.specs}
    tasks = ", ".join(one_line(f"{task}{settings.get(task, '')}") for task in env.tasks)
    lines = [fit_lines(f"{layout.style.paint('1', title)}  {tasks}".rstrip(), columns)]
    is_told = env.rounds == 1
    for step in steps:
        if not is_told and step.subject != "base":
            lines.append(fit_lines(f"  {_SECOND_ROUND}", columns))
            is_told = True
        lines += layout.format(step, env.name)
    return lines


class _StepLayout(NamedTuple):
    """How a step is shown on a screen of `columns` (0: no limit), `name` of them for its name; with `keys`, its key."""

    style: Style
    columns: int
    name: int
    keys: bool

    def format(self, step: PlannedStep, env: str = "") -> list[str]:
        """Returns the line of a step, with the description beside it, or on lines below it."""
        name = _format_name(step, env)
        lead = f"  {pad(self.style.paint(_COLORS[step.action], step.action), 8)}{pad(step.subject, 6)}"
        start = visible_width(lead) + self.name
        description = self._describe(step)
        if not self.columns or start + visible_width(description) <= self.columns:
            return [f"{lead}{pad(name, self.name)}{description}"]
        if self.columns - start >= DESCRIPTION:
            first, *more = fit_lines(description, self.columns - start, indent=0).split("\n")
            name = elide_middle(name, self.name - 1)
            return [f"{lead}{pad(name, self.name)}{first}", *(f"{' ' * start}{line}" for line in more)]
        below = fit_lines(description, self.columns - 4, indent=0).split("\n")
        return [f"{lead}{elide_middle(name, self.columns - _LEAD)}", *(f"    {line}" for line in below)]

    def _describe(self, step: PlannedStep) -> str:
        """As in: 14 packages: the store has no layer of this key."""
        summary = one_line(step.summary) if step.action != "resolve" else ""  # its versions are not known yet
        parts = [summary or step.kind]
        parts += [] if step.pinned else [self.style.paint("33", "not pinned")]
        parts += [step.key[:12]] if self.keys and step.key else []
        return f"{', '.join(parts)}: {one_line(step.reason)}" if step.reason else ", ".join(parts)


def _format_name(step: PlannedStep, env: str = "") -> str:
    """Returns the name as a run shows it; below the title of an env without that."""
    return f"{one_line(step.name)} [{one_line(step.on)}]" if step.on not in ("", env) else one_line(step.name)


def _name_width(names: Sequence[str], columns: int) -> int:
    """Returns the columns of the names with two blanks: all, or as many as leave room for descriptions."""
    longest = max(map(visible_width, names), default=0) + 2
    return max(NAME, longest if not columns else min(longest, columns - _LEAD - DESCRIPTION))


def _fold(names: Sequence[str], *, whole: bool = False) -> str:
    """As in: a, b, c and 25 more (-v shows them)."""
    if whole or len(names) <= FOLDED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:FOLDED])} and {len(names) - FOLDED} more (-v shows them)"


def _format_sum(
    plan: Plan, done: Sequence[PlannedStep], reused: Sequence[PlannedStep], typed: str, columns: int
) -> str:
    """As in: 1 to resolve, 3 to build (2 wait, and are reused if the store has them then), 12 reused."""
    parts = [_count(done, action) for action in ("resolve", "pull", "unpack", "build")]
    sums = ", ".join(part for part in (*parts, f"{len(reused)} reused" if reused else "") if part)
    command = f": `{typed}` {'does this' if done else 'builds nothing'}" if typed else ""
    lines = []
    if twice := len({env.steps[0].node for env in (*plan.envs, *plan.services) if env.rounds > 1}):
        bases = "1 base is" if twice == 1 else f"{twice} bases are"
        lines.append(f"{bases} planned in two rounds: the layers above may be reused then")
    if plan.team_cache and any(step.action in ("resolve", "build") for step in done):
        lines.append("a plan asks no network: a run pulls what the team cache has, and builds the rest")
    return "\n".join(fit_lines(line, columns) for line in (*lines, f"{sums}{command}"))


def _count(steps: Iterable[PlannedStep], action: str) -> str:
    number = sum(step.action == action for step in steps)
    return f"{number} to {action}" if number else ""
