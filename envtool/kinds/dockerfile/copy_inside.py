"""Executes COPY, ADD and WORKDIR inside the build's container, where `/` is the stack and no module can be imported.

Copies as BuildKit does: the content of a directory; a file under its own name into a target that is a directory or is
written with a slash at its end; directories that are made on the way get the owner that is given. Without --chown files
of the context belong to root, and files of other trees keep their owner. Files of other trees keep their times; files
of the context get SOURCE_DATE_EPOCH, because the times in a checkout depend on when it was made."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from typing import Any, TypeAlias

from envtool.api import BuildError
from envtool.api.foreign_tree import (
    UnknownUserError,
    User,
    explain_unmapped,
    find_group,
    find_user,
    read_regular_file,
    resolve_in_root,
)
from envtool.api.untrusted_text import natural
from envtool.kinds.dockerfile.build_context import is_pattern
from envtool.kinds.dockerfile.dockerignore import pattern_covers

CHUNK = 1 << 20
_NAMES = 16 << 20  # bytes that are read of /etc/passwd or /etc/group
_MAGIC = re.compile(r"[*?\[\\]")
# Mounted by the container, in the build as well as where the image runs: no layer has their content.
_KERNEL_DIRECTORIES = ("/proc", "/sys", "/dev")
Unpack: TypeAlias = "Callable[[str, str, tuple[int, int] | None, Callable[[], None]], list[str] | None]"  # see api.Call


class CopyError(BuildError):
    """A file cannot be copied; the message says which and why."""


class _Copier:
    """Copies files for one instruction. `owner` is (uid, gid), None to keep each file's owner; `mode` is as in
    chmod(1), empty to keep each file's mode. `times`: keep each file's times; else all get SOURCE_DATE_EPOCH.
    `named_owner`: the owner of the directories that are made on the way, None for those of mkdir(2)."""

    def __init__(
        self,
        owner: tuple[int, int] | None,
        mode: str,
        exclude: list[str],
        *,
        times: bool,
        named_owner: tuple[int, int] | None,
    ) -> None:
        self.owner = owner
        self.parents_owner = named_owner
        self.moment = None if times else int(os.environ["SOURCE_DATE_EPOCH"])
        self.mode = mode
        self.exclude = exclude
        self.links: dict[tuple[int, int], str] = {}

    def entry(self, source: str, target: str, name: str) -> None:
        """Copies a file, a symlink or a directory with its content to exactly `target`; `name` is its path below the
        copied directory, for --exclude."""
        pending = [(source, target, name)]
        while pending:
            source, target, name = pending.pop()
            if name and any(pattern_covers(pattern, name) for pattern in self.exclude):
                continue
            info = os.lstat(source)
            if stat.S_ISDIR(info.st_mode):
                self.directory(source, target, info)
                pending += reversed(self._below(source, target, name))
            else:
                self._replace(source, target, info)

    def content(self, source: str, target: str) -> None:
        """Copies all that is in a directory, in the order of the names."""
        for below in self._below(source, target, ""):
            self.entry(*below)

    def _below(self, source: str, target: str, name: str) -> list[tuple[str, str, str]]:
        if target in _KERNEL_DIRECTORIES:  # for example in `COPY --from=build / /`
            return []
        return [
            (os.path.join(source, entry), os.path.join(target, entry), f"{name}/{entry}" if name else entry)
            for entry in sorted(os.listdir(source))
        ]

    def _replace(self, source: str, target: str, info: os.stat_result) -> None:
        """Copies all but a directory, in the place of what is there."""
        try:
            mode = os.lstat(target).st_mode
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(mode):
                raise CopyError(f"{target} is a directory: a file cannot take its place")
            os.unlink(target)
        self.leaf(source, target, info)

    def directory(self, source: str, target: str, info: os.stat_result) -> None:
        """Makes a directory below the target. A directory that exists already gets owner and mode too (BuildKit:
        copyDirectory). Leaves a link to a directory, and the directories in `_KERNEL_DIRECTORIES`, as they are."""
        if target in _KERNEL_DIRECTORIES:
            return
        try:
            os.mkdir(target, 0o700)
        except FileExistsError:
            if not os.path.isdir(target):
                raise CopyError(f"{target} is no directory: a directory cannot take its place") from None
        if not os.path.islink(target):
            self.attributes(source, target, info)

    def leaf(self, source: str, target: str, info: os.stat_result) -> None:
        first = self.links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if first is not None:
            os.link(first, target, follow_symlinks=False)
            return
        if info.st_nlink > 1:
            self.links[info.st_dev, info.st_ino] = target
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(info.st_mode):
            _content(source, target)
        elif stat.S_ISFIFO(info.st_mode):
            os.mkfifo(target)
        else:
            raise CopyError(f"`{os.path.basename(source)}` is a device or a socket")
        self.attributes(source, target, info)

    def attributes(self, source: str, target: str, info: os.stat_result) -> None:
        owner = (info.st_uid, info.st_gid) if self.owner is None else self.owner
        _chown(target, owner)
        if not stat.S_ISLNK(info.st_mode):
            for key in os.listxattr(source, follow_symlinks=False):
                if key == "security.capability" or (key.startswith("user.") and not key.startswith("user.overlay.")):
                    os.setxattr(target, key, os.getxattr(source, key, follow_symlinks=False), follow_symlinks=False)
            os.chmod(target, apply_mode(stat.S_IMODE(info.st_mode), self.mode, stat.S_ISDIR(info.st_mode)))
        if self.moment is None:
            os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
        else:
            os.utime(target, (self.moment, self.moment), follow_symlinks=False)

    def parents(self, path: str) -> None:
        """Makes the directories of a path that do not exist."""
        missing = []
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise CopyError(f"{path} is no directory")
        for directory in reversed(missing):
            os.mkdir(directory)
            if self.parents_owner is not None:
                _chown(directory, self.parents_owner)
            # in a setgid directory it has the group and the bit of that, as in BuildKit (fsutil: MkdirAll)
            os.chmod(directory, 0o755 | os.lstat(directory).st_mode & stat.S_ISGID)


def _chown(path: str, owner: tuple[int, int]) -> None:
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError as error:
        reason = explain_unmapped(*owner) if error.errno == errno.EINVAL else ""
        if not reason:
            raise
        raise BuildError(f"{path} cannot belong to {owner[0]}:{owner[1]}: {reason}", code="copy-owner") from None


def _content(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as infile, open(target, "xb", buffering=0) as outfile:
        while chunk := infile.read(CHUNK):
            unwritten = memoryview(chunk)
            while unwritten:
                unwritten = unwritten[outfile.write(unwritten) :]


# ---- owners and modes -----------------------------------------------------------------------------------------------


def resolve_owner(text: str, origin: str) -> tuple[int, int] | None:
    """Returns (uid, gid) of USER or USER:GROUP, by name or number, as --chown and WORKDIR take them (BuildKit:
    readUser); None for an empty text. A user given by number has the group of the same number. `origin` is where the
    text was written, for the message. Raises CopyError."""
    if not text:
        return None
    name, colon, group = text.partition(":")
    try:
        user = _user(name)
        if colon and group:
            return user.uid, find_group(group, _read("/etc/group"))
        return user.uid, user.uid if natural(name) is not None else user.gid
    except UnknownUserError as error:
        raise CopyError(f"{origin}: {error}") from None


def _user(name: str) -> User:
    number = natural(name, (1 << 32) - 2)
    if number is not None:
        return User(number, number, [], "/")
    return find_user(name, _read("/etc/passwd"), b"")


def _read(path: str) -> bytes:
    try:
        return read_regular_file(path, most=_NAMES, follow=True)
    except OSError:
        return b""


def apply_mode(mode: int, change: str, directory: bool) -> int:
    """Returns a mode after a change as chmod(1) takes it: octal, or clauses as in u+x,go-w and g=u (the umask has no
    effect)."""
    if not change:
        return mode
    if change.isdigit():
        return int(change, 8)
    for clause in change.split(","):
        classes, actions = re.match(r"([ugoa]*)(.*)", clause).groups()  # type: ignore[union-attr]
        classes = "ugo" if not classes or "a" in classes else classes
        for sign, letters in re.findall(r"([-+=])([rwxXstugo]*)", actions):
            granted = letters
            if letters and letters in "ugo":  # what that class has now
                granted = "".join(letter for letter in "rwx" if mode & _mode_bits(letters, letter, executable=False))
            bits = _mode_bits(classes, granted, executable=directory or bool(mode & 0o111))
            if sign == "=":
                mode &= ~_mode_bits(classes, "rwx" + ("s" if not directory else ""), executable=False)
            mode = mode & ~bits if sign == "-" else mode | bits
    return mode


def _mode_bits(classes: str, letters: str, *, executable: bool) -> int:
    bits = 0
    for user_class in classes:
        shift = {"u": 6, "g": 3, "o": 0}[user_class]
        for letter, bit in (("r", 4), ("w", 2), ("x", 1), ("X", 1 if executable else 0)):
            bits |= bit << shift if letter in letters else 0
        if "s" in letters:
            bits |= {"u": 0o4000, "g": 0o2000, "o": 0}[user_class]
    return bits | (0o1000 if "t" in letters else 0)


# ---- the steps ------------------------------------------------------------------------------------------------------


def copy(spec: dict[str, Any], unpack: Unpack = lambda *_: None) -> None:
    """Executes one COPY or ADD. `spec`: `root` (the tree that is copied from), `sources` (patterns in it), `documents`
    ([name, text] of here-documents), `files` ([path, name] of downloaded files), `target`, `owner`, `mode`, `exclude`,
    `parents`, `keep` (keep owners and times), `archives` (unpack archives of the context), `fetched` (unpack downloaded
    archives). `unpack`: see api.Call. Raises CopyError, BuildError."""
    try:
        _copy(spec, unpack)
    except OSError as error:
        raise _copy_error(error, spec["root"]) from error


def _copy(spec: dict[str, Any], unpack: Unpack) -> None:
    named_owner = resolve_owner(spec["owner"], f"--chown={spec['owner']}")
    owner = named_owner or (None if spec["keep"] else (0, 0))
    copier = _Copier(owner, spec["mode"], spec["exclude"], times=spec["keep"], named_owner=named_owner)
    matches = [(pattern, path) for pattern in spec["sources"] for path in _match_sources(spec, pattern)]
    several = len(matches) + len(spec["documents"]) + len(spec["files"]) > 1
    for pattern, path in matches:
        if spec["parents"]:
            _copy_with_parents(copier, spec["root"], path, spec["target"], pattern)
        elif not spec["archives"] or not _unpack_archive(
            copier, resolve_in_root(spec["root"], path), spec["target"], named_owner, unpack
        ):
            _copy_one(copier, resolve_in_root(spec["root"], path), os.path.basename(path), spec["target"], several)
    document_copier = _Copier(owner, spec["mode"], [], times=False, named_owner=named_owner)
    for number, (name, text) in enumerate(spec["documents"]):
        document = f"/dev/.document{number}"
        with open(document, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(document, 0o644)
        _copy_one(document_copier, document, name, spec["target"], several)
    download_copier = _Copier(owner, spec["mode"] or "0600", [], times=False, named_owner=named_owner)
    for path, name in spec["files"]:
        if not spec["fetched"] or not _unpack_archive(copier, path, spec["target"], named_owner, unpack):
            _copy_one(download_copier, path, name, spec["target"], several)


_HINTS = {
    errno.ELOOP: "the links on the path form a loop",
    errno.ENAMETOOLONG: "a name has 255 bytes at most, a path 4095",
    errno.ENOTDIR: "a part of the path is a file, or leads to one",
}


def _copy_error(error: OSError, root: str) -> CopyError:
    """Returns the error for a failed system call; the message has the path as the tree that is copied from has it."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if root and path.startswith(f"{root}/"):
        path = path[len(root) + 1 :]
    text = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "")
    if path.startswith(tuple(f"{directory}/" for directory in _KERNEL_DIRECTORIES)):
        names = ", ".join(_KERNEL_DIRECTORIES)
        hint = f"{names} belong to the container of the build: a layer cannot have files there"
    return CopyError(f"{path}: {text}" if path else text, hint=hint)


