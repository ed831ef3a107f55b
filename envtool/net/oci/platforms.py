"""Which manifest of an index a machine runs. Pure, but for the levels of amd64: those are the processor's."""

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
DEFAULT_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}  # what is meant where no variant is said
ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386"}


# What Linux calls the features of each level of amd64 (x86-64 psABI, "Micro-Architecture Levels")
LEVELS = (
    "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2",
    "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
)
_HIGHEST_LEVEL = len(LEVELS) + 1


@functools.cache
def amd64_level() -> int:
    """The highest level of amd64 that this processor has, 1 to 4; the last one where nothing can be known."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next(({*line.split()} for line in file if line.startswith("flags")), None)
    except OSError:
        flags = None
    if flags is None:  # of another architecture: what is asked for is another machine's lock
        return _HIGHEST_LEVEL
    return next(
        (number for number, names in enumerate(LEVELS, 1) if not flags.issuperset(names.split())), _HIGHEST_LEVEL
    )


def platform_of_machine(machine: str) -> Platform:
    """The platform of `uname -m` on Linux."""
    architecture, variant = MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
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


def compatibility(platform: Platform, image: Platform) -> int:
    """How well an image of one platform runs on another: 0 not at all, else the higher the better. Where no level of
    amd64 is said, the lowest that is offered is best, on whatever processor has it: all machines pin the same image."""
    if (platform.os, platform.architecture) != (image.os, image.architecture):
        return 0
    usual = DEFAULT_VARIANTS.get(platform.architecture, "")
    mine, its = platform.variant or usual, image.variant or usual
    if mine == its:
        return 100 + (platform.variant == image.variant)
    if platform.architecture in ("arm", "amd64", "arm64"):
        version, other = natural(mine[1:]) or 0, natural(its[1:]) or 0
        if platform.architecture == "amd64" and not platform.variant:
            return _HIGHEST_LEVEL + 1 - other if 1 < other <= amd64_level() else 0
        return other if other < version else 0  # an older one runs, too
    return 0


def choose_manifest(index: ImageIndex, platform: Platform, what: str) -> Descriptor:
    """The entry of an index for a platform: the best, of equals the first. An entry that says no platform counts only
    where it is the only one. Raises FetchError (code registry-platform), which tells what there is."""
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


def fill_platform(said: Platform, wanted: Platform) -> Platform:
    """What a config says, with what it does not say as it was wanted: buildpacks and crane leave it out, and
    containerd takes such an image for one of its own machine."""
    if said.os and said.architecture:
        return said
    return Platform(os=said.os or wanted.os, architecture=said.architecture or wanted.architecture,
                    variant=said.variant)  # fmt: skip


def _is_attestation(entry: Descriptor) -> bool:
    """What BuildKit puts beside images: provenance and bills, under a platform that is none."""
    return "vnd.docker.reference.type" in entry.annotations
