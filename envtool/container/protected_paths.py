"""What may never be an output: files that decide what git or envtool do when they next run in the checkout.

A name is compared as file systems do that fold names: by case, by Unicode (HFS+, ext4, ZFS), with points and spaces at
its end or a stream after a colon (NTFS), as the short names that NTFS gives. So does git before it checks something
out (`verify_path` in its read-cache.c, `is_hfs_dotgit`, `is_ntfs_dotgit`); ours knows more ways, since a name too
many that is refused costs a note, and one too few costs the machine.
"""

from __future__ import annotations

from envtool.fs.directory import is_temporary
from envtool.project import OWN, VENDOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

GIT = ".git"
ENVTOOL_FILES = (OWN, VENDOR, "envtool.yaml", "envtool.lock")
_SIGNS = frozenset(["head", "objects", "refs", "commondir"])
# Unicode's Default_Ignorable_Code_Point, but for the category Cf, which is asked by name
_IGNORED = ((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x3164, 0x3164),
            (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))  # fmt: skip


class Protection:
    """`paths` are protected beside what always is; `patterns` are those of `outputs:`."""

    def __init__(self, paths: tuple[str, ...], patterns: tuple[str, ...]) -> None:
        self._paths = {"/".join(_fold_name(part) for part in _parts(path)) for path in paths}
        self._named = {"/".join(_parts(pattern)) for pattern in patterns}

    def refusal_reason(self, path: str, *, literal: bool) -> tuple[str, str] | None:
        """The part of a path that may be no output (a directory, or all of it), and why; None where it may be one.
        `literal`: it is a file, which `outputs:` may name itself."""
        parts = [part for part in path.split("/") if part]
        folded = ["/".join(_fold_name(piece) for piece in _parts(part)) for part in parts]
        for count, name in enumerate(folded, 1):
            if any(_is_git(piece) for piece in name.split("/")):
                return "/".join(parts[:count]), "what git obeys is never an output"
        if any(is_temporary(part) for part in parts):  # of an output of before, when we were killed
            return path, "a file that a killed envtool left"
        if literal and path in self._named:
            return None
        for count, name in enumerate(folded, 1):
            if any(_is_envtool_file(piece) for piece in name.split("/")):
                return "/".join(
                    parts[:count]
                ), "what envtool obeys is an output only where `outputs:` has its whole name"
        if "/".join(folded) in self._paths:
            return path, "a file of the spec is an output only where `outputs:` has its whole name"
        return None

    def is_protected_target(self, path: str) -> bool:
        """Whether a path, as a link's target says it, leads to something of git's or ours."""
        names: list[str] = []
        for part in _parts(path):
            if part == "..":
                names = names[:-1]
            else:
                names.append(_fold_name(part))
        return any(_is_git(name) or _is_envtool_file(name) for name in names) or "/".join(names) in self._paths


def is_repository_sign(name: str) -> bool:
    """Whether a name is one of those by which git knows a repository that is no `.git`: a bare one."""
    return _fold_name(name) in _SIGNS


def is_repository(names: Iterable[str]) -> bool:
    """Whether a directory with these names is a repository for git, which obeys the configuration that is in it: where
    it is found on the way up, without a `.git` (`is_git_directory` in git's setup.c)."""
    found = {_fold_name(name) for name in names}
    return "head" in found and ("commondir" in found or found.issuperset(("objects", "refs")))


def _parts(path: str) -> list[str]:
    """Components, as systems see them to whom a backslash is a slash."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _is_git(name: str) -> bool:
    return name == GIT or _is_short(name, "git~")


def _is_envtool_file(name: str) -> bool:
    return name in ENVTOOL_FILES or _is_short(name.partition(".")[0], "envtoo~")


def _is_short(name: str, start: str) -> bool:
    """A name of eight letters and a number, as NTFS makes them up: GIT~1, ENVTOO~1."""
    return name.startswith(start) and name[len(start) :].isdigit()


def _fold_name(name: str) -> str:
    """A component as the most forgiving file system sees it."""
    if not name.isascii():
        import unicodedata

        name = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
        name = "".join(each for each in name if not _is_ignored(each, unicodedata.category(each)))
    return name.casefold().partition(":")[0].rstrip(" .")


def _is_ignored(character: str, category: str) -> bool:
    return category == "Cf" or any(first <= ord(character) <= last for first, last in _IGNORED)
