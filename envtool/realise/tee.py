"""What a container prints: kept whole in a file, and passed on as Output events while it comes."""

from __future__ import annotations

import codecs
import os
import threading
from typing import IO

from envtool.events import Emit, Output


class Tee:
    """A context whose `writer` is the descriptor to give to a container as stdout and stderr.

    `file` is written as bytes arrive and is left at its end. Leaving the context, or `close`, waits until everything
    that was written has been kept.
    """

    def __init__(self, file: IO[bytes], emit: Emit, event_id: str) -> None:
        self._file = file
        self._emit = emit
        self._event_id = event_id
        self.writer = -1

    def __enter__(self) -> Tee:
        reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._pump, args=(reader,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
                self._file.write(piece)
                self._emit(Output(id=self._event_id, text=decode(piece)))
        self._file.flush()
