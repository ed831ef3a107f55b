"""Keeps what a container prints in a file, and emits it as Output events, with secrets masked."""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from envtool.events import Emit, Output
from envtool.fs.sizes import format_limit, format_size

if TYPE_CHECKING:
    from envtool.fs.masking import SecretForms

HEAD = 32 << 20  # bytes that are kept of the beginning; TAIL of the end
TAIL = (32 << 20) - 256  # so that head, note and tail together are what results.py keeps


class Tee:
    """A context whose `writer` is the descriptor that a container gets as stdout and stderr.

    `file` is written as output arrives, and is left at its end. Output beyond HEAD and TAIL bytes loses its middle, and
    a note takes its place: a task may print without end. Of the secrets in `forms` neither the file nor an event has
    one. `close`, and leaving the context, wait until all output is
    written.
    """

    def __init__(self, file: IO[bytes], emit: Emit, event_id: str, forms: SecretForms | None = None) -> None:
        self._file = file
        self._emit = emit
        self._event_id = event_id
        self._forms = forms
        self._received = 0
        self.writer = -1

    def __enter__(self) -> Tee:
        reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._pump, args=(reader,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bytes_left_out(self) -> int:
        """How many bytes were left out."""
        return max(0, self._received - HEAD - TAIL)

    def close(self) -> None:
        """Waits until all output is written."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1
            self._thread.join()

    def text(self, limit: int = 1 << 20) -> str:
        """Returns the last `limit` bytes of the output, decoded with replacement. Only after `close`."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - limit))
        return self._file.read().decode(errors="replace")

    def _pump(self, reader: int) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        masker = self._forms.masker() if self._forms is not None else None
        with open(reader, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 16):
                if masker is not None:
                    chunk = masker.feed(chunk)
                self._show(chunk, decode)
        if masker is not None:
            self._show(masker.finish(), decode)
        self._unroll_ring()
        self._file.flush()

    def _show(self, chunk: bytes, decode: Callable[[bytes], str]) -> None:
        if chunk:
            self._keep(chunk)
            self._emit(Output(id=self._event_id, text=decode(chunk)))

    def _keep(self, chunk: bytes) -> None:
        """Writes a chunk. After HEAD bytes the rest of the file is a ring of TAIL bytes."""
        remaining = memoryview(chunk)
        while remaining:
            offset = self._received if self._received < HEAD else HEAD + (self._received - HEAD) % TAIL
            space = HEAD + TAIL - offset
            if self._received >= HEAD + TAIL:
                self._file.seek(offset)
            self._file.write(remaining[:space])
            self._received += len(remaining[:space])
            remaining = remaining[space:]

    def _unroll_ring(self) -> None:
        if not self.bytes_left_out:
            return
        start = HEAD + (self._received - HEAD) % TAIL
        self._file.seek(HEAD)
        ring = self._file.read(TAIL)
        self._file.seek(HEAD)
        left_out = format_size(self.bytes_left_out)
        note = f"\n[envtool: {left_out} left out here; the first and the last {format_limit(HEAD)} stay]\n"
        self._file.write(note.encode())
        self._file.write(memoryview(ring)[start - HEAD :])
        self._file.write(memoryview(ring)[: start - HEAD])
