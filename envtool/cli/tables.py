"""Tables; text and JSON of `list`, `plan`, `lock`, `fetch`, `vendor`, `export`, `push` and `doctor` (docs/json.md)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, describe_settings, pluralize
from envtool.report.text import elide_middle, fit_lines, one_line, pad, visible_width
from envtool.spec.select_envs import all_services

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from envtool.app.lock_file import LockResult
    from envtool.build.fetch_all import GatheredFiles
    from envtool.build.vendor import VendorReport
    from envtool.container.doctor import Check
    from envtool.images.export import ExportResult
    from envtool.images.push import PushResult
    from envtool.lock.diff import LockChange
    from envtool.model import Env, Json, Spec, Task
    from envtool.plan.plan import Plan, PlannedEnv, PlannedStep

MIN_COLUMNS = 12  # a cell is not made narrower than this
_SIGNS = {"ok": ("✓", "32"), "warn": ("!", "33"), "fail": ("✗", "31")}


def table(rows: Sequence[Sequence[str]], columns: int = 0, firm: Container[int] = ()) -> list[str]:
    """The lines of a table; the first row is the head. Where a line has more than `columns` (0: any number), the widest
    cells lose their middle: those of the first column, which are names to be typed, last, and those of the `firm`
    columns, which are numbers and times, never. If that is not enough, the firm cells follow each row on lines of
    their own, each with its title."""
    widths = [max(visible_width(cell) for cell in column) + 2 for column in zip(*rows, strict=True)]
    while columns and sum(widths) - 2 > columns:
        shrinkable = [index for index, width in enumerate(widths) if index not in firm and width > MIN_COLUMNS]
        if not shrinkable:
            break
        index = max(
            shrinkable[1:] if shrinkable[0] == 0 and len(shrinkable) > 1 else shrinkable,
            key=lambda index: widths[index],
        )
        widths[index] -= 1
    if columns and firm and sum(widths) - 2 > columns:
        return _stack_firm_columns(rows, columns, firm)
    cells = [[elide_middle(cell, width - 2) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _stack_firm_columns(rows: Sequence[Sequence[str]], columns: int, firm: Container[int]) -> list[str]:
    titles = rows[0]
    shrinkable = [index for index in range(len(titles)) if index not in firm]
    head, *lines = table([[row[index] for index in shrinkable] for row in rows], columns)
    out = [head]
    for row, line in zip(rows[1:], lines, strict=True):
        out += [
            line,
            *_fill_lines(
                [f"{titles[index]} {row[index]}".strip() for index in range(len(row)) if index in firm], columns
            ),
        ]
    return out


def _fill_lines(pairs: Sequence[str], columns: int) -> list[str]:
    """Join as many pairs on a line as fit into the columns."""
    lines: list[str] = []
    for pair in pairs:
        if lines and visible_width(lines[-1]) + 2 + visible_width(pair) <= columns:
            lines[-1] += f"  {pair}"
        else:
            lines.append(f"    {pair}")
    return lines


def format_envs(spec: Spec, style: Style, columns: int = 0) -> str:
    """One line per env, and, if there are services, one per service; if a line would be wider than `columns`, the name
    of each and below it its base, layers and all else."""
    services = all_services(spec)
    rows = [("env", "base", "layers", "tasks", *(["services"] if services else []))]
    rows += [
        (
            *_stack_columns(env.name, env),
            _names(f"{task.name}{describe_settings(task, env.name)}" for task in env.tasks),
            *([_names(service.name for service in env.services)] if services else []),
        )
        for env in spec.envs
    ]
    tables = [_format_stacks(rows, style, columns)]
    if services:
        rows = [("service", "base", "layers", "kind", "needs")]
        rows += [
            (
                *_stack_columns(service.env.name.removeprefix("service:"), service.env),
                service.kind or "-",
                _names(service.needs),
            )
            for service in services
        ]
        tables.append(_format_stacks(rows, style, columns))
    return "\n\n".join(tables)


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(one_line, names)) or "-"


def _stack_columns(name: str, env: Env) -> tuple[str, str, str]:
    """Returns the name of an env or service, its base and its layers."""
    base = env.base.name if env.base.name == env.base.kind else f"{one_line(env.base.name)} ({env.base.kind})"
    return one_line(name), base, _names(layer.name for layer in env.layers)


def _format_stacks(rows: Sequence[tuple[str, ...]], style: Style, columns: int) -> str:
    """Returns a table, or where a line would be too wide, a block for each row; the first row has the titles."""
    head, *lines = table(rows)
    if not columns or max(map(visible_width, (head, *lines))) <= columns:
        return "\n".join([style.paint("2", head), *lines])
    lines = []
    width = max(8, *(visible_width(title) + 2 for title in rows[0][1:]))
    for name, *others in rows[1:]:
        lines.append(style.paint("1", fit_lines(name, columns)))
        pairs = zip(rows[0][1:], others, strict=True)
        lines += [fit_lines(f"  {pad(title, width)}{names}", columns, indent=width) for title, names in pairs]
    return "\n".join(lines)


def envs_json(spec: Spec) -> Json:
    """The object of `list` (docs/json.md)."""
    return {
        "file": spec.file,
        "root": spec.root,
        "envs": [
            {
                "name": env.name,
                "group": env.group,
                "point": {**env.point},
                "base": {"name": env.base.name, "kind": env.base.kind},
                "layers": [{"name": layer.name, "kind": layer.kind} for layer in env.layers],
                "tasks": [task.name for task in env.tasks],
                **_settings_json(env.tasks),
                "where": str(env.where),
                "services": [service.env.name for service in env.services],
            }
            for env in spec.envs
        ],
        "services": _services_json(spec),
        "pipeline": [*spec.pipeline],
    }


def _settings_json(tasks: Sequence[Task]) -> dict[str, Json]:
    """What the spec says about the runs of the tasks of an env, each by the task."""
    return {
        "needs": {task.name: [f"{needed}@{env}" for env, needed in task.needs] for task in tasks if task.needs},
        "caches": {task.name: [use.target for use in task.caches] for task in tasks if task.caches},
        "inputs": {task.name: task.inputs for task in tasks if task.inputs != "all"},
        "retries": {task.name: task.retries for task in tasks if task.retries},
        "limits": {
            task.name: {name: limit.value for name, limit in task.limits.items()} for task in tasks if task.limits
        },
    }


def _services_json(spec: Spec) -> list[Json]:
    """The services of `list`: one of each stack."""
    return [
        {
            "name": service.name,
            "host": service.host,
            "kind": service.kind,
            "stack": service.env.name,
            "base": {"name": service.env.base.name, "kind": service.env.base.kind},
            "layers": [{"name": layer.name, "kind": layer.kind} for layer in service.env.layers],
            "needs": [*service.needs],
            "once": service.once,
            "replicas": service.replicas,
            "ports": [*service.ports],
            "provides": [*service.provides],
            "where": str(service.where),
        }
        for service in all_services(spec)
    ]


def plan_json(plan: Plan) -> Json:
    """The object of `plan` (docs/json.md)."""

    def stacks(planned: Sequence[PlannedEnv]) -> list[Json]:
        return [
            {
                "name": env.name,
                "tasks": [*env.tasks],
                "steps": [_step_json(step) for step in env.steps],
                "rounds": env.rounds,
                **_settings_json(env.specs),
            }
            for env in planned
        ]

    return {"envs": stacks(plan.envs), "notes": [*plan.notes], "services": stacks(plan.services)}


def _step_json(step: PlannedStep) -> Json:
    document = {**step._asdict(), "where": step.where and asdict(step.where)}
    del document["on"]
    return document


def format_fetch(result: GatheredFiles) -> str:
    """As in: 97 files, 45 MB; 12 fetched, 3.1 MB."""
    total = f"{pluralize(len(result.files), 'file')}, {size(sum(item.size for item in result.files))}"
    new = f"{result.fetched} fetched, {size(result.fetched_bytes)}" if result.fetched else "all of them were here"
    return f"{total}; {new}" if result.files else "these envs need no files"


def fetch_json(result: GatheredFiles) -> Json:
    """The last object of `fetch` (docs/json.md)."""
    files: list[Json] = [
        {"sha256": item.fetch.sha256, "size": item.size, "names": [*item.names], "needed_by": [*item.needed_by]}
        for item in result.files
    ]
    return {"event": "fetched", "files": files, "fetched": result.fetched, "fetched_bytes": result.fetched_bytes}


def format_vendor(report: VendorReport) -> str:
    """As in: envtool.vendor: 97 files, 45 MB; 12 written, 3 removed."""
    actions = [f"{report.written} written" if report.written else "nothing to write"]
    actions += [f"{report.removed} removed"] if report.removed else []
    return (
        f"{report.path}: {pluralize(report.written + report.kept, 'file')}, {size(report.size)}; {', '.join(actions)}"
    )


def vendor_json(report: VendorReport) -> Json:
    """The last object of `vendor` (docs/json.md)."""
    document: dict[str, Json] = asdict(report)
    return {"event": "vendored", **document}


def format_export(result: ExportResult) -> str:
    """As in: unit.tar: localhost/unit:latest, 4 layers, 41 MB, sha256:…"""
    path = "standard output" if result.target.path == "-" else result.target.path
    return f"{path}: {_format_image(result)}, {result.digest}" if result.digest else f"{path}: uses {result.name}"


def export_json(result: ExportResult) -> Json:
    """The last object of `export` (docs/json.md)."""
    return {
        "event": "exported",
        "format": result.target.form,
        "path": result.target.path,
        **{name: item for name, item in asdict(result).items() if name != "target"},
    }


def format_push(result: PushResult) -> str:
    """As in: registry.example/unit:1.4: 4 layers, 41 MB, 2.1 MB sent."""
    sent = f"{size(result.sent)} sent" if result.sent else "all of it there already"
    return f"{_format_image(result)}; {sent}"


def push_json(result: PushResult) -> Json:
    """The last object of `push` (docs/json.md)."""
    document: dict[str, Json] = asdict(result)
    return {"event": "pushed", **document}


def _format_image(result: ExportResult | PushResult) -> str:
    return f"{result.name}, {pluralize(len(result.layers), 'layer')}, {size(result.size)}"


def format_lock(result: LockResult, columns: int = 0) -> str:
    """A table of what changed, and the sum."""
    state = "written" if result.written else "unchanged"
    entries = "1 base or layer" if result.entries == 1 else f"{result.entries} bases and layers"
    sums = [fit_lines(f"{result.file}: {entries} locked, {state}", columns)]
    if result.behind:
        options = " ".join(f"--platform {name}" for name in result.behind)
        sums.append(fit_lines(f"no longer fitting: {', '.join(result.behind)} (`envtool lock {options}`)", columns))
    if not result.changes:
        return "\n".join(sums)
    platforms = len({change.platform for change in result.changes}) > 1
    rows = [("what", "name", "old", "new", *(["platform"] if platforms else []))]
    rows += [
        (row.entry, row.name or "-", *_lock_cells(row), *([row.platform] if platforms else []))
        for row in result.changes
    ]
    return "\n".join([*table(rows, columns), "", *sums])


def _lock_cells(change: LockChange) -> tuple[str, str]:
    old, new = ((change.counts or value) if value else "-" for value in (change.old, change.new))
    return old, new


def lock_json(result: LockResult) -> Json:
    """The last object of `lock` (docs/json.md)."""
    return {
        "event": "lock",
        "file": result.file,
        "written": result.written,
        "entries": result.entries,
        "behind": [*result.behind],
        "changes": [
            {name: value for name, value in asdict(each).items() if name != "counts"} for each in result.changes
        ],
    }


def format_checks(checks: Sequence[Check], style: Style, *, quiet: bool = False, columns: int = 0) -> str:
    """One line per check, below a bad one the command that mends it, and a last line for all."""
    lines: list[str] = []
    for check in checks:
        if quiet and check.state == "ok":
            continue
        sign, code = _SIGNS[check.state]
        line = f" {style.paint(code, style.glyphs(sign))} {check.name}: {check.text}"
        lines.append(fit_lines(line, columns))
        if check.mend:
            lines += [f"   {line}" for line in check.mend.splitlines()]
    states = {check.state for check in checks}
    last = "containers run here: `envtool test` runs a project, `envtool init` begins one"
    if "fail" in states:
        last = (
            f"envtool cannot work here until what is marked {style.glyphs('✗')} is fixed; then again: `envtool doctor`"
        )
    elif "warn" in states:
        last = "containers run here; what is marked ! would be better fixed; then again: `envtool doctor`"
    return "\n".join(lines if quiet and lines == [] else [*lines, "", fit_lines(last, columns)])


def checks_json(checks: Iterable[Check]) -> Json:
    """The object of `doctor` (docs/json.md)."""
    return {
        "checks": [
            {"name": check.name, "state": check.state, "text": check.text, "mend": check.mend} for check in checks
        ]
    }
