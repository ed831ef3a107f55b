"""Text and JSON of `inspect` and `diff` (docs/json.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from envtool.cli.tables import table
from envtool.fs.sizes import format_size as size
from envtool.inspect.contents import EnvReport, FileTotals, LayerReport, ListedFile, PathReport, PlacedLayer
from envtool.report.formatting import Style, pluralize
from envtool.report.text import elide_middle, fit_lines, one_line, visible_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envtool.api import Package
    from envtool.app.inspection import Comparison, InspectSubject
    from envtool.inspect.diff import ChangedFile, ChangedPackage
    from envtool.model import Json
    from envtool.store.overlay_view import OverlayEntry

MAX_ROWS = 20  # rows of packages and directories; --files and --json list all
SIGNS = {"added": ("+", "32"), "removed": ("-", "31"), "changed": ("~", "33")}


def format_inspection(report: LayerReport | EnvReport | PathReport, style: Style, columns: int = 0) -> Iterator[str]:
    """The lines of any of the three reports, in at most `columns` (0: any number)."""
    if isinstance(report, PathReport):
        lines = _path_lines(report, style)
    elif isinstance(report, EnvReport):
        lines = _env_lines(report, style, columns)
    else:
        lines = _layer_lines(report, style, columns)
    return (fit_lines(line, columns) for line in lines)


def _layer_lines(report: LayerReport, style: Style, columns: int) -> Iterator[str]:
    member, layer = report.member, report.member.layer
    yield style.paint("1", f"{member.subject} {one_line(member.name)}") + f"  {one_line(member.kind)}"
    rows = [("key", layer.key), ("diff ID", layer.diff_id)]
    if built := _format_built(report.built):
        rows.append(("built", built))
    rows.append(("size", f"{size(member.disk)} on the disk, {size(report.sums.size)} in {_format_counts(report.sums)}"))
    if report.brought is None:
        rows.append(("packages", "not known: the layers below are not in the store"))
    elif report.brought:
        rows.append(("packages", pluralize(len(report.brought), "package")))
    yield from (f"  {line}" for line in table(rows))
    names = [f"{package.type} {one_line(package.name)} {one_line(package.version)}" for package in report.brought or ()]
    yield from _first_rows("brought", names, style)
    yield from _largest_lines(report.sums, style, columns)
    yield from _file_lines(report.files, (), style, columns)


def _format_built(built: Mapping[str, Json]) -> str:
    seconds = built.get("time")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds:
        return ""
    try:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):  # not a time: layer.json was changed
        return ""
    return f"{when} for {one_line(str(built.get('where', '')))} of {one_line(str(built.get('project', '')))}"


def _format_counts(sums: FileTotals) -> str:
    counts = [pluralize(count, kind) for kind, count in sorted(sums.types.items(), key=lambda pair: -pair[1])]
    return ", ".join(counts).replace("directorys", "directories") or "nothing"


def _env_lines(report: EnvReport, style: Style, columns: int) -> Iterator[str]:
    yield (
        style.paint("1", f"env {one_line(report.env)}") + f"  {size(report.sums.size)} in {_format_counts(report.sums)}"
    )
    rows = [("", "name", "kind", "entries", "disk", "seen", "key")]
    for step in report.steps:
        member = step.member
        rows.append(
            (
                member.subject,
                one_line(member.name),
                one_line(member.kind),
                str(step.entries),
                size(member.disk),
                size(step.seen),
                member.layer.key[:12],
            )
        )
    head, *body = table(rows, _width_inside_indent(columns), firm=(0, 3, 4, 5, 6))
    yield style.paint("2", f"  {head}")
    yield from (f"  {line}" for line in body)
    if report.packages:
        yield f"packages: {', '.join(f'{count} {kind}' for kind, count in sorted(report.packages.items()))}"
    yield from _largest_lines(report.sums, style, columns)
    yield from _file_lines(report.files, [step.member.name for step in report.steps], style, columns)


def _largest_lines(sums: FileTotals, style: Style, columns: int) -> Iterator[str]:
    if sums.directories:
        yield style.paint("2", "largest directories")
        yield from (f"  {line}" for line in _size_rows([(count, path) for path, count in sums.directories], columns))
        yield style.paint("2", "largest files")
        yield from (f"  {line}" for line in _size_rows([(file.size, file.path) for file in sums.files], columns))


def _size_rows(rows: Sequence[tuple[int, str]], columns: int) -> list[str]:
    return table([(size(count), one_line(path)) for count, path in rows], _width_inside_indent(columns), firm=(0,))


def _width_inside_indent(columns: int) -> int:
    """The columns that remain beside the two blanks before a row."""
    return max(columns - 2, 1) if columns else 0


def _first_rows(title: str, rows: Sequence[str], style: Style) -> Iterator[str]:
    if rows:
        yield style.paint("2", title)
        yield from (f"  {row}" for row in rows[:MAX_ROWS])
        if len(rows) > MAX_ROWS:
            yield f"  {style.glyphs('…')} and {len(rows) - MAX_ROWS} more (--json has all)"


def _file_lines(files: Sequence[ListedFile], names: Sequence[str], style: Style, columns: int) -> Iterator[str]:
    if files:
        yield style.paint("2", "files")
    for file in files:
        name = f"  {one_line(names[file.layer])}" if names else ""
        attributes, path = f"  {_format_entry(file)}", one_line(file.path)
        if not columns or visible_width(f"{attributes}  {path}{name}") <= columns:
            yield f"{attributes}  {path}{name}"
            continue
        yield attributes
        name = elide_middle(name, columns // 3)
        yield f"    {elide_middle(path, columns - 4 - visible_width(name))}{name}"


def _format_entry(file: ListedFile) -> str:
    return f"{file.type[:9]:9} {file.mode:04o} {f'{file.uid}:{file.gid}':>9} {file.size:>11}"


def _path_lines(report: PathReport, style: Style) -> Iterator[str]:
    seen = [entry for entry in report.said if entry.seen]
    yield style.paint("1", one_line(report.path)) + ("" if report.there else "  not there")
    if report.mounted:
        yield f"  is this machine's own: its {one_line(report.mounted)} is mounted read-only, and no layer has it"
    rows = []
    for entry in () if report.mounted else reversed(report.said):
        word = "is from" if seen and entry is seen[-1] else "and from" if entry.seen else "hides"
        if not report.there:
            word = "was in"
        if entry.file.type == "deletion":
            word = "deleted by"
        member = entry.member
        attributes = "" if entry.file.type == "deletion" else _format_file(entry.file)
        rows.append((word, f"{member.subject} {one_line(member.name)}", f"({one_line(member.kind)})", attributes))
    yield from (f"  {line}" for line in table(rows))
    for package in report.owners:
        yield f"  belongs to  {package.type} {one_line(package.display_name)} {one_line(package.version)}"


def _format_file(file: ListedFile) -> str:
    length = f", {size(file.size)}" if file.type == "file" else ""
    return f"{file.type} {file.mode:04o} {file.uid}:{file.gid}{length}"


def inspection_json(report: LayerReport | EnvReport | PathReport) -> Json:
    """The object of `inspect`."""
    if isinstance(report, PathReport):
        return {
            "path": report.path,
            "there": report.there,
            "mounted": report.mounted,
            "said": [
                {**_layer_json(entry.member), **_file_json(entry.file), "seen": entry.seen, "path": report.path}
                for entry in report.said
            ],
            "owners": [_package_json(package) for package in report.owners],
        }
    if isinstance(report, EnvReport):
        return {
            "env": report.env,
            "stack": [
                {**_layer_json(step.member), "entries": step.entries, "seen": step.seen} for step in report.steps
            ],
            "packages": dict(report.packages),
            **_totals_json(report.sums),
            "files": [{**_file_json(file), "layer": file.layer} for file in report.files],
        }
    layer = report.member.layer
    return {
        **_layer_json(report.member),
        "built": dict(report.built),
        "below": [*report.below],
        "tar": layer.size,
        "brought": None if report.brought is None else [_package_json(package) for package in report.brought],
        **_totals_json(report.sums),
        "files": [_file_json(file) for file in report.files],
    }


def _layer_json(member: PlacedLayer) -> dict[str, Json]:
    return {
        "subject": member.subject,
        "name": member.name,
        "kind": member.kind,
        "key": member.layer.key,
        "diff_id": member.layer.diff_id,
        "disk": member.disk,
    }


def _totals_json(sums: FileTotals) -> dict[str, Json]:
    return {
        "entries": sums.entries,
        "types": dict(sums.types),
        "size": sums.size,
        "directories": [{"path": path, "size": count} for path, count in sums.directories],
        "largest": [_file_json(file) for file in sums.files],
    }


def _file_json(file: ListedFile) -> dict[str, Json]:
    return {
        "path": file.path,
        "type": file.type,
        "mode": file.mode,
        "uid": file.uid,
        "gid": file.gid,
        "size": file.size,
    }


def _package_json(package: Package) -> Json:
    return {"type": package.type, "namespace": package.namespace, "name": package.name, "version": package.version}


def format_comparison(comparison: Comparison, style: Style, *, files: bool, columns: int = 0) -> Iterator[str]:
    """Packages, then differences by directory or (with `files`) by path, in at most `columns` (0: any number)."""
    return (fit_lines(line, columns) for line in _comparison_lines(comparison, style, files, columns))


def _comparison_lines(comparison: Comparison, style: Style, files: bool, columns: int) -> Iterator[str]:
    differences = comparison.difference
    if differences.packages:
        yield style.paint("2", _format_heading("package", differences.packages))
        rows = [
            (SIGNS[item.how][0], item.type, one_line(item.name), one_line(", ".join(item.old)) or "-",
             one_line(", ".join(item.new)) or "-")
            for item in differences.packages
        ]  # fmt: skip
        yield from _paint_rows(rows, [item.how for item in differences.packages], style, columns)
    if not differences.files:
        return
    yield style.paint("2", _format_heading("path", differences.files))
    if files:
        for item in differences.files:
            sign, code = SIGNS[item.how]
            yield f"  {style.paint(code, sign)} {one_line(item.path)}{_format_change(item)}"
        return
    directories = [
        (one_line(item.path), *(f"{sign}{count}" if count else "" for sign, count in
         (("+", item.added), ("-", item.removed), ("~", item.changed))), _format_growth(item.size))
        for item in differences.places[:MAX_ROWS]
    ]  # fmt: skip
    yield from (f"  {line}" for line in table(directories, _width_inside_indent(columns), firm=range(1, 5)))
    if len(differences.places) > MAX_ROWS:
        hidden = len(differences.places) - MAX_ROWS
        noun = "directory" if hidden == 1 else "directories"
        yield f"  {style.glyphs('…')} and {hidden} more {noun} (--files lists all)"


def _format_heading(word: str, changes: Sequence[ChangedPackage | ChangedFile]) -> str:
    counts = [(how, sum(change.how == how for change in changes)) for how in SIGNS]
    return f"{pluralize(len(changes), word)}: {', '.join(f'{count} {how}' for how, count in counts if count)}"


def _paint_rows(rows: Sequence[Sequence[str]], hows: Sequence[str], style: Style, columns: int) -> Iterator[str]:
    for line, how in zip(table(rows, _width_inside_indent(columns)), hows, strict=True):
        yield f"  {style.paint(SIGNS[how][1], line[:1])}{line[1:]}"


def _format_growth(value: int) -> str:
    return f"{'+' if value > 0 else '-'}{size(abs(value))}" if value else ""


def _format_change(change: ChangedFile) -> str:
    old, new = change.old, change.new
    if old is None or new is None:  # added or removed
        return ""
    descriptions = {
        "type": f"{old.letter} {new.letter}",
        "content": f"content {old.size} {new.size}",
        "mode": f"mode {old.mode:04o} {new.mode:04o}",
        "owner": f"owner {old.uid}:{old.gid} {new.uid}:{new.gid}",
    }
    return "  " + ", ".join(descriptions.get(kind, kind) for kind in change.kinds)


def comparison_json(comparison: Comparison) -> Json:
    """The object of `diff`."""
    differences = comparison.difference
    return {
        "same": differences.same,
        "first": _side_json(comparison.first),
        "second": _side_json(comparison.second),
        "packages": [
            {
                "type": package.type,
                "name": package.name,
                "how": package.how,
                "old": [*package.old],
                "new": [*package.new],
            }
            for package in differences.packages
        ],
        "files": [
            {
                "path": file.path,
                "how": file.how,
                "kinds": [*file.kinds],
                "old": _entry_json(file.old),
                "new": _entry_json(file.new),
            }
            for file in differences.files
        ],
    }


def _side_json(subject: InspectSubject) -> Json:
    return {"env": subject.env, "layers": [member.layer.key for member in subject.members]}


def _entry_json(entry: OverlayEntry | None) -> Json:
    return None if entry is None else {**entry._asdict(), "size": entry.size}
