"""Reads `cache:` of a spec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from envtool.model import TeamCache
from envtool.spec.node import to_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.spec.node import Problems, YamlNode

# A repository with its registry's host: a cache on Docker Hub has to say docker.io
REPOSITORY = re.compile(
    r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+"
)
# A line of an OpenSSH .pub file: the length and name of the type, the length of the key, 32 bytes (RFC 8709)
PUBLIC = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}(?: .*)?")


def read_team_cache(files: Sequence[YamlNode], problems: Problems) -> TeamCache | None:
    """Returns the team cache of a spec, whose files are `files`; None if it has none, or the spec has errors. Only the
    first file may have the key. Notes all errors."""
    for included in files[1:]:
        if "cache" in included.mapping():
            hint = f"it is of the whole project: write it in {files[0].source.file}"
            problems.add(included.key("cache"), "`cache` in an included file", code="cache", hint=hint)
    node = files[0].get("cache")
    registry = node.get("registry") if node is not None else None
    if node is None or registry is None or not isinstance(registry.value, str):
        return None
    if not REPOSITORY.fullmatch(registry.value):
        hint = "it is HOST[:PORT]/NAME, lower case, without https:// and without a tag"
        problems.add(registry, f"`{registry.value}` is no repository of a registry", code="value", hint=hint)
    trust = node.get("trust")
    for key in trust.items() if trust is not None else ():
        if isinstance(key.value, str) and key.value and not PUBLIC.fullmatch(key.value):
            hint = "`envtool cache key` prints the line: ssh-ed25519 AAAA… (other sorts of keys are not known)"
            if "PRIVATE" in key.value:
                hint = "this is a private key: make another one, and keep it out of the project"
            problems.add(key, "not a public key of the sort ssh-ed25519", code="value", hint=hint)
    values: dict[str, Any] = {name: to_plain(value) for name, value in node.mapping().items()}
    if problems.noted:
        return None
    return TeamCache(
        registry=values["registry"],
        where=files[0].key("cache").where,
        push=values.get("push", "never"),
        results=values.get("results", False),
        network=values.get("network", False),
        trust=tuple(values.get("trust", ())),
    )
