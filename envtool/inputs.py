"""What a layer depends on: the files that its patterns mean, and what links among them lead to."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace

from envtool import gate, globs, leads, project
from envtool.beneath import open_top
from envtool.errors import UsageError
from envtool.model import InputFile
from envtool.view import walk


def find(
    root: str,
    patterns: Iterable[str],
    optional: Iterable[str] = (),
    named: Iterable[str] = (),
    asked: Iterable[str] = (),
    *,
    keeps: Callable[[str], bool] | None = None,
    follows: Callable[[str, str], bool] | None = None,
    apart: Iterable[str] = (),
    door: gate.Gate | None = None,
    cancel: int = -1,
    check: Callable[[], None] | None = None,
) -> tuple[InputFile, ...]:
    """The files that patterns mean, with what of them counts; sorted by path.

    A pattern is a file, a directory (all that is listed in it) or a glob. Files that git ignores, and those that stand
    `apart` (the spec and its lock), are left out unless a pattern names one exactly; so is, without git, what tools
    make (view/walk.py), unless a pattern names the directory. Of `optional` patterns those that
    match nothing are passed over; likewise of `named` ones, whose files count by their names alone unless another
    pattern means them too, and of `asked` ones, which builds do not see unless another pattern means them too. Files
    that are not kept are not seen at all.

    A link brings what it leads to in the project, if `follows` (link, file) agrees; then its hash is that of the
    content. One that leads out counts by its name, unless the caller lets `door` read there.
    Raises UsageError (codes input-outside, input-missing, input-kind, input-large), EnvtoolError, Interrupted as
    `listed` does, and what `check` raises, which is called often.
    """
    paths: set[str] = set()
    bare: set[str] = set()
    seen: set[str] = set()
    wishes = [
        *((one, True, paths) for one in patterns),
        *((one, False, paths) for one in optional),
        *((one, False, bare) for one in named),
        *((one, False, seen) for one in asked),
    ]
    meant: set[str] = set()
    door = door or gate.Gate(root)
    with gate.Entries(root) as entries:
        search = _Search(root, entries, keeps, {*apart}, cancel)
        for pattern, needed, found in wishes:
            ways, matched, mode = search.find(pattern)
            if needed and not matched:
                raise _missing(pattern, mode)
            if matched:
                (seen if found is seen else paths).update(ways)
            found.update(matched)
            meant.update(matched)
        hasher = project.Hasher(check)
        for path in paths | seen:
            door.check_git(path)
        rows = {
            path: project.read_input(entries, path, hasher, content=path in paths or path in seen)
            for path in sorted(paths | bare | seen)
        }
        built = paths | bare
        if links := [path for path in meant if rows[path].link]:
            _follow(links, search, rows, built, hasher, follows, door)
    return tuple(item if path in built else replace(item, built=False) for path, item in sorted(rows.items()))


class _Search:
    """Looks for the files that patterns mean; git is asked at most once."""

    def __init__(
        self, root: str, entries: gate.Entries, keeps: Callable[[str], bool] | None, apart: set[str], cancel: int
    ) -> None:
        self._root, self.entries, self._keeps, self._apart, self._cancel = root, entries, keeps, apart, cancel
        self._listed: list[str] | None = None
        self.named: set[str] = set()  # what patterns name exactly

    def find(self, pattern: str) -> tuple[Iterable[str], Iterable[str], int | None]:
        """The links on the way to what a pattern names, the files that it means, and the mode of what it names (None:
        nothing). Raises as the function `find`."""
        wanted = project.inside(pattern)
        mode = None if wanted in ("", ".") else project.mode_of(self._root, wanted)
        ways: tuple[str, ...] = ()
        keeps = self._keeps
        if mode is not None and not stat.S_ISDIR(mode):
            directory, _, name = wanted.rpartition("/")
            ways, real = self._behind(directory)
            # it counts by the name that it was given, and where it really is: builds go there by the links on the way
            named = {wanted, posixpath.join(real, name)} if keeps is None or keeps(wanted) else set()
            self.named |= named
            return ways, named, mode
        if mode is not None:
            ways, real = self._behind(wanted)
            found = self.below(real) or self._made_by_tools(real)
        elif wanted in ("", "."):
            found = self.below("")
        else:
            expression = globs.matcher((wanted, wanted + "/**"))
            found = [path for path in self.below("") if expression.fullmatch(path)] if globs.is_glob(wanted) else []
            if not found and globs.is_glob(wanted):
                tools = self._made_by_tools(globs.directory(wanted))
                found = [path for path in tools if expression.fullmatch(path)]
        return ways, found if keeps is None else [path for path in found if keeps(path)], mode

    def _behind(self, directory: str) -> tuple[tuple[str, ...], str]:
        """The links on the way to a directory, and its path without them."""
        way = leads.walk(self.entries, directory) if directory else None
        return (way.links, way.end) if way else ((), directory)

    def below(self, directory: str) -> list[str]:
        """What is listed in a directory ("" is the project) and does not stand apart."""
        if self._listed is None:
            self._listed = [path for path in project.listed(self._root, self._cancel) if path not in self._apart]
        return [path for path in self._listed if path.startswith(f"{directory}/")] if directory else self._listed

    def _made_by_tools(self, directory: str) -> list[str]:
        """All in a directory that a pattern names, and of which nothing is listed because tools made it."""
        if not directory:
            return []
        top = open_top(self._root)
        try:
            if not walk.in_tools(top, directory) or project.repositories(self._root, self._cancel):
                return []
            return sorted(path for path in project.all_files(top, directory) if path not in self._apart)
        except OSError:  # it is not there
            return []
        finally:
            os.close(top)

    def led(self, link: str, way: leads.Way) -> list[str]:
        """The files that a link means. What is ours, or git's, only a link means that a pattern names."""
        if stat.S_ISDIR(way.mode):
            return self.below(way.end)
        apart = way.end in self._apart or project.own(way.end) or ".git" in way.end.split("/")
        return [way.end] if stat.S_ISREG(way.mode) and (link in self.named or not apart) else []


