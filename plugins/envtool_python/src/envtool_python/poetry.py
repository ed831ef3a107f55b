"""Poetry's own notation of dependencies -> PEP 508 lines. Pure.

Format: https://python-poetry.org/docs/dependency-specification/ and /pyproject/. Where a dependency comes from (path,
git, url, source) is not said by its line: `sources.py` knows that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The table under a key; an empty one where there is none."""
    found = value.get(key, {})
    return found if isinstance(found, dict) else {}


def poetry_groups(tools: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Poetry's groups as PEP 735 would write them."""
    poetry = table(tools, "poetry")
    found: dict[str, list[Any]] = {}
    for name, group in table(poetry, "group").items():
        included = group.get("include-groups", ()) if isinstance(group, dict) else ()
        found[name] = [*({"include-group": str(other)} for other in included), *_lines(table(group, "dependencies"))]
    if poetry.get("dev-dependencies"):
        found.setdefault("dev", _lines(table(poetry, "dev-dependencies")))
    return found


def poetry_dependencies(tools: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What a project that Poetry describes requires, and its extras."""
    poetry = table(tools, "poetry")
    needed = table(poetry, "dependencies")
    plain = {name: value for name, value in needed.items() if not _optional(value)}
    by_name = {_normal(name): (name, value) for name, value in needed.items()}
    extras = {
        str(extra): tuple(
            line
            for name in (names if isinstance(names, list) else ())
            if _normal(name) in by_name
            for line in poetry_lines(*by_name[_normal(name)])
        )
        for extra, names in table(poetry, "extras").items()
    }
    return tuple(_lines(plain)), extras


def _optional(value: Any) -> bool:
    found = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and item.get("optional") for item in found)


def _normal(name: object) -> str:
    return re.sub(r"[-_.]+", "-", str(name)).lower()


def _lines(dependencies: Mapping[str, Any]) -> list[str]:
    return [
        line for name, value in dependencies.items() if name.lower() != "python" for line in poetry_lines(name, value)
    ]


def poetry_lines(package: str, value: Any) -> list[str]:
    """A dependency in Poetry's notation as PEP 508 lines."""
    if isinstance(value, list):
        return [line for item in value for line in poetry_lines(package, item)]
    if isinstance(value, str):
        return [package + poetry_version(value)]
    if not isinstance(value, dict):
        return []
    extras = f"[{','.join(map(str, value['extras']))}]" if value.get("extras") else ""
    markers = [f"({value['markers']})"] if value.get("markers") else []
    bounds = re.findall(r"(<=|>=|==|!=|<|>)\s*([\d.]+\*?)", poetry_version(str(value.get("python", ""))))
    markers += [f"python_version {bound[0]} '{bound[1].removesuffix('.*')}'" for bound in bounds]
    if isinstance(value.get("platform"), str):
        markers.append(f"sys_platform == '{value['platform']}'")
    marked = f"; {' and '.join(markers)}" if markers else ""
    return [package + extras + poetry_version(str(value.get("version", "*"))) + marked]


def poetry_version(text: str) -> str:
    """`^1.2` and `~1.2` as ranges; a bare version means exactly that one; `*` anything. Of `a || b`, which PEP 508
    cannot say, all from the lower end of the first to the upper end of the last."""
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
                keep = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
            else:
                keep = min(1, len(numbers) - 1)
            upper = [*numbers[:keep], numbers[keep] + 1]
            parts.append(f">={match.group(2)}{match.group(3)},<{'.'.join(map(str, upper))}")
        elif part and part != "*":
            parts.append(part.replace(" ", "") if part[0] in "<>=!~" else f"=={part}")
    return ",".join(parts)
