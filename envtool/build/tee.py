"""What a container prints: kept in a file, and passed on as Output events while it comes."""

from __future__ import annotations

import codecs
import os
import threading
from typing import IO

from envtool.events import Emit, Output
from envtool.fs.sizes import format_limit, format_size

HEAD = 32 << 20  # bytes of the beginning that are kept, and of the end
TAIL = (32 << 20) - 256  # so that all of it, the note too, is what results.py remembers


class Tee:
    """A context whose `writer` is the descriptor to give to a container as stdout and stderr.

    `file` is written as bytes arrive and is left at its end. What is larger than HEAD and TAIL loses its middle, with a
    note in its place: a task may print for ever. Leaving the context, or `close`, waits until everything that was
    written has been kept.
    """

    def __init__(self, file: IO[bytes], emit: Emit, event_id: str) -> None:
        self._file = file
        self._emit = emit
        self._event_id = event_id
        self._came = 0
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
        """Bytes that were left out."""
        return max(0, self._came - HEAD - TAIL)

    def close(self) -> None:
        """Wait until everything that was written has arrived."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1
            self._thread.join()

    def text(self, limit: int = 1 << 20) -> str:
        """The last `limit` bytes of what came, decoded with replacement. Only after `close`."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - limit))
        return self._file.read().decode(errors="replace")

    def _pump(self, reader: int) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        with open(reader, "rb", buffering=0) as pipe:
            while piece := pipe.read(1 << 16):
                self._keep(piece)
                self._emit(Output(id=self._event_id, text=decode(piece)))
        self._straighten()
        self._file.flush()

    def _keep(self, piece: bytes) -> None:
        """After HEAD bytes the rest of the file is a ring of TAIL bytes."""
        rest = memoryview(piece)
        while rest:
            at = self._came if self._came < HEAD else HEAD + (self._came - HEAD) % TAIL
            room = HEAD + TAIL - at
            if self._came >= HEAD + TAIL:
                self._file.seek(at)
            self._file.write(rest[:room])
            self._came += len(rest[:room])
            rest = rest[room:]

    def _straighten(self) -> None:
        if not self.bytes_left_out:
            return
        start = HEAD + (self._came - HEAD) % TAIL
        self._file.seek(HEAD)
        ring = self._file.read(TAIL)
        self._file.seek(HEAD)
        left_out = format_size(self.bytes_left_out)
        note = f"\n[envtool: {left_out} left out here; the first and the last {format_limit(HEAD)} stay]\n"
        self._file.write(note.encode())
        self._file.write(memoryview(ring)[start - HEAD :])
        self._file.write(memoryview(ring)[: start - HEAD])
