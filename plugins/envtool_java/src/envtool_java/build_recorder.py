"""Serves repositories to a container without a network, over a socket in a directory that the container sees, and
records which files it asked for. envtool itself downloads them; the container names a path in a repository, no more.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import secrets
import shutil
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from envtool_java.repositories import MavenRepository

PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))(?:[A-Za-z0-9._+~-]{1,200}/){2,40}[A-Za-z0-9._+~-]{1,200}$")
CHECKSUMS = {".sha1": "sha1", ".md5": "md5", ".sha256": "sha256", ".sha512": "sha512"}
MAX_FILES = 20_000  # that one build may ask for
MAX_METADATA = 16 << 20  # bytes
TIMEOUT = 600.0  # seconds that a connection may stand still


class BuildRecorder:
    """What a container asked for: `files` is path -> (sha256, size); `metadata` the paths of maven-metadata.xml;
    `snapshots` the paths of snapshots, which cannot be pinned; `errors` why a repository did not answer."""

    def __init__(
        self, site: api.Site, repositories: Sequence[MavenRepository], known: Mapping[str, tuple[str, int]]
    ) -> None:
        self.files: dict[str, tuple[str, int]] = {}
        self.metadata: dict[str, bytes] = {}
        self.snapshots: set[str] = set()
        self.missing: set[str] = set()
        self.errors: list[api.FetchError] = []
        self.token = secrets.token_hex(16)
        self._site, self._repositories, self._known = site, repositories, known
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def find(self, path: str) -> tuple[str, bytes | str] | None:
        """Returns ("file", its path on this machine) or ("bytes", content); None if no repository has the file. Raises
        FetchError if one could not be asked."""
        ending = next((ending for ending in CHECKSUMS if path.endswith(ending)), "")
        if ending:
            found = self.find(path.removesuffix(ending))
            if found is None:
                return None
            content = found[1] if isinstance(found[1], bytes) else _read(found[1])
            return "bytes", hashlib.new(CHECKSUMS[ending], content, usedforsecurity=False).hexdigest().encode()
        with self._lock:
            turn = self._turns.setdefault(path, threading.Lock())
            if len(self._turns) > MAX_FILES:
                raise api.FetchError(f"the build asked for more than {MAX_FILES} files", code="maven-files")
        with turn:  # one download of each file
            return self._find_metadata(path) if path.endswith("/maven-metadata.xml") else self._find_file(path)

    def _find_file(self, path: str) -> tuple[str, str] | None:
        if re.search(r"-SNAPSHOT(?:/|[.-])", path):
            self.snapshots.add(path)
            return None
        if path in self.missing or path.endswith(".asc"):
            return None
        known = self.files.get(path) or self._known.get(path)
        name = file_name(path)
        if known is not None:
            urls = [f"{repository.url}/{path}" for repository in self._repositories]
            first = self._repositories[0]
            fetch = api.Fetch(
                sha256=known[0], size=known[1], name=name, url=urls[0], mirrors=tuple(urls[1:]),
                authorization=first.authorization,
            )  # fmt: skip
            (place,) = self._site.fetch([fetch])
            self.files[path] = known
            return "file", os.fspath(place)
        for repository in self._repositories:
            url = f"{repository.url}/{path}"
            sealed = api.Sealed(urls=(url,), name=name, authorization=repository.authorization)
            try:
                (fetch,) = self._site.learn([sealed])
            except api.FetchError as error:
                self._check_missing(error)
                continue
            self._site.seen(fetch.sha256, url)
            self.files[path] = fetch.sha256, fetch.size
            (place,) = self._site.fetch([fetch])
            return "file", os.fspath(place)
        self.missing.add(path)
        return None

    def _find_metadata(self, path: str) -> tuple[str, bytes] | None:
        if path not in self.metadata:
            for repository in self._repositories:
                try:
                    content = self._site.get(f"{repository.url}/{path}")
                except api.FetchError as error:
                    self._check_missing(error)
                    continue
                self.metadata[path] = content[:MAX_METADATA]
                break
        return ("bytes", self.metadata[path]) if path in self.metadata else None

    def _check_missing(self, error: api.FetchError) -> None:
        """Raises the error unless it says that the repository does not have the file."""
        if error.code in ("fetch-missing", "fetch-gone") or re.search(r"HTTP (?:404|410)\b", error.message):
            return
        with self._lock:
            self.errors.append(error)
        raise error

    @contextmanager
    def serve(self, maven: str = "") -> Iterator[str]:
        """Serves while the block lasts. Yields the directory on this machine that has the socket `recorder`, and a copy
        of the archive `maven` (a path on this machine) as `maven.tar.gz`: the container's user may not read the
        original."""
        with self._site.temporary_directory() as path, _new_server(path, self) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
            # The root of a container may be another user of this machine. The token keeps all others out.
            path.chmod(0o711)
            (path / "recorder").chmod(0o666)
            if maven:
                shutil.copyfile(maven, path / "maven.tar.gz")
                (path / "maven.tar.gz").chmod(0o644)
            thread.start()
            try:
                yield str(path)
            finally:
                server.shutdown()


def _new_server(directory: Path, recorder: BuildRecorder) -> _Server:
    """Returns a server whose socket is `recorder` in a directory. A socket's path has at most 107 bytes (unix(7)), and
    the directory's may have more."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Server(f"/proc/self/fd/{descriptor}/recorder", recorder)
    finally:
        os.close(descriptor)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, recorder: BuildRecorder) -> None:
        self.recorder = recorder
        super().__init__(path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A container that goes away in the middle of an answer is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT
    server: _Server
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    def setup(self) -> None:
        super().setup()
        self.client_address = ("container", 0)  # a Unix socket has none

    def handle(self) -> None:
        """Answers a connection that begins with the token."""
        with suppress(OSError):
            token = self.rfile.readline(100).strip().decode("ascii", "replace")
            if secrets.compare_digest(token.encode(), self.server.recorder.token.encode()):
                super().handle()

    def do_GET(self) -> None:
        """Sends a file of the repositories."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Sends the size of a file."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.lstrip("/")
        try:
            found = self.server.recorder.find(path) if PATH.match(path) else None
        except (api.FetchError, api.ResolveError):
            self._send(502, b"", with_body=with_body)
            return
        if found is None:
            self._send(404, b"", with_body=with_body)
        elif isinstance(found[1], bytes):
            self._send(200, found[1], with_body=with_body)
        else:
            with open(found[1], "rb") as file:
                self._begin(200, os.fstat(file.fileno()).st_size)
                if with_body:
                    shutil.copyfileobj(file, self.wfile, 1 << 20)

    def _send(self, status: int, content: bytes, *, with_body: bool) -> None:
        self._begin(status, len(content))
        if with_body:
            self.wfile.write(content)

    def _begin(self, status: int, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the standard library has it
        """Prints nothing."""


def file_name(path: str) -> str:
    """Returns the name under which a build sees a file of a repository: its whole path, as one component; a long one by
    its hash."""
    name = path.replace("/", "~")
    return name if len(name) <= 200 else f"{hashlib.sha256(path.encode()).hexdigest()[:16]}~{name[-180:]}"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
