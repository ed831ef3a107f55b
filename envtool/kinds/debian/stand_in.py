"""What a stack of another architecture has installed, for this machine's own apt: `lock --platform`.

apt is the same program for every architecture: with another `APT::Architecture`, the Packages files of that
architecture and a dpkg database of what is installed there, it chooses what apt would choose there. On a `debian` base
the pins say what is installed. Whether they say all of it is checked on this machine's own stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool.api import Bind, Command, Request, ResolveError, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool.api import Json, StandIn
    from envtool.kinds.debian.apt_sources import AptSources

REFUSED = "other-platform"  # see build/lock_platforms.py
STATUS = "/run/envtool-status"
_LISTED = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\\n")
_FIELDS = ("Filename:", "Size:", "MD5sum:", "SHA1:", "SHA256:", "SHA512:")  # of the archive, not of what is installed
_NAMED = 3  # packages that an error names


def apt_settings(arch: str) -> tuple[str, ...]:
    """Returns the settings with which apt chooses for an architecture, from the database that `status_bind` mounts."""
    return (f"APT::Architecture={arch}", f"APT::Architectures={arch}", f"Dir::State::status={STATUS}")


def check_base(request: Request) -> None:
    """Raises ResolveError (code other-platform) if the base's pins do not say which packages it has."""
    if request.base_kind != "debian":
        raise ResolveError(
            f"which packages a base of kind `{request.base_kind}` has is known only inside of it",
            code=REFUSED,
            hint="on a base of kind `debian` the lock says it; `envtool lock` on such a machine adds its entries",
        )


def status_bind(stand_in: StandIn, sources: AptSources, site: Site) -> Bind:
    """Returns the bind of a dpkg database with what the stack of the other architecture has. Raises ResolveError (code
    other-platform) if a layer below installs or removes what no pins name."""
    from envtool.kinds.debian import suite_index

    own = _installed(layer.own_pins for layer in stand_in.layers)
    _check_pins_say_all(own, site)
    index = suite_index.read_index(sources.lists, sources.paths)
    try:
        stanzas = [
            index.stanza(name, version) for name, (version, _) in
            sorted(_installed(layer.pins for layer in stand_in.layers).items())
        ]  # fmt: skip
    except KeyError as error:
        raise ResolveError(f"the index has no package {error} of the base", code="index") from None
    text = "\n".join(_as_installed(stanza) for stanza in stanzas)
    return Bind(source=str(site.keep([text.encode()])), target=STATUS)


def _installed(all_pins: Iterable[Json]) -> dict[str, tuple[str, str]]:
    """Returns name -> version and architecture, of the packages that pins of bases and layers install."""
    found: dict[str, tuple[str, str]] = {}
    for pins in all_pins:
        debs: Any = pins.get("debs", ()) if isinstance(pins, dict) else ()
        found |= {deb["name"]: (deb["version"], deb["arch"]) for deb in debs}
    return found


def _check_pins_say_all(pinned: Mapping[str, tuple[str, str]], site: Site) -> None:
    result = site.run(Command(argv=_LISTED))
    if result.status:
        message = "the dpkg of this machine's own stack does not say what is installed"
        raise ResolveError(message, code=REFUSED)
    words = [line.split() for line in result.stdout.decode(errors="replace").splitlines()]
    present = {fields[1]: (fields[2], fields[3]) for fields in words if len(fields) == 4 and fields[0] == "installed"}
    if names := sorted(name for name in {*present, *pinned} if present.get(name) != pinned.get(name)):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ResolveError(
            f"a layer below changes packages that no pins name: {', '.join(names[:_NAMED])}{more}", code=REFUSED
        )


def _as_installed(stanza: str) -> str:
    lines = [line for line in stanza.splitlines() if not line.startswith(_FIELDS)]
    return "\n".join([*lines[:1], "Status: install ok installed", *lines[1:], ""])