def _match_sources(spec: dict[str, Any], pattern: str) -> list[str]:
    """Returns the paths below the root that a pattern matches. A pattern with `*`, `?` or `[…]` may match none
    (BuildKit: AllowEmptyWildcard). Raises CopyError for a path that does not exist."""
    root = spec["root"]
    paths = _find(root, pattern)
    if not paths and not is_pattern(pattern):
        raise _missing_source_error(root, pattern, has_root=spec["keep"])
    for path in paths:
        if not os.path.lexists(resolve_in_root(root, path)):
            raise _missing_source_error(root, path, has_root=spec["keep"])
    return paths


def _missing_source_error(root: str, path: str, *, has_root: bool) -> CopyError:
    """Returns the error for a path that does not exist; it names a link on the way, or at the end, that leads nowhere.
    `has_root`: the tree is a root file system, in which paths are absolute; else it is the context."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for depth in range(1, len(parts) + 1):
        link = resolve_in_root(root, "/".join(parts[:depth]), last=False)
        target = resolve_in_root(root, "/".join(parts[:depth]))
        if os.path.islink(link) and not os.path.lexists(target):
            return _dangling_link_error(link[len(root.rstrip("/")) :], os.readlink(link), has_root=has_root)
    return CopyError(f"there is no `{'/' if has_root else ''}{path}`")


def _dangling_link_error(name: str, target: str, *, has_root: bool) -> CopyError:
    if has_root:
        text, advice = (
            f"`{name}` is a link to `{target}`, which does not exist",
            "make the target of the link, or copy the directory that has the link",
        )
    else:
        text = f"`{name[1:]}` is a link to `{target}`, which is not in the context"
        absolute = target.startswith("/")
        advice = "an absolute link leads out of a checkout" if absolute else "is it ignored, or outside of the context?"
    return CopyError(text, hint=f"COPY copies the file that a link leads to: {advice}")


def _copy_one(copier: _Copier, source: str, name: str, target: str, several: bool) -> None:
    """Copies one source. Of `several` sources each is copied into the target, which must be a directory: a source that
    is a directory makes it."""
    path = _resolve_target(target)
    if os.path.isdir(source) and not os.path.islink(source):
        copier.parents(path)
        copier.content(source, path)
        return
    if target.endswith("/") or os.path.isdir(path):
        copier.parents(path)
        path = os.path.join(path, name)
    elif several:
        raise CopyError(f"several sources cannot be copied to one file, {target}",
                        hint=f"a directory ends with a slash: `{target}/`")  # fmt: skip
    else:
        copier.parents(os.path.dirname(path))
    copier.entry(source, path, "")


def _copy_with_parents(copier: _Copier, root: str, path: str, target: str, pattern: str) -> None:
    """--parents: copies a source under its own path, or under what follows a `/./` in the pattern."""
    pivot_index = pattern.find("/./")
    name = path
    if pivot_index >= 0:
        depth = len([part for part in pattern[:pivot_index].split("/") if part not in ("", ".")])
        name = "/".join(path.split("/")[depth:])
    destination = _resolve_target(target)
    copier.parents(destination)
    source = resolve_in_root(root, path[: len(path) - len(name)] or "/")
    parts = name.split("/")
    for part in parts[:-1]:
        source, destination = os.path.join(source, part), os.path.join(destination, part)
        if not os.path.isdir(destination):
            copier.directory(source, destination, os.stat(source))
    copier.entry(os.path.join(source, parts[-1]), os.path.join(destination, parts[-1]), "")


def _resolve_target(target: str) -> str:
    return os.path.realpath(target) or "/"


def _find(root: str, pattern: str) -> list[str]:
    """Returns the paths below `root` that a pattern matches, without a slash at their beginning; "" is the root itself.
    `*`, `?` and `[…]` do not match a slash (Go: path/filepath.Match). A pattern without any of them matches the path of
    that name."""
    paths = [""]
    for part in [part for part in pattern.split("/") if part not in ("", ".")]:
        if part == "..":
            paths = [os.path.dirname(path) for path in paths]
        elif not _MAGIC.search(part):
            paths = [f"{path}/{part}" if path else part for path in paths]
            paths = [path for path in paths if os.path.lexists(resolve_in_root(root, path, last=False))]
        else:
            matches = []
            for path in paths:
                directory = resolve_in_root(root, path or "/")
                names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
                matches += [f"{path}/{name}" if path else name for name in names if _matches(part, name)]
            paths = matches
    return list(dict.fromkeys(paths))


def _matches(part: str, name: str) -> bool:
    return pattern_covers(re.sub(r"\*+", "*", part), name)


# ---- archives -------------------------------------------------------------------------------------------------------


def _unpack_archive(copier: _Copier, path: str, target: str, owner: tuple[int, int] | None, unpack: Unpack) -> bool:
    """Unpacks a file if it is an archive; returns whether it is one. The files get the owners and modes of the archive,
    or `owner` if one is given."""
    if not os.path.isfile(path):
        return False
    directory = _resolve_target(target)
    try:
        skipped = unpack(path, directory, owner, lambda: copier.parents(directory))
    except BuildError as error:
        raise BuildError(f"{os.path.basename(path)}: {error.message}", code=error.code) from None
    for line in skipped or ():
        print(line)
    return skipped is not None


def make_workdir(path: str, user: str) -> None:
    """WORKDIR: makes the directory and its missing parents, which all belong to `user`. Raises CopyError."""
    directory = _resolve_target(path)
    if os.path.isdir(directory):
        return
    owner = resolve_owner(user, f"USER {user}")
    try:
        _Copier(owner, "", [], times=False, named_owner=owner).parents(directory)
    except OSError as error:
        raise _copy_error(error, "") from error
