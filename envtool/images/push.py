"""`envtool push`: a made stack, as an image in a registry. Layers go up side by side, each once; the tag comes last, so
that it never names what is not there.

What a layer was packed to is remembered: where the registry has that, nothing is packed again.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from envtool.build.context import Context
from envtool.build.scheduler import Stack
from envtool.build.tracking import track_work
from envtool.errors import UsageError
from envtool.events import Progress
from envtool.images import assemble, image_blobs
from envtool.images.export import ExportedLayer, exported_layers, prepare_image
from envtool.images.image_blobs import MEDIA_TYPES, Blob
from envtool.images.image_config import ExportOptions, ImageLayerContent
from envtool.model import Env, Json
from envtool.net.oci import reference
from envtool.net.oci.documents import Descriptor
from envtool.net.oci.reference import Reference
from envtool.net.oci.registry import RegistryClient
from envtool.store import answer_cache, packing
from envtool.store.packing import Compression

MAX_UPLOADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What is there now: `name` with its tag, `digest` of the manifest; `size` bytes, of which `sent` went up."""

    env: str
    name: str
    digest: str
    size: int
    sent: int
    layers: tuple[ExportedLayer, ...]


def parse_destination(text: str) -> Reference:
    """Where to, as the user wrote it. Raises FetchError (code reference), UsageError."""
    found = reference.parse_reference(text)
    if found.digest:
        raise UsageError(f"`{text}`: a digest is not chosen, it follows", code="push-digest", hint="name a tag")
    return found


def push_image(
    env: Env, stack: Stack, context: Context, to: Reference, wish: ExportOptions, *, form: Compression
) -> PushResult:
    """Push it. Raises UsageError, MakeError, Interrupted."""
    if context.offline:
        raise UsageError("`--offline` and a registry contradict each other", code="offline")
    event_id = f"push:{env.name}"
    client = RegistryClient(cancelled=context.cancel.is_set)
    with (
        track_work(context, event_id, "push", env.name) as piece,
        prepare_image(env, stack, context, event_id, wish) as (made, work),
    ):
        sender = _LayerSender(client, to, context, event_id, mount=_mountable_repositories(stack, to))

        def one(number: int, each: ImageLayerContent) -> Blob:
            return _push_layer(each, sender, form, os.path.join(work, str(number)))

        sender.add_expected(sum(each.size for each in made.contents))
        with ThreadPoolExecutor(MAX_UPLOADS, thread_name_prefix="push") as pool:
            blobs = [*pool.map(one, range(len(made.contents)), made.contents)]
        item = assemble.assemble_image(made, blobs)
        assert item.config.data is not None
        client.push_blob(to, item.config.descriptor.digest, item.config.descriptor.size, item.config.data)
        context.cancel.check()
        client.push_document(to, item.manifest.body, item.manifest.media_type)
        piece.outcome = "done"
    return PushResult(
        env=env.name,
        name=str(to),
        digest=item.manifest.digest,
        size=item.size,
        sent=sender.sent,
        layers=exported_layers(item),
    )


def _mountable_repositories(stack: Stack, to: Reference) -> tuple[str, ...]:
    """The repository of the base's image, where that is in the same registry: it has its layers."""
    base = stack.made[0].settled
    source = base.node.kind.image_source(base.request, base.pins)
    if source is None or not source.name:
        return ()
    found = reference.parse_reference(source.name)
    return (found.repository,) if found.registry == to.registry else ()


class _LayerSender:
    """Sends blobs from several threads, and says how far they are."""

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
        """So many bytes more, or fewer, are to be sent."""
        with self._lock:
            self._total += size

    def has(self, digest: str) -> bool:
        """Whether the registry has a blob there."""
        self.context.cancel.check()
        return self.client.has_blob(self.to, digest)

    def send(self, descriptor: Descriptor, path: str) -> None:
        """Have a file there."""
        self.context.cancel.check()
        how = self.client.push_blob(
            self.to, descriptor.digest, descriptor.size, path, mount=self._mount, progress=self.done
        )
        if how == "sent":
            with self._lock:
                self.sent += descriptor.size

    def done(self, size: int) -> None:
        """So many bytes more have been sent; less than nothing for those that are sent again."""
        with self._lock:
            self._done += size
            self.context.emit(Progress(id=self._event_id, done=self._done, total=self._total))


def _push_layer(each: ImageLayerContent, sender: _LayerSender, form: Compression, path: str) -> Blob:
    """Have one layer in the registry; what it is there."""
    if each.blob:
        blob = image_blobs.original_blob(each)
        sender.add_expected(blob.descriptor.size - each.size)
        sender.send(blob.descriptor, blob.path)
        return blob
    store = sender.context.store
    question: Json = {"packed": each.diff_id, "form": form, "by": packing.compressor_version(form)}
    known = answer_cache.get(store, question)
    whole = isinstance(known, dict) and known.keys() == {"digest", "size"}
    if whole and sender.has(known["digest"]):
        sender.add_expected(-each.size)
        return Blob(descriptor=Descriptor(media_type=MEDIA_TYPES[form], **known))
    blob = image_blobs.compress_layer(each, form, path, sender.context.cancel)
    answer_cache.put(store, question, {"digest": blob.descriptor.digest, "size": blob.descriptor.size})
    sender.add_expected(blob.descriptor.size - each.size)
    sender.send(blob.descriptor, blob.path)
    os.unlink(blob.path)
    return blob
