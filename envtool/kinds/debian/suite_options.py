"""The options of the kind `debian`, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.api import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOptions:
    """The options of the kind `debian`. `pockets` is None for the pockets that the suite has by default."""

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
        """Reads the options of the spec: `SUITE`, or a mapping, which fit the schema."""
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
