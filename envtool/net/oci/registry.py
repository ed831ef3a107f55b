"""The distribution protocol (OCI distribution specification 1.1): pull from registries, push to them.

Everything is content-addressed: many may push at once, and a tag is put last. What a registry says is believed only as
far as digests go.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from envtool import net
from envtool.errors import FetchError
from envtool.net import DEFAULT_RETRY_POLICY, Cancelled, HttpResponse, RetryPolicy
from envtool.net.oci import documents, hosts, platforms, serialize, upload
from envtool.net.oci.documents import Descriptor, Document, ImageConfig, ImageIndex, ImageManifest, Platform
from envtool.net.oci.hosts import Endpoint, RegistryHosts
from envtool.net.oci.http import RegistryTransport, same_origin
from envtool.net.oci.reference import Reference

Found = TypeVar("Found")

NESTING = 2  # indexes in an index
UNTYPED_MEDIA_TYPES = (
    "",
    "application/json",
    "application/octet-stream",
    "text/plain",
)  # types that say nothing of a document
PAGES = 1000  # of tags, a thousand each: then it is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLocation:
    """Where a blob can be had on this machine: for `api.Fetch.url` and `.authorization` (never into pins or messages).
    Several are tried in order: the host's mirrors first."""

    url: str
    authorization: str = field(default="", repr=False)  # the value of that header; "" for none


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryImage:
    """An image for one platform, as a registry has it."""

    reference: Reference  # with the digest of `manifest`, not that of the index
    index: str  # digest of what the tag names: the index if there is one, else the manifest
    document: Document  # the manifest's own bytes, digest and media type
    manifest: ImageManifest
    config: ImageConfig


