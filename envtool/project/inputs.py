"""What a layer depends on: the files that its patterns mean, what links among them lead to, and how builds see them."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from envtool.errors import UsageError
from envtool.fs import globs
from envtool.fs.beneath import open_top
from envtool.model import InputFile
from envtool.project import host_access, source_files, symlinks, walk


class WrongInputsError(UsageError):
    """Several patterns that mean nothing, or nothing that may be had: each by itself in `errors`."""

    def __init__(self, errors: Iterable[UsageError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__("; ".join(error.message for error in self.errors), code=first.code, hint=first.hint)


def find_inputs(
    root: str,
    patterns: Iterable[str],
    optional: Iterable[str] = (),
    named: Iterable[str] = (),
    asked: Iterable[str] = (),
    *,
    keeps: Callable[[str], bool] | None = None,
    follows: Callable[[str, str], bool] | None = None,
    apart: Iterable[str] = (),
    door: host_access.HostAccess | None = None,
    cancel: int = -1,
    check: Callable[[], None] | None = None,
    listed: Callable[[], list[str]] | None = None,
) -> tuple[InputFile, ...]:
    """The files that patterns mean, with what of them counts; sorted by path.

    A pattern is a file, a directory (all that is listed in it) or a glob. Files that git ignores, and those that stand
    `apart` (the spec and its lock), are left out unless a pattern names one exactly; so is, without git, what tools
    make (project/walk.py), unless a pattern names the directory. Of `optional` patterns those that
    match nothing are passed over; likewise of `named` ones, whose files count by their names alone unless another
    pattern means them too, and of `asked` ones, which builds do not see unless another pattern means them too. Files
    that are not kept are not seen at all.

    A link brings what it leads to in the project, if `follows` (link, file) agrees; then its hash is that of the
    content. What a path means that leads out of the project counts as if it were in it, if the caller lets `door` read
    there; else it is an error, but for a link itself that nobody follows, which counts by its name.
    Raises UsageError (codes input-outside, input-missing, input-kind, input-large; WrongInputsError where there are
    several), EnvtoolError, Interrupted as `project.listed` does, and what `check` raises, which is called often.
    `listed` answers in the place of `project.listed`.
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
    door = door or host_access.HostAccess(root)
    with host_access.EntryOpener(root) as entries:
        hasher = source_files.Hasher(check)
        search = _Search(root, entries, keeps, {*apart}, cancel, door, hasher, follows, listed)
        search.fill(wishes, lambda found: seen if found is seen else paths)
        inner = sorted((paths | bare | seen) - search.outer.keys())
        for path in inner:
            if path in paths or path in seen:
                door.check_git(path)
        rows = {
            path: source_files.read_input(entries, path, hasher, content=path in paths or path in seen)
            for path in inner
        }
        rows |= search.outer
        built = paths | bare
        if links := [path for path in search.meant if rows[path].link and path not in search.outer]:
            _follow(links, search, rows, built)
    replaced = {each for path in search.outer for each in parent_directories(path)}
    return tuple(
        item if path in built else replace(item, built=False)
        for path, item in sorted(rows.items())
        if path not in replaced  # a link that leads out, in whose place its content is
    )


def check_inputs(
    root: str,
    patterns: Iterable[str],
    *,
    keeps: Callable[[str], bool] | None = None,
    apart: Iterable[str] = (),
    door: host_access.HostAccess | None = None,
    cancel: int = -1,
    listed: Callable[[], list[str]] | None = None,
) -> None:
    """Whether `find` would find something for each pattern: nothing of the project is read for it, only named. Raises
    as `find` does."""
    with host_access.EntryOpener(root) as entries:
        door, hasher = door or host_access.HostAccess(root), source_files.Hasher(None)
        search = _Search(root, entries, keeps, {*apart}, cancel, door, hasher, None, listed)
        search.fill([(pattern, True, set()) for pattern in patterns], lambda found: found)


