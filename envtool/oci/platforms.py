"""Which manifest of an index a machine runs. Pure."""

from __future__ import annotations

from envtool.errors import FetchError
from envtool.oci.documents import Descriptor, Index, Platform
from envtool.sizes import natural

__all__ = ["Platform", "choose", "of_machine", "parse", "runs"]

MACHINES = {  # `uname -m` -> Go's architecture and variant (containerd's platforms/database.go)
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
USUAL = {"amd64": "v1", "arm64": "v8", "arm": "v7"}  # what is meant where no variant is said
ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386"}


def of_machine(machine: str) -> Platform:
    """The platform of `uname -m` on Linux."""
    architecture, variant = MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse(text: str) -> Platform:
    """What `--platform` takes: "linux/arm64", "linux/arm/v7". Raises FetchError (code registry-platform)."""
    os, _, rest = text.strip().lower().partition("/")
    architecture, slash, variant = rest.partition("/")
    if not os or not architecture or "/" in variant or (slash and not variant):
        hint = "linux/amd64, linux/arm64, linux/arm/v7 …"
        raise FetchError(
            f"platform {text!r}: not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT", code="registry-platform", hint=hint
        )
    variant = {"armel": "v6", "armhf": "v7"}.get(architecture, "") or variant
    return Platform(os=os, architecture=ALIASES.get(architecture, architecture), variant=variant)


def runs(platform: Platform, image: Platform) -> int:
    """How well an image of one platform runs on another: 0 not at all, else the higher the better."""
    if (platform.os, platform.architecture) != (image.os, image.architecture):
        return 0
    usual = USUAL.get(platform.architecture, "")
    mine, its = platform.variant or usual, image.variant or usual
    if mine == its:
        return 100 + (platform.variant == image.variant)
    if platform.architecture in ("arm", "amd64", "arm64"):
        version, other = natural(mine[1:]) or 0, natural(its[1:]) or 0
        return other if other < version else 0  # an older one runs, too
    return 0


def choose(index: Index, platform: Platform, what: str) -> Descriptor:
    """The entry of an index for a platform: the best, of equals the first. An entry that says no platform counts only
    where it is the only one. Raises FetchError (code registry-platform), which tells what there is."""
    entries = [entry for entry in index.manifests if not _attestation(entry)]
    if len(entries) == 1 and entries[0].platform is None:
        return entries[0]
    ranked = [(runs(platform, entry.platform), entry) for entry in entries if entry.platform is not None]
    best = max((rank for rank, _ in ranked), default=0)
    if best:
        return next(entry for rank, entry in ranked if rank == best)
    offered = sorted({str(entry.platform) for entry in entries if entry.platform is not None})
    text = f"{what}: not for {platform}: it has {', '.join(offered[:12]) or 'nothing'}" + (" …" if offered[12:] else "")
    raise FetchError(text, code="registry-platform")


def _attestation(entry: Descriptor) -> bool:
    """What BuildKit puts beside images: provenance and bills, under a platform that is none."""
    return "vnd.docker.reference.type" in entry.annotations
