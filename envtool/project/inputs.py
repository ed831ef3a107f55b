"""Finds the files that a layer depends on, with the targets of links among them, hashes them, and copies them for a
build."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from envtool.errors import UsageError
from envtool.fs import globs
from envtool.fs.beneath import open_top
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Input, InputFile, InputUse
from envtool.project import host_access, source_files, symlinks, walk

_Filter: TypeAlias = tuple[Callable[[str], bool] | None, Callable[[str, str], bool] | None]  # of an Input


class WrongInputsError(UsageError):
    """Several patterns match nothing, or files that are not allowed: `errors` has one error for each."""

    def __init__(self, errors: Iterable[UsageError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__("; ".join(error.message for error in self.errors), code=first.code, hint=first.hint)


def find_inputs(
    root: str,
    inputs: Iterable[Input],
    *,
    apart: Iterable[str] = (),
    access: host_access.HostAccess | None = None,
    cancel: int = -1,
    check: Callable[[], None] | None = None,
    listed: Callable[[], list[str]] | None = None,
) -> tuple[InputFile, ...]:
    """Returns the files that `inputs` match, each with what of it counts; sorted by path. Their paths, and those of
    `keeps` and `follows`, are relative to the project.

    A pattern is a file, a directory (everything listed in it) or a glob. Files that git ignores, and those of `apart`
    (the spec and its lock), are left out unless a pattern names one exactly; so is, without git, what tools make
    (project/walk.py), unless a pattern names the directory. A file that several inputs match counts as for the one of
    which most counts. Files that `keeps` rejects are left out completely, and inputs for "text" are other files.

    A link adds its target in the project if `follows` agrees; then the link's hash is that of the content. A path that
    leads out of the project counts as if it were in it if the caller lets `access` read there; else it is an error,
    except for a link that nobody follows, which counts by its name. Raises UsageError (codes input-outside,
    input-missing, input-kind, input-large; WrongInputsError if there are several), EnvtoolError and Interrupted as
    `source_files.list_files`, and what `check` raises, which is called often. `listed` replaces
    `source_files.list_files`.
    """
    access = access or host_access.HostAccess(root)
    with host_access.EntryOpener(root) as entries:
        search = _Search(root, entries, {*apart}, cancel, access, source_files.Hasher(check), listed)
        matches = search.find_all(inputs)
        rows, built = _read_matches(search, matches)
    replaced = {parent for path in search.outer for parent in parent_directories(path)}
    return tuple(
        item if path in built else replace(item, built=False)
        for path, item in sorted(rows.items())
        if path not in replaced  # a link out of the project is replaced by the content that it leads to
    )


def check_inputs(
    root: str,
    inputs: Iterable[Input],
    *,
    apart: Iterable[str] = (),
    access: host_access.HostAccess | None = None,
    cancel: int = -1,
    listed: Callable[[], list[str]] | None = None,
) -> None:
    """Checks that `find_inputs` would find a file for each input that is required, without reading any file of the
    project. Raises as `find_inputs`."""
    required = (replace(item, follows=None) for item in inputs if item.required)
    with host_access.EntryOpener(root) as entries:
        access, hasher = access or host_access.HostAccess(root), source_files.Hasher(None)
        _Search(root, entries, {*apart}, cancel, access, hasher, listed).find_all(required)


@dataclass(slots=True)
class _Matches:
    """The paths that inputs match, by what counts of them."""

    built: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)  # only the names count
    resolved: set[str] = field(default_factory=set)  # builds do not see them
    by_filter: dict[_Filter, set[str]] = field(default_factory=dict)  # paths that patterns match

    def of_use(self, use: InputUse) -> set[str]:
        return {"build": self.built, "name": self.bare}.get(use, self.resolved)


def _read_matches(search: _Search, matches: _Matches) -> tuple[dict[str, InputFile], set[str]]:
    """Returns the inputs by path, with the targets of their links, and the paths that a build sees."""
    read = matches.built | matches.resolved
    inner = sorted((read | matches.bare) - search.outer.keys())
    for path in inner:
        if path in read:
            search.access.check_git(path)
    rows = {path: source_files.read_input(search.entries, path, search.hasher, content=path in read) for path in inner}
    rows |= search.outer
    built = matches.built | matches.bare
    known, known_built = rows, built
    for rule, paths in matches.by_filter.items():
        links = [path for path in paths if known[path].link and path not in search.outer]
        if links:  # each begins with the matches alone: it also follows links that were reached by another
            found, found_built = dict(known), set(known_built)
            _follow(links, search, rule, found, found_built)
            rows = rows | {path: item for path, item in found.items() if known.get(path) != item}
            built = built | found_built
    return rows, built


class _Search:
    """Finds the files that patterns match; lists the project at most once."""

    def __init__(
        self,
        root: str,
        entries: host_access.EntryOpener,
        apart: set[str],
        cancel: int,
        access: host_access.HostAccess,
        hasher: source_files.Hasher,
        names: Callable[[], list[str]] | None,
    ) -> None:
        self._root, self.entries, self._apart, self._cancel = root, entries, apart, cancel
        self.access, self.hasher = access, hasher
        self._names = names or (lambda: source_files.list_files(root, cancel))
        self._listed: list[str] | None = None
        self.named: set[str] = set()  # paths that patterns name exactly
        self.outer: dict[str, InputFile] = {}  # files outside of the project, by their path in it
        self._resolved: dict[str, tuple[tuple[str, ...], str]] = {}  # what `_resolve_links` returned

    def find_all(self, inputs: Iterable[Input]) -> _Matches:
        """Returns the files that inputs match, and the links on the way to them. Raises UsageError for all required
        patterns that match nothing, and for files that are not allowed."""
        matches = _Matches()
        errors: list[UsageError] = []
        for item in inputs:
            if item.use == "text":
                continue
            try:
                links, paths, mode = self.find(item)
                if item.required and not paths:
                    raise missing_error(item.pattern, mode)
            except UsageError as error:
                errors.append(error)
                continue
            if paths:  # builds reach what only `resolve` reads by no link
                (matches.resolved if item.use == "resolve" else matches.built).update(links)
            matches.of_use(item.use).update(paths)
            matches.by_filter.setdefault((item.keeps, item.follows), set()).update(paths)
        if errors:
            raise errors[0] if len(errors) == 1 else WrongInputsError(errors)
        return matches

    def find(self, item: Input) -> tuple[Iterable[str], Iterable[str], int | None]:
        """Returns the links on the way to the path that a pattern names, the files that it matches, and the mode of
        that path (None: nothing is there). Raises as `find_inputs`."""
        path = source_files.normalize_pattern(item.pattern)
        links: tuple[str, ...] = ()
        keeps = item.keeps
        try:
            mode = None if path in ("", ".") else source_files.mode_in_project(self.entries, path)
        except source_files.OutsideProjectError:
            return links, self.match_outside(path, keeps), stat.S_IFDIR
        if (
            mode is not None
            and stat.S_ISLNK(mode)
            and self._is_outside_wanted(path, requested=item.follows is not None)
        ):
            return links, self.match_outside(path, keeps), mode
        if mode is not None and not stat.S_ISDIR(mode):
            directory, _, name = path.rpartition("/")
            links, real = self._resolve_links(directory)
            # it counts by its name in the pattern and by its real path: builds reach that by the links on the way
            names = {path, posixpath.join(real, name)} if keeps is None or keeps(path) else set()
            self.named |= names
            return links, names, mode
        if mode is not None:
            links, real = self._resolve_links(path)
            matches = self.below(real) or self._made_by_tools(real)
        elif path in ("", "."):
            matches = self.below("")
        else:
            matches = globs.select(path, self.below(""), below=True) if globs.is_glob(path) else []
            if not matches and globs.is_glob(path):
                tool_files = self._made_by_tools(globs.literal_directory(path))
                matches = globs.select(path, tool_files, below=True)
        return links, matches if keeps is None else [path for path in matches if keeps(path)], mode

    def _is_outside_wanted(self, link: str, *, requested: bool) -> bool:
        """Returns whether the target of a link out of the project counts: it is asked for, or the caller allows it."""
        target = self.access.outside_target(link)
        return bool(target) and (requested or self.access.allows(target))

    def match_outside(self, pattern: str, keeps: Callable[[str], bool] | None) -> list[str]:
        """Returns the files that a path or pattern leading out of the project matches, with names as if they were in
        it. Raises UsageError (code input-outside) if the caller does not allow it."""
        directory = globs.literal_directory(pattern)
        target = self.access.outside_target(directory)
        if not os.path.exists(target):
            message = f"input `{pattern}` leads out of the project, to {target}, where there is nothing"
            raise UsageError(message, code="input-missing")
        try:
            self.access.check_outside(pattern, target)
        except UsageError as error:
            raise UsageError(f"input {error.message}", code="input-outside", hint=error.hint) from None
        expression = globs.matcher((pattern, pattern + "/**"))
        rows = [
            item
            for item in _read_outside_tree(directory, target, self.access, self.hasher)
            if expression.fullmatch(item.path)
        ]
        outside = {item.path: item for item in rows if keeps is None or keeps(item.path)}
        self.outer |= outside
        return [*outside]

    def follows_outside(self, link: str, follows: Callable[[str, str], bool] | None) -> bool:
        """Returns whether the target of a link out of the project is an input: if the kind says which links it follows,
        then if it follows this one; else if the caller allows the target."""
        return (
            self._is_outside_wanted(link, requested=False)
            if follows is None
            else (follows(link, link) and self._is_outside_wanted(link, requested=True))
        )

    def _resolve_links(self, directory: str) -> tuple[tuple[str, ...], str]:
        """Returns the links on the way to a directory, and its path without links."""
        if directory not in self._resolved:
            link_path = symlinks.follow_path(self.entries, directory) if directory else None
            self._resolved[directory] = (link_path.links, link_path.end) if link_path else ((), directory)
        return self._resolved[directory]

    def below(self, directory: str) -> list[str]:
        """Returns what is listed in a directory ("" is the project), without the files that are `apart`."""
        if self._listed is None:
            self._listed = [path for path in self._names() if path not in self._apart]
        return [path for path in self._listed if path.startswith(f"{directory}/")] if directory else self._listed

    def _made_by_tools(self, directory: str) -> list[str]:
        """Returns all files in a directory that a pattern names, if nothing in it is listed because tools made it."""
        if not directory:
            return []
        top = open_top(self._root)
        try:
            if not walk.is_in_tool_directory(top, directory) or source_files.repositories(self._root, self._cancel):
                return []
            return sorted(path for path in source_files.all_files(top, directory) if path not in self._apart)
        except OSError:  # the directory does not exist
            return []
        finally:
            os.close(top)

    def files_of_link(self, link: str, link_path: symlinks.LinkPath) -> list[str]:
        """Returns the files that a link adds. envtool's own and git's files are added only by a link that a pattern
        names."""
        if stat.S_ISDIR(link_path.mode):
            return self.below(link_path.end)
        excluded = (
            link_path.end in self._apart
            or source_files.is_own_path(link_path.end)
            or ".git" in link_path.end.split("/")
        )
        return [link_path.end] if stat.S_ISREG(link_path.mode) and (link in self.named or not excluded) else []


def _follow(pending: list[str], search: _Search, rule: _Filter, rows: dict[str, InputFile], built: set[str]) -> None:
    """Adds the targets of the links `pending` to `rows`, and to `built` if the link is in it."""
    keeps, follows = rule
    while pending:
        path = pending.pop()
        link_path = symlinks.follow_path(search.entries, path)
        if link_path is None:
            if search.follows_outside(path, follows):
                outer = search.match_outside(path, keeps)
                rows |= {target: search.outer[target] for target in outer}
                built |= {*outer} if path in built else set()
            continue
        targets = [
            target for target in search.files_of_link(path, link_path) if follows is None or follows(path, target)
        ]
        for target in (*link_path.links, *targets) if targets else ():
            new = target not in rows or not rows[target].content
            if new:
                search.access.check_git(target)
                rows[target] = source_files.read_input(search.entries, target, search.hasher, content=True)
            if path in built and target not in built:
                built.add(target)
                new = True
            if new and rows[target].link and target not in link_path.links:
                pending.append(target)
        if targets and stat.S_ISREG(link_path.mode):
            rows[path] = replace(rows[path], sha256=rows[link_path.end].sha256)


def _read_outside_tree(
    path: str, real: str, access: host_access.HostAccess, hasher: source_files.Hasher
) -> Iterator[InputFile]:
    """Yields the file `real`, or everything in that directory, as if it were at `path` in the project. Raises
    UsageError."""
    if not os.path.isdir(real):
        yield _read_outside(path, real, access, hasher)
        return
    for name in sorted(source_files.files_below(real)):
        full_path = os.path.join(real, name)
        if os.path.islink(full_path):
            link_target = os.readlink(full_path)
            digest = hashlib.sha256(os.fsencode(link_target)).hexdigest()
            yield InputFile(path=f"{path}/{name}", sha256=digest, link=link_target, outside=full_path)
        else:
            yield _read_outside(f"{path}/{name}", full_path, access, hasher)


def _read_outside(path: str, real: str, access: host_access.HostAccess, hasher: source_files.Hasher) -> InputFile:
    try:
        with access.open_absolute(real) as file:
            mode = os.fstat(file.fileno()).st_mode
            return InputFile(path=path, sha256=hasher.hash(path, file), executable=bool(mode & 0o100), outside=real)
    except UsageError as error:
        code = "input-large" if error.code == "input-large" else "input-kind"
        raise UsageError(f"input `{path}`: {error.message}", code=code, hint=error.hint) from None
    except OSError as error:
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}: {real}", code="input-missing") from error


def missing_error(pattern: str, mode: int | None) -> UsageError:
    """Returns the error for a pattern that matches nothing; `mode` is that of the path it names, None if nothing is
    there."""
    if mode is None:
        reason = "no file matches" if globs.is_glob(pattern) else "there is no such file"
    else:
        reason = "no file in it is part of the project" if stat.S_ISDIR(mode) else "it is left out"
    hint = "files that git ignores are seen only when they are named exactly"
    if mode is None and not globs.is_glob(pattern):
        hint = "paths are relative to the directory of the file that they stand in: make it there, or write another"
    if ".git" in pattern.split("/") and (mode is not None or globs.is_glob(pattern)):
        reason = "a directory of git's own is no part of a layer"
        hint = "one file of it may be, by its name; a version comes by a variable or ARG. Tasks see `.git`"
    return UsageError(f"input `{pattern}`: {reason}", code="input-missing", hint=hint)


# ---- copies for a build ----------------------------------------------------------------------------------------------


def stage_inputs(
    root: str,
    files: Sequence[InputFile],
    target: str,
    check: Callable[[], None] | None = None,
    access: host_access.HostAccess | None = None,
) -> None:
    """Copies inputs into the existing directory `target`: exactly the content that was hashed, readable by all, times
    at the epoch, holes preserved. `access` opens files outside of the project. Raises UsageError (code input-changed)
    if a file has changed, and what `check` raises, which is called often."""
    links = {item.path: item.link for item in files if item.link}
    for directory in _directories_on_links(links) - {item.path for item in files}:
        _make_directories(target, directory)
    with host_access.EntryOpener(root) as entries:
        for item in files:
            if links and any(parent in links for parent in parent_directories(item.path)):
                continue  # it is copied under its real path, and the link leads there
            target_path = os.path.join(target, item.path)
            _make_directories(target, os.path.dirname(item.path))
            try:
                _stage(entries, item, target_path, check, access or host_access.HostAccess(root))
            except UsageError as error:
                raise _changed(item.path) from error
            except OSError as error:
                if error.filename == target_path or error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _changed(item.path) from error


def _stage(
    entries: host_access.EntryOpener,
    item: InputFile,
    target: str,
    check: Callable[[], None] | None,
    access: host_access.HostAccess,
) -> None:
    if not item.content:
        with open(target, "xb") as out:
            os.fchmod(out.fileno(), 0o644)
        os.utime(target, (0, 0))
        return
    if item.link:
        if _target(entries, item) != item.link:
            raise _changed(item.path)
        os.symlink(item.link, target)
        return
    digest = hashlib.sha256()
    source = (
        access.open_absolute(item.outside)
        if item.outside
        else host_access.open_regular(entries.open(item.path), item.path)
    )
    with source as file, open(target, "xb") as out:
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
    os.chmod(target, 0o755 if item.executable else 0o644)
    os.utime(target, (0, 0))


def _target(entries: host_access.EntryOpener, item: InputFile) -> str:
    """Returns the target of a link now. Raises OSError."""
    if item.outside:
        return os.readlink(item.outside)
    descriptor = entries.open(item.path)
    try:
        return os.readlink("", dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _directories_on_links(links: Mapping[str, str]) -> set[str]:
    """Returns the directories that links go into and out of again: `a/../b` leads nowhere if there is no a."""
    directories = set()
    for path, link in links.items():
        parts = os.path.join(os.path.dirname(path), link).split("/")
        positions = [index for index, part in enumerate(parts) if part == ".." and not link.startswith("/")]
        directories |= {symlinks.resolve_known_links("/".join(parts[:index]), links) for index in positions}
    return directories


def parent_directories(path: str) -> Iterator[str]:
    """Yields the directories that a path is in, without the project itself."""
    while path := path.rpartition("/")[0]:
        yield path


def _changed(path: str) -> UsageError:
    return UsageError(f"input `{path}` changed while envtool was running", code="input-changed", hint="run it again")


def _make_directories(target: str, relative: str) -> None:
    directory = target
    for name in relative.split("/") if relative else ():
        directory = os.path.join(directory, name)
        try:
            os.mkdir(directory)
            os.chmod(directory, 0o755)  # a build reads it as another user, whatever the umask
        except FileExistsError:
            continue
