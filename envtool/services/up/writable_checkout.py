"""The checkout that containers may write to (`--writable` of `up`, `exec` and `shell`), without the files that git and
envtool obey when they run in it on this machine.

Each of these files is mounted read-only over itself (container/extra_mounts.py). A container cannot write to such a
file, rename, replace or remove it; if a directory above it is renamed, the mount moves along. But the kernel lets no
user forbid new *names*, and it drops a mount when another process replaces the file. CheckoutGuard notices both, and
the containers are killed at once. Decision 0147 says what else was tried.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from envtool.container.protected_paths import Protection, is_repository, is_repository_sign
from envtool.errors import EnvtoolError, UsageError
from envtool.fs.beneath import open_beneath, open_top
from envtool.fs.directory import OpenDirectory
from envtool.project import OWN
from envtool.services.up.tree_watch import ATTRIBUTES, NAMES, TreeWatch

_MAX_GITFILE = 4096  # bytes of a `.git` file


class ProtectedPath(NamedTuple):
    """A file or directory of the checkout that containers may only read."""

    path: str
    device: int
    inode: int


class Checkout:
    """The checkout at `root`. `files` are the spec, what it includes, and the lock, relative to it."""

    def __init__(self, root: str, files: tuple[str, ...]) -> None:
        self.root = root
        self._files = frozenset(files)
        self._protection = Protection(files, ())

    def prepare(self) -> None:
        """Makes `.envtool`, so that no container can make it. Raises UsageError if a spec file or the lock is missing,
        which a container could make."""
        for path in sorted(self._files):
            if not os.path.lexists(os.path.join(self.root, path)):
                raise UsageError(
                    f"`--writable` needs `{path}`, which a container could write otherwise",
                    code="writable-missing",
                    hint="`envtool lock` writes the lock",
                )
        with (
            OpenDirectory.open(self.root) as project,
            project.open_below(OWN, make=True) as own,
            suppress(FileExistsError),
            own.atomic_write(".gitignore", replace=False, sync=False) as file,
        ):
            file.write(b"*\n")

    def protected(self) -> tuple[ProtectedPath, ...]:
        """Returns all existing paths that have to be protected. Raises UsageError if one of them is a link, which the
        kernel cannot protect."""
        top = open_top(self.root)
        try:
            return tuple(sorted(self._scan(top, "")))
        finally:
            os.close(top)

    def _scan(self, top: int, directory: str) -> Iterator[ProtectedPath]:
        try:
            descriptor = open_beneath(top, directory or ".", os.O_RDONLY | os.O_DIRECTORY, follow=False)
        except OSError:  # moved or removed meanwhile, or not readable: then this user's git cannot read it either
            return
        try:
            with os.scandir(descriptor) as entries:
                found = [(entry.name, info) for entry in entries if (info := _look(entry)) is not None]
        finally:
            os.close(descriptor)
        names = {name for name, _ in found}
        if directory and is_repository(names):
            with suppress(FileNotFoundError):
                info = os.stat(directory, dir_fd=top, follow_symlinks=False)
                yield ProtectedPath(directory, info.st_dev, info.st_ino)
            return
        for name, info in found:
            path = f"{directory}/{name}" if directory else name
            if self.reason(path):
                yield from self._protect(top, path, info)
            elif stat.S_ISDIR(info.st_mode):
                yield from self._scan(top, path)

    def _protect(self, top: int, path: str, info: os.stat_result) -> Iterator[ProtectedPath]:
        if stat.S_ISLNK(info.st_mode):
            raise UsageError(
                f"`{path}` is a link, which `--writable` cannot protect",
                code="writable-link",
                hint="put a file or directory in its place, or leave `--writable` out",
            )
        yield ProtectedPath(path, info.st_dev, info.st_ino)
        if stat.S_ISREG(info.st_mode) and os.path.basename(path).casefold() == ".git":
            yield from self._git_directory(top, path)

    def _git_directory(self, top: int, path: str) -> Iterator[ProtectedPath]:
        """Yields the directory that a `.git` file names ("gitdir: …"), if it is in the checkout."""
        try:
            with open(open_beneath(top, path, follow=False), "rb") as file:
                text = os.fsdecode(file.read(_MAX_GITFILE)).strip()
        except OSError:  # replaced meanwhile, or not readable
            return
        real = os.path.realpath(os.path.join(self.root, os.path.dirname(path), text.removeprefix("gitdir:").strip()))
        inside = os.path.relpath(real, os.path.realpath(self.root))
        if inside not in (".", "..") and not inside.startswith("../"):
            with suppress(OSError):
                info = os.stat(inside, dir_fd=top, follow_symlinks=False)
                yield ProtectedPath(inside, info.st_dev, info.st_ino)

    def reason(self, path: str) -> str:
        """Returns why containers may not write, make or replace a path; "" if they may."""
        reader = self._protection.reader(path)
        return f"{reader} obeys it" if reader else ""


def _look(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:  # it vanished: git renames its files into place
        return None


class CheckoutGuard:
    """Reports each path that git or envtool obeys, and that appears or is replaced: it calls `on_change` with the path,
    until the descriptor `stop` is readable. If the checkout cannot be watched any more, it calls `on_change` with
    ""."""

    def __init__(self, checkout: Checkout, stop: int, on_change: Callable[[str], None]) -> None:
        self._checkout, self._stop, self._on_change = checkout, stop, on_change
        self._known: tuple[ProtectedPath, ...] = ()
        self._held: list[int] = []  # descriptors of all that was accepted
        self._lock = threading.RLock()
        self._watch = TreeWatch(checkout.root, NAMES | ATTRIBUTES)

    def start(self) -> None:
        """Watches all directories of the checkout. Called before any container can write to it. Raises SandboxError if
        the kernel allows no more watches, UsageError."""
        self._add("")
        self.accept()

    def accept(self) -> None:
        """Accepts the paths that exist now as those to be protected. Called while no container can write to the
        checkout. Raises UsageError."""
        with self._lock:
            self._release()
            self._known = self._checkout.protected()
            self._hold()

    def _hold(self) -> None:
        """Opens the protected files, so that no replacement can get the same inode number."""
        top = open_top(self._checkout.root)
        try:
            for item in self._known:
                with suppress(OSError):  # removed meanwhile: its number is left out below
                    self._held.append(open_beneath(top, item.path, os.O_PATH, follow=False))
        finally:
            os.close(top)
        numbers = {(info.st_dev, info.st_ino) for info in map(os.fstat, self._held)}
        self._known = tuple(item for item in self._known if (item.device, item.inode) in numbers)

    def _release(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def protected(self) -> tuple[ProtectedPath, ...]:
        """Returns the paths that a new container may only read. Raises UsageError if one of them appeared or was
        replaced since the last `accept`; a link among them did, too."""
        with self._lock:
            if path := self._compare():
                hint = "look at it before you use it here, then start it again"
                message = f"`{path}` was made or replaced while containers could write to the checkout"
                raise UsageError(message, code="writable-protected", hint=hint)
            return self._known

    def run(self) -> None:
        """Watches, until `stop` is readable."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._watch, select.POLLIN)
        with self._watch:
            while not any(descriptor == self._stop for descriptor, _ in poll.poll()):
                try:
                    path = self._find_change()
                except (OSError, EnvtoolError):  # no more watches or descriptors
                    self._on_change("")
                    break
                if path:
                    self._on_change(path)
        with self._lock:
            self._release()

    def _find_change(self) -> str:
        """Returns a path that appeared or was replaced; "" if none did."""
        with self._lock:
            return self._read_events()

    def _read_events(self) -> str:
        suspect = ""
        for event in self._watch.read():
            if event.lost:
                self._add("")
                suspect = suspect or self._compare()
            elif event.is_new_directory:
                suspect = suspect or self._add(event.path)
            if event.path and self._is_sign(event.path):
                suspect = suspect or self._compare()
        return suspect

    def _is_sign(self, path: str) -> bool:
        return bool(self._checkout.reason(path)) or is_repository_sign(os.path.basename(path))

    def _compare(self) -> str:
        """Returns a path that has to be protected and has an inode that was not accepted; "" if there is none. An
        accepted file may have moved with a directory above it, and its mount with it."""
        try:
            found = self._checkout.protected()
        except UsageError as error:  # a link
            return error.message.split("`")[1]
        inodes = {(item.device, item.inode) for item in self._known}
        strange = next((item.path for item in found if (item.device, item.inode) not in inodes), "")
        if not strange:
            self._known = found
        return strange

    def _add(self, directory: str) -> str:
        """Watches a directory and all below it, except protected ones. Returns a path to be protected that appeared in
        it before the watch began; "" if there is none."""
        pending, has_sign = [directory], False
        while pending:
            path = pending.pop()
            self._watch.add(path)
            with suppress(OSError), os.scandir(os.path.join(self._checkout.root, path)) as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}" if path else entry.name
                    has_sign |= bool(directory) and self._is_sign(below)
                    if entry.is_dir(follow_symlinks=False) and not self._checkout.reason(below):
                        pending.append(below)
        return self._compare() if has_sign else ""
