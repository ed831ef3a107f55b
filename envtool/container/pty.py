"""Joins the caller's terminal to a pty of a container: bytes both ways, the window's size, and modes restored at the
end.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import fcntl
import os
import select
import termios
import tty

_GET_SIZE, _SET_SIZE = termios.TIOCGWINSZ, termios.TIOCSWINSZ


class PtyTerminal:
    """Call `attach` once, then `forward_input` and `forward_output` as the poll object says, `stop_watching` at the
    pty's end, and `restore`.
    """

    def __init__(self) -> None:
        self.master = -1
        self._poll: select.poll | None = None
        self._pending = b""  # input that the pty could not take yet
        self._saved: list[object] | None = None
        self._handler: object = None
        self._main = False

    def attach(self, master: int, poll: select.poll) -> None:
        """Take the pty's master: copy the window size, make the caller's terminal raw, follow SIGWINCH."""
        self.master = master
        self._poll = poll
        os.set_blocking(master, False)
        os.set_inheritable(master, False)
        self._copy_size()
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)
        try:
            self._handler = _signal.signal(_signal.SIGWINCH, lambda _number, _frame: self._copy_size())
            self._main = True
        except ValueError:  # not the main thread: the size stays
            pass
        poll.register(master, select.POLLIN)
        poll.register(0, select.POLLIN)

    def _copy_size(self) -> None:
        for descriptor in (0, 1):
            try:
                fcntl.ioctl(self.master, _SET_SIZE, fcntl.ioctl(descriptor, _GET_SIZE, bytes(8)))
            except OSError:
                continue
            return

    def _unregister_input(self) -> None:
        if self._poll is not None:
            try:
                self._poll.unregister(0)
            except KeyError:
                pass

    def forward_input(self) -> None:
        """Forward bytes from the caller to the pty; at the end of input, ^D."""
        try:
            data = os.read(0, 4096)
        except OSError:
            data = b""
        self._unregister_input()
        self._pending += data or b"\x04"
        self._flush(more=bool(data))

    def _flush(self, *, more: bool = True) -> None:
        try:
            self._pending = self._pending[os.write(self.master, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""
        if self._poll is not None:
            self._poll.modify(self.master, select.POLLIN | (select.POLLOUT if self._pending else 0))
            if not self._pending and more:
                self._poll.register(0, select.POLLIN)

    def forward_output(self) -> bool:
        """Forward bytes from the pty to the caller, and pending input. Returns False when the pty is closed (EIO)."""
        if self._pending:
            self._flush()
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        _write(1, data)
        return bool(data)

    def stop_watching(self, poll: select.poll) -> None:
        """Unregister all descriptors."""
        poll.unregister(self.master)
        self._unregister_input()
        self._poll = None

    def restore(self) -> None:
        """Restore the caller's terminal. Safe to call at any time."""
        self._poll = None
        if self._main:
            _signal.signal(_signal.SIGWINCH, self._handler or _signal.SIG_DFL)
            self._main = False
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
            self._saved = None
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def _write(descriptor: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        try:
            remaining = remaining[os.write(descriptor, remaining) :]
        except OSError:
            return
