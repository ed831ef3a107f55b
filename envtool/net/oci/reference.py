"""References to images: NAME[:TAG][@DIGEST], by the grammar of github.com/distribution/reference.

Made whole as docker does it: `alpine` is `docker.io/library/alpine:latest`. Pure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from dataclasses import dataclass

from envtool.errors import FetchError

DOCKER_HUB = "docker.io"
ALIASES = ("index.docker.io", "registry-1.docker.io")  # the same registry, under its other names
LIBRARY = "library"
DEFAULT_TAG = "latest"
MAX_LENGTH = 255  # characters of registry and repository together

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Reference:
    """An image in a registry. `repository` has no registry in it; `tag` and `digest` are "" where there is none.
    When there are both, the digest counts."""

    registry: str  # host[:port]: "docker.io", "localhost:5000"
    repository: str  # "library/alpine"
    tag: str = ""
    digest: str = ""  # "sha256:<64 hex digits>"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """Registry and repository alone."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """What a registry's API takes for it: the digest, else the tag."""
        return self.digest or self.tag

    def with_digest(self, digest: str) -> Reference:
        """The same name and tag, pinned to a digest."""
        return dataclasses.replace(self, digest=digest)

    def with_tag(self, tag: str) -> Reference:
        """The same repository under another tag, pinned to nothing."""
        return dataclasses.replace(self, tag=tag, digest="")

    def familiar_name(self) -> str:
        """As people write it: without docker.io and library/, where that still means the same."""
        short = str(self)
        for prefix in (f"{DOCKER_HUB}/", f"{LIBRARY}/") if self.registry == DOCKER_HUB else ():
            shorter = short.removeprefix(prefix)
            with contextlib.suppress(FetchError):
                short = shorter if parse_reference(shorter, tag="") == self else short
        return short


def parse_reference(text: str, *, tag: str = DEFAULT_TAG) -> Reference:
    """A reference from what a user wrote; `tag` is taken when it has neither tag nor digest ("": none).

    Raises FetchError (code reference), which says what is wrong.
    """
    if "://" in text:
        raise reference_error(text, "it is not a URL", f"leave {text.partition('://')[0]}:// out")
    if len(text) > 1024 or not text.isascii() or not text.isprintable() or " " in text:
        raise reference_error(text[:1024], "only letters, digits and `._-/:@` may be in it")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        hint = "write all of it, as registries print it, or leave it out: the lock pins what the tag means"
        raise reference_error(text, f"{digest!r} is not sha256: and 64 hex digits, lower case", hint)
    rest, colon, given = _split_tag(rest)
    if colon and not given:
        raise reference_error(
            text, "a tag is missing after the `:`", "write one, as in alpine:3.20, or leave the `:` out"
        )
    if colon and not _TAG.fullmatch(given):
        raise reference_error(
            text, f"a tag is up to 128 letters, digits and `_.-`, not beginning with `.` or `-`: {given[:140]!r}"
        )
    registry, repository = _split_registry(rest)
    if not repository:
        raise reference_error(text, "it names no image")
    if not _REGISTRY.fullmatch(registry):
        raise reference_error(text, f"{registry!r} is no host name with an optional port")
    if registry.rpartition(":")[2].isdigit() and not 0 < int(registry.rpartition(":")[2]) < 1 << 16:
        raise reference_error(text, f"there is no port {registry.rpartition(':')[2]}", "ports are 1 to 65535")
    for component in repository.split("/"):
        _check_component(text, component)
    if repository.removeprefix(f"{LIBRARY}/") == rest and re.fullmatch(r"[a-f0-9]{64}", rest):
        raise reference_error(
            text, "64 hex digits are an image's ID, which no registry is asked for", "name it, with its digest after @"
        )
    if len(registry) + 1 + len(repository) > MAX_LENGTH:
        raise reference_error(text, f"registry and repository have more than {MAX_LENGTH} characters")
    return Reference(registry=registry, repository=repository, tag=given or ("" if digest else tag), digest=digest)


def is_digest(text: str) -> bool:
    """Is it "sha256:<64 hex digits>"? No other algorithm is taken."""
    return _DIGEST.fullmatch(text) is not None


def _split_tag(text: str) -> tuple[str, str, str]:
    """Name, colon, tag: the last colon, unless what follows it still has a slash (then it was a port's)."""
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or tag.endswith("]"):
        return text, "", ""
    return name, colon, tag


def _split_registry(text: str) -> tuple[str, str]:
    """The first component is a registry when it could be nothing else: a dot or a colon in it, or `localhost`."""
    first, slash, rest = text.partition("/")
    if not slash or not (set(first) & {".", ":"} or first == "localhost"):
        first, rest = DOCKER_HUB, text
    if first in ALIASES:
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest and rest:
        rest = f"{LIBRARY}/{rest}"
    return first, rest


def _check_component(text: str, component: str) -> None:
    if _COMPONENT.fullmatch(component):
        return
    if not component:
        raise reference_error(text, "there is nothing between two slashes, or before or after one")
    if component.lower() != component and _COMPONENT.fullmatch(component.lower()):
        raise reference_error(
            text,
            f"a repository is lower case: {component!r}",
            f"did you mean {text.replace(component, component.lower())!r}?",
        )
    raise reference_error(
        text, f"{component!r} is not lower-case letters and digits with `.`, `_`, `__` or `-` between them"
    )


def reference_error(text: str, why: str, hint: str = "") -> FetchError:
    """The error about a reference."""
    hint = hint or "as in alpine:3.20 or registry.example.org/team/app:1.0"
    return FetchError(f"image reference {text!r}: {why}", code="reference", hint=hint)
