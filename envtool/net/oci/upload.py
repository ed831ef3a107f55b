"""Pushing to a registry: a blob is sent once, and a manifest after all that it names."""

from __future__ import annotations

import contextlib
import io
import re
import urllib.parse
from collections.abc import Callable, Sequence
from typing import BinaryIO

from envtool.errors import FetchError
from envtool.net import UploadBody
from envtool.net.oci import documents
from envtool.net.oci.hosts import Endpoint
from envtool.net.oci.http import RegistryTransport
from envtool.net.oci.reference import Reference

MAX_SINGLE_UPLOAD = 8 << 20  # bytes of a blob up to which it is sent in one request that is repeated when it breaks
MANIFEST_ATTEMPTS = (
    4  # attempts to put a manifest: docker-registry may deny for a moment what another is just writing, too
)
BINARY_MEDIA_TYPE = "application/octet-stream"
PUSH_ACTIONS = "pull,push"


def has_blob(wire: RegistryTransport, endpoint: Endpoint, digest: str, *, actions: str = "pull") -> bool:
    """Is the blob in the repository? One HEAD."""
    answer = wire.send("HEAD", endpoint, f"blobs/{digest}", actions=actions)
    if answer.status == 404:
        return False
    if answer.status != 200:
        wire.raise_for_status(answer, endpoint, f"{endpoint.host}/{endpoint.repository}@{digest}")
    return True


