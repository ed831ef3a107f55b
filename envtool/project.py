"""The project's files, as pure steps and containers need them: what git lists, what it hides, what a layer depends on.

git is asked, never imitated (git.py says how). Where there is no git or no repository, everything but `.envtool/`
belongs to the project.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from envtool import digests, git, globs, proc
from envtool.errors import EnvtoolError, UsageError
from envtool.model import InputFile
from envtool.sizes import said
from envtool.view import OWN as OWN  # noqa: PLC0414 - they are this room's words too
from envtool.view import VENDOR as VENDOR  # noqa: PLC0414

MAX_READ = 8 << 20
MAX_INPUTS = 4 << 30  # bytes of what one layer depends on, as of what is new in a view (view/look.py)


# ---- what git says --------------------------------------------------------------------------------------------------


def listed(root: str) -> list[str]:
    """Project-relative paths of all files that are tracked, or untracked and not ignored; sorted. Symlinks count as
    files; tracked files that were deleted are left out. Raises EnvtoolError (code project-git)."""
    if not _in_repository(root):
        return sorted(path for path in _walk(root) if not _own(path))
    found: set[str] = set()
    for prefix, _, names in _repositories(root):
        for name in names:
            path = prefix + name
            mode = None if _own(path) else _mode(os.path.join(root, path))
            if mode is not None and not stat.S_ISDIR(mode):
                found.add(path)
    return sorted(found)


def hidden(root: str) -> tuple[str, ...]:
    """Project-relative entries that a container must not see: what git ignores (whole directories collapsed, without a
    slash at the end) and `.envtool`; sorted. Raises EnvtoolError (code project-git)."""
    found = {OWN}  # there or not: the run itself may be about to make it
    if os.path.isdir(os.path.join(root, VENDOR)):
        found.add(VENDOR)
    if _in_repository(root):
        for prefix, directory, _ in _repositories(root):
            names = _git(directory, *git.IGNORED)
            found |= {prefix + name.rstrip("/") for name in names}
    return tuple(sorted(path for path in found if path in (OWN, VENDOR) or not _own(path)))


def repositories(root: str) -> list[tuple[str, str]]:
    """(prefix, directory) of every repository that `hidden` asks; none outside git."""
    return [(prefix, directory) for prefix, directory, _ in _repositories(root)] if _in_repository(root) else []


def history(root: str) -> str:
    """What of git's history versions are made of, as one digest: the commit, and the tags. Empty without a repository.
    Raises EnvtoolError (code project-git)."""
    if not _in_repository(root):
        return ""
    asked = [_run(root, "rev-parse", "-q", "--verify", "HEAD"), _run(root, "show-ref", "--tags")]
    return hashlib.sha256(b"\0".join(each.stdout for each in asked)).hexdigest()


def _own(path: str) -> bool:
    return path == OWN or path.startswith((OWN + "/", VENDOR + "/"))


def _in_repository(root: str) -> bool:
    """Whether git has something to say here; a cheap look first: most temporary projects have no repository."""
    directory = os.path.realpath(root)
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent
    asked = _run(root, "rev-parse", "--is-inside-work-tree")
    if asked.status == proc.NOT_FOUND or (asked.status == 0 and asked.stdout.strip() != b"true"):
        return False
    if asked.status:
        said = asked.stderr.decode(errors="replace")
        if "not a git repository" in said:
            return False
        raise EnvtoolError(f"git cannot read the project: {asked.failure()}", code="project-git")
    if directory == os.path.realpath(root):
        return True
    # a project in a directory that the surrounding repository ignores is a project of its own
    return _run(root, "check-ignore", "-q", ".").status != 0


def _repositories(root: str) -> Iterator[tuple[str, str, list[str]]]:
    """(prefix, directory, files) of the project and of each submodule and embedded repository in it, at any depth."""
    pending = [("", root)]
    while pending:
        prefix, directory = pending.pop()
        names, inner = _listing(directory)
        yield prefix, directory, names
        for name in sorted(inner):
            below = os.path.join(directory, name)
            if os.path.lexists(os.path.join(below, ".git")) and not os.path.islink(below):
                pending.append((f"{prefix}{name}/", below))


def _listing(directory: str) -> tuple[list[str], list[str]]:
    """The files of one repository, tracked and untracked, and the repositories in it: a submodule is an index entry of
    mode 160000, an embedded one an untracked name with a slash at its end. One call: each costs a start of git."""
    names: list[str] = []
    inner: list[str] = []
    for line in _git(directory, "ls-files", "-t", "-s", "-c", "-o", "--exclude-standard", "-z", "--", "."):
        tag, _, rest = line.partition(" ")
        if tag == "?":
            (inner if rest.endswith("/") else names).append(rest.rstrip("/"))
        else:
            entry, _, name = rest.partition("\t")
            (inner if entry.startswith("160000 ") else names).append(name)
    return names, inner


def _git(directory: str, *arguments: str) -> list[str]:
    done = _run(directory, *arguments)
    if done.status:
        raise EnvtoolError(f"git cannot read the project: {done.failure()}", code="project-git")
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _run(directory: str, *arguments: str) -> proc.Completed:
    return proc.run((*git.WORDS, *arguments), cwd=directory, env=git.OWN, timeout=120)


def _walk(root: str, below: str = "") -> Iterator[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name != ".git":
                    yield from _walk(root, path)
            else:
                yield path


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


# ---- what a layer depends on ----------------------------------------------------------------------------------------


def inputs(
    root: str,
    patterns: Iterable[str],
    optional: Iterable[str] = (),
    named: Iterable[str] = (),
    asked: Iterable[str] = (),
    *,
    keeps: Callable[[str], bool] | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[InputFile, ...]:
    """The files that patterns mean, with what of them counts; sorted by path.

    A pattern is a file, a directory (all that is listed in it) or a glob. Ignored files are left out unless a pattern
    names one exactly. Of `optional` patterns those that match nothing are passed over; likewise of `named` ones, whose
    files count by their names alone unless another pattern means them too, and of `asked` ones, which builds do not
    see unless another pattern means them too. Files that are not kept are not seen at all.
    Raises UsageError (codes input-outside, input-missing, input-kind, input-large), EnvtoolError, and what `check`
    raises, which is called often.
    """
    paths: set[str] = set()
    bare: set[str] = set()
    seen: set[str] = set()
    everything: list[str] | None = None
    wishes = [
        *((one, True, paths) for one in patterns),
        *((one, False, paths) for one in optional),
        *((one, False, bare) for one in named),
        *((one, False, seen) for one in asked),
    ]
    for pattern, needed, found in wishes:
        wanted = _inside(pattern)
        mode = None if wanted in ("", ".") else _mode(os.path.join(root, wanted))
        _check_way(root, wanted)
        if mode is not None and not stat.S_ISDIR(mode) and (keeps is None or keeps(wanted)):
            found.add(wanted)
            continue
        if everything is None:
            everything = [path for path in listed(root) if keeps is None or keeps(path)]
        if wanted in ("", "."):
            matched = everything
        elif mode is not None:
            matched = [path for path in everything if path.startswith(wanted + "/")]
        else:
            expression = globs.matcher((wanted, wanted + "/**"))
            matched = [path for path in everything if expression.fullmatch(path)] if globs.is_glob(wanted) else []
        if needed and not matched:
            why = "there is no such file" if mode is None else "no file in it is part of the project"
            if mode is None and globs.is_glob(wanted):
                why = "no file matches"
            if mode is not None and not stat.S_ISDIR(mode):
                why = "it is left out"
            raise UsageError(
                f"input `{pattern}`: {why}",
                code="input-missing",
                hint="files that git ignores are seen only when they are named exactly",
            )
        found.update(matched)
    hasher = _Hasher(check)
    listing = (
        _input(root, path, hasher, content=path in paths or path in seen) for path in sorted(paths | bare | seen)
    )
    return tuple(item if item.path in paths or item.path in bare else replace(item, built=False) for item in listing)


def stage(root: str, files: Sequence[InputFile], target: str, check: Callable[[], None] | None = None) -> None:
    """Copy inputs into the existing directory `target`, exactly what was hashed, readable by all, their times the
    epoch's, holes left holes. Raises UsageError (code input-changed) where a file is not what it was, and what `check`
    raises, which is called often."""
    for item in files:
        source, place = os.path.join(root, item.path), os.path.join(target, item.path)
        _make_directories(target, os.path.dirname(item.path))
        if not item.content:
            with open(place, "xb") as out:
                os.fchmod(out.fileno(), 0o644)
            os.utime(place, (0, 0))
            continue
        if item.link:
            if not os.path.islink(source) or os.readlink(source) != item.link:
                raise _changed(item.path)
            os.symlink(item.link, place)
            continue
        digest = hashlib.sha256()
        try:
            with open(source, "rb") as file, open(place, "xb") as out:
                while piece := file.read(digests.PIECE):
                    if check is not None:
                        check()
                    digest.update(piece)
                    if piece.count(0) == len(piece):
                        out.seek(len(piece), os.SEEK_CUR)
                    else:
                        out.write(piece)
                out.truncate(out.tell())
        except FileNotFoundError as error:
            raise _changed(item.path) from error
        if digest.hexdigest() != item.sha256:
            raise _changed(item.path)
        os.chmod(place, 0o755 if item.executable else 0o644)
        os.utime(place, (0, 0))


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


def _inside(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        raise UsageError(
            f"input `{pattern}` leaves the project", code="input-outside", hint="paths are relative to the project"
        )
    return "/".join(parts)


def _check_way(root: str, path: str) -> None:
    """Raise where a directory on the way is a symlink out of the project."""
    if globs.is_glob(path) and _mode(os.path.join(root, path)) is None:
        return  # what it matches comes from the listing, which follows no links
    top = os.path.realpath(root)
    parent = os.path.realpath(os.path.join(root, os.path.dirname(path)))
    if parent != top and not parent.startswith(top.rstrip("/") + "/"):
        raise UsageError(f"input `{path}` leaves the project through a symlink", code="input-outside")


class _Hasher:
    """Hashes files one after the other, as long as there is room: holes cost a disk nothing, but us."""

    def __init__(self, check: Callable[[], None] | None) -> None:
        self._check = check
        self._room = MAX_INPUTS

    def hash(self, path: str, file: BinaryIO) -> str:
        size = os.fstat(file.fileno()).st_size
        self._room -= size
        if self._room < 0:
            raise UsageError(
                f"input `{path}`: {said(size)}, with which the inputs are larger than {said(MAX_INPUTS)} together",
                code="input-large",
                hint="name fewer, or let git ignore it",
            )
        return digests.sha256(file, self._check)


def _input(root: str, path: str, hasher: _Hasher, *, content: bool) -> InputFile:
    if not content:
        return InputFile(path=path, sha256=hashlib.sha256().hexdigest(), content=False)
    place = os.path.join(root, path)
    try:
        mode = os.lstat(place).st_mode
        if stat.S_ISLNK(mode):
            target = os.readlink(place)
            return InputFile(path=path, sha256=hashlib.sha256(os.fsencode(target)).hexdigest(), link=target)
        if not stat.S_ISREG(mode):
            raise UsageError(f"input `{path}` is neither a file, a directory nor a symlink", code="input-kind")
        with open(place, "rb") as file:
            digest = hasher.hash(path, file)
    except OSError as error:
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}", code="input-missing") from error
    return InputFile(path=path, sha256=digest, executable=bool(mode & 0o100))


# ---- what pure steps read -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A path that was looked at, and how it stood: `state` is empty when it was not there. A plan made from it holds
    while `signature(path)` is the same."""

    path: str  # absolute
    state: tuple[int, ...]