class RegistryClient:
    """Speaks with any number of registries. May be shared by threads; keeps tokens. Errors: FetchError, whose codes
    are registry-missing (no such manifest, tag or blob), registry-denied (credentials), registry-insecure (plain HTTP
    that nobody asked for), registry-document (what came is not what the specification says), registry-digest,
    registry-platform, registry-blocked, registry-token, registry-credentials, registry-configuration, registry-refused
    (any other status), and those of `net.exchange`."""

    def __init__(self, *, cancelled: Cancelled | None = None, patience: RetryPolicy = DEFAULT_RETRY_POLICY) -> None:
        self._wire = RegistryTransport(
            patience=patience, cancelled=cancelled, plain=lambda host: self._load_hosts().allows_http(host)
        )
        self._lock = threading.Lock()
        self._hosts: RegistryHosts | None = None
        self._unreachable_mirrors: set[str] = set()  # mirrors that did not answer

    # ---- pull

    def document(self, reference: Reference) -> Document:
        """Manifest or index by digest, else by tag; its digest is computed from the body. At most 4 MiB."""
        return self._ask_in_order(reference, lambda endpoint: self._document(endpoint, reference))

    def find(self, reference: Reference) -> Document | None:
        """Like `document`, None where the registry has no such repository, tag or digest."""
        try:
            return self.document(reference)
        except FetchError as error:
            if error.code == "registry-missing":
                return None
            raise

    def image(self, reference: Reference, platform: Platform) -> RegistryImage:
        """An image with its config: index -> manifest of `platform` -> config, all verified, config checked against
        the manifest (layer count, platform)."""
        document = top = self.document(reference)
        what = str(reference)
        for _ in range(NESTING + 1):
            found = documents.read_document(document, what)
            if isinstance(found, ImageManifest):
                break
            entry = platforms.choose_manifest(found, platform, what)
            document = self._entry_document(reference, entry)
        else:
            raise FetchError(f"{what}: indexes in indexes, more than {NESTING} deep", code="registry-document")
        config = documents.read_config(self.blob(reference, found.config), f"{what}: its config")
        documents.check_image(found, config, what)
        config = dataclasses.replace(config, platform=platforms.fill_platform(config.platform, platform))
        if not platforms.compatibility(platform, config.platform):
            raise FetchError(f"{what}: is for {config.platform}, not for {platform}", code="registry-platform")
        pinned = reference.with_digest(document.digest)
        return RegistryImage(reference=pinned, index=top.digest, document=document, manifest=found, config=config)

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A small blob whole (at most 8 MiB), of the descriptor's size and digest."""
        if descriptor.size > documents.CONFIG_LIMIT:
            text = f"{reference.name}@{descriptor.digest}: {descriptor.size} bytes, too large to be read whole"
            raise FetchError(text, code="registry-document")
        return self._ask_in_order(reference, lambda endpoint: self._blob(endpoint, descriptor))

    def blob_locations(self, reference: Reference, digest: str) -> tuple[BlobLocation, ...]:
        """Where the blob can be had, in the order to be tried: mirrors that have it, then the registry itself; asks for
        a token where one is wanted."""
        *mirrors, registry = self._endpoints(reference)
        having = [mirror for mirror in mirrors if self._try_mirror(mirror, lambda mirror: self._has(mirror, digest))]
        return tuple(
            BlobLocation(
                url=f"{endpoint.root}{endpoint.repository}/blobs/{digest}",
                authorization=self._wire.authorization(endpoint, reference.selector),
            )
            for endpoint in (*having, registry)
        )

    def pull_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        path: str,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Stream a blob of any size into the file `path`, resumed, size and digest checked (net.retrieve)."""

        def one(endpoint: Endpoint) -> None:
            url = f"{endpoint.root}{endpoint.repository}/blobs/{descriptor.digest}"
            for last in (False, True):
                try:
                    net.download_file(
                        url, path, digest=descriptor.digest, size=descriptor.size, progress=progress, resume=True,
                        authorization=self._wire.authorization(endpoint, reference.selector),
                        patience=self._wire.retry_policy(endpoint), cancelled=self._wire.cancelled,
                    )  # fmt: skip
                except FetchError as error:
                    if last or error.code != "fetch-status":
                        raise
                    self._wire.send("HEAD", endpoint, f"blobs/{descriptor.digest}")  # renews a token that has ended
                else:
                    return

        self._ask_in_order(reference, one)

    def has_blob(self, reference: Reference, digest: str) -> bool:
        """Does the registry itself (no mirror) have it? One HEAD."""
        return upload.has_blob(self._wire, self._push_endpoint(reference), digest)

    def tags(self, reference: Reference) -> list[str]:
        """All tags of the repository; [] where it does not exist."""
        return self._ask_in_order(reference, lambda endpoint: list(self._tags(endpoint)))

    def referrers(self, reference: Reference, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to `reference.digest` by `subject`; by the tag schema where the registry has no such API."""
        return self._ask_in_order(reference, lambda endpoint: self._referrers(endpoint, reference, artifact_type))

    # ---- push (to the registry itself, never to a mirror)

    def push_blob(
        self,
        reference: Reference,
        digest: str,
        size: int,
        source: bytes | str,
        *,
        mount: Sequence[str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Upload a blob unless it is there. `source` is the bytes, or the path of a file; `mount` names repositories of
        the same registry that may have it. Answers "present", "mounted" or "sent". A broken upload is resumed."""
        endpoint = self._push_endpoint(reference)
        return upload.push_blob(self._wire, endpoint, digest, size, source, mount=mount, progress=progress)

    def push_document(self, reference: Reference, body: bytes, media_type: str) -> str:
        """Put a manifest or index under `reference.tag` (or its digest when there is no tag): last, after all it names.
        Its digest."""
        endpoint = self._push_endpoint(reference)
        digest, refers = upload.push_document(self._wire, endpoint, reference, body, media_type)
        if not refers and b'"subject"' in body:
            self._add_referrer(endpoint, reference, Document(media_type=media_type, digest=digest, body=body))
        return digest

    def delete(self, reference: Reference) -> bool:
        """Delete the manifest `reference.digest`, or the tag; False where the registry does not allow it."""
        endpoint = self._push_endpoint(reference)
        answer = self._wire.send("DELETE", endpoint, f"manifests/{reference.selector}", actions="pull,push,delete")
        if answer.status in (400, 405):
            return False
        if answer.status not in (200, 202, 204, 404):
            self._wire.raise_for_status(answer, endpoint, str(reference))
        return True

    # ---- one endpoint

    def _load_hosts(self) -> RegistryHosts:
        with self._lock:
            if self._hosts is None:
                self._hosts = hosts.load()
            return self._hosts

    def _endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        return tuple(map(self._wire.resolve_scheme, self._load_hosts().pull_endpoints(reference)))

    def _push_endpoint(self, reference: Reference) -> Endpoint:
        return self._wire.resolve_scheme(self._load_hosts().push_endpoint(reference))

    def _ask_in_order(self, reference: Reference, ask: Callable[[Endpoint], Found]) -> Found:
        """The answer of the first place that has one; what a mirror says against it does not count."""
        *mirrors, registry = self._endpoints(reference)
        for mirror in mirrors:
            found = self._try_mirror(mirror, lambda mirror: (ask(mirror),))
            if found is not None:
                return found[0]
        return ask(registry)

    def _try_mirror(self, mirror: Endpoint, ask: Callable[[Endpoint], Found]) -> Found | None:
        """None where it cannot answer; one that is away is not waited for again."""
        if mirror.root in self._unreachable_mirrors:
            return None
        try:
            return ask(mirror)
        except FetchError as error:
            if error.code == "fetch-unreachable":
                self._unreachable_mirrors.add(mirror.root)
            return None

    def _has(self, endpoint: Endpoint, digest: str) -> bool:
        return upload.has_blob(self._wire, endpoint, digest)

    def _document(self, endpoint: Endpoint, reference: Reference) -> Document:
        what = str(reference)
        answer = self._wire.send(
            "GET",
            endpoint,
            f"manifests/{reference.selector}",
            headers={"Accept": ", ".join(documents.ACCEPTED)},
            limit=documents.DOCUMENT_LIMIT,
        )
        if answer.status != 200:
            self._wire.raise_for_status(answer, endpoint, what)
        digest = documents.sha256_digest(answer.body)
        said = answer.headers.get("docker-content-digest", "")
        if reference.digest and digest != reference.digest:
            raise FetchError(f"{what}: {endpoint.host} served {digest} for it", code="registry-digest")
        if said.startswith("sha256:") and said != digest:
            text = f"{what}: {endpoint.host} says that it is {said}, but served {digest}"
            raise FetchError(text, code="registry-digest")
        return Document(media_type=_media_type(answer, what), digest=digest, body=answer.body)

    def _entry_document(self, reference: Reference, descriptor: Descriptor) -> Document:
        """The manifest of an index's entry. Raises FetchError (registry-document) where it is not as the entry says."""
        document = self.document(reference.with_digest(descriptor.digest))
        what = f"{reference.name}@{descriptor.digest}"
        if len(document.body) != descriptor.size:
            text = f"{what}: {len(document.body)} bytes, not the {descriptor.size} that its index says"
            raise FetchError(text, code="registry-document")
        if document.media_type != descriptor.media_type:
            text = f"{what}: came as {document.media_type}, not as {descriptor.media_type}, as its index says"
            raise FetchError(text, code="registry-document")
        return document

    def _blob(self, endpoint: Endpoint, descriptor: Descriptor) -> bytes:
        what = f"{endpoint.host}/{endpoint.repository}@{descriptor.digest}"
        answer = self._wire.send("GET", endpoint, f"blobs/{descriptor.digest}", limit=descriptor.size)
        if answer.status != 200:
            self._wire.raise_for_status(answer, endpoint, what)
        if len(answer.body) != descriptor.size or documents.sha256_digest(answer.body) != descriptor.digest:
            digest = documents.sha256_digest(answer.body)
            text = f"{what}: {len(answer.body)} bytes came, {digest}, not {descriptor.size} bytes"
            raise FetchError(f"{text} of that digest", code="registry-digest")
        return answer.body

    def _tags(self, endpoint: Endpoint) -> Iterator[str]:
        path = "tags/list?n=1000"
        what = f"{endpoint.host}/{endpoint.repository}: its tags"
        for _ in range(PAGES):
            answer = self._wire.send("GET", endpoint, path)
            if answer.status == 404:
                return
            if answer.status != 200:
                self._wire.raise_for_status(answer, endpoint, what)
            try:
                tags = json.loads(answer.body)["tags"] or []
                page = [tag for tag in tags if isinstance(tag, str)]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise FetchError(f"{what}: not a list of tags", code="registry-document") from error
            yield from page
            path = _next_page(answer, endpoint) if page else ""
            if not path:
                return
        raise FetchError(f"{what}: more than {PAGES} pages", code="registry-document")

    def _add_referrer(self, endpoint: Endpoint, reference: Reference, document: Document) -> None:
        """Where the registry has no API of referrers: list a document that has a subject under the subject's tag
        (distribution specification, "Pushing manifests with subject"). Two who do so at once may lose one of them."""
        what = str(reference)
        found = documents.read_document(document, what)
        if found.subject is None:
            return
        tag = reference.with_tag(_referrers_tag(found.subject.digest))
        try:
            before = documents.read_document(self._document(endpoint, tag), what)
        except FetchError as error:
            if error.code != "registry-missing":
                raise
            before = None
        entries = before.manifests if isinstance(before, ImageIndex) else ()
        kind = found.artifact_type or (found.config.media_type if isinstance(found, ImageManifest) else "")
        entry = dataclasses.replace(document.descriptor(), artifact_type=kind, annotations=found.annotations)
        if entry not in entries:
            index = ImageIndex(media_type=documents.OCI_INDEX, manifests=(*entries, entry))
            listed = serialize.index_document(index)
            upload.push_document(self._wire, endpoint, tag, listed.body, listed.media_type)

    def _referrers(self, endpoint: Endpoint, reference: Reference, artifact_type: str) -> tuple[Descriptor, ...]:
        what = f"{endpoint.host}/{endpoint.repository}: what refers to {reference.digest}"
        query = f"?artifactType={urllib.parse.quote(artifact_type)}" if artifact_type else ""
        answer = self._wire.send("GET", endpoint, f"referrers/{reference.digest}{query}")
        if answer.status == 200 and _media_type(answer, what) == documents.OCI_INDEX:
            index = documents.read_index(answer.body, documents.OCI_INDEX, what)
        elif answer.status in (200, 400, 404, 405):
            fallback = self.find(reference.with_tag(_referrers_tag(reference.digest)))
            if fallback is None:
                return ()
            found = documents.read_document(fallback, what)
            index = found if isinstance(found, ImageIndex) else ImageIndex(media_type=documents.OCI_INDEX, manifests=())
        else:
            self._wire.raise_for_status(answer, endpoint, what)
        return tuple(entry for entry in index.manifests if artifact_type in ("", entry.artifact_type))


def _referrers_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _media_type(answer: HttpResponse, what: str) -> str:
    """What a document is: by its header, or by itself where the header says nothing."""
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in UNTYPED_MEDIA_TYPES:
        try:
            said = json.loads(answer.body)["mediaType"]
        except (ValueError, KeyError, TypeError, RecursionError):
            said = ""
        media_type = said if isinstance(said, str) else ""
    if media_type not in documents.ACCEPTED:
        documents.reject_media_type(what, media_type or "of a type that nobody says", "a manifest or index")
    return media_type


def _next_page(answer: HttpResponse, endpoint: Endpoint) -> str:
    """The next page that a Link header names, "" at the end; none that is elsewhere."""
    link = answer.headers.get("link", "")
    target = link.partition("<")[2].partition(">")[0]
    if not target or 'rel="next"' not in link.replace("rel=next", 'rel="next"'):
        return ""
    url = urllib.parse.urljoin(answer.url, target)
    return url if same_origin(url, endpoint.root) else ""
