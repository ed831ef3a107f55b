"""Poetry's own notation of dependencies -> PEP 508 lines. Pure.

Format: https://python-poetry.org/docs/dependency-specification/ and /pyproject/. The lines do not contain the source of
a dependency (path, git, url, source): dependency_sources reads it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns the table under a key, or an empty one."""
    inner = value.get(key, {})
    return inner if isinstance(inner, dict) else {}


def poetry_groups(tools: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns Poetry's groups in the format of PEP 735."""
    poetry = table(tools, "poetry")
    groups: dict[str, list[Any]] = {}
    for name, group in table(poetry, "group").items():
        included = group.get("include-groups", ()) if isinstance(group, dict) else ()
        groups[name] = [*({"include-group": str(other)} for other in included), *_lines(table(group, "dependencies"))]
    if poetry.get("dev-dependencies"):
        groups.setdefault("dev", _lines(table(poetry, "dev-dependencies")))
    return groups


def poetry_dependencies(tools: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Returns the requirements of a Poetry project, and its extras."""
    poetry = table(tools, "poetry")
    dependencies = table(poetry, "dependencies")
    required = {name: value for name, value in dependencies.items() if not _optional(value)}
    by_name = {_normal(name): (name, value) for name, value in dependencies.items()}
    extras = {
        str(extra): tuple(
            line
            for name in (names if isinstance(names, list) else ())
            if _normal(name) in by_name
            for line in poetry_lines(*by_name[_normal(name)])
        )
        for extra, names in table(poetry, "extras").items()
    }
    return tuple(_lines(required)), extras


def _optional(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and item.get("optional") for item in items)


def _normal(name: object) -> str:
    return re.sub(r"[-_.]+", "-", str(name)).lower()


def _lines(dependencies: Mapping[str, Any]) -> list[str]:
    return [
        line for name, value in dependencies.items() if name.lower() != "python" for line in poetry_lines(name, value)
    ]


def poetry_lines(package: str, value: Any) -> list[str]:
    """Returns a dependency in Poetry's notation as PEP 508 lines."""
    if isinstance(value, list):
        return [line for item in value for line in poetry_lines(package, item)]
    if isinstance(value, str):
        return [package + poetry_version(value)]
    if not isinstance(value, dict):
        return []
    extras = f"[{','.join(map(str, value['extras']))}]" if value.get("extras") else ""
    markers = [f"({value['markers']})"] if value.get("markers") else []
    markers += _any_of(str(value.get("python", "")), _python_markers)
    markers += _any_of(str(value.get("platform", "")), _platform_markers)
    marked = f"; {' and '.join(markers)}" if markers else ""
    return [package + extras + poetry_version(str(value.get("version", "*"))) + marked]


def _any_of(text: str, read: Callable[[str], list[str]]) -> list[str]:
    """Returns a constraint of alternatives, `a || b` or `a | b`, as a marker; [] for one that always holds."""
    alternatives = [" and ".join(read(part)) for part in re.split(r"\|\|?", text)]
    if not all(alternatives):
        return []
    return alternatives if len(alternatives) == 1 else [f"({' or '.join(alternatives)})"]


def _python_markers(text: str) -> list[str]:
    """Returns bounds of Python's version. `python_version` has two numbers: a longer bound is one of the whole
    version."""
    markers = []
    for operator, bound in re.findall(r"(<=|>=|==|!=|<|>)\s*([\d.]+\*?)", poetry_version(text)):
        version = bound.removesuffix(".*")
        variable = "python_full_version" if version.count(".") > 1 else "python_version"
        markers.append(f"{variable} {operator} '{version if variable == 'python_version' else bound}'")
    return markers


def _platform_markers(text: str) -> list[str]:
    """Returns bounds of `sys.platform`: `linux`, `!=win32`, several of them with commas."""
    bounds = re.findall(r"(==|!=|)\s*([A-Za-z0-9_.-]+)", text)
    return [f"sys_platform {operator or '=='} '{name}'" for operator, name in bounds]


def poetry_version(text: str) -> str:
    """Returns a version bound in PEP 440's notation: `^1.2` and `~1.2` as ranges, a bare version as `==`, `*` as "".

    PEP 508 cannot say `a || b`: the result is the range from the lower end of the first to the upper end of the last.
    """
    if "|" in text:
        ranges = [poetry_version(part).split(",") for part in re.split(r"\|\|?", text)]
        lower = [bound.replace("==", ">=") for bound in ranges[0] if not bound.startswith("<")]
        return ",".join(filter(None, [*lower, *(b.replace("==", "<=") for b in ranges[-1] if not b.startswith(">"))]))
    parts = []
    for part in (piece.strip() for piece in re.split(r",|(?<=[\d*])\s+(?=[<>=!~^])", text)):
        match = re.match(r"^(\^|~(?!=))\s*([0-9]{1,18}(?:\.[0-9]{1,18})*)(?![0-9])(.*)$", part)
        if match:
            numbers = [int(number) for number in match.group(2).split(".")]
            if match.group(1) == "^":
                significant = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
            else:
                significant = min(1, len(numbers) - 1)
            upper = [*numbers[:significant], numbers[significant] + 1]
            parts.append(f">={match.group(2)}{match.group(3)},<{'.'.join(map(str, upper))}")
        elif part and part != "*":
            parts.append(part.replace(" ", "") if part[0] in "<>=!~" else f"=={part}")
    return ",".join(parts)
