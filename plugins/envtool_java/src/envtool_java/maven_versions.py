"""Which Maven a build wants, by what it said, and which of a repository's it gets. Pure.

Formats: https://maven.apache.org/enforcer/enforcer-rules/versionRanges.html, and the messages of the enforcer's rule
requireMavenVersion and of Maven itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

METADATA = "org/apache/maven/apache-maven/maven-metadata.xml"
VERSION = r"\d{1,4}(?:\.\d{1,4}){1,3}"  # of a release: no alpha, no release candidate
_INTERVAL = r"[\[(][\d.]{0,20}(?:,[\d.]{0,20})?[\])]"
_ENFORCED = re.compile(
    r"Detected Maven Version: \S{1,40} (?:which )?is not in the allowed range"
    rf" ({_INTERVAL}(?:,{_INTERVAL}){{0,4}})\.?(?=\s|$)"
)
_REQUIRED = re.compile(rf"(?:The plugin|Unable to build project) .{{1,300}}? requires Maven version ({VERSION})")
_SET = re.compile(rf"([\[(])({VERSION}|\d{{1,4}})?(?:(,)({VERSION}|\d{{1,4}})?)?([\])])")


def distribution_path(version: str) -> str:
    """Returns the path of Maven itself in a repository."""
    return f"org/apache/maven/apache-maven/{version}/apache-maven-{version}-bin.tar.gz"


def wanted_range(output: str) -> str:
    """Returns the range of Maven's versions without which a build does not begin, as in `[3.9,)`; "" if it failed for
    another reason."""
    if match := _ENFORCED.search(output):
        return match[1]
    match = _REQUIRED.search(output)
    return f"[{match[1]},)" if match else ""


def choose_version(metadata: str, wanted: str, here: str, earlier: str) -> str:
    """Returns a release in the range `wanted` of those in a maven-metadata.xml: the `earlier` one if it fits, else the
    newest with the first number of the Maven that is `here`, else the newest; "" if there is none."""
    listed = {*re.findall(rf"<version>\s*({VERSION})\s*</version>", metadata)}
    fitting = [version for version in listed if in_range(version, wanted)]
    if earlier in fitting:
        return earlier
    same = [version for version in fitting if version.partition(".")[0] == here.partition(".")[0]]
    return max(same or fitting, key=_numbers, default="")


def in_range(version: str, wanted: str) -> bool:
    """Returns whether a release is in a range: `[3.9,)`, `[3.6.3,4)`, `(,3.8],[3.9]`."""
    return any(_is_within(_numbers(version), sets) for sets in _SET.findall(wanted))


def _is_within(version: tuple[int, ...], sets: Iterable[str]) -> bool:
    opening, low, comma, high, closing = sets
    if not comma:
        return bool(low) and version == _numbers(low)
    if low and not (version > _numbers(low) or (opening == "[" and version == _numbers(low))):
        return False
    return not high or version < _numbers(high) or (closing == "]" and version == _numbers(high))


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version without zeros at their end: 3.9 and 3.9.0 are the same."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return (*numbers,)
