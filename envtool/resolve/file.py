"""`envtool.lock` on disk: beside the spec, named like it."""

from __future__ import annotations

import os

from envtool.errors import UsageError
from envtool.lock import text
from envtool.lock.lock import Lock
from envtool.project import Files


def name(spec: str) -> str:
    """The lock's name for a spec's: envtool.yaml has envtool.lock, ci.yaml ci.lock."""
    return os.path.splitext(spec)[0] + ".lock"


def read(files: Files, spec: str) -> Lock | None:
    """The lock of a spec (its name in the project), None where there is none. Raises SpecError, UsageError."""
    file = name(spec)
    content = files.read(file)
    return None if content is None else text.loads(content, file=file)


def write(root: str, spec: str, lock: Lock) -> bool:
    """Write the lock, whole or not at all; whether that changed anything. Raises UsageError where it cannot be."""
    target = os.path.join(root, name(spec))
    content = text.dumps(lock).encode()
    try:
        with open(target, "rb") as file:
            if file.read() == content:
                return False
    except OSError:
        pass
    mine = f"{target}.{os.getpid()}.tmp"
    try:
        with open(mine, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() == 0:  # root in somebody's checkout leaves nothing of root's there
                owner = os.stat(root)
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        os.replace(mine, target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}", code="lock-write") from error
    finally:
        if os.path.lexists(mine):
            os.unlink(mine)
    return True
