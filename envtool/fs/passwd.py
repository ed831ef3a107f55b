"""Who a name is in a stack's own /etc/passwd and /etc/group, as Docker looks it up (moby/sys/user: GetExecUser). Pure,
and without imports: it runs inside containers.
"""

from __future__ import annotations

_RANGE = 1 << 30  # ids; root has more


class UnknownUserError(Exception):
    """No such user or group; its text says so."""


class User:
    """`groups` are all that the process is in, `gid` too."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home


def find_user(wanted: str, passwd: bytes, group: bytes) -> User:
    """The user of NAME or UID, or either with `:GROUP` or `:GID`; "" is root. A number need not be in passwd. Groups
    that list the user count, unless a group is named. Raises Unknown."""
    name, colon, named_group = wanted.partition(":")
    name = name or "0"
    entries = _entries(passwd, 4)
    entry = next((each for each in entries if each[0] == name), None) or next(
        (each for each in entries if each[2] == name), None
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
        int(each[2])
        for each in _entries(group, 3)
        if login and len(each) > 3 and login in each[3].split(",") and int(each[2]) != gid
    ]
    return User(uid, gid, [gid, *groups], home)


def find_group(wanted: str, group: bytes) -> int:
    """The id of GROUP or GID. Raises Unknown."""
    entry = next((each for each in _entries(group, 3) if each[0] == wanted), None)
    if entry is None and not _number(wanted):
        raise UnknownUserError(f"there is no group `{wanted}` in /etc/group")
    return int(entry[2]) if entry else int(wanted)


def explain_unmapped(uid: int, gid: int) -> str:
    """Why nothing can belong to these ids in this namespace, and what to do; "" where that is not the reason."""
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
    if least <= _RANGE:
        text += "; root has larger ones, and so has a user with a longer range in /etc/subuid and /etc/subgid"
    return text


def _entries(text: bytes, fields: int) -> list[list[str]]:
    """Lines with an id in the third field."""
    lines = [line.split(":") for line in text.decode("utf-8", "replace").split("\n")]
    return [line for line in lines if len(line) >= fields and _number(line[2])]


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11
