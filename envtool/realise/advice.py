"""What a failing command's output says about the container, for those who forgot that they are in one. Pure."""

from __future__ import annotations

import re

NETWORK = re.compile(
    r"temporary failure in name resolution|could not resolve (host|proxy)|name or service not known"
    r"|network is unreachable|getaddrinfo (eai_again|enotfound)|no address associated with hostname"
    r"|temporary failure resolving",
    re.IGNORECASE,
)
SPACE = re.compile(r"no space left on device|enospc|disk quota exceeded|edquot", re.IGNORECASE)
READ_ONLY = re.compile(r"read-only file system|erofs", re.IGNORECASE)


def of_task(status: int, output: str, *, network: bool, scratch: str, base: str) -> str:
    """A line for what is probably wrong with the env rather than with the project; empty when nothing points there."""
    if not network and NETWORK.search(output):
        return "it tried the network, and this env has none: `network: true` gives it this machine's"
    if scratch == "memory" and SPACE.search(output):
        return "it wrote more than half of this machine's memory: `scratch: disk` holds it in the store instead"
    if base == "host" and READ_ONLY.search(output):
        return "the base `host` is read-only: a base like `{debian: bookworm}` can be written"
    if status == 127:
        return "a command is not in this env: a layer (`apt: […]`, `pip: […]`) brings it"
    return ""


def of_build(status: int, output: str, *, base: str, network: bool = False) -> str:
    """The same for a layer's commands, which had the `network` or not."""
    if not network and NETWORK.search(output):
        return "builds have no network: a `run` layer may ask for it with `network: true`"
    if base == "host" and READ_ONLY.search(output):
        return "the base `host` is read-only: write below /opt, or use a base like `{debian: bookworm}`"
    if status == 127:
        return "the command is not in this stack: add the layer that brings it before this one"
    return ""
