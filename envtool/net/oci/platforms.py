"""Chooses the manifest of an index for a platform. Pure, except for the levels of amd64, which the processor has."""

from __future__ import annotations

import functools

from envtool.errors import FetchError
from envtool.fs.sizes import natural
from envtool.net.oci.documents import Descriptor, ImageIndex, Platform

__all__ = [
    "Platform",
    "amd64_level",
    "choose_manifest",
    "compatibility",
    "fill_platform",
    "parse_platform",
    "platform_of_machine",
]

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
DEFAULT_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}  # the variant of a platform without one
ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386"}


# Linux's names for the features of each level of amd64 (x86-64 psABI, "Micro-Architecture Levels")
LEVELS = (
    "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2",
    "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
)
_HIGHEST_LEVEL = len(LEVELS) + 1


@functools.cache
def amd64_level() -> int:
    """Returns the highest level of amd64 that this processor has, 1 to 4; 4 if it is not known."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next(({*line.split()} for line in file if line.startswith("flags")), None)
    except OSError:
        flags = None
    if flags is None:  # another architecture: the manifest is chosen for the lock of another machine
        return _HIGHEST_LEVEL
    return next(
        (number for number, names in enumerate(LEVELS, 1) if not flags.issuperset(names.split())), _HIGHEST_LEVEL
    )


def platform_of_machine(machine: str) -> Platform:
    """Returns the platform of Linux on a machine, by `uname -m`."""
    architecture, variant = MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """Parses a platform: "linux/arm64", "linux/arm/v7". Raises FetchError (code registry-platform)."""
    os, _, machine = text.strip().lower().partition("/")
    architecture, slash, variant = machine.partition("/")
    if not os or not architecture or "/" in variant or (slash and not variant):
        hint = "linux/amd64, linux/arm64, linux/arm/v7 …"
        raise FetchError(
            f"platform {text!r}: not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT", code="registry-platform", hint=hint
        )
    variant = {"armel": "v6", "armhf": "v7"}.get(architecture, "") or variant
    return Platform(os=os, architecture=ALIASES.get(architecture, architecture), variant=variant)


def compatibility(platform: Platform, image: Platform) -> int:
    """Returns how well an image of one platform runs on another: 0 not at all, else the higher the better. If no level
    of amd64 is asked for, the lowest that is offered is best, so that all machines pin the same image."""
    if (platform.os, platform.architecture) != (image.os, image.architecture):
        return 0
    default = DEFAULT_VARIANTS.get(platform.architecture, "")
    own, image_variant = platform.variant or default, image.variant or default
    if own == image_variant:
        return 100 + (platform.variant == image.variant)
    if platform.architecture in ("arm", "amd64", "arm64"):
        level, image_level = natural(own[1:]) or 0, natural(image_variant[1:]) or 0
        if platform.architecture == "amd64" and not platform.variant:
            return _HIGHEST_LEVEL + 1 - image_level if 1 < image_level <= amd64_level() else 0
        return image_level if image_level < level else 0  # an image for an older variant runs as well
    return 0


def choose_manifest(index: ImageIndex, platform: Platform, what: str) -> Descriptor:
    """Returns the entry of an index that is best for a platform; of equals the first. An entry without a platform is
    chosen only if it is the only one. Raises FetchError (code registry-platform), which lists the platforms."""
    entries = [entry for entry in index.manifests if not _is_attestation(entry)]
    if len(entries) == 1 and entries[0].platform is None:
        return entries[0]
    ranked = [(compatibility(platform, entry.platform), entry) for entry in entries if entry.platform is not None]
    best = max((rank for rank, _ in ranked), default=0)
    if best:
        return next(entry for rank, entry in ranked if rank == best)
    offered = sorted({str(entry.platform) for entry in entries if entry.platform is not None})
    text = f"{what}: not for {platform}: it has {', '.join(offered[:12]) or 'nothing'}" + (" …" if offered[12:] else "")
    levels = [entry.platform for entry in entries if entry.platform and entry.platform.architecture == "amd64"]
    hint = f"the processor here is amd64/v{amd64_level()}" if levels and platform.architecture == "amd64" else ""
    raise FetchError(text, code="registry-platform", hint=hint)


def fill_platform(platform: Platform, requested: Platform) -> Platform:
    """Returns the platform of a config; missing fields are taken from the requested platform. Buildpacks and crane
    leave them out, and containerd takes such an image for its own machine's."""
    if platform.os and platform.architecture:
        return platform
    return Platform(os=platform.os or requested.os, architecture=platform.architecture or requested.architecture,
                    variant=platform.variant)  # fmt: skip


def _is_attestation(entry: Descriptor) -> bool:
    """Returns whether an entry is an attestation of BuildKit (provenance, SBOM), which has the platform unknown."""
    return "vnd.docker.reference.type" in entry.annotations
