"""Names: which suite is whose, what a machine is called in an archive, which pockets a suite has."""

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
    """One of "debian", "ubuntu", and "" for a suite that we don't know; pockets (`bookworm-updates`) count."""
    stem = suite.partition("-")[0].partition("/")[0]
    return "debian" if stem in DEBIAN else "ubuntu" if stem in UBUNTU else ""


def nearest_suite(suite: str) -> str:
    """The suite that is most like a name that no mirror has; empty where none is, or it is a suite itself."""
    from difflib import get_close_matches

    stem = suite.partition("-")[0].partition("/")[0]
    if suite_family(stem):
        return ""
    return "".join(get_close_matches(stem.lower(), (*DEBIAN, *UBUNTU), 1, 0.7))


def default_pockets(suite: str) -> tuple[str, ...]:
    """The pockets that a suite has by default."""
    return () if suite in ROLLING or "-" in suite else POCKETS
