"""Collects what `envtool cache` shows: the set-up, the counts of this machine, and the contents of the registry."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from envtool.errors import EnvtoolError, FetchError
from envtool.lazy_dataclass import dataclass
from envtool.model import TeamCache
from envtool.net.oci import reference
from envtool.net.oci.documents import Document
from envtool.net.oci.reference import Reference
from envtool.net.oci.registry import RegistryClient
from envtool.store import history
from envtool.store.store import Store
from envtool.teamcache import connect, registry_store, signatures, statement, stats
from envtool.teamcache.statement import LAYER, RESULT, RefusedStatement

LOOKUP_THREADS = 8  # threads
MAX_TAGS = 2000  # tags whose manifests are read
_TAG = re.compile(r"([lr])(1?)-([0-9a-f]{64})")
_SORTS = {"l": LAYER, "r": RESULT}


class ReadableRegistry(Protocol):
    """The methods of oci.registry.RegistryClient that are used here."""

    def find(self, reference: Reference) -> Document | None:
        """Returns the manifest under a tag, None where there is none."""

    def tags(self, reference: Reference) -> list[str]:
        """Returns all tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheItem:
    """A layer or result under a tag. `refused` says why it may not be used, empty where it may; `size` is that of its
    blob, in bytes; `name` is that of the layer, where this machine has it."""

    tag: str
    sort: str
    key: str
    size: int = 0
    refused: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatus:
    """The state of a team cache. `items` is None where the registry could not be asked: `problem` says why. `others` is
    the number of tags that are not envtool's, or beyond MAX_TAGS. `pushing` says why nothing is pushed from here, empty
    where it is."""

    registry: str
    push: str
    pushing: str
    results: bool
    trust: tuple[tuple[str, str], ...]  # fingerprint and comment
    signer: str  # fingerprint of this machine's key, empty where there is none
    tally: stats.CacheStats
    items: tuple[CacheItem, ...] | None = None
    others: int = 0
    problem: str = ""


def collect_status(
    team: TeamCache, store: Store, environ: Mapping[str, str], *, project: str, in_ci: bool, offline: bool = False
) -> CacheStatus:
    """Returns the state of a team cache; asks the registry unless `offline`."""
    fingerprint, problem = "", ""
    try:
        signer = signatures.find_signer(environ, project=project)
        fingerprint = signatures.fingerprint(signer.public) if signer else ""
    except EnvtoolError as error:
        problem = error.message
    trust = tuple(
        (signatures.fingerprint(line), line.split(" ", 2)[2] if line.count(" ") > 1 else "") for line in team.trust
    )
    pushing = problem or _why_not_pushing(team, fingerprint, trust, in_ci=in_ci)
    items: tuple[CacheItem, ...] | None = None
    others, problem = 0, "--offline asks nobody" if offline else ""
    if not offline:
        try:
            client = RegistryClient(patience=connect.PULL_RETRY_POLICY)
            items, others = _items(
                client, team, {build.key: str(build.built.get("name", "")) for build in _stored_builds(store)}
            )
        except EnvtoolError as error:
            problem = error.message
    return CacheStatus(
        registry=team.registry,
        push=team.push,
        pushing=pushing,
        results=team.results,
        trust=trust,
        signer=fingerprint,
        tally=stats.load_stats(store, team.registry),
        items=items,
        others=others,
        problem=problem,
    )


def _why_not_pushing(team: TeamCache, fingerprint: str, trust: tuple[tuple[str, str], ...], *, in_ci: bool) -> str:
    if connect.is_disabled():
        return f"{connect.VARIABLE} turns the cache off here"
    if team.push == "never":
        return "the spec has no `push:`"
    if team.push == "ci" and not in_ci:
        return "`push: ci`, and CI is not set"
    if not fingerprint:
        return f"{signatures.VARIABLE} is not set"
    return "" if fingerprint in dict(trust) else "`trust:` does not list the signing key"


def _stored_builds(store: Store) -> list[history.StoredBuild]:
    builds = [history.read_build(store, key) for key in os.listdir(store.path("layers"))]
    return [build for build in builds if build is not None]


def _items(client: ReadableRegistry, team: TeamCache, names: Mapping[str, str]) -> tuple[tuple[CacheItem, ...], int]:
    repository = reference.parse_reference(team.registry, tag="")
    tags = sorted(client.tags(repository))
    matches = [(tag, match) for tag in tags if (match := _TAG.fullmatch(tag))][:MAX_TAGS]
    trust = {signatures.strip_comment(line) for line in team.trust}

    def read_item(pair: tuple[str, re.Match[str]]) -> CacheItem:
        tag, match = pair
        sort, mode, key = _SORTS[match[1]], "single" if match[2] else "range", match[3]
        size, refused = _look(client, repository, tag, sort=sort, key=key, mode=mode, trust=trust)
        return CacheItem(tag=tag, sort=sort, key=key, size=size, refused=refused, name=names.get(key, ""))

    with ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="ask") as pool:
        return tuple(pool.map(read_item, matches)), len(tags) - len(matches)


def _look(
    client: ReadableRegistry, repository: Reference, tag: str, *, sort: str, key: str, mode: str, trust: Collection[str]
) -> tuple[int, str]:
    """Returns the size of a tag's blob, by its manifest, and why it may not be used."""
    try:
        document = client.find(repository.with_tag(tag))
    except FetchError as error:
        return 0, error.message
    if document is None:
        return 0, "it is gone"
    try:
        text, _ = registry_store.verify_statement(document, trust)
        return statement.parse_statement(text, sort=sort, key=key, ids=mode).blob_size, ""
    except RefusedStatement as refused:
        return _size(document), refused.why


def _size(document: Document) -> int:
    try:
        manifest: Any = json.loads(document.body)
        return sum(int(layer["size"]) for layer in manifest["layers"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
