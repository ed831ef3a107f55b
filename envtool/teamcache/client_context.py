"""The values that the client of a team cache gets from its command."""

from __future__ import annotations

from collections.abc import Callable

from envtool.container.runner import LocalRunner, Runner
from envtool.events import Emit
from envtool.lazy_dataclass import dataclass, field
from envtool.net.oci.reference import Reference
from envtool.store.store import Store
from envtool.teamcache.registry_store import RegistryProtocol
from envtool.teamcache.signatures import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """The values that TeamCacheClient gets from its command."""

    store: Store
    registry: RegistryProtocol  # for pulls
    giving: RegistryProtocol  # for pushes
    repository: Reference
    ids: str  # "single" or "range": the user ids that the containers here have
    arch: str  # uname -m
    emit: Emit
    cancelled: Callable[[], bool]
    runner: Runner = field(default_factory=LocalRunner)  # reads the layers' trees
    signer: Signer | None = None  # the key that signs pushes; None: nothing is pushed
