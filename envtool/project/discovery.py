"""Which spec counts that is found above the directory one stands in: the rule by which git takes a repository there.

In a directory such as /tmp anybody may put a file above others. So what is found on the way up counts if it belongs to
us, to root, or to the owner of the directory we began in, and lies on the same file system (git.around has the same
rule for repositories). On the warm path: imports next to nothing.
"""

from __future__ import annotations

import os

SPEC = "envtool.yaml"


class SpecSearch:
    """The spec of a directory. `path` is empty where there is none, or none that counts: then `passed_over` is the
    nearest that there is, and `why` says why it does not count."""

    __slots__ = ("passed_over", "path", "why")

    def __init__(self, path: str, passed_over: str = "", why: str = "") -> None:
        self.path, self.passed_over, self.why = path, passed_over, why


def is_trusted_owner(owner: int, began: os.stat_result) -> bool:
    """Whether what this user owns counts for whoever stands in a directory that is so."""
    return owner in (os.geteuid(), 0, began.st_uid)


def find_spec(directory: str) -> SpecSearch:
    """The nearest spec from an absolute path upward: the one of the very directory whoever it belongs to, since one
    stands in it; one above only if it and its directory count."""
    if os.path.isfile(_spec_path(directory)):
        return SpecSearch(_spec_path(directory))
    try:
        began = os.stat(directory)
        place = directory
        while (above := os.path.dirname(place)) != place:
            place = above
            if os.path.isfile(_spec_path(place)):
                why = _why_untrusted(place, began)
                return SpecSearch("", _spec_path(place), why) if why else SpecSearch(_spec_path(place))
    except OSError:  # gone, or a directory above that we may not look into
        pass
    return SpecSearch("")


def _spec_path(directory: str) -> str:
    return f"{directory}/{SPEC}" if directory != "/" else f"/{SPEC}"


def _why_untrusted(place: str, began: os.stat_result) -> str:
    """Why the spec of a directory above does not count; empty where it does. A link's owner is asked for, and the owner
    of what it leads to. Raises OSError."""
    path = _spec_path(place)
    for what, found in (("it", os.lstat(path)), ("it", os.stat(path)), ("its directory", os.stat(place))):
        if not is_trusted_owner(found.st_uid, began):
            return f"{what} belongs to user {found.st_uid}"
    return "it is on another file system" if os.stat(place).st_dev != began.st_dev else ""
