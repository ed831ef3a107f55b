"""What a team cache needs of the command that it works for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from envtool.events import Emit
from envtool.net.oci.reference import Reference
from envtool.store.store import Store
from envtool.teamcache.registry_store import RegistryProtocol
from envtool.teamcache.signatures import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """What a share needs of the command it works for."""

    store: Store
    registry: RegistryProtocol  # to be asked
    giving: RegistryProtocol  # to be pushed to
    repository: Reference
    ids: str  # "single" or "range": whose files its containers can make
    arch: str  # uname -m
    emit: Emit
    cancelled: Callable[[], bool]
    signer: Signer | None = None  # who pushes; None: nobody
