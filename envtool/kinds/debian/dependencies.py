"""Names -> all that they need, as apt would choose on an empty system.

Only `Depends` and `Pre-Depends` count. Of alternatives, one that is already chosen is taken, else the first that
exists in a fitting version; of providers the one of the highest priority.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from envtool.api import ResolveError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.kinds.debian.package_index import DebianPackage, PackageIndex

# `usrmerge | usr-is-merged` would bring the converter and its perl modules; what we unpack is merged from the start.
CONVERTER, USR_MERGED = "usrmerge", "usr-is-merged"


def minimal_system(index: PackageIndex, more: Iterable[str] = (), *, suite: str) -> list[DebianPackage]:
    """A minimal system: everything essential or of priority required, and apt, with what they need; and `more`."""
    require_packages(index, more, suite)
    required = [*index.marked("Essential", "yes"), *index.marked("Priority", "required"), "apt"]
    seed = [*dict.fromkeys([*required, *more])]
    chosen = dependency_closure(index, seed, suite=suite)
    if USR_MERGED in index and CONVERTER not in seed and any(package.name == CONVERTER for package in chosen):
        chosen = dependency_closure(index, [USR_MERGED, *seed], suite=suite)
    return chosen


def dependency_closure(index: PackageIndex, seed: Iterable[str], *, suite: str) -> list[DebianPackage]:
    """All packages needed by the seed, sorted by name. Raises ResolveError for what cannot be satisfied."""
    chosen: dict[str, DebianPackage] = {}
    offered: dict[str, list[DebianPackage]] = {}  # virtual name -> chosen packages that provide it
    todo: list[tuple[str, str]] = [(name, "") for name in seed]
    while todo:
        name, wanted_by = todo.pop(0)
        package = _named(index, name, wanted_by, suite)
        if package.name in chosen:
            continue
        chosen[package.name] = package
        for virtual in _provided(package):
            offered.setdefault(virtual, []).append(package)
        pending = {item for item, _ in todo}
        for alternatives in _relations(package):
            if any(_is_satisfied(item, index, chosen, offered, pending) for item in alternatives):
                continue
            todo.append((_choose_alternative(index, alternatives, package, suite), package.name))
            pending.add(todo[-1][0])
    return [chosen[name] for name in sorted(chosen)]


def require_packages(index: PackageIndex, names: Iterable[str], suite: str) -> None:
    """Raise ResolveError (code no-package) that names all of these that the index does not have, with what they are
    like."""
    missing = [name for name in dict.fromkeys(names) if name not in index and not index.providers(name)]
    if len(missing) == 1:
        raise ResolveError(
            f"no package `{missing[0]}` in {suite}", code="no-package", hint=nearest_name_hint(missing[0], index)
        )
    if missing:
        *first, last = [f"`{name}`" for name in missing]
        like = [f"`{close[0]}` for `{name}`" for name in missing if (close := _close(name, index))]
        raise ResolveError(
            f"no packages {', '.join(first)} and {last} in {suite}",
            code="no-package",
            hint=f"did you mean {', '.join(like)}?" if like else "",
        )


def nearest_name_hint(name: str, index: Iterable[str]) -> str:
    """A hint, "did you mean …" for a name that is not in the index, or empty."""
    close = _close(name, index)
    return f"did you mean {', '.join(f'`{item}`' for item in close)}?" if close else ""


def _close(name: str, index: Iterable[str]) -> list[str]:
    pool = [item for item in index if name and (item[0] == name[0] or name in item)]
    like = difflib.get_close_matches(name, pool, n=8, cutoff=0.75)
    alike = difflib.SequenceMatcher(b=name)

    def rank(item: str) -> tuple[float, bool]:
        """The nearest first; of those that are as near, what only has more at its end: `mak` is `make`, not `mawk`."""
        alike.set_seq1(item)
        return -alike.ratio(), not item.startswith(name)

    return sorted(like, key=rank)[:3]


def _named(index: PackageIndex, name: str, wanted_by: str, suite: str) -> DebianPackage:
    if name in index:
        return index[name]
    providers = index.providers(name)
    if providers:
        return providers[0]
    because = f", which `{wanted_by}` needs" if wanted_by else ""
    raise ResolveError(
        f"no package `{name}` in {suite}{because}", code="no-package", hint=nearest_name_hint(name, index)
    )


def _provided(package: DebianPackage) -> list[str]:
    return [item.strip().partition(" ")[0].partition(":")[0] for item in package.provides.split(",") if item.strip()]


def _relations(package: DebianPackage) -> list[list[dict[str, object]]]:
    from debian.deb822 import PkgRelation

    found: list[list[dict[str, object]]] = []
    for text in (package.pre_depends, package.depends):
        if text.strip():
            found.extend([dict(item) for item in group] for group in PkgRelation.parse_relations(text))
    return found


def _is_satisfied(
    item: dict[str, object],
    index: PackageIndex,
    chosen: dict[str, DebianPackage],
    offered: dict[str, list[DebianPackage]],
    pending: set[str],
) -> bool:
    name = str(item["name"])
    if name in chosen:
        return _satisfies_relation(chosen[name], item)
    if name in pending:
        return name not in index or _satisfies_relation(index[name], item)
    if item.get("version") is None and name in offered:
        return True
    return any(provider.name in pending or provider.name in chosen for provider in _virtual_providers(item, index))


def _virtual_providers(item: dict[str, object], index: PackageIndex) -> list[DebianPackage]:
    # A versioned relation is met by a versioned Provides alone; those are rare below a minimal system (perlapi-*,
    # *-abi-*), and name the version in their own name or hold by construction of the archive.
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
    version = item.get("version")
    if not isinstance(version, tuple):
        return True
    from debian.debian_support import Version

    relation, wanted = str(version[0]), Version(str(version[1]))
    have = Version(package.version)
    match relation:
        case ">=":
            return bool(have >= wanted)
        case "<=":
            return bool(have <= wanted)
        case "=":
            return bool(have == wanted)
        case ">>":
            return bool(have > wanted)
        case "<<":
            return bool(have < wanted)
    return True
