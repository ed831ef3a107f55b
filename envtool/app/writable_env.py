"""The checkout that a command of `exec` or `shell` may write to (`--writable`), guarded as that of `envtool up` is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from envtool.app.open_project import OpenProject
from envtool.errors import UsageError
from envtool.lock import file as lock_file
from envtool.services.up.writable_checkout import Checkout, CheckoutGuard

Protected = tuple[tuple[str, int, int], ...]  # path, device and inode of what a container may only read
_HINT = "look at it before you use it here"


@contextmanager
def open_checkout(project: OpenProject) -> Iterator[Protected]:
    """A context in which one container may write to the checkout, but for the paths that it gives. Where one of them is
    replaced, or another that git or envtool obeys is made, the container is killed at once, and the context raises
    UsageError at its end. Raises UsageError, SandboxError before."""
    context = project.context
    files = (*project.spec.files, lock_file.lock_file_name(project.spec.file))
    checkout = Checkout(context.root, files)
    checkout.prepare()
    stop_reader, stop_writer = os.pipe2(os.O_CLOEXEC)
    changed: list[str] = []

    def end_command(path: str) -> None:
        changed.append(path)
        context.cancel.set(signal.SIGKILL)

    guard = CheckoutGuard(checkout, stop_reader, end_command)
    thread = threading.Thread(target=guard.run, name="checkout guard", daemon=True)
    try:
        guard.start()
        thread.start()
        yield tuple((item.path, item.device, item.inode) for item in guard.protected())
        if not changed:
            guard.protected()  # also what the watch has not reported yet
    finally:
        os.write(stop_writer, b"x")
        if thread.ident is not None:
            thread.join()
        os.close(stop_reader)
        os.close(stop_writer)
        if changed:
            raise _change_error(checkout, changed[0])


def _change_error(checkout: Checkout, path: str) -> UsageError:
    if not path:
        message = "the checkout could not be watched any more while a command could write to it"
        hint = "raise `fs.inotify.max_user_watches`, or the limit of open files"
        return UsageError(message, code="writable-protected", hint=hint)
    message = f"`{path}` was made or replaced while the command could write to the checkout, which ended the command"
    return UsageError(message, code="writable-protected", hint=f"{checkout.reason(path) or 'git obeys it'}: {_HINT}")
