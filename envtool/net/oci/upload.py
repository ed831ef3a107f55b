"""Pushes blobs, manifests and indexes to a registry. A blob that the registry has is not sent."""

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

MAX_SINGLE_UPLOAD = 8 << 20  # bytes: a smaller blob is sent in one request, which is repeated if it breaks
MANIFEST_ATTEMPTS = 4  # docker-registry may refuse a manifest for a moment while another client writes the same one
BINARY_MEDIA_TYPE = "application/octet-stream"
PUSH_ACTIONS = "pull,push"


def has_blob(transport: RegistryTransport, endpoint: Endpoint, digest: str, *, actions: str = "pull") -> bool:
    """Returns whether a blob is in the repository, by one HEAD request."""
    answer = transport.send("HEAD", endpoint, f"blobs/{digest}", actions=actions)
    if answer.status == 404:
        return False
    if answer.status != 200:
        transport.raise_for_status(answer, endpoint, f"{endpoint.host}/{endpoint.repository}@{digest}")
    return True


def push_blob(
    transport: RegistryTransport,
    endpoint: Endpoint,
    digest: str,
    size: int,
    source: bytes | str,
    *,
    mount: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> str:
    """See RegistryClient.push_blob."""
    if has_blob(transport, endpoint, digest, actions=PUSH_ACTIONS):
        return "present"
    location = ""
    for repository in mount:
        if repository == endpoint.repository:
            continue
        mounted, upload_url = _try_mount(transport, endpoint, digest, repository)
        if mounted:
            return "mounted"
        location = upload_url or location  # one upload that has begun is used; the registry drops the others
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as file:
        sender = _BlobSender(transport, endpoint, digest, size, file, progress)
        try:
            sender.send_whole(location) if size <= MAX_SINGLE_UPLOAD else sender.send_resumable(location)
        except FetchError as error:
            if error.code != "registry-refused" or not has_blob(transport, endpoint, digest, actions=PUSH_ACTIONS):
                raise
            return "present"  # another client has pushed it in the meantime
    return "sent"


def _try_mount(transport: RegistryTransport, endpoint: Endpoint, digest: str, other: str) -> tuple[bool, str]:
    """Tries to mount a blob from another repository. Returns whether it is mounted and, if not, the URL of an upload
    that the registry has begun instead ("": none)."""
    query = urllib.parse.urlencode({"mount": digest, "from": other})
    scopes = (f"repository:{other}:pull",)
    try:
        response = transport.send("POST", endpoint, f"blobs/uploads/?{query}", actions=PUSH_ACTIONS, scopes=scopes)
    except FetchError as error:
        if error.code != "registry-denied":  # the token service denies a token for the other repository
            raise
        return False, ""
    return response.status == 201, transport.location(response, endpoint) if response.status == 202 else ""


def push_document(
    transport: RegistryTransport, endpoint: Endpoint, reference: Reference, body: bytes, media_type: str
) -> tuple[str, bool]:
    """See RegistryClient.push_document. Returns the digest, and whether the registry lists referrers itself."""
    digest = documents.sha256_digest(body)
    what = f"{endpoint.host}/{endpoint.repository}:{reference.tag or digest}"
    if reference.digest and reference.digest != digest:
        raise FetchError(f"{reference}: what is to be pushed is {digest}", code="registry-digest")
    path, headers = f"manifests/{reference.tag or digest}", {"Content-Type": media_type}
    for failures in range(1, MANIFEST_ATTEMPTS + 1):
        response = transport.send("PUT", endpoint, path, actions=PUSH_ACTIONS, headers=headers, body=body)
        if response.status not in (400, 404) or failures == MANIFEST_ATTEMPTS:
            break
        transport.pause(failures)
    if response.status not in (200, 201, 202):
        transport.raise_for_status(response, endpoint, what)
    stored = response.headers.get("docker-content-digest", digest)
    if stored.startswith("sha256:") and stored != digest:
        raise FetchError(f"{what}: the registry made {stored} of {digest}", code="registry-digest")
    return digest, "oci-subject" in response.headers


class _BlobSender:
    """Sends one blob. `progress` gets the number of bytes sent since its last call (negative if they are sent
    again)."""

    def __init__(
        self,
        transport: RegistryTransport,
        endpoint: Endpoint,
        digest: str,
        size: int,
        file: BinaryIO,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._transport, self._endpoint, self._digest = transport, endpoint, digest
        self._size, self._file, self._progress = size, file, progress
        self._what = f"{endpoint.host}/{endpoint.repository}@{digest}"

    def send_whole(self, location: str) -> None:
        """Sends the blob in one PUT (monolithic upload)."""
        location = location or self._begin()
        self._finish(location, self._body_from(0), again=True)

    def send_resumable(self, location: str) -> None:
        """Sends the blob in one PATCH, as docker does. If the connection breaks, continues after the bytes that the
        registry reports."""
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
                if failures >= self._transport.patience.attempts:
                    raise
                self._transport.pause(failures)
            else:
                return

    def _begin(self) -> str:
        response = self._transport.send("POST", self._endpoint, "blobs/uploads/", actions=PUSH_ACTIONS)
        location = self._transport.location(response, self._endpoint)
        if response.status != 202 or not location:
            self._transport.raise_for_status(response, self._endpoint, self._what)
        return location

    def _body_from(self, offset: int) -> UploadBody:
        size = self._size - offset
        return UploadBody(self._file, size, offset=offset, progress=self._progress, cancelled=self._transport.cancelled)

    def _patch(self, location: str, offset: int) -> str:
        headers = {"Content-Type": BINARY_MEDIA_TYPE}
        if offset:
            headers["Content-Range"] = f"{offset}-{self._size - 1}"
        body = self._body_from(offset)
        try:
            response = self._transport.send(
                "PATCH", self._endpoint, location, actions=PUSH_ACTIONS, headers=headers, body=body, again=False
            )
        except FetchError:
            body.seek(0)  # takes back the progress: it counts only what the registry reports to have
            raise
        if response.status not in (201, 202, 204):
            self._transport.raise_for_status(response, self._endpoint, self._what)
        return self._transport.location(response, self._endpoint) or location

    def _finish(self, location: str, body: bytes | UploadBody, *, again: bool) -> None:
        url = location + ("&" if "?" in location else "?") + urllib.parse.urlencode({"digest": self._digest})
        headers = {"Content-Type": BINARY_MEDIA_TYPE}
        response = self._transport.send(
            "PUT", self._endpoint, url, actions=PUSH_ACTIONS, headers=headers, body=body, again=again
        )
        if response.status == 404 and has_blob(self._transport, self._endpoint, self._digest, actions=PUSH_ACTIONS):
            return  # an earlier attempt succeeded, and its response was lost
        if response.status not in (201, 202, 204):
            self._transport.raise_for_status(response, self._endpoint, self._what)

    def _resume_point(self, location: str) -> tuple[int, str]:
        """Returns how many bytes the registry has, and the URL to continue at; (0, "") if the upload must start
        again."""
        with contextlib.suppress(FetchError):
            response = self._transport.send("GET", self._endpoint, location, actions=PUSH_ACTIONS)
            reached = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", response.headers.get("range", ""))
            if response.status == 204 and reached and 0 < int(reached[1]) < self._size:
                if self._progress is not None:
                    self._progress(int(reached[1]) + 1)
                return int(reached[1]) + 1, self._transport.location(response, self._endpoint) or location
        return 0, ""
