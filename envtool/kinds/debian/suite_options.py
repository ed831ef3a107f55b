"""What the spec says of a Debian base, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envtool.api import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOptions:
    """What the spec says of a Debian base. `pockets` None: those that the suite has."""

    suite: str
    mirror: str = ""
    security_mirror: str = ""
    components: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    pockets: tuple[str, ...] | None = None
    keyring: str = ""
    valid_until: bool = True

    @classmethod
    def read(cls, options: Json) -> SuiteOptions:
        """From the options of the spec: `SUITE`, or a mapping (checked against the schema before)."""
        value: Any = {"suite": options} if isinstance(options, str) else options
        return cls(
            suite=value["suite"],
            mirror=value.get("mirror", ""),
            security_mirror=value.get("security_mirror", ""),
            components=tuple(value.get("components", ())),
            packages=tuple(value.get("packages", ())),
            pockets=tuple(value["pockets"]) if "pockets" in value else None,
            keyring=value.get("keyring", ""),
            valid_until=value.get("valid_until", True),
        )