def _follow(
    pending: list[str],
    search: _Search,
    rows: dict[str, InputFile],
    built: set[str],
    hasher: project.Hasher,
    follows: Callable[[str, str], bool] | None,
    door: gate.Gate,
) -> None:
    """Add what the links `pending` lead to, to `rows`, and to what is `built` where the link is."""
    while pending:
        path = pending.pop()
        way = leads.walk(search.entries, path)
        if way is None:
            rows[path] = replace(rows[path], sha256=_outside(path, door, hasher) or rows[path].sha256)
            continue
        led = [each for each in search.led(path, way) if follows is None or follows(path, each)]
        for each in (*way.links, *led) if led else ():
            new = each not in rows or not rows[each].content
            if new:
                door.check_git(each)
                rows[each] = project.read_input(search.entries, each, hasher, content=True)
            if path in built and each not in built:
                built.add(each)
                new = True
            if new and rows[each].link and each not in way.links:
                pending.append(each)
        if led and stat.S_ISREG(way.mode):
            rows[path] = replace(rows[path], sha256=rows[way.end].sha256)


def _outside(path: str, door: gate.Gate, hasher: project.Hasher) -> str:
    """The hash of what a link out of the project leads to, where the caller lets kinds read that; else empty."""
    try:
        with door.open(path) as file:
            return hasher.hash(path, file)
    except (UsageError, OSError):
        return ""


def _missing(pattern: str, mode: int | None) -> UsageError:
    """Why a pattern matches nothing; `mode` is that of the file or directory it names, None where there is none."""
    if mode is None:
        why = "no file matches" if globs.is_glob(pattern) else "there is no such file"
    else:
        why = "no file in it is part of the project" if stat.S_ISDIR(mode) else "it is left out"
    hint = "files that git ignores are seen only when they are named exactly"
    if ".git" in pattern.split("/") and (mode is not None or globs.is_glob(pattern)):
        why = "a directory of git's own is no part of a layer"
        hint = "one file of it may be, by its name; a version comes by a variable or ARG. Tasks see `.git`"
    return UsageError(f"input `{pattern}`: {why}", code="input-missing", hint=hint)
