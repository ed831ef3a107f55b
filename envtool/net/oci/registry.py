"""The client of a registry (OCI distribution specification 1.1): pulls from registries and pushes to them.

Everything is content-addressed, so that several clients may push at the same time; a tag is put last. Nothing that a
registry sends is trusted beyond its digest.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from envtool import net
from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass, field
from envtool.net import DEFAULT_RETRY_POLICY, Cancelled, HttpResponse, RetryPolicy
from envtool.net.oci import documents, hosts, platforms, serialize, upload
from envtool.net.oci.documents import Descriptor, Document, ImageConfig, ImageIndex, ImageManifest, Platform
from envtool.net.oci.hosts import Endpoint, RegistryHosts
from envtool.net.oci.http import RegistryTransport, same_origin
from envtool.net.oci.reference import Reference

Found = TypeVar("Found")

NESTING = 2  # levels of indexes in an index
UNTYPED_MEDIA_TYPES = (
    "",
    "application/json",
    "application/octet-stream",
    "text/plain",
)  # types that do not tell what a document is
PAGES = 1000  # the most pages of tags that are read, of a thousand tags each


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLocation:
    """A URL of a blob for this machine, for `api.Fetch.url` and `.authorization`; never put it into pins or
    messages."""

    url: str
    authorization: str = field(default="", repr=False)  # the value of the header Authorization; "" for none


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryImage:
    """An image for one platform in a registry."""

    reference: Reference  # with the digest of `manifest`, not that of the index
    index: str  # digest of the document that the tag names: the index if there is one, else the manifest
    document: Document  # the manifest's own bytes, digest and media type
    manifest: ImageManifest
    config: ImageConfig


class RegistryClient:
    """A client for any number of registries. Threads may share it; it keeps tokens. Its methods raise FetchError with
    the codes registry-missing (no such manifest, tag or blob), registry-denied (credentials), registry-insecure (plain
    HTTP that is not allowed), registry-document (a document that breaks the specification), registry-digest,
    registry-platform, registry-blocked, registry-token, registry-credentials, registry-configuration, registry-refused
    (any other status), and those of `net.send_request`."""

    def __init__(self, *, cancelled: Cancelled | None = None, patience: RetryPolicy = DEFAULT_RETRY_POLICY) -> None:
        self._transport = RegistryTransport(
            patience=patience, cancelled=cancelled, plain=lambda host: self._load_hosts().allows_http(host)
        )
        self._lock = threading.Lock()
        self._hosts: RegistryHosts | None = None
        self._unreachable_mirrors: set[str] = set()  # mirrors that did not answer

    # ---- pull

    def document(self, reference: Reference) -> Document:
        """Returns a manifest or index of at most 4 MiB, by digest, else by tag. Its digest is computed from the
        body."""
        return self._ask_in_order(reference, lambda endpoint: self._document(endpoint, reference))

    def find(self, reference: Reference) -> Document | None:
        """Like `document`, but returns None if the registry has no such repository, tag or digest."""
        try:
            return self.document(reference)
        except FetchError as error:
            if error.code == "registry-missing":
                return None
            raise

    def image(self, reference: Reference, platform: Platform) -> RegistryImage:
        """Returns an image with its config: index -> manifest of `platform` -> config. All digests are checked, and the
        config against the manifest (number of layers, platform)."""
        document = first = self.document(reference)
        what = str(reference)
        for _ in range(NESTING + 1):
            manifest = documents.read_document(document, what)
            if isinstance(manifest, ImageManifest):
                break
            entry = platforms.choose_manifest(manifest, platform, what)
            document = self._entry_document(reference, entry)
        else:
            raise FetchError(f"{what}: indexes in indexes, more than {NESTING} deep", code="registry-document")
        config = documents.read_config(self.blob(reference, manifest.config), f"{what}: its config")
        documents.check_image(manifest, config, what)
        config = dataclasses.replace(config, platform=platforms.fill_platform(config.platform, platform))
        if not platforms.compatibility(platform, config.platform):
            raise FetchError(f"{what}: is for {config.platform}, not for {platform}", code="registry-platform")
        pinned = reference.with_digest(document.digest)
        return RegistryImage(reference=pinned, index=first.digest, document=document, manifest=manifest, config=config)

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Returns a whole small blob (at most 8 MiB); size and digest are checked."""
        if descriptor.size > documents.CONFIG_LIMIT:
            text = f"{reference.name}@{descriptor.digest}: {descriptor.size} bytes, too large to be read whole"
            raise FetchError(text, code="registry-document")
        return self._ask_in_order(reference, lambda endpoint: self._blob(endpoint, descriptor))

    def blob_locations(self, reference: Reference, digest: str) -> tuple[BlobLocation, ...]:
        """Returns the locations of a blob in the order to be tried: mirrors that have it, then the registry itself.
        Gets a token if the registry demands one."""
        *mirrors, registry = self._endpoints(reference)
        usable = [mirror for mirror in mirrors if self._try_mirror(mirror, lambda mirror: self._has(mirror, digest))]
        return tuple(
            BlobLocation(
                url=f"{endpoint.root}{endpoint.repository}/blobs/{digest}",
                authorization=self._transport.authorization(endpoint, reference.selector),
            )
            for endpoint in (*usable, registry)
        )

    def pull_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        path: str,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Downloads a blob of any size to the file `path`, or continues that file; size and digest are checked
        (net.download_file)."""

        def download(endpoint: Endpoint) -> None:
            url = f"{endpoint.root}{endpoint.repository}/blobs/{descriptor.digest}"
            for last in (False, True):
                try:
                    net.download_file(
                        url, path, digest=descriptor.digest, size=descriptor.size, progress=progress, resume=True,
                        authorization=self._transport.authorization(endpoint, reference.selector),
                        patience=self._transport.retry_policy(endpoint), cancelled=self._transport.cancelled,
                    )  # fmt: skip
                except FetchError as error:
                    if last or error.code != "fetch-status":
                        raise
                    self._transport.send("HEAD", endpoint, f"blobs/{descriptor.digest}")  # renews an expired token
                else:
                    return

        self._ask_in_order(reference, download)

    def has_blob(self, reference: Reference, digest: str) -> bool:
        """Returns whether the registry itself (no mirror) has a blob, by one HEAD request."""
        return upload.has_blob(self._transport, self._push_endpoint(reference), digest)

    def tags(self, reference: Reference) -> list[str]:
        """Returns all tags of the repository; [] if it does not exist."""
        return self._ask_in_order(reference, lambda endpoint: list(self._tags(endpoint)))

    def referrers(self, reference: Reference, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Returns the manifests whose `subject` is `reference.digest`. Uses the tag schema if the registry has no API
        of referrers."""
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
        """Uploads a blob unless the repository has it. `source` is the bytes, or the path of a file; `mount` names
        repositories of the same registry that may have the blob. A broken upload is resumed. Returns "present",
        "mounted" or "sent"."""
        endpoint = self._push_endpoint(reference)
        return upload.push_blob(self._transport, endpoint, digest, size, source, mount=mount, progress=progress)

    def push_document(self, reference: Reference, body: bytes, media_type: str) -> str:
        """Puts a manifest or index under `reference.tag`, or under its digest if there is no tag, and returns its
        digest. Push everything that the document names first."""
        endpoint = self._push_endpoint(reference)
        digest, has_referrers = upload.push_document(self._transport, endpoint, reference, body, media_type)
        if not has_referrers and b'"subject"' in body:
            self._add_referrer(endpoint, reference, Document(media_type=media_type, digest=digest, body=body))
        return digest

    def delete(self, reference: Reference) -> bool:
        """Deletes the manifest `reference.digest`, or the tag. Returns False if the registry does not allow it."""
        endpoint = self._push_endpoint(reference)
        response = self._transport.send(
            "DELETE", endpoint, f"manifests/{reference.selector}", actions="pull,push,delete"
        )
        if response.status in (400, 405):
            return False
        if response.status not in (200, 202, 204, 404):
            self._transport.raise_for_status(response, endpoint, str(reference))
        return True

    # ---- one endpoint

    def _load_hosts(self) -> RegistryHosts:
        with self._lock:
            if self._hosts is None:
                self._hosts = hosts.load()
            return self._hosts

    def _endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        return tuple(map(self._transport.resolve_scheme, self._load_hosts().pull_endpoints(reference)))

    def _push_endpoint(self, reference: Reference) -> Endpoint:
        return self._transport.resolve_scheme(self._load_hosts().push_endpoint(reference))

    def _ask_in_order(self, reference: Reference, ask: Callable[[Endpoint], Found]) -> Found:
        """Returns the result of `ask` for the first mirror that succeeds, else for the registry. Errors of mirrors are
        ignored."""
        *mirrors, registry = self._endpoints(reference)
        for mirror in mirrors:
            result = self._try_mirror(mirror, lambda mirror: (ask(mirror),))
            if result is not None:
                return result[0]
        return ask(registry)

    def _try_mirror(self, mirror: Endpoint, ask: Callable[[Endpoint], Found]) -> Found | None:
        """Returns the result of `ask` for a mirror, or None if it fails. A mirror that does not respond is not asked
        again."""
        if mirror.root in self._unreachable_mirrors:
            return None
        try:
            return ask(mirror)
        except FetchError as error:
            if error.code == "fetch-unreachable":
                self._unreachable_mirrors.add(mirror.root)
            return None

    def _has(self, endpoint: Endpoint, digest: str) -> bool:
        return upload.has_blob(self._transport, endpoint, digest)

    def _document(self, endpoint: Endpoint, reference: Reference) -> Document:
        what = str(reference)
        response = self._transport.send(
            "GET",
            endpoint,
            f"manifests/{reference.selector}",
            headers={"Accept": ", ".join(documents.ACCEPTED)},
            limit=documents.DOCUMENT_LIMIT,
        )
        if response.status != 200:
            self._transport.raise_for_status(response, endpoint, what)
        digest = documents.sha256_digest(response.body)
        claimed = response.headers.get("docker-content-digest", "")
        if reference.digest and digest != reference.digest:
            raise FetchError(f"{what}: {endpoint.host} served {digest} for it", code="registry-digest")
        if claimed.startswith("sha256:") and claimed != digest:
            text = f"{what}: {endpoint.host} says that it is {claimed}, but served {digest}"
            raise FetchError(text, code="registry-digest")
        return Document(media_type=_media_type(response, what), digest=digest, body=response.body)

    def _entry_document(self, reference: Reference, descriptor: Descriptor) -> Document:
        """Returns the manifest of an index's entry. Raises FetchError (code registry-document) if its size or media
        type differ from the entry."""
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
        response = self._transport.send("GET", endpoint, f"blobs/{descriptor.digest}", limit=descriptor.size)
        if response.status != 200:
            self._transport.raise_for_status(response, endpoint, what)
        if len(response.body) != descriptor.size or documents.sha256_digest(response.body) != descriptor.digest:
            digest = documents.sha256_digest(response.body)
            text = f"{what}: {len(response.body)} bytes came, {digest}, not {descriptor.size} bytes"
            raise FetchError(f"{text} of that digest", code="registry-digest")
        return response.body

    def _tags(self, endpoint: Endpoint) -> Iterator[str]:
        path = "tags/list?n=1000"
        what = f"{endpoint.host}/{endpoint.repository}: its tags"
        for _ in range(PAGES):
            response = self._transport.send("GET", endpoint, path)
            if response.status == 404:
                return
            if response.status != 200:
                self._transport.raise_for_status(response, endpoint, what)
            try:
                tags = json.loads(response.body)["tags"] or []
                page = [tag for tag in tags if isinstance(tag, str)]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise FetchError(f"{what}: not a list of tags", code="registry-document") from error
            yield from page
            path = _next_page(response, endpoint) if page else ""
            if not path:
                return
        raise FetchError(f"{what}: more than {PAGES} pages", code="registry-document")

    def _add_referrer(self, endpoint: Endpoint, reference: Reference, document: Document) -> None:
        """For a registry without the API of referrers: adds a document with a subject to the index under the subject's
        tag (distribution specification, "Pushing manifests with subject"). If two clients do this at the same time, one
        entry may be lost."""
        what = str(reference)
        manifest = documents.read_document(document, what)
        if manifest.subject is None:
            return
        tag = reference.with_tag(_referrers_tag(manifest.subject.digest))
        try:
            existing = documents.read_document(self._document(endpoint, tag), what)
        except FetchError as error:
            if error.code != "registry-missing":
                raise
            existing = None
        entries = existing.manifests if isinstance(existing, ImageIndex) else ()
        kind = manifest.artifact_type or (manifest.config.media_type if isinstance(manifest, ImageManifest) else "")
        entry = dataclasses.replace(document.descriptor(), artifact_type=kind, annotations=manifest.annotations)
        if entry not in entries:
            index = ImageIndex(media_type=documents.OCI_INDEX, manifests=(*entries, entry))
            index_document = serialize.index_document(index)
            upload.push_document(self._transport, endpoint, tag, index_document.body, index_document.media_type)

    def _referrers(self, endpoint: Endpoint, reference: Reference, artifact_type: str) -> tuple[Descriptor, ...]:
        what = f"{endpoint.host}/{endpoint.repository}: what refers to {reference.digest}"
        query = f"?artifactType={urllib.parse.quote(artifact_type)}" if artifact_type else ""
        response = self._transport.send("GET", endpoint, f"referrers/{reference.digest}{query}")
        if response.status == 200 and _media_type(response, what) == documents.OCI_INDEX:
            index = documents.read_index(response.body, documents.OCI_INDEX, what)
        elif response.status in (200, 400, 404, 405):
            fallback = self.find(reference.with_tag(_referrers_tag(reference.digest)))
            if fallback is None:
                return ()
            document = documents.read_document(fallback, what)
            index = (
                document
                if isinstance(document, ImageIndex)
                else ImageIndex(media_type=documents.OCI_INDEX, manifests=())
            )
        else:
            self._transport.raise_for_status(response, endpoint, what)
        return tuple(entry for entry in index.manifests if artifact_type in ("", entry.artifact_type))


def _referrers_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _media_type(response: HttpResponse, what: str) -> str:
    """Returns the media type of a document: by the header Content-Type, or by its own field if that is generic."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in UNTYPED_MEDIA_TYPES:
        try:
            own_type = json.loads(response.body)["mediaType"]
        except (ValueError, KeyError, TypeError, RecursionError):
            own_type = ""
        media_type = own_type if isinstance(own_type, str) else ""
    if media_type not in documents.ACCEPTED:
        documents.reject_media_type(what, media_type or "of an unknown type", "a manifest or index")
    return media_type


def _next_page(response: HttpResponse, endpoint: Endpoint) -> str:
    """Returns the URL of the next page in the header Link; "" at the end, and for a URL on another host."""
    link = response.headers.get("link", "")
    target = link.partition("<")[2].partition(">")[0]
    if not target or 'rel="next"' not in link.replace("rel=next", 'rel="next"'):
        return ""
    url = urllib.parse.urljoin(response.url, target)
    return url if same_origin(url, endpoint.root) else ""
