"""Resolves package names to all packages that they need, as apt would choose them on an empty system.

Only `Depends` and `Pre-Depends` count. Of several alternatives it takes one that is already chosen, else the first that
exists in a fitting version; of several providers the one with the highest priority."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from envtool.api import ResolveError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.kinds.debian.package_index import DebianPackage, PackageIndex

# `usrmerge | usr-is-merged` would choose the converter and its perl modules. It is not needed: debs are unpacked into a
# tree in which /bin and /lib are links into /usr already.
CONVERTER, USR_MERGED = "usrmerge", "usr-is-merged"


def minimal_system(index: PackageIndex, additional: Iterable[str] = (), *, suite: str) -> list[DebianPackage]:
    """Returns the packages of a minimal system: all that are essential or of priority required, apt, the `additional`
    ones, and the packages that they need. Raises ResolveError."""
    require_packages(index, additional, suite)
    required = [*index.marked("Essential", "yes"), *index.marked("Priority", "required"), "apt"]
    seed = [*dict.fromkeys([*required, *additional])]
    chosen = dependency_closure(index, seed, suite=suite)
    if USR_MERGED in index and CONVERTER not in seed and any(package.name == CONVERTER for package in chosen):
        chosen = dependency_closure(index, [USR_MERGED, *seed], suite=suite)
    return chosen


def dependency_closure(index: PackageIndex, seed: Iterable[str], *, suite: str) -> list[DebianPackage]:
    """Returns all packages that the seed needs, sorted by name. Raises ResolveError for a dependency that cannot be
    satisfied."""
    chosen: dict[str, DebianPackage] = {}
    provided: dict[str, list[DebianPackage]] = {}  # virtual name -> chosen packages that provide it
    queue: list[tuple[str, str]] = [(name, "") for name in seed]
    while queue:
        name, dependent = queue.pop(0)
        package = _named(index, name, dependent, suite)
        if package.name in chosen:
            continue
        chosen[package.name] = package
        for virtual in _provided(package):
            provided.setdefault(virtual, []).append(package)
        pending = {item for item, _ in queue}
        for alternatives in _relations(package):
            if any(_is_satisfied(item, index, chosen, provided, pending) for item in alternatives):
                continue
            queue.append((_choose_alternative(index, alternatives, package, suite), package.name))
            pending.add(queue[-1][0])
    return [chosen[name] for name in sorted(chosen)]


def require_packages(index: PackageIndex, names: Iterable[str], suite: str) -> None:
    """Raises ResolveError (code no-package) that names every package that the index does not have, with similar
    names."""
    missing = [name for name in dict.fromkeys(names) if name not in index and not index.providers(name)]
    if len(missing) == 1:
        raise ResolveError(
            f"no package `{missing[0]}` in {suite}", code="no-package", hint=nearest_name_hint(missing[0], index)
        )
    if missing:
        *first, last = [f"`{name}`" for name in missing]
        similar = [f"`{close_names[0]}` for `{name}`" for name in missing if (close_names := _close(name, index))]
        raise ResolveError(
            f"no packages {', '.join(first)} and {last} in {suite}",
            code="no-package",
            hint=f"did you mean {', '.join(similar)}?" if similar else "",
        )


def nearest_name_hint(name: str, index: Iterable[str]) -> str:
    """Returns a hint, "did you mean …", for a name that is not in the index; "" if no name is similar."""
    similar = _close(name, index)
    return f"did you mean {', '.join(f'`{package}`' for package in similar)}?" if similar else ""


def _close(name: str, index: Iterable[str]) -> list[str]:
    candidates = [candidate for candidate in index if name and (candidate[0] == name[0] or name in candidate)]
    similar = difflib.get_close_matches(name, candidates, n=8, cutoff=0.75)
    matcher = difflib.SequenceMatcher(b=name)

    def rank(candidate: str) -> tuple[float, bool]:
        """Returns a sort key: the most similar name first; of equally similar ones a name that only adds to the end:
        `mak` means `make`, not `mawk`."""
        matcher.set_seq1(candidate)
        return -matcher.ratio(), not candidate.startswith(name)

    return sorted(similar, key=rank)[:3]


def _named(index: PackageIndex, name: str, dependent: str, suite: str) -> DebianPackage:
    if name in index:
        return index[name]
    providers = index.providers(name)
    if providers:
        return providers[0]
    because = f", which `{dependent}` needs" if dependent else ""
    raise ResolveError(
        f"no package `{name}` in {suite}{because}", code="no-package", hint=nearest_name_hint(name, index)
    )


def _provided(package: DebianPackage) -> list[str]:
    return [item.strip().partition(" ")[0].partition(":")[0] for item in package.provides.split(",") if item.strip()]


def _relations(package: DebianPackage) -> list[list[dict[str, object]]]:
    from debian.deb822 import PkgRelation

    relations: list[list[dict[str, object]]] = []
    for text in (package.pre_depends, package.depends):
        if text.strip():
            relations.extend([dict(item) for item in group] for group in PkgRelation.parse_relations(text))
    return relations


def _is_satisfied(
    item: dict[str, object],
    index: PackageIndex,
    chosen: dict[str, DebianPackage],
    provided: dict[str, list[DebianPackage]],
    pending: set[str],
) -> bool:
    name = str(item["name"])
    if name in chosen:
        return _satisfies_relation(chosen[name], item)
    if name in pending:
        return name not in index or _satisfies_relation(index[name], item)
    if item.get("version") is None and name in provided:
        return True
    return any(provider.name in pending or provider.name in chosen for provider in _virtual_providers(item, index))


def _virtual_providers(item: dict[str, object], index: PackageIndex) -> list[DebianPackage]:
    # Only a versioned Provides satisfies a versioned relation. In a minimal system these are rare (perlapi-*, *-abi-*):
    # they have the version in their name, or the archive is built so that they hold.
    return index.providers(str(item["name"]))


def _choose_alternative(
    index: PackageIndex, alternatives: list[dict[str, object]], package: DebianPackage, suite: str
) -> str:
    for item in alternatives:
        name = str(item["name"])
        if name in index and _satisfies_relation(index[name], item):
            return name
        providers = _virtual_providers(item, index)
        if providers:
            return providers[0].name
    text = " | ".join(str(item["name"]) for item in alternatives)
    raise ResolveError(f"package `{package.name}` needs `{text}`, which {suite} does not have", code="unsatisfied")


def _satisfies_relation(package: DebianPackage, item: dict[str, object]) -> bool:
    constraint = item.get("version")
    if not isinstance(constraint, tuple):
        return True
    from debian.debian_support import Version

    relation, required = str(constraint[0]), Version(str(constraint[1]))
    version = Version(package.version)
    match relation:
        case ">=":
            return bool(version >= required)
        case "<=":
            return bool(version <= required)
        case "=":
            return bool(version == required)
        case ">>":
            return bool(version > required)
        case "<<":
            return bool(version < required)
    return True
