"""COPY, ADD and WORKDIR, done: runs inside a build's container, where `/` is the stack and nothing can be imported.

As BuildKit copies: of a directory its content; into a target that is a directory, or is written with a slash at its
end, a file under its own name; directories that are made on the way belong to the owner that is given. Files of the
context belong to root, those of other trees to whom they belong there, unless an owner is given. Times of other trees
are kept; the context has none (a checkout's say nothing), so its files get SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from typing import Any, TypeAlias

from envtool.api import BuildError
from envtool.fs import store_files
from envtool.fs.passwd import UnknownUserError, User, explain_unmapped, find_group, find_user
from envtool.fs.rootpaths import resolve_in_root
from envtool.fs.sizes import natural
from envtool.kinds.dockerfile.build_context import is_pattern
from envtool.kinds.dockerfile.dockerignore import pattern_covers

CHUNK = 1 << 20
_NAMES = 16 << 20  # bytes of /etc/passwd and its like
_MAGIC = re.compile(r"[*?\[\\]")
_KERNEL_DIRECTORIES = (
    "/proc",
    "/sys",
    "/dev",
)  # the container's while it is built, and of whoever runs the image: in no layer
Unpack: TypeAlias = "Callable[[str, str, tuple[int, int] | None, Callable[[], None]], list[str] | None]"  # see api.Call


class CopyError(BuildError):
    """What cannot be copied, and why."""


class _Copier:
    """One instruction. `owner` is (uid, gid), None to keep whose it is; `mode` as in chmod(1), empty to keep it."""

    def __init__(self, owner: tuple[int, int] | None, mode: str, exclude: list[str], *, times: bool) -> None:
        self.owner = owner
        self.moment = None if times else int(os.environ["SOURCE_DATE_EPOCH"])
        self.mode = mode
        self.exclude = exclude
        self.links: dict[tuple[int, int], str] = {}

    def entry(self, source: str, target: str, name: str) -> None:
        """A file, symlink or whole directory to exactly `target`; `name` is its path below what is copied."""
        if name and any(pattern_covers(pattern, name) for pattern in self.exclude):
            return
        info = os.lstat(source)
        if stat.S_ISDIR(info.st_mode):
            self.directory(source, target, info)
            self.content(source, target, name)
            return
        try:
            there = os.lstat(target).st_mode
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(there):
                raise CopyError(f"{target} is a directory: a file cannot take its place")
            os.unlink(target)
        self.leaf(source, target, info)

    def content(self, source: str, target: str, name: str = "") -> None:
        if target in _KERNEL_DIRECTORIES:  # as in `COPY --from=build / /`
            return
        for each in sorted(os.listdir(source)):
            self.entry(os.path.join(source, each), os.path.join(target, each), f"{name}/{each}" if name else each)

    def directory(self, source: str, target: str, info: os.stat_result) -> None:
        """One below the target, which gets owner and mode also if it is there already (BuildKit: copyDirectory). A link
        to a directory stays, and so does what is the container's."""
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
        """Directories that are not there yet."""
        missing = []
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise CopyError(f"{path} is no directory")
        for each in reversed(missing):
            os.mkdir(each)
            os.chmod(each, 0o755)
            if self.owner is not None:
                _chown(each, self.owner)


def _chown(path: str, owner: tuple[int, int]) -> None:
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError as error:
        reason = explain_unmapped(*owner) if error.errno == errno.EINVAL else ""
        if not reason:
            raise
        raise BuildError(f"{path} cannot belong to {owner[0]}:{owner[1]}: {reason}", code="copy-owner") from None


