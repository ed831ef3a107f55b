"""What of a lock file an environment installs: requirement lines and markers -> packages. Pure.

The markers are those of PEP 508, PEP 751's `extras` and `dependency_groups` among them. A requirement that the lock
does not satisfy stays a requirement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from packaging.requirements import Requirement

    from envtool_python.locked_packages import Edge, LockedRelease, LockFile


_OF_LOCK_FILES = re.compile(r"\b(extras|dependency_groups)\b")  # PEP 751
_PYTHONS = (8, 20)  # minor versions that an env may have


class ContradictoryLockError(ValueError):
    """The lock contradicts itself; the message says where, `line` is that of the package."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(kw_only=True)
class Selection:
    """The locked packages that an environment installs, by name, the lines that the lock does not satisfy, and the
    names that locked packages require and that do not come from the lock."""

    packages: dict[str, LockedRelease] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)
    apart: set[str] = field(default_factory=set)


def marker_environment(info: Mapping[str, Any]) -> dict[str, str]:
    """Returns the variables of markers (PEP 508) for a container's Python, as inside.py reports it."""
    version = str(info.get("version", ""))
    implementation = str(info.get("implementation", "cpython"))
    names = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalVM"}
    return {
        "implementation_name": implementation,
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": str(info.get("platform", "")).removeprefix("linux-"),
        "platform_python_implementation": names.get(implementation, implementation),
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": "linux",
    }


def holds_somewhere(marker: str) -> bool:
    """Whether a marker holds for some CPython on Linux; True for a marker that is none, which pip reports."""
    from packaging.markers import Marker

    try:
        parsed = Marker(marker)
        for minor in range(_PYTHONS[0], _PYTHONS[1]):
            for machine in ("x86_64", "aarch64"):
                environment = marker_environment({"version": f"3.{minor}.9", "platform": f"linux-{machine}"})
                if parsed.evaluate({**environment, "extra": ""}):
                    return True
    except (ValueError, RecursionError):
        return True
    return False


class Selector:
    """Selects from one lock for one environment."""

    def __init__(
        self,
        lock: LockFile,
        environment: Mapping[str, str],
        *,
        extras: Iterable[str] = (),
        groups: Iterable[str] = (),
        apart: Collection[str] = (),
    ) -> None:
        """`apart` are names that do not come from the lock: the project itself, and sources of the spec."""
        self.lock = lock
        self.apart = apart
        self._environment = {**environment, "extra": ""}
        self._sets: dict[str, Any] = {
            "extras": {normal(name) for name in extras},
            "dependency_groups": {normal(name) for name in (*groups, *lock.default_groups)},
        }
        self._verdicts: dict[str, bool] = {}
        self._candidates: dict[tuple[str, str], list[LockedRelease]] = {}  # by name and bounds
        self._named = lock.named()

    def select(self, lines: Iterable[str]) -> Selection:
        """Selects for requirement lines. Raises ContradictoryLockError."""
        selection = Selection()
        if self.lock.flat:
            for package in self.lock.packages:
                if package.name not in self.apart and self._is_for(package):
                    self._add(package, selection)
        for line in lines:
            edge = self._parse(line)
            if edge is None:
                selection.beside.append(line)
            elif self.holds(edge.marker, 0):
                root = self._find(edge, selection)
                if root is None:
                    selection.beside.append(line)
                elif not self.lock.flat:
                    self._walk(root, edge.extras, selection)
        return selection

    def _walk(self, root: LockedRelease, extras: tuple[str, ...], selection: Selection) -> None:
        todo = [(root, extra) for extra in ("", *extras)]
        seen: set[tuple[str, str, str]] = set()
        while todo:
            package, extra = todo.pop()
            if (package.name, package.version, extra) in seen:
                continue
            seen.add((package.name, package.version, extra))
            self._add(package, selection)
            for edge in package.extras.get(extra, ()) if extra else package.edges:
                if not self.holds(edge.marker, package.line):
                    continue
                if edge.name in self.apart:
                    selection.apart.add(edge.name)
                    continue
                required = self._find(edge, selection)
                if required is None:
                    bounds = f" {edge.bounds}" if edge.bounds else ""
                    raise ContradictoryLockError(
                        f"`{package.name}` requires `{edge.name}{bounds}`, which is not locked", package.line
                    )
                todo += [(required, name) for name in ("", *edge.extras)]

    def _add(self, package: LockedRelease, selection: Selection) -> None:
        other = selection.packages.setdefault(package.name, package)
        if other is not package:
            raise ContradictoryLockError(
                f"`{package.name}` is locked to {other.version} and to {package.version} for one environment",
                package.line,
            )

    def _find(self, edge: Edge, selection: Selection) -> LockedRelease | None:
        """Returns the package that an edge requires, None if none satisfies it."""
        chosen = selection.packages.get(edge.name)
        if self.lock.flat:
            return chosen if chosen and is_within(chosen.version, edge.bounds) else None
        key = edge.name, edge.bounds
        if key not in self._candidates:
            self._candidates[key] = [
                package
                for package in self._named.get(edge.name, ())
                if is_within(package.version, edge.bounds) and self._is_for(package)
            ]
        candidates = self._candidates[key]
        return chosen if chosen in candidates else candidates[-1] if candidates else None

    def _is_for(self, package: LockedRelease) -> bool:
        return not package.markers or any(self.holds(marker, package.line) for marker in package.markers)

    def holds(self, marker: str, line: int) -> bool:
        """Whether a marker holds in the environment. Raises ContradictoryLockError for one that is none."""
        if not marker:
            return True
        if marker not in self._verdicts:
            from packaging.markers import Marker

            try:
                parsed = Marker(marker)
                if _OF_LOCK_FILES.search(marker):  # from packaging 25 on
                    self._verdicts[marker] = parsed.evaluate({**self._environment, **self._sets}, context="lock_file")
                else:
                    self._verdicts[marker] = parsed.evaluate(self._environment)
            except (ValueError, RecursionError):
                raise ContradictoryLockError(f"`{marker[:60]}` is no marker", line) from None
        return self._verdicts[marker]

    def _parse(self, line: str) -> Edge | None:
        """Returns a line as an edge; None where the lock has no say: a URL, an option, a name that is apart."""
        requirement = plain_requirement(line)
        if requirement is None or normal(requirement.name) in self.apart:
            return None
        from envtool_python.locked_packages import Edge

        marker = str(requirement.marker) if requirement.marker else ""
        extras = tuple(sorted(map(normal, requirement.extras)))
        bounds = str(requirement.specifier)
        return Edge(name=normal(requirement.name), marker=marker, extras=extras, bounds=bounds)


def plain_requirement(line: str) -> Requirement | None:
    """Returns a line that is a name with bounds and a marker alone; None for every other."""
    from packaging.requirements import Requirement

    try:
        requirement = Requirement(re.split(r"\s--", line, maxsplit=1)[0])
        str(requirement.specifier)  # reads the numbers in it
    except (ValueError, RecursionError):  # InvalidRequirement, or int() of more than 4300 digits, which pip reports
        return None
    return None if requirement.url or " --" in line else requirement


def is_within(version: str, bounds: str) -> bool:
    """Whether a version (PEP 440) is within bounds; a package without a version is within all."""
    from packaging.specifiers import SpecifierSet

    if not bounds or not version:
        return True
    try:
        return SpecifierSet(bounds).contains(version, prereleases=True)
    except ValueError:  # Poetry's notation has more than PEP 440
        return True
