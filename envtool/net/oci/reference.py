"""Parses references to images: NAME[:TAG][@DIGEST], by the grammar of github.com/distribution/reference. Pure.

Short references are completed as docker does: `alpine` is `docker.io/library/alpine:latest`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re

from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass

DOCKER_HUB = "docker.io"
ALIASES = ("index.docker.io", "registry-1.docker.io")  # other names of the same registry
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
    """An image in a registry. `repository` is without the registry; `tag` and `digest` may be "". If both are set, the
    digest counts."""

    registry: str  # host[:port]: "docker.io", "localhost:5000"
    repository: str  # "library/alpine"
    tag: str = ""
    digest: str = ""  # "sha256:<64 hex digits>"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """The last part of the path in a registry's API: the digest, else the tag."""
        return self.digest or self.tag

    def with_digest(self, digest: str) -> Reference:
        """Returns the same name and tag, with this digest."""
        return dataclasses.replace(self, digest=digest)

    def with_tag(self, tag: str) -> Reference:
        """Returns the same repository with this tag and without a digest."""
        return dataclasses.replace(self, tag=tag, digest="")

    def familiar_name(self) -> str:
        """Returns the reference as people write it: without docker.io and library/, if that means the same."""
        short = str(self)
        for prefix in (f"{DOCKER_HUB}/", f"{LIBRARY}/") if self.registry == DOCKER_HUB else ():
            shorter = short.removeprefix(prefix)
            with contextlib.suppress(FetchError):
                short = shorter if parse_reference(shorter, tag="") == self else short
        return short


def parse_reference(text: str, *, tag: str = DEFAULT_TAG) -> Reference:
    """Parses a reference. `tag` is used if the text has neither tag nor digest ("": no tag).

    Raises FetchError (code reference).
    """
    if "://" in text:
        raise reference_error(text, "it is not a URL", f"leave {text.partition('://')[0]}:// out")
    if len(text) > 1024 or not text.isascii() or not text.isprintable() or " " in text:
        raise reference_error(text[:1024], "only letters, digits and `._-/:@` may be in it")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        hint = "write the whole digest, as registries print it, or leave it out: the lock pins the digest of a tag"
        raise reference_error(text, f"{digest!r} is not sha256: and 64 hex digits, lower case", hint)
    name, colon, written_tag = _split_tag(name)
    if colon and not written_tag:
        raise reference_error(
            text, "a tag is missing after the `:`", "write one, as in alpine:3.20, or leave the `:` out"
        )
    if colon and not _TAG.fullmatch(written_tag):
        raise reference_error(
            text, f"a tag is up to 128 letters, digits and `_.-`, not beginning with `.` or `-`: {written_tag[:140]!r}"
        )
    registry, repository = _split_registry(name)
    if not repository:
        raise reference_error(text, "it names no image")
    if not _REGISTRY.fullmatch(registry):
        raise reference_error(text, f"{registry!r} is no host name with an optional port")
    if registry.rpartition(":")[2].isdigit() and not 0 < int(registry.rpartition(":")[2]) < 1 << 16:
        raise reference_error(text, f"there is no port {registry.rpartition(':')[2]}", "ports are 1 to 65535")
    for component in repository.split("/"):
        _check_component(text, component)
    if repository.removeprefix(f"{LIBRARY}/") == name and re.fullmatch(r"[a-f0-9]{64}", name):
        raise reference_error(
            text, "64 hex digits are an image's ID, which registries do not know", "name it, with its digest after @"
        )
    if len(registry) + 1 + len(repository) > MAX_LENGTH:
        raise reference_error(text, f"registry and repository have more than {MAX_LENGTH} characters")
    return Reference(
        registry=registry, repository=repository, tag=written_tag or ("" if digest else tag), digest=digest
    )


def is_digest(text: str) -> bool:
    """Returns whether a text is "sha256:<64 hex digits>". Other algorithms are not supported."""
    return _DIGEST.fullmatch(text) is not None


def _split_tag(text: str) -> tuple[str, str, str]:
    """Returns name, colon and tag. The last colon counts, unless a slash follows it: then it belongs to a port."""
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or tag.endswith("]"):
        return text, "", ""
    return name, colon, tag


def _split_registry(text: str) -> tuple[str, str]:
    """Returns registry and repository. The first component is a registry if it has a dot or a colon, or is
    `localhost`."""
    first, slash, repository = text.partition("/")
    if not slash or not (set(first) & {".", ":"} or first == "localhost"):
        first, repository = DOCKER_HUB, text
    if first in ALIASES:
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in repository and repository:
        repository = f"{LIBRARY}/{repository}"
    return first, repository


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
    """Returns the error about a reference."""
    hint = hint or "as in alpine:3.20 or registry.example.org/team/app:1.0"
    return FetchError(f"image reference {text!r}: {why}", code="reference", hint=hint)
