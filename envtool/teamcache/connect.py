"""Taking part in a team cache: who may, and with how much patience."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from envtool.container import userns
from envtool.errors import EnvtoolError
from envtool.events import Emit
from envtool.model import TeamCache
from envtool.net import RetryPolicy
from envtool.net.oci import reference
from envtool.net.oci.registry import RegistryClient
from envtool.store.store import Store
from envtool.teamcache import signatures
from envtool.teamcache.client import TeamCacheClient
from envtool.teamcache.client_context import ClientContext

VARIABLE = "ENVTOOL_CACHE"
OFF = ("off", "0", "no", "false")
# A build must not wait for long for what it could make itself
PULL_RETRY_POLICY = RetryPolicy(attempts=2, pause=0.3, longest=2.0, connect=3.0, read=5.0, slow=32768.0)
PUSH_RETRY_POLICY = RetryPolicy(attempts=2, pause=0.5, longest=5.0, connect=3.0, read=10.0, slow=4096.0)


def is_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this machine wants no team cache."""
    return (os.environ if environ is None else environ).get(VARIABLE, "").lower() in OFF


def may_push(team: TeamCache, *, in_ci: bool) -> bool:
    """Whether the spec lets this machine push."""
    return team.push == "always" or (team.push == "ci" and in_ci)


def id_mode() -> str:
    """Whose files containers here can make: "single" or "range"."""
    return "single" if userns.caller_ids().mode == "single" else "range"


def make_client(
    team: TeamCache, store: Store, *, project: str, arch: str, emit: Emit, cancelled: Callable[[], bool], in_ci: bool
) -> TeamCacheClient | None:
    """The team cache for one command; None where this machine wants none. Asks nobody, and raises nothing: a signing
    key that is none is told, and then nothing is pushed."""
    if is_disabled():
        return None
    signer, why = None, ""
    if may_push(team, in_ci=in_ci):
        try:
            signer = signatures.find_signer(project=project)
        except EnvtoolError as error:
            why = f"nothing is pushed: {error.message}"
    outside = ClientContext(
        store=store,
        registry=RegistryClient(cancelled=cancelled, patience=PULL_RETRY_POLICY),
        giving=RegistryClient(cancelled=cancelled, patience=PUSH_RETRY_POLICY),
        repository=reference.parse_reference(team.registry, tag=""),
        ids=id_mode(),
        arch=arch,
        emit=emit,
        cancelled=cancelled,
        signer=signer,
    )
    share = TeamCacheClient(team, outside)
    if why:
        share.say(why)
    return share
