"""Who is in a pod: members, each with a name and an address, and services, each with the members that are ready."""

from __future__ import annotations

_ENDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")  # what a name begins and ends with
_INNER = _ENDS | frozenset("_.-")
_MAX_NAME = 63  # characters: of a label (RFC 1035, 2.3.4)
ALL = "all."  # before the name of a service: every member of it that is ready
MAX_MEMBERS = 4096


class _Member:
    __slots__ = ("address", "ready", "service")

    def __init__(self, service: str, address: str) -> None:
        self.service = service
        self.address = address
        self.ready = False


class ServiceTable:
    """The members and services of one pod. Names are compared in lower case. A name is that of a member or of a
    service, never of both.
    """

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}
        self._services: dict[str, dict[str, _Member]] = {}
        self._turns: dict[str, int] = {}

    def declare(self, service: str) -> None:
        """Let a service be known that has no member yet. Raises ValueError."""
        name = _checked(service)
        if name in self._members:
            raise ValueError(f"`{service}` is the name of a member")
        self._services.setdefault(name, {})

    def check(self, name: str, service: str) -> None:
        """Raises ValueError where a member of this name cannot be added. A service of "" is none."""
        lower = _checked(name)
        if lower in self._members or lower in self._services:
            raise ValueError(f"`{name}` is in use in this pod")
        if service and (_checked(service) in self._members or service.lower() == lower):
            raise ValueError(f"`{service}` is the name of a member")
        if len(self._members) >= MAX_MEMBERS:
            raise ValueError(f"a pod has {MAX_MEMBERS} members at most")

    def add(self, name: str, service: str, address: str) -> None:
        """Add a member, which is not ready. Raises ValueError."""
        self.check(name, service)
        member = _Member(service.lower(), address)
        self._members[name.lower()] = member
        if service:
            self._services.setdefault(service.lower(), {})[name.lower()] = member

    def set_ready(self, name: str, *, ready: bool) -> None:
        """Raises KeyError where there is no such member."""
        self._members[name.lower()].ready = ready

    def remove(self, name: str) -> None:
        """Remove a member; its service stays known. Raises KeyError where there is no such member."""
        member = self._members.pop(name.lower())
        if member.service:
            del self._services[member.service][name.lower()]

    def ready(self, service: str) -> list[str]:
        """Returns the addresses of the members of a service that are ready, in the order in which they were added."""
        return [member.address for member in self._services.get(service.lower(), {}).values() if member.ready]

    def in_turn(self, service: str, user: str) -> list[str]:
        """Returns the same, from the one whose turn it is on: each `user` of the table has turns of its own."""
        addresses = self.ready(service)
        if not addresses:
            return []
        key = f"{user} {service.lower()}"
        turn = self._turns.get(key, 0) % len(addresses)
        self._turns[key] = turn + 1
        return addresses[turn:] + addresses[:turn]

    def look_up(self, name: str) -> list[str] | None:
        """Returns the addresses that are the answer for a name: one of a service's, in turn; a member's own, ready or
        not (replicas look for each other before they are); all that are ready for `all.SERVICE`. None: nobody has it.
        """
        name = name.lower()
        if name in self._services:
            return self.in_turn(name, "look_up")[:1]
        if name in self._members:
            return [self._members[name].address]
        if name.startswith(ALL) and name[len(ALL) :] in self._services:
            return self.ready(name[len(ALL) :])
        return None

    def has_name(self, name: str) -> bool:
        """Returns whether `look_up` finds the name; nobody's turn is taken."""
        name = name.lower()
        return name in self._services or name in self._members or name.removeprefix(ALL) in self._services

    def knows_service(self, service: str) -> bool:
        """Returns whether there is such a service."""
        return service.lower() in self._services


def _checked(name: str) -> str:
    lower = name.lower()
    well_formed = 0 < len(lower) <= _MAX_NAME and _INNER.issuperset(lower) and {lower[0], lower[-1]} <= _ENDS
    if not well_formed or lower.startswith(ALL):
        raise ValueError(f"`{name}` cannot be the name of a service or a member")
    return lower