def signature(path: str) -> tuple[int, ...]:
    """Device, inode, mode, size, mtime and ctime (ns) of what a path leads to; empty when there is nothing."""
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class Files:
    """`api.Project` over a directory. Keeps a record of all that was read, or looked for and not there."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._seen: dict[str, tuple[int, ...]] = {}
        self._listed: list[str] | None = None

    def read(self, path: str) -> str | None:
        """See api.Project. Raises UsageError for a path that leaves the project, and for text that is none."""
        relative = _inside(path)
        place = os.path.join(self._root, relative)
        self._note(place)
        _check_way(self._root, relative)
        try:
            if os.path.getsize(place) > MAX_READ:
                raise UsageError(f"{path} is larger than {MAX_READ >> 20} MiB", code="project-file")
            with open(place, encoding="utf-8") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8: byte {error.start}", code="project-file") from error
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", code="project-file") from error

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        expression = globs.matcher((_inside(pattern),))
        if self._listed is None:
            self._listed = listed(self._root)
        # names come and go with the directories' times; what is ignored with these files
        for directory in {"", *(os.path.dirname(path) for path in self._listed)}:
            parts = directory.split("/") if directory else []
            for depth in range(len(parts) + 1):
                place = os.path.join(self._root, *parts[:depth])
                self._note(place)
                self._note(os.path.join(place, ".gitignore"))
        self._note(os.path.join(self._root, ".git", "info", "exclude"))
        self._note(os.path.join(self._root, ".git", "index"))
        return [path for path in self._listed if expression.fullmatch(path)]

    def seen(self) -> tuple[Seen, ...]:
        """Everything that was looked at so far."""
        return tuple(Seen(path=path, state=state) for path, state in sorted(self._seen.items()))

    def _note(self, place: str) -> None:
        if place not in self._seen:
            self._seen[place] = signature(place)