class _Search:
    """Looks for the files that patterns mean; git is asked at most once."""

    def __init__(
        self,
        root: str,
        entries: host_access.EntryOpener,
        keeps: Callable[[str], bool] | None,
        apart: set[str],
        cancel: int,
        door: host_access.HostAccess,
        hasher: source_files.Hasher,
        follows: Callable[[str, str], bool] | None,
        names: Callable[[], list[str]] | None,
    ) -> None:
        self._root, self.entries, self._keeps, self._apart, self._cancel = root, entries, keeps, apart, cancel
        self.door, self.hasher, self.follows = door, hasher, follows
        self._names = names or (lambda: source_files.list_files(root, cancel))
        self._listed: list[str] | None = None
        self.named: set[str] = set()  # what patterns name exactly
        self.meant: set[str] = set()  # what patterns mean
        self.outer: dict[str, InputFile] = {}  # what lies out of the project, by its path in it

    def fill(self, wishes: Iterable[tuple[str, bool, set[str]]], with_ways: Callable[[set[str]], set[str]]) -> None:
        """Put what patterns mean into their sets, and the links on the way there into those that `with_ways` names for
        them. Raises UsageError for all that are needed and mean nothing, or may not be had."""
        wrong: list[UsageError] = []
        for pattern, needed, found in wishes:
            try:
                ways, matched, mode = self.find(pattern)
                if needed and not matched:
                    raise _missing(pattern, mode)
            except UsageError as error:
                wrong.append(error)
                continue
            if matched:
                with_ways(found).update(ways)
            found.update(matched)
            self.meant.update(matched)
        if wrong:
            raise wrong[0] if len(wrong) == 1 else WrongInputsError(wrong)

    def find(self, pattern: str) -> tuple[Iterable[str], Iterable[str], int | None]:
        """The links on the way to what a pattern names, the files that it means, and the mode of what it names (None:
        nothing). Raises as the function `find`."""
        wanted = source_files.normalize_pattern(pattern)
        ways: tuple[str, ...] = ()
        keeps = self._keeps
        try:
            mode = None if wanted in ("", ".") else source_files.mode_in_project(self._root, wanted)
        except source_files.OutsideProjectError:
            return ways, self.match_outside(wanted), stat.S_IFDIR
        if mode is not None and stat.S_ISLNK(mode) and self._is_outside_wanted(wanted, asked=self.follows is not None):
            return ways, self.match_outside(wanted), mode
        if mode is not None and not stat.S_ISDIR(mode):
            directory, _, name = wanted.rpartition("/")
            ways, real = self._resolve_links(directory)
            # it counts by the name that it was given, and where it really is: builds go there by the links on the way
            named = {wanted, posixpath.join(real, name)} if keeps is None or keeps(wanted) else set()
            self.named |= named
            return ways, named, mode
        if mode is not None:
            ways, real = self._resolve_links(wanted)
            found = self.below(real) or self._made_by_tools(real)
        elif wanted in ("", "."):
            found = self.below("")
        else:
            expression = globs.matcher((wanted, wanted + "/**"))
            found = [path for path in self.below("") if expression.fullmatch(path)] if globs.is_glob(wanted) else []
            if not found and globs.is_glob(wanted):
                tools = self._made_by_tools(globs.literal_directory(wanted))
                found = [path for path in tools if expression.fullmatch(path)]
        return ways, found if keeps is None else [path for path in found if keeps(path)], mode

    def _is_outside_wanted(self, link: str, *, asked: bool) -> bool:
        """Whether what a link out of the project leads to is meant: it is asked for, or the caller allows it."""
        real = self.door.outside_target(link)
        return bool(real) and (asked or self.door.allows(real))

    def match_outside(self, wanted: str) -> list[str]:
        """What a path or pattern means that leads out of the project: names as if it were in it. Raises UsageError
        (code input-outside) where the caller does not allow it."""
        fixed = globs.literal_directory(wanted)
        real = self.door.outside_target(fixed)
        if not os.path.exists(real):
            message = f"input `{wanted}` leads out of the project, to {real}, where there is nothing"
            raise UsageError(message, code="input-missing")
        try:
            self.door.check_outside(wanted, real)
        except UsageError as error:
            raise UsageError(f"input {error.message}", code="input-outside", hint=error.hint) from None
        expression = globs.matcher((wanted, wanted + "/**"))
        rows = [
            each for each in _read_outside_tree(fixed, real, self.door, self.hasher) if expression.fullmatch(each.path)
        ]
        found = {each.path: each for each in rows if self._keeps is None or self._keeps(each.path)}
        self.outer |= found
        return [*found]

    def follows_outside(self, link: str) -> bool:
        """Whether what a link that leads out means is an input: where kinds say which links they read through, if they
        do; else if the caller allows it."""
        return (
            self._is_outside_wanted(link, asked=False)
            if self.follows is None
            else (self.follows(link, link) and self._is_outside_wanted(link, asked=True))
        )

    def _resolve_links(self, directory: str) -> tuple[tuple[str, ...], str]:
        """The links on the way to a directory, and its path without them."""
        way = symlinks.follow_path(self.entries, directory) if directory else None
        return (way.links, way.end) if way else ((), directory)

    def below(self, directory: str) -> list[str]:
        """What is listed in a directory ("" is the project) and does not stand apart."""
        if self._listed is None:
            self._listed = [path for path in self._names() if path not in self._apart]
        return [path for path in self._listed if path.startswith(f"{directory}/")] if directory else self._listed

    def _made_by_tools(self, directory: str) -> list[str]:
        """All in a directory that a pattern names, and of which nothing is listed because tools made it."""
        if not directory:
            return []
        top = open_top(self._root)
        try:
            if not walk.is_in_tool_directory(top, directory) or source_files.repositories(self._root, self._cancel):
                return []
            return sorted(path for path in source_files.all_files(top, directory) if path not in self._apart)
        except OSError:  # it is not there
            return []
        finally:
            os.close(top)

    def files_of_link(self, link: str, way: symlinks.LinkPath) -> list[str]:
        """The files that a link means. What is ours, or git's, only a link means that a pattern names."""
        if stat.S_ISDIR(way.mode):
            return self.below(way.end)
        apart = way.end in self._apart or source_files.is_own_path(way.end) or ".git" in way.end.split("/")
        return [way.end] if stat.S_ISREG(way.mode) and (link in self.named or not apart) else []


