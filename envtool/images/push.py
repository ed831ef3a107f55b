"""`envtool push`: uploads an env's stack as an image to a registry. Layers are uploaded in parallel, each once; the tag
comes last, so that it never names a missing blob.

The store remembers the digest of each compressed layer: if the registry has that blob, the layer is not compressed
again.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from envtool.build.context import Context
from envtool.build.scheduler import Stack
from envtool.errors import UsageError
from envtool.events import Progress
from envtool.images import assemble, image_blobs
from envtool.images.export import ExportedLayer, exported_layers, prepare_image
from envtool.images.image_blobs import MEDIA_TYPES, Blob
from envtool.images.image_config import ExportOptions, ImageLayerContent
from envtool.lazy_dataclass import dataclass
from envtool.model import Env, Json
from envtool.net.oci import reference
from envtool.net.oci.documents import Descriptor
from envtool.net.oci.reference import Reference
from envtool.net.oci.registry import RegistryClient
from envtool.store import answer_cache, packing
from envtool.store.packing import Compression
from envtool.tracking import track_work

MAX_UPLOADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What the registry has now: `name` with its tag, `digest` of the manifest; `size` in bytes, of which `sent` were
    uploaded."""

    env: str
    name: str
    digest: str
    size: int
    sent: int
    layers: tuple[ExportedLayer, ...]


def parse_destination(text: str) -> Reference:
    """Returns the reference to push to. Raises FetchError (code reference), UsageError."""
    destination = reference.parse_reference(text)
    if destination.digest:
        raise UsageError(f"`{text}`: a digest is not chosen, it follows", code="push-digest", hint="name a tag")
    return destination


def push_image(
    env: Env, stack: Stack, context: Context, to: Reference, options: ExportOptions, *, form: Compression
) -> PushResult:
    """Pushes the image. Raises UsageError, MakeError, Interrupted."""
    if context.offline:
        raise UsageError("`--offline` and a registry contradict each other", code="offline")
    event_id = f"push:{env.name}"
    client = RegistryClient(cancelled=context.cancel.is_set)
    with (
        track_work(context.emit, event_id, "push", env.name) as progress,
        prepare_image(env, stack, context, event_id, options) as (image, work),
    ):
        sender = _LayerSender(client, to, context, event_id, mount=_mountable_repositories(stack, to))

        def push_content(number: int, content: ImageLayerContent) -> Blob:
            return _push_layer(content, sender, form, os.path.join(work, str(number)))

        sender.add_expected(sum(content.size for content in image.contents))
        with ThreadPoolExecutor(MAX_UPLOADS, thread_name_prefix="push") as pool:
            blobs = [*pool.map(push_content, range(len(image.contents)), image.contents)]
        assembled = assemble.assemble_image(image, blobs)
        assert assembled.config.data is not None
        client.push_blob(
            to, assembled.config.descriptor.digest, assembled.config.descriptor.size, assembled.config.data
        )
        context.cancel.check()
        client.push_document(to, assembled.manifest.body, assembled.manifest.media_type)
        progress.outcome = "done"
    return PushResult(
        env=env.name,
        name=str(to),
        digest=assembled.manifest.digest,
        size=assembled.size,
        sent=sender.sent,
        layers=exported_layers(assembled),
    )


def _mountable_repositories(stack: Stack, to: Reference) -> tuple[str, ...]:
    """Returns the repository of the base's image if it is in the same registry: the layers can be mounted from
    there."""
    base = stack.layers[0].resolved
    source = base.node.base_kind.image_source(base.request, base.pins)
    if source is None or not source.name:
        return ()
    image = reference.parse_reference(source.name)
    return (image.repository,) if image.registry == to.registry else ()


class _LayerSender:
    """Uploads blobs from several threads, and reports the progress."""

    def __init__(
        self, client: RegistryClient, to: Reference, context: Context, event_id: str, *, mount: tuple[str, ...]
    ) -> None:
        self.client = client
        self.to = to
        self.context = context
        self.sent = 0
        self._mount = mount
        self._event_id = event_id
        self._lock = threading.Lock()
        self._done = self._total = 0

    def add_expected(self, size: int) -> None:
        """Adds to the bytes that are to be uploaded; `size` may be negative."""
        with self._lock:
            self._total += size

    def has(self, digest: str) -> bool:
        """Returns whether the registry has a blob in the repository."""
        self.context.cancel.check()
        return self.client.has_blob(self.to, digest)

    def send(self, descriptor: Descriptor, path: str) -> None:
        """Uploads a file."""
        self.context.cancel.check()
        how = self.client.push_blob(
            self.to, descriptor.digest, descriptor.size, path, mount=self._mount, progress=self.done
        )
        if how == "sent":
            with self._lock:
                self.sent += descriptor.size

    def done(self, size: int) -> None:
        """Adds to the bytes that have been uploaded; `size` is negative when bytes are sent again."""
        with self._lock:
            self._done += size
            self.context.emit(Progress(id=self._event_id, done=self._done, total=self._total))


def _push_layer(content: ImageLayerContent, sender: _LayerSender, form: Compression, path: str) -> Blob:
    """Uploads one layer, unless the registry has it; returns its blob."""
    if content.blob:
        blob = image_blobs.original_blob(content)
        sender.add_expected(blob.descriptor.size - content.size)
        sender.send(blob.descriptor, blob.path)
        return blob
    store = sender.context.store
    question: Json = {"packed": content.diff_id, "form": form, "by": packing.compressor_version(form)}
    known = answer_cache.get(store, question)
    is_valid = isinstance(known, dict) and known.keys() == {"digest", "size"}
    if is_valid and sender.has(known["digest"]):
        sender.add_expected(-content.size)
        return Blob(descriptor=Descriptor(media_type=MEDIA_TYPES[form], **known))
    blob = image_blobs.compress_layer(content, form, path, sender.context.cancel, sender.context.runner)
    answer_cache.put(store, question, {"digest": blob.descriptor.digest, "size": blob.descriptor.size})
    sender.add_expected(blob.descriptor.size - content.size)
    sender.send(blob.descriptor, blob.path)
    os.unlink(blob.path)
    return blob