def _content(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as file, open(target, "xb", buffering=0) as out:
        while piece := file.read(CHUNK):
            view = memoryview(piece)
            while view:
                view = view[out.write(view) :]


# ---- owners and modes -----------------------------------------------------------------------------------------------


def resolve_owner(text: str, said: str) -> tuple[int, int] | None:
    """USER or USER:GROUP, by name or number, as --chown and WORKDIR take them (BuildKit: readUser): a number alone is
    the group's too. `said` is where it stands, for people. Raises CopyError."""
    if not text:
        return None
    name, colon, group = text.partition(":")
    try:
        user = _user(name)
        if colon and group:
            return user.uid, find_group(group, _read("/etc/group"))
        return user.uid, user.uid if natural(name) is not None else user.gid
    except UnknownUserError as error:
        raise CopyError(f"{said}: {error}") from None


def _user(name: str) -> User:
    number = natural(name, (1 << 32) - 2)
    if number is not None:
        return User(number, number, [], "/")
    return find_user(name, _read("/etc/passwd"), b"")


def _read(path: str) -> bytes:
    try:
        return store_files.read_regular_file(path, most=_NAMES, follow=True)
    except OSError:
        return b""


def apply_mode(mode: int, wish: str, directory: bool) -> int:
    """A mode after chmod(1): octal, or clauses as in u+x,go-w and g=u (a umask counts for none)."""
    if not wish:
        return mode
    if wish.isdigit():
        return int(wish, 8)
    for clause in wish.split(","):
        whom, actions = re.match(r"([ugoa]*)(.*)", clause).groups()  # type: ignore[union-attr]
        whom = "ugo" if not whom or "a" in whom else whom
        for sign, letters in re.findall(r"([-+=])([rwxXstugo]*)", actions):
            given = letters
            if letters and letters in "ugo":  # what that class has now
                given = "".join(letter for letter in "rwx" if mode & _mode_bits(letters, letter, executable=False))
            bits = _mode_bits(whom, given, executable=directory or bool(mode & 0o111))
            if sign == "=":
                mode &= ~_mode_bits(whom, "rwx" + ("s" if not directory else ""), executable=False)
            mode = mode & ~bits if sign == "-" else mode | bits
    return mode


def _mode_bits(whom: str, letters: str, *, executable: bool) -> int:
    found = 0
    for each in whom:
        shift = {"u": 6, "g": 3, "o": 0}[each]
        for letter, bit in (("r", 4), ("w", 2), ("x", 1), ("X", 1 if executable else 0)):
            found |= bit << shift if letter in letters else 0
        if "s" in letters:
            found |= {"u": 0o4000, "g": 0o2000, "o": 0}[each]
    return found | (0o1000 if "t" in letters else 0)


# ---- the steps ------------------------------------------------------------------------------------------------------


def copy(spec: dict[str, Any], unpack: Unpack = lambda *_: None) -> None:
    """Do one COPY or ADD. `spec`: `root` (the tree it comes from), `sources` (patterns in it), `documents` ([name,
    text] of here-documents), `files` ([path, name] of fetched ones), `target`, `owner`, `mode`, `exclude`, `parents`,
    `keep` (whose it is), `archives` (unpack those of the context), `fetched` (unpack those that were fetched).
    `unpack`: see api.Call. Raises CopyError, BuildError."""
    try:
        _copy(spec, unpack)
    except OSError as error:
        raise _copy_error(error, spec["root"]) from error


def _copy(spec: dict[str, Any], unpack: Unpack) -> None:
    named = resolve_owner(spec["owner"], f"--chown={spec['owner']}")
    owner = named or (None if spec["keep"] else (0, 0))
    copier = _Copier(owner, spec["mode"], spec["exclude"], times=spec["keep"])
    found = [(pattern, path) for pattern in spec["sources"] for path in _match_sources(spec, pattern)]
    several = len(found) + len(spec["documents"]) + len(spec["files"]) > 1
    for pattern, path in found:
        if spec["parents"]:
            _copy_with_parents(copier, spec["root"], path, spec["target"], pattern)
        elif not spec["archives"] or not _unpack_archive(
            copier, resolve_in_root(spec["root"], path), spec["target"], named, unpack
        ):
            _copy_one(copier, resolve_in_root(spec["root"], path), os.path.basename(path), spec["target"], several)
    written = _Copier(owner, spec["mode"], [], times=False)
    for number, (name, text) in enumerate(spec["documents"]):
        place = f"/dev/.document{number}"
        with open(place, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(place, 0o644)
        _copy_one(written, place, name, spec["target"], several)
    fetched = _Copier(owner, spec["mode"] or "0600", [], times=False)
    for path, name in spec["files"]:
        if not spec["fetched"] or not _unpack_archive(copier, path, spec["target"], named, unpack):
            _copy_one(fetched, path, name, spec["target"], several)


_HINTS = {
    errno.ELOOP: "links lead round in a circle there",
    errno.ENAMETOOLONG: "a name has 255 bytes at most, a path 4095",
    errno.ENOTDIR: "a part of the path is a file, or leads to one",
}


def _copy_error(error: OSError, root: str) -> CopyError:
    """What the system refuses, by the name that the file has in the tree that it is in."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if root and path.startswith(f"{root}/"):
        path = path[len(root) + 1 :]
    text = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "")
    if path.startswith(tuple(f"{each}/" for each in _KERNEL_DIRECTORIES)):
        names = ", ".join(_KERNEL_DIRECTORIES)
        hint = f"{names} are the container's own while it is built: no layer has what is written there"
    return CopyError(f"{path}: {text}" if path else text, hint=hint)


def _match_sources(spec: dict[str, Any], pattern: str) -> list[str]:
    """What a pattern means. One with `*`, `?` or `[…]` may mean nothing (BuildKit: AllowEmptyWildcard)."""
    root = spec["root"]
    paths = _find(root, pattern)
    if not paths and not is_pattern(pattern):
        raise _missing_source_error(root, pattern, whole=spec["keep"])
    for path in paths:
        if not os.path.lexists(resolve_in_root(root, path)):
            raise _missing_source_error(root, path, whole=spec["keep"])
    return paths


def _missing_source_error(root: str, path: str, *, whole: bool) -> CopyError:
    """What is said of a path that leads nowhere: a link on the way, or at its end, may be why. `whole`: as a path of a
    tree of its own."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for count in range(1, len(parts) + 1):
        place = resolve_in_root(root, "/".join(parts[:count]), last=False)
        real = resolve_in_root(root, "/".join(parts[:count]))
        if os.path.islink(place) and not os.path.lexists(real):
            return _dangling_link_error(place[len(root.rstrip("/")) :], os.readlink(place), whole=whole)
    return CopyError(f"there is no `{'/' if whole else ''}{path}`")


def _dangling_link_error(name: str, target: str, *, whole: bool) -> CopyError:
    if whole:
        text, why = (
            f"`{name}` is a link to `{target}`, and that is not there",
            "make that, or copy the link's directory",
        )
    else:
        text = f"`{name[1:]}` is a link to `{target}`, and that is not in the context"
        absolute = target.startswith("/")
        why = "an absolute link leads out of a checkout" if absolute else "is it ignored, or outside of the context?"
    return CopyError(text, hint=f"COPY takes what a link leads to: {why}")


def _copy_one(copier: _Copier, source: str, name: str, target: str, several: bool) -> None:
    """One of `several` that an instruction copies: they need a directory, which the first makes if it is one."""
    place = _resolve_target(target)
    if os.path.isdir(source) and not os.path.islink(source):
        copier.parents(place)
        copier.content(source, place)
        return
    if target.endswith("/") or os.path.isdir(place):
        copier.parents(place)
        place = os.path.join(place, name)
    elif several:
        raise CopyError(f"several things cannot all be the file {target}",
                        hint=f"a directory ends with a slash: `{target}/`")  # fmt: skip
    else:
        copier.parents(os.path.dirname(place))
    copier.entry(source, place, "")


def _copy_with_parents(copier: _Copier, root: str, path: str, target: str, pattern: str) -> None:
    """--parents: the path itself is kept, from a `/./` in it on."""
    pivot = pattern.find("/./")
    kept = path
    if pivot >= 0:
        depth = len([part for part in pattern[:pivot].split("/") if part not in ("", ".")])
        kept = "/".join(path.split("/")[depth:])
    place = _resolve_target(target)
    copier.parents(place)
    source = resolve_in_root(root, path[: len(path) - len(kept)] or "/")
    parts = kept.split("/")
    for part in parts[:-1]:
        source, place = os.path.join(source, part), os.path.join(place, part)
        if not os.path.isdir(place):
            copier.directory(source, place, os.stat(source))
    copier.entry(os.path.join(source, parts[-1]), os.path.join(place, parts[-1]), "")


def _resolve_target(target: str) -> str:
    return os.path.realpath(target) or "/"


def _find(root: str, pattern: str) -> list[str]:
    """Paths below `root` that a pattern means, without a slash at their begin; "" is the root itself. `*`, `?` and
    `[…]` stand for no slash (Go: path/filepath.Match), and a path that has none of them is itself."""
    found = [""]
    for part in [part for part in pattern.split("/") if part not in ("", ".")]:
        if part == "..":
            found = [os.path.dirname(each) for each in found]
        elif not _MAGIC.search(part):
            found = [f"{each}/{part}" if each else part for each in found]
            found = [each for each in found if os.path.lexists(resolve_in_root(root, each, last=False))]
        else:
            below = []
            for each in found:
                place = resolve_in_root(root, each or "/")
                names = sorted(os.listdir(place)) if os.path.isdir(place) else []
                below += [f"{each}/{name}" if each else name for name in names if _matches(part, name)]
            found = below
    return list(dict.fromkeys(found))


def _matches(part: str, name: str) -> bool:
    return pattern_covers(re.sub(r"\*+", "*", part), name)


# ---- archives -------------------------------------------------------------------------------------------------------


def _unpack_archive(copier: _Copier, path: str, target: str, owner: tuple[int, int] | None, unpack: Unpack) -> bool:
    """Unpack what is an archive; whether it is one. Owners and modes are the archive's, unless an owner is named."""
    if not os.path.isfile(path):
        return False
    place = _resolve_target(target)
    try:
        left_out = unpack(path, place, owner, lambda: copier.parents(place))
    except BuildError as error:
        raise BuildError(f"{os.path.basename(path)}: {error.message}", code=error.code) from None
    for line in left_out or ():
        print(line)
    return left_out is not None


def make_workdir(path: str, user: str) -> None:
    """WORKDIR: make it, and what is missing on the way, as the user's. Raises CopyError."""
    place = _resolve_target(path)
    if os.path.isdir(place):
        return
    owner = resolve_owner(user, f"USER {user}")
    try:
        _Copier(owner, "", [], times=False).parents(place)
    except OSError as error:
        raise _copy_error(error, "") from error
