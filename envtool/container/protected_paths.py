"""Which paths may never be an output: files that decide what git or envtool do when they next run in the checkout.

A name is compared as file systems do that fold names: by case, by Unicode (HFS+, ext4, ZFS), with points and spaces at
its end or a stream after a colon (NTFS), and as NTFS's short names. Git checks names likewise before a checkout
(`verify_path` in its read-cache.c, `is_hfs_dotgit`, `is_ntfs_dotgit`). We know more ways than git: one name too many
costs a note, one too few costs the machine.
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
# Unicode's Default_Ignorable_Code_Point, without the category Cf, which unicodedata knows
_IGNORED = ((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x3164, 0x3164),
            (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))  # fmt: skip


class Protection:
    """The protected paths: `paths`, and those that always are. `patterns` are those of `outputs:`."""

    def __init__(self, paths: tuple[str, ...], patterns: tuple[str, ...]) -> None:
        self._paths = {"/".join(_fold_name(part) for part in _parts(path)) for path in paths}
        self._named = {"/".join(_parts(pattern)) for pattern in patterns}

    def refusal_reason(self, path: str, *, literal: bool) -> tuple[str, str] | None:
        """Returns the part of a path that may be no output (a directory, or all of it) and the reason; None where the
        path may be one. `literal`: the path is a file, which `outputs:` may name itself.
        """
        parts = [part for part in path.split("/") if part]
        folded = ["/".join(_fold_name(piece) for piece in _parts(part)) for part in parts]
        for count, name in enumerate(folded, 1):
            if any(_is_git(piece) for piece in name.split("/")):
                return "/".join(parts[:count]), "what git obeys is never an output"
        if any(is_temporary(part) for part in parts):  # left by an envtool that was killed
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

    def reader(self, path: str) -> str:
        """Returns which program of this machine obeys what is at a path: "git", "envtool", or "" for none."""
        names = [_fold_name(part) for part in _parts(path)]
        if any(map(_is_git, names)):
            return "git"
        return "envtool" if any(map(_is_envtool_file, names)) or "/".join(names) in self._paths else ""

    def is_protected_target(self, path: str) -> bool:
        """Returns whether a link's target leads to a file of git's or envtool's."""
        names: list[str] = []
        for part in _parts(path):
            if part == "..":
                names = names[:-1]
            else:
                names.append(_fold_name(part))
        return any(_is_git(name) or _is_envtool_file(name) for name in names) or "/".join(names) in self._paths


def is_repository_sign(name: str) -> bool:
    """Returns whether git knows a bare repository by a name like this."""
    return _fold_name(name) in _SIGNS


def is_repository(names: Iterable[str]) -> bool:
    """Returns whether git takes a directory with these names for a repository, whose configuration it obeys: it finds
    one on the way up, without a `.git` (`is_git_directory` in git's setup.c).
    """
    folded = {_fold_name(name) for name in names}
    return "head" in folded and ("commondir" in folded or folded.issuperset(("objects", "refs")))


def _parts(path: str) -> list[str]:
    """Returns the components, as a system has them for which a backslash is a slash."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _is_git(name: str) -> bool:
    return name == GIT or _is_short(name, "git~")


def _is_envtool_file(name: str) -> bool:
    return name in ENVTOOL_FILES or _is_short(name.partition(".")[0], "envtoo~")


def _is_short(name: str, start: str) -> bool:
    """Returns whether a name is a short name as NTFS makes them: GIT~1, ENVTOO~1."""
    return name.startswith(start) and name[len(start) :].isdigit()


def _fold_name(name: str) -> str:
    """Returns a component as the most forgiving file system sees it."""
    if not name.isascii():
        import unicodedata

        name = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
        name = "".join(character for character in name if not _is_ignored(character, unicodedata.category(character)))
    return name.casefold().partition(":")[0].rstrip(" .")


def _is_ignored(character: str, category: str) -> bool:
    return category == "Cf" or any(first <= ord(character) <= last for first, last in _IGNORED)