def push_blob(
    wire: RegistryTransport,
    endpoint: Endpoint,
    digest: str,
    size: int,
    source: bytes | str,
    *,
    mount: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> str:
    """See Client.push_blob."""
    if has_blob(wire, endpoint, digest, actions=PUSH_ACTIONS):
        return "present"
    location = ""
    for other in mount:
        if other == endpoint.repository:
            continue
        how, elsewhere = _try_mount(wire, endpoint, digest, other)
        if how:
            return "mounted"
        location = elsewhere or location  # an upload that has begun will do; others are forgotten by the registry
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as file:
        sender = _BlobSender(wire, endpoint, digest, size, file, progress)
        try:
            sender.send_whole(location) if size <= MAX_SINGLE_UPLOAD else sender.send_resumable(location)
        except FetchError as error:
            if error.code != "registry-refused" or not has_blob(wire, endpoint, digest, actions=PUSH_ACTIONS):
                raise
            return "present"  # by another, in the meantime
    return "sent"


def _try_mount(wire: RegistryTransport, endpoint: Endpoint, digest: str, other: str) -> tuple[bool, str]:
    """Take the blob from another repository; if that fails, for whatever reason, perhaps where to upload it instead."""
    query = urllib.parse.urlencode({"mount": digest, "from": other})
    scopes = (f"repository:{other}:pull",)
    try:
        answer = wire.send("POST", endpoint, f"blobs/uploads/?{query}", actions=PUSH_ACTIONS, scopes=scopes)
    except FetchError as error:
        if error.code != "registry-denied":  # of a token for the other repository
            raise
        return False, ""
    return answer.status == 201, wire.location(answer, endpoint) if answer.status == 202 else ""


def push_document(
    wire: RegistryTransport, endpoint: Endpoint, reference: Reference, body: bytes, media_type: str
) -> tuple[str, bool]:
    """See Client.push_document. Also tells whether the registry itself remembers what a subject refers to."""
    digest = documents.sha256_digest(body)
    what = f"{endpoint.host}/{endpoint.repository}:{reference.tag or digest}"
    if reference.digest and reference.digest != digest:
        raise FetchError(f"{reference}: what is to be pushed is {digest}", code="registry-digest")
    path, headers = f"manifests/{reference.tag or digest}", {"Content-Type": media_type}
    for failures in range(1, MANIFEST_ATTEMPTS + 1):
        answer = wire.send("PUT", endpoint, path, actions=PUSH_ACTIONS, headers=headers, body=body)
        if answer.status not in (400, 404) or failures == MANIFEST_ATTEMPTS:
            break
        wire.pause(failures)
    if answer.status not in (200, 201, 202):
        wire.raise_for_status(answer, endpoint, what)
    said = answer.headers.get("docker-content-digest", digest)
    if said.startswith("sha256:") and said != digest:
        raise FetchError(f"{what}: the registry made {said} of {digest}", code="registry-digest")
    return digest, "oci-subject" in answer.headers


class _BlobSender:
    """One blob on its way. `progress` gets what was sent, and less than nothing for what is sent again."""

    def __init__(
        self,
        wire: RegistryTransport,
        endpoint: Endpoint,
        digest: str,
        size: int,
        file: BinaryIO,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._wire, self._endpoint, self._digest = wire, endpoint, digest
        self._size, self._file, self._progress = size, file, progress
        self._what = f"{endpoint.host}/{endpoint.repository}@{digest}"

    def send_whole(self, location: str) -> None:
        """All in one PUT (monolithic upload)."""
        location = location or self._begin()
        self._finish(location, self._body_from(0), again=True)

    def send_resumable(self, location: str) -> None:
        """The whole in one PATCH, as docker sends it; where that breaks, from where the registry is, if it says so."""
        failures, offset, best = 0, 0, 0
        while True:
            try:
                location = location or self._begin()
                if offset < self._size:
                    location = self._patch(location, offset)
                self._finish(location, b"", again=False)
            except FetchError as error:
                if error.code != "fetch-unreachable":
                    raise
                offset, location = self._resume_point(location) if location else (0, "")
                failures = 1 if offset > best else failures + 1
                best = max(best, offset)
                if failures >= self._wire.patience.attempts:
                    raise
                self._wire.pause(failures)
            else:
                return

    def _begin(self) -> str:
        answer = self._wire.send("POST", self._endpoint, "blobs/uploads/", actions=PUSH_ACTIONS)
        location = self._wire.location(answer, self._endpoint)
        if answer.status != 202 or not location:
            self._wire.raise_for_status(answer, self._endpoint, self._what)
        return location

    def _body_from(self, offset: int) -> UploadBody:
        size = self._size - offset
        return UploadBody(self._file, size, offset=offset, progress=self._progress, cancelled=self._wire.cancelled)

    def _patch(self, location: str, offset: int) -> str:
        headers = {"Content-Type": BINARY_MEDIA_TYPE}
        if offset:
            headers["Content-Range"] = f"{offset}-{self._size - 1}"
        part = self._body_from(offset)
        try:
            answer = self._wire.send(
                "PATCH", self._endpoint, location, actions=PUSH_ACTIONS, headers=headers, body=part, again=False
            )
        except FetchError:
            part.seek(0)  # what was sent of it is not counted, until the registry says that it has it
            raise
        if answer.status not in (201, 202, 204):
            self._wire.raise_for_status(answer, self._endpoint, self._what)
        return self._wire.location(answer, self._endpoint) or location

    def _finish(self, location: str, body: bytes | UploadBody, *, again: bool) -> None:
        url = location + ("&" if "?" in location else "?") + urllib.parse.urlencode({"digest": self._digest})
        headers = {"Content-Type": BINARY_MEDIA_TYPE}
        answer = self._wire.send(
            "PUT", self._endpoint, url, actions=PUSH_ACTIONS, headers=headers, body=body, again=again
        )
        if answer.status == 404 and has_blob(self._wire, self._endpoint, self._digest, actions=PUSH_ACTIONS):
            return  # an attempt before had come through, but not its answer
        if answer.status not in (201, 202, 204):
            self._wire.raise_for_status(answer, self._endpoint, self._what)

    def _resume_point(self, location: str) -> tuple[int, str]:
        """How many bytes the registry has, and where to go on; (0, "") where it has to be begun anew."""
        with contextlib.suppress(FetchError):
            answer = self._wire.send("GET", self._endpoint, location, actions=PUSH_ACTIONS)
            reached = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", answer.headers.get("range", ""))
            if answer.status == 204 and reached and 0 < int(reached[1]) < self._size:
                if self._progress is not None:
                    self._progress(int(reached[1]) + 1)
                return int(reached[1]) + 1, self._wire.location(answer, self._endpoint) or location
        return 0, ""