def _follow(pending: list[str], search: _Search, rows: dict[str, InputFile], built: set[str]) -> None:
    """Add what the links `pending` lead to, to `rows`, and to what is `built` where the link is."""
    while pending:
        path = pending.pop()
        way = symlinks.follow_path(search.entries, path)
        if way is None:
            if search.follows_outside(path):
                outer = search.match_outside(path)
                rows |= {each: search.outer[each] for each in outer}
                built |= {*outer} if path in built else set()
            continue
        led = [each for each in search.files_of_link(path, way) if search.follows is None or search.follows(path, each)]
        for each in (*way.links, *led) if led else ():
            new = each not in rows or not rows[each].content
            if new:
                search.door.check_git(each)
                rows[each] = source_files.read_input(search.entries, each, search.hasher, content=True)
            if path in built and each not in built:
                built.add(each)
                new = True
            if new and rows[each].link and each not in way.links:
                pending.append(each)
        if led and stat.S_ISREG(way.mode):
            rows[path] = replace(rows[path], sha256=rows[way.end].sha256)


def _read_outside_tree(
    path: str, real: str, door: host_access.HostAccess, hasher: source_files.Hasher
) -> Iterator[InputFile]:
    """The file `real`, or all in that directory, as if `path` were in the project. Raises UsageError."""
    if not os.path.isdir(real):
        yield _read_outside(path, real, door, hasher)
        return
    for name in sorted(source_files.files_below(real)):
        there = os.path.join(real, name)
        if os.path.islink(there):
            target = os.readlink(there)
            digest = hashlib.sha256(os.fsencode(target)).hexdigest()
            yield InputFile(path=f"{path}/{name}", sha256=digest, link=target, outside=there)
        else:
            yield _read_outside(f"{path}/{name}", there, door, hasher)


def _read_outside(path: str, real: str, door: host_access.HostAccess, hasher: source_files.Hasher) -> InputFile:
    try:
        with door.open_absolute(real) as file:
            mode = os.fstat(file.fileno()).st_mode
            return InputFile(path=path, sha256=hasher.hash(path, file), executable=bool(mode & 0o100), outside=real)
    except UsageError as error:
        code = "input-large" if error.code == "input-large" else "input-kind"
        raise UsageError(f"input `{path}`: {error.message}", code=code, hint=error.hint) from None
    except OSError as error:
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}: {real}", code="input-missing") from error


