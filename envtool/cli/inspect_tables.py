"""What `inspect` and `diff` print: tables for people, values for `--json` (docs/json.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from envtool.cli.tables import table
from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import elide_middle, fit_lines, one_line, visible_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envtool.model import Json

MAX_ROWS = 20  # rows of packages and directories; --files and --json have all
SIGNS = {"added": ("+", "32"), "removed": ("-", "31"), "changed": ("~", "33")}


def format_inspection(report: Any, style: Style, columns: int = 0) -> Iterator[str]:
    """The lines of any of the three reports, in no more than `columns` (0: without end)."""
    if hasattr(report, "said"):
        lines = _path_lines(report, style)
    else:
        lines = (_env_lines if hasattr(report, "steps") else _layer_lines)(report, style, columns)
    return (fit_lines(line, columns) for line in lines)


def _layer_lines(report: Any, style: Style, columns: int) -> Iterator[str]:
    member, layer = report.member, report.member.layer
    yield style.paint("1", f"{member.subject} {one_line(member.name)}") + f"  {one_line(member.kind)}"
    rows = [("key", layer.key), ("diff ID", layer.diff_id)]
    if said := _format_built(report.built):
        rows.append(("built", said))
    rows.append(("size", f"{size(member.disk)} on the disk, {size(report.sums.size)} in {_format_counts(report.sums)}"))
    if report.brought is None:
        rows.append(("packages", "not known: what it stands on is not in the store"))
    elif report.brought:
        rows.append(("packages", pluralize(len(report.brought), "package")))
    yield from (f"  {line}" for line in table(rows))
    names = [f"{each.type} {one_line(each.name)} {one_line(each.version)}" for each in report.brought or ()]
    yield from _first_rows("brought", names, style)
    yield from _largest_lines(report.sums, style, columns)
    yield from _file_lines(report.files, (), style, columns)


def _format_built(built: Any) -> str:
    if not built.get("time"):
        return ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(built["time"])))
    return f"{when} for {one_line(str(built.get('where', '')))} of {one_line(str(built.get('project', '')))}"


def _format_counts(sums: Any) -> str:
    words = [pluralize(count, kind) for kind, count in sorted(sums.types.items(), key=lambda pair: -pair[1])]
    return ", ".join(words).replace("directorys", "directories") or "nothing"


def _env_lines(report: Any, style: Style, columns: int) -> Iterator[str]:
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


def _largest_lines(sums: Any, style: Style, columns: int) -> Iterator[str]:
    if sums.directories:
        yield style.paint("2", "largest directories")
        yield from (f"  {line}" for line in _size_rows([(count, path) for path, count in sums.directories], columns))
        yield style.paint("2", "largest files")
        yield from (f"  {line}" for line in _size_rows([(each.size, each.path) for each in sums.files], columns))


def _size_rows(rows: Sequence[tuple[int, str]], columns: int) -> list[str]:
    return table([(size(count), one_line(path)) for count, path in rows], _width_inside_indent(columns), firm=(0,))


def _width_inside_indent(columns: int) -> int:
    """What is left of a screen beside the two blanks before a row."""
    return max(columns - 2, 1) if columns else 0


def _first_rows(title: str, rows: Sequence[str], style: Style) -> Iterator[str]:
    if rows:
        yield style.paint("2", title)
        yield from (f"  {row}" for row in rows[:MAX_ROWS])
        if len(rows) > MAX_ROWS:
            yield f"  {style.glyphs('…')} and {len(rows) - MAX_ROWS} more (--json has all)"


def _file_lines(files: Sequence[Any], names: Sequence[str], style: Style, columns: int) -> Iterator[str]:
    if files:
        yield style.paint("2", "files")
    for each in files:
        name = f"  {one_line(names[each.layer])}" if names else ""
        entry, path = f"  {_format_entry(each)}", one_line(each.path)
        if not columns or visible_width(f"{entry}  {path}{name}") <= columns:
            yield f"{entry}  {path}{name}"
            continue
        yield entry
        name = elide_middle(name, columns // 3)
        yield f"    {elide_middle(path, columns - 4 - visible_width(name))}{name}"


def _format_entry(each: Any) -> str:
    return f"{each.type[:9]:9} {each.mode:04o} {f'{each.uid}:{each.gid}':>9} {each.size:>11}"


def _path_lines(report: Any, style: Style) -> Iterator[str]:
    seen = [each for each in report.said if each.seen]
    yield style.paint("1", one_line(report.path)) + ("" if report.there else "  not there")
    rows = []
    for each in reversed(report.said):
        word = "is from" if each is seen[-1:] or (seen and each is seen[-1]) else "and from" if each.seen else "hides"
        if not report.there:
            word = "was in"
        if each.file.type == "deletion":
            word = "deleted by"
        member = each.member
        shown = "" if each.file.type == "deletion" else _format_file(each.file)
        rows.append((word, f"{member.subject} {one_line(member.name)}", f"({one_line(member.kind)})", shown))
    yield from (f"  {line}" for line in table(rows))
    for package in report.owners:
        name = f"{package.namespace}/{package.name}" if package.type == "npm" and package.namespace else package.name
        yield f"  belongs to  {package.type} {one_line(name)} {one_line(package.version)}"


def _format_file(each: Any) -> str:
    length = f", {size(each.size)}" if each.type == "file" else ""
    return f"{each.type} {each.mode:04o} {each.uid}:{each.gid}{length}"


def inspection_json(report: Any) -> Json:
    """The object of `inspect`."""
    if hasattr(report, "said"):
        return {
            "path": report.path,
            "there": report.there,
            "said": [
                {**_layer_json(each.member), **_file_json(each.file), "seen": each.seen, "path": report.path}
                for each in report.said
            ],
            "owners": [_package_json(each) for each in report.owners],
        }
    if hasattr(report, "steps"):
        return {
            "env": report.env,
            "stack": [
                {**_layer_json(each.member), "entries": each.entries, "seen": each.seen} for each in report.steps
            ],
            "packages": dict(report.packages),
            **_totals_json(report.sums),
            "files": [{**_file_json(each), "layer": each.layer} for each in report.files],
        }
    layer = report.member.layer
    return {
        **_layer_json(report.member),
        "built": dict(report.built),
        "below": [*report.below],
        "tar": layer.size,
        "brought": None if report.brought is None else [_package_json(each) for each in report.brought],
        **_totals_json(report.sums),
        "files": [_file_json(each) for each in report.files],
    }


def _layer_json(member: Any) -> dict[str, Json]:
    return {
        "subject": member.subject,
        "name": member.name,
        "kind": member.kind,
        "key": member.layer.key,
        "diff_id": member.layer.diff_id,
        "disk": member.disk,
    }


def _totals_json(sums: Any) -> dict[str, Json]:
    return {
        "entries": sums.entries,
        "types": dict(sums.types),
        "size": sums.size,
        "directories": [{"path": path, "size": count} for path, count in sums.directories],
        "largest": [_file_json(each) for each in sums.files],
    }


def _file_json(each: Any) -> dict[str, Json]:
    return {
        "path": each.path,
        "type": each.type,
        "mode": each.mode,
        "uid": each.uid,
        "gid": each.gid,
        "size": each.size,
    }


def _package_json(each: Any) -> Json:
    return {"type": each.type, "namespace": each.namespace, "name": each.name, "version": each.version}


def format_comparison(value: Any, style: Style, *, files: bool, columns: int = 0) -> Iterator[str]:
    """Packages, then files, by directory or each, in no more than `columns` (0: without end)."""
    return (fit_lines(line, columns) for line in _comparison_lines(value, style, files, columns))


def _comparison_lines(value: Any, style: Style, files: bool, columns: int) -> Iterator[str]:
    found = value.difference
    if found.packages:
        yield style.paint("2", _format_heading("package", found.packages))
        rows = [
            (SIGNS[each.how][0], each.type, one_line(each.name), one_line(", ".join(each.old)) or "-",
             one_line(", ".join(each.new)) or "-")
            for each in found.packages
        ]  # fmt: skip
        yield from _paint_rows(rows, [each.how for each in found.packages], style, columns)
    if not found.files:
        return
    yield style.paint("2", _format_heading("path", found.files))
    if files:
        for each in found.files:
            sign, code = SIGNS[each.how]
            yield f"  {style.paint(code, sign)} {one_line(each.path)}{_format_change(each)}"
        return
    places = [
        (one_line(each.path), *(f"{sign}{count}" if count else "" for sign, count in
         (("+", each.added), ("-", each.removed), ("~", each.changed))), _format_growth(each.size))
        for each in found.places[:MAX_ROWS]
    ]  # fmt: skip
    yield from (f"  {line}" for line in table(places, _width_inside_indent(columns), firm=range(1, 5)))
    if len(found.places) > MAX_ROWS:
        yield f"  {style.glyphs('…')} and {len(found.places) - MAX_ROWS} more directories (--files lists all)"


def _format_heading(word: str, found: Sequence[Any]) -> str:
    counts = [(how, sum(each.how == how for each in found)) for how in SIGNS]
    return f"{pluralize(len(found), word)}: {', '.join(f'{count} {how}' for how, count in counts if count)}"


def _paint_rows(rows: Sequence[Sequence[str]], hows: Sequence[str], style: Style, columns: int) -> Iterator[str]:
    for line, how in zip(table(rows, _width_inside_indent(columns)), hows, strict=True):
        yield f"  {style.paint(SIGNS[how][1], line[:1])}{line[1:]}"


def _format_growth(value: int) -> str:
    return f"{'+' if value > 0 else '-'}{size(abs(value))}" if value else ""


def _format_change(each: Any) -> str:
    if each.how != "changed":
        return ""
    old, new = each.old, each.new
    words = {
        "type": f"{old.letter} {new.letter}",
        "content": f"content {old.size} {new.size}",
        "mode": f"mode {old.mode:04o} {new.mode:04o}",
        "owner": f"owner {old.uid}:{old.gid} {new.uid}:{new.gid}",
    }
    return "  " + ", ".join(words.get(kind, kind) for kind in each.kinds)


def comparison_json(value: Any) -> Json:
    """The object of `diff`."""
    found = value.difference
    return {
        "same": found.same,
        "first": _side_json(value.first),
        "second": _side_json(value.second),
        "packages": [
            {"type": each.type, "name": each.name, "how": each.how, "old": [*each.old], "new": [*each.new]}
            for each in found.packages
        ],
        "files": [
            {
                "path": each.path,
                "how": each.how,
                "kinds": [*each.kinds],
                "old": _entry_json(each.old),
                "new": _entry_json(each.new),
            }
            for each in found.files
        ],
    }


def _side_json(found: Any) -> Json:
    return {"env": found.env, "layers": [member.layer.key for member in found.members]}


def _entry_json(each: Any) -> Json:
    return None if each is None else {**each._asdict(), "size": each.size}
