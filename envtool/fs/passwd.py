"""Looks users and groups up in a stack's own /etc/passwd and /etc/group, as Docker does (moby/sys/user: GetExecUser).
Pure, and without imports: it runs inside containers.
"""

from __future__ import annotations

_LARGE_RANGE = 1 << 30  # root's containers have ids beyond this one


class UnknownUserError(Exception):
    """No such user or group; the text names it."""


class User:
    """A user as a process: `groups` are all its groups, with `gid`."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home


def find_user(wanted: str, passwd: bytes, group: bytes) -> User:
    """Returns the user of NAME or UID, or of either with `:GROUP` or `:GID`; "" is root. A number need not be in
    passwd. The groups that list the user are included, unless a group is named. Raises UnknownUserError.
    """
    name, colon, named_group = wanted.partition(":")
    name = name or "0"
    entries = _entries(passwd, 4)
    entry = next((line for line in entries if line[0] == name), None) or next(
        (line for line in entries if line[2] == name), None
    )
    if entry is None and not _number(name):
        raise UnknownUserError(f"there is no user `{name}` in /etc/passwd")
    uid = int(entry[2]) if entry else int(name)
    gid = int(entry[3]) if entry and _number(entry[3]) else 0
    home = entry[5] if entry and len(entry) > 5 and entry[5] else "/"
    if colon and named_group:
        gid = find_group(named_group, group)
        return User(uid, gid, [gid], home)
    login = entry[0] if entry else ""
    groups = [
        int(line[2])
        for line in _entries(group, 3)
        if login and len(line) > 3 and login in line[3].split(",") and int(line[2]) != gid
    ]
    return User(uid, gid, [gid, *groups], home)


def find_group(wanted: str, group: bytes) -> int:
    """Returns the id of GROUP or GID. Raises UnknownUserError."""
    entry = next((line for line in _entries(group, 3) if line[0] == wanted), None)
    if entry is None and not _number(wanted):
        raise UnknownUserError(f"there is no group `{wanted}` in /etc/group")
    return int(entry[2]) if entry else int(wanted)


def explain_unmapped(uid: int, gid: int) -> str:
    """Returns why no file can belong to these ids in this namespace, and what to do; "" where it can."""
    least = 1 << 32
    for side, number in (("uid", uid), ("gid", gid)):
        with open(f"/proc/self/{side}_map", encoding="utf-8") as file:
            extents = [[int(word) for word in line.split()] for line in file]
        if any(first <= number < first + count for first, _, count in extents):
            continue
        least = min(least, max(first + count for first, _, count in extents))
    if least == 1 << 32:
        return ""
    text = f"ids of containers here end at {least - 1}"
    if least <= _LARGE_RANGE:
        text += "; root has larger ones, and so has a user with a longer range in /etc/subuid and /etc/subgid"
    return text


def _entries(text: bytes, fields: int) -> list[list[str]]:
    """Returns the fields of each line that has an id in the third field."""
    lines = [line.split(":") for line in text.decode("utf-8", "replace").split("\n")]
    return [line for line in lines if len(line) >= fields and _number(line[2])]


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11