def _missing(pattern: str, mode: int | None) -> UsageError:
    """Why a pattern matches nothing; `mode` is that of the file or directory it names, None where there is none."""
    if mode is None:
        why = "no file matches" if globs.is_glob(pattern) else "there is no such file"
    else:
        why = "no file in it is part of the project" if stat.S_ISDIR(mode) else "it is left out"
    hint = "files that git ignores are seen only when they are named exactly"
    if mode is None and not globs.is_glob(pattern):
        hint = "paths are relative to the directory of the file that they stand in: make it there, or write another"
    if ".git" in pattern.split("/") and (mode is not None or globs.is_glob(pattern)):
        why = "a directory of git's own is no part of a layer"
        hint = "one file of it may be, by its name; a version comes by a variable or ARG. Tasks see `.git`"
    return UsageError(f"input `{pattern}`: {why}", code="input-missing", hint=hint)


# ---- what a build is shown of them -----------------------------------------------------------------------------------


def stage_inputs(
    root: str,
    files: Sequence[InputFile],
    target: str,
    check: Callable[[], None] | None = None,
    door: host_access.HostAccess | None = None,
) -> None:
    """Copy inputs into the existing directory `target`, exactly what was hashed, readable by all, their times the
    epoch's, holes left holes. `door` opens what lies out of the project. Raises UsageError (code input-changed) where a
    file is not what it was, and what `check` raises, which is called often."""
    links = {item.path: item.link for item in files if item.link}
    for directory in _directories_on_links(links) - {item.path for item in files}:
        _make_directories(target, directory)
    with host_access.EntryOpener(root) as entries:
        for item in files:
            if links and any(each in links for each in parent_directories(item.path)):
                continue  # it is there under its own name, and the link leads to it
            place = os.path.join(target, item.path)
            _make_directories(target, os.path.dirname(item.path))
            try:
                _stage(entries, item, place, check, door or host_access.HostAccess(root))
            except UsageError as error:
                raise _changed(item.path) from error
            except OSError as error:
                if error.filename == place or error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _changed(item.path) from error


def _stage(
    entries: host_access.EntryOpener,
    item: InputFile,
    place: str,
    check: Callable[[], None] | None,
    door: host_access.HostAccess,
) -> None:
    if not item.content:
        with open(place, "xb") as out:
            os.fchmod(out.fileno(), 0o644)
        os.utime(place, (0, 0))
        return
    if item.link:
        if _target(entries, item) != item.link:
            raise _changed(item.path)
        os.symlink(item.link, place)
        return
    digest = hashlib.sha256()
    opened = (
        door.open_absolute(item.outside)
        if item.outside
        else host_access.open_regular(entries.open(item.path), item.path)
    )
    with opened as file, open(place, "xb") as out:
        for piece in host_access.read_chunks(file):
            if check is not None:
                check()
            digest.update(piece)
            if piece.count(0) == len(piece):
                out.seek(len(piece), os.SEEK_CUR)
            else:
                out.write(piece)
        out.truncate(out.tell())
    if digest.hexdigest() != item.sha256:
        raise _changed(item.path)
    os.chmod(place, 0o755 if item.executable else 0o644)
    os.utime(place, (0, 0))


def _target(entries: host_access.EntryOpener, item: InputFile) -> str:
    """Where a link leads by now. Raises OSError."""
    if item.outside:
        return os.readlink(item.outside)
    descriptor = entries.open(item.path)
    try:
        return os.readlink("", dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _directories_on_links(links: Mapping[str, str]) -> set[str]:
    """The directories that links lead into and out of again: `a/../b` leads nowhere where there is no a."""
    found = set()
    for path, link in links.items():
        parts = os.path.join(os.path.dirname(path), link).split("/")
        ups = [at for at, part in enumerate(parts) if part == ".." and not link.startswith("/")]
        found |= {symlinks.resolve_known_links("/".join(parts[:at]), links) for at in ups}
    return found


def parent_directories(path: str) -> Iterator[str]:
    """The directories that a path is in, but for the project itself."""
    while path := path.rpartition("/")[0]:
        yield path


def _changed(path: str) -> UsageError:
    return UsageError(f"input `{path}` changed while envtool was running", code="input-changed", hint="run it again")


def _make_directories(target: str, below: str) -> None:
    place = target
    for name in below.split("/") if below else ():
        place = os.path.join(place, name)
        try:
            os.mkdir(place)
            os.chmod(place, 0o755)  # builds read it as another user, whatever the umask here
        except FileExistsError:
            continue
