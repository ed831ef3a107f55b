"""SIGNATURES ONLY, for those who wait: the bodies come in the next commits. These stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from envtool.net import PATIENCE, Cancelled, Patience
from envtool.oci.documents import Config, Descriptor, Document, Index, Manifest
from envtool.oci.platforms import Platform
from envtool.oci.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a blob can be had on this machine: for `api.Fetch.url` and `.authorization` (never into pins or messages).
    Several are tried in order: the host's mirrors first."""

    url: str
    authorization: str = field(default="", repr=False)  # the value of that header; "" for none


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one platform, as a registry has it."""

    reference: Reference  # with the digest of `manifest`, not that of the index
    index: str  # digest of what the tag names: the index if there is one, else the manifest
    document: Document  # the manifest's own bytes, digest and media type
    manifest: Manifest
    config: Config


class Client:
    """Speaks with any number of registries. May be shared by threads; keeps tokens. Errors: FetchError, whose codes
    are registry-missing (no such manifest, tag or blob), registry-denied (credentials), registry-insecure (plain HTTP
    that nobody asked for), registry-document (what came is not what the specification says), registry-digest,
    registry-platform, registry-blocked, registry-refused (any other status), and those of `net.transfer`."""

    def __init__(self, *, cancelled: Cancelled | None = None, patience: Patience = PATIENCE) -> None: ...

    # ---- pull

    def document(self, reference: Reference) -> Document:
        """Manifest or index by digest, else by tag; its digest is computed from the body. At most 4 MiB."""

    def find(self, reference: Reference) -> Document | None:
        """Like `document`, None where the registry has no such repository, tag or digest."""

    def image(self, reference: Reference, platform: Platform) -> Image:
        """An image with its config: index -> manifest of `platform` -> config, all verified, config checked against
        the manifest (layer count, platform)."""

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A small blob whole (at most 8 MiB), of the descriptor's size and digest."""

    def places(self, reference: Reference, digest: str) -> tuple[Place, ...]:
        """Where the blob can be had, in the order to be tried; asks for a token when the registry wants one."""

    def pull_blob(self, reference: Reference, descriptor: Descriptor, path: str, *,
                  progress: Callable[[int], None] | None = None) -> None:
        """Stream a blob of any size into the file `path`, resumed, size and digest checked (net.retrieve)."""

    def has_blob(self, reference: Reference, digest: str) -> bool:
        """Is it there? One HEAD."""

    def tags(self, reference: Reference) -> list[str]:
        """All tags of the repository; [] where it does not exist."""

    def referrers(self, reference: Reference, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to `reference.digest` by `subject`; by the tag schema where the registry has no such API."""

    # ---- push (to the registry itself, never to a mirror)

    def push_blob(self, reference: Reference, digest: str, size: int, source: bytes | str, *,
                  mount: Sequence[str] = (), progress: Callable[[int], None] | None = None) -> str:
        """Upload a blob unless it is there. `source` is the bytes, or the path of a file; `mount` names repositories of
        the same registry that may have it. Answers "present", "mounted" or "sent". A broken upload is resumed."""

    def push_document(self, reference: Reference, body: bytes, media_type: str) -> str:
        """Put a manifest or index under `reference.tag` (or its digest when there is no tag): last, after all it names.
        Its digest."""

    def delete(self, reference: Reference) -> bool:
        """Delete the manifest `reference.digest`, or the tag; False where the registry does not allow it."""
