"""The project's files, as pure steps and containers need them: what git lists, what it hides, what a layer depends on.

git is asked, never imitated, and on a git directory of our own (git.py says how). Where there is no git or no
repository, everything but `.envtool/` belongs to the project.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from envtool import git, globs, refs
from envtool.errors import EnvtoolError, Interrupted, UsageError
from envtool.model import InputFile
from envtool.view import OWN as OWN  # noqa: PLC0414 - they are this room's words too
from envtool.view import VENDOR as VENDOR  # noqa: PLC0414

MAX_READ = 8 << 20
STAGED = ("ls-files", "-t", "-s", *git.LISTED[1:])


# ---- what git says --------------------------------------------------------------------------------------------------


def listed(root: str, cancel: int = -1) -> list[str]:
    """Project-relative paths of all files that are tracked, or untracked and not ignored; sorted. Symlinks count as
    files; tracked files that were deleted are left out, and so are names that lead through a symlink. Raises
    EnvtoolError (code project-git), Interrupted as soon as the descriptor `cancel` is readable."""
    known = _repositories(root, cancel)
    if not known:
        return sorted(path for path in _walk(root) if not _own(path))
    found: set[str] = set()
    real: dict[str, bool] = {"": True}
    for prefix, _, names in known:
        for name in names:
            path = prefix + name
            if not _own(path) and _is_real(root, os.path.dirname(path), real):
                mode = _mode(os.path.join(root, path))
                if mode is not None and not stat.S_ISDIR(mode):
                    found.add(path)
    return sorted(found)


def hidden(root: str, cancel: int = -1) -> tuple[str, ...]:
    """Project-relative entries that a container must not see: what git ignores (whole directories collapsed, without a
    slash at the end) and `.envtool`; sorted. Raises EnvtoolError (code project-git), Interrupted."""
    found = {OWN}  # there or not: the run itself may be about to make it
    if os.path.isdir(os.path.join(root, VENDOR)):
        found.add(VENDOR)
    known = _repositories(root, cancel)
    try:
        for prefix, repository, _ in known:
            directory = os.path.realpath(os.path.join(root, prefix))
            found |= {prefix + name for name in _ignored(repository, directory, cancel)}
    except git.Failure as error:
        raise _unread(error) from error
    return tuple(sorted(path for path in found if path in (OWN, VENDOR) or not _own(path)))


def repositories(root: str, cancel: int = -1) -> list[tuple[str, str]]:
    """(prefix, directory) of every repository that `hidden` asks; none outside git. Raises as `hidden` does."""
    return [(prefix, os.path.join(root, prefix.rstrip("/"))) for prefix, _, _ in _repositories(root, cancel)]


def history(root: str) -> str:
    """What of git's history versions are made of, as one digest: the commit, and the tags. Empty without a repository.
    Raises EnvtoolError (code project-git)."""
    try:
        repository = git.around(root)
        if not repository:
            return ""
        head = refs.head(repository)
        tags = "".join(f"{value} {name}\n" for name, value in refs.tags(repository))
    except git.Failure as error:
        raise _unread(error) from error
    said = f"{head}\n" if head else ""
    return hashlib.sha256(f"{said}\0{tags}".encode("utf-8", "surrogateescape")).hexdigest()


def _own(path: str) -> bool:
    return path == OWN or path.startswith((OWN + "/", VENDOR + "/"))


def _repositories(root: str, cancel: int) -> list[tuple[str, git.Repository, list[str]]]:
    """(prefix, repository, names) of the project and of each submodule and embedded repository in it, at any depth;
    none where there is no repository, or where the one above ignores all that is here: such a project is its own."""
    found: list[tuple[str, git.Repository, list[str]]] = []
    try:
        top = git.around(root)
        pending: list[tuple[str, git.Repository | None]] = [("", top)] if top else []
        while pending:
            prefix, known = pending.pop()
            directory = os.path.realpath(os.path.join(root, prefix))
            asked = git.ask(known, directory, STAGED)
            repository = asked.repository
            names, inner = _listing(asked, cancel)
            if not prefix and not names and not inner and repository.top != directory:
                return []
            found.append((prefix, repository, names))
            for name in sorted(inner):
                place = os.path.join(directory, name)
                if os.path.lexists(os.path.join(place, ".git")) and os.path.realpath(place) == place:
                    pending.append((f"{prefix}{name}/", git.within(repository, place)))
    except git.Failure as error:
        raise _unread(error) from error
    return found


def _listing(asked: git.Git, cancel: int) -> tuple[list[str], list[str]]:
    """The files of one repository, tracked and untracked, and the repositories in it: a submodule is an index entry of
    mode 160000, an embedded one an untracked name with a slash at its end. One call: each costs a start of git."""
    names: list[bytes] = []
    inner: list[bytes] = []
    for line in asked.end(cancel).split(b"\0")[:-1]:
        tag, _, rest = line.partition(b" ")
        if tag == b"?":
            (inner if rest.endswith(b"/") else names).append(rest.rstrip(b"/"))
        else:
            entry, _, name = rest.partition(b"\t")
            (inner if entry.startswith(b"160000 ") else names).append(name)
    git.check(b"".join(name + b"\0" for name in (*names, *inner)), asked.repository)
    return [os.fsdecode(name) for name in names], [os.fsdecode(name) for name in inner]


def _ignored(repository: git.Repository, directory: str, cancel: int) -> list[str]:
    listing = git.ask(repository, directory, git.IGNORED).end(cancel)
    git.check(listing, repository)
    return [os.fsdecode(name.rstrip(b"/")) for name in listing.split(b"\0")[:-1]]


def _unread(error: git.Failure) -> EnvtoolError:
    if isinstance(error, git.Stopped):
        return Interrupted()
    return EnvtoolError(f"the project cannot be read: {error}", code="project-git")


def _is_real(root: str, directory: str, known: dict[str, bool]) -> bool:
    """Whether no link is on the way to a directory."""
    if directory not in known:
        here = stat.S_ISLNK(_mode(os.path.join(root, directory)) or 0)
        known[directory] = not here and _is_real(root, os.path.dirname(directory), known)
    return known[directory]


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
    cancel: int = -1,
) -> tuple[InputFile, ...]:
    """The files that patterns mean, with what of them counts; sorted by path.

    A pattern is a file, a directory (all that is listed in it) or a glob. Ignored files are left out unless a pattern
    names one exactly. Of `optional` patterns those that match nothing are passed over; likewise of `named` ones, whose
    files count by their names alone unless another pattern means them too, and of `asked` ones, which builds do not
    see unless another pattern means them too. Files that are not kept are not seen at all.
    Raises UsageError (codes input-outside, input-missing, input-kind), EnvtoolError, Interrupted as `listed` does.
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
            everything = [path for path in listed(root, cancel) if keeps is None or keeps(path)]
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
    listing = (_input(root, path, content=path in paths or path in seen) for path in sorted(paths | bare | seen))
    return tuple(item if item.path in paths or item.path in bare else replace(item, built=False) for item in listing)


def stage(root: str, files: Sequence[InputFile], target: str) -> None:
    """Copy inputs into the existing directory `target`, exactly what was hashed, readable by all, their times the
    epoch's. Raises UsageError (code input-changed) where a file is not what it was."""
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
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    out.write(piece)
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


def _input(root: str, path: str, *, content: bool) -> InputFile:
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
            digest = hashlib.file_digest(file, "sha256").hexdigest()
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

    def __init__(self, root: str, cancel: int = -1) -> None:
        """Where git is asked, it is given up as soon as the descriptor `cancel` is readable."""
        self._root = os.path.realpath(root)
        self._cancel = cancel
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
            self._listed = listed(self._root, self._cancel)
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
