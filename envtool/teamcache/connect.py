"""Makes the team cache client of a command, if the spec and the machine allow one, with short timeouts."""

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
# a build must not wait long for a layer that it could build itself
PULL_RETRY_POLICY = RetryPolicy(attempts=2, pause=0.3, longest=2.0, connect=3.0, read=5.0, slow=32768.0)
PUSH_RETRY_POLICY = RetryPolicy(attempts=2, pause=0.5, longest=5.0, connect=3.0, read=10.0, slow=4096.0)


def is_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Whether ENVTOOL_CACHE turns the team cache off on this machine."""
    return (os.environ if environ is None else environ).get(VARIABLE, "").lower() in OFF


def may_push(team: TeamCache, *, in_ci: bool) -> bool:
    """Whether the spec allows this machine to push."""
    return team.push == "always" or (team.push == "ci" and in_ci)


def id_mode() -> str:
    """Returns the user ids that containers here have: "single" or "range"."""
    return "single" if userns.caller_ids().mode == "single" else "range"


def make_client(
    team: TeamCache, store: Store, *, project: str, arch: str, emit: Emit, cancelled: Callable[[], bool], in_ci: bool
) -> TeamCacheClient | None:
    """Returns the team cache client of one command; None where this machine turns the cache off. Asks no registry, and
    raises nothing: with a bad signing key, the client says so and pushes nothing."""
    if is_disabled():
        return None
    signer, why = None, ""
    if may_push(team, in_ci=in_ci):
        try:
            signer = signatures.find_signer(project=project)
        except EnvtoolError as error:
            why = f"nothing is pushed: {error.message}"
    context = ClientContext(
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
    client = TeamCacheClient(team, context)
    if why:
        client.say(why)
    return client
