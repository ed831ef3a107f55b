"""Names of suites, pockets, components and architectures."""

from __future__ import annotations

DEBIAN = (
    "bullseye", "bookworm", "trixie", "forky", "duke", "sid", "unstable", "testing", "stable", "oldstable",
    "oldoldstable", "experimental",
)  # fmt: skip
UBUNTU = ("bionic", "focal", "jammy", "noble", "oracular", "plucky", "questing", "resolute", "devel")
ROLLING = ("sid", "unstable", "experimental")  # suites without pockets

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
POCKETS = ("updates", "security")
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}


def suite_family(suite: str) -> str:
    """Returns the archive of a suite or pocket (`bookworm-updates`): "debian", "ubuntu", or "" for an unknown suite."""
    stem = suite.partition("-")[0].partition("/")[0]
    return "debian" if stem in DEBIAN else "ubuntu" if stem in UBUNTU else ""


def nearest_suite(suite: str) -> str:
    """Returns the suite with the name most similar to an unknown one; "" if there is none, or the name is a suite's."""
    from difflib import get_close_matches

    stem = suite.partition("-")[0].partition("/")[0]
    if suite_family(stem):
        return ""
    return "".join(get_close_matches(stem.lower(), (*DEBIAN, *UBUNTU), 1, 0.7))


def default_pockets(suite: str) -> tuple[str, ...]:
    """Returns the pockets that a suite has by default."""
    return () if suite in ROLLING or "-" in suite else POCKETS
