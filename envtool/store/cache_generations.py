"""Keeps the directories that tasks keep from run to run: `caches/<key>/0/{head,<generation>/tree/}`.

A cache is a chain of generations, each the upper tree of an overlay over those before it. `head` names the chain of
the last whole cache, with a record of what it was used with; it is replaced by one rename. A run mounts that chain and
writes to a tree of its own, so twenty runs at once neither wait nor see each other; when one has ended, its tree
becomes a generation and a new `head` names it: the last one wins. So whatever is killed, `head` names whole trees.

A run holds a shared lock of the cache, against gc, and a shared flock of each generation that it mounts. Generations
that `head` does not name are removed by the next run that finds them free.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias

from envtool.fs import store_files
from envtool.model import Json
from envtool.store import caches, json_documents, locks
from envtool.store.merge_trees import merge_trees
from envtool.store.store import Store
from envtool.store.temp_dirs import REMOVAL_SUFFIX, RemoveTree, make_directory, remove_tree, temp_directory

FORMAT = 1
HEAD, LABEL = "head", "task.json"
MAX_CHAIN = 8  # generations; a longer chain is merged into one
MAX_HEAD_SIZE = 256 << 20  # bytes
_NAME = re.compile("[0-9a-f]{16}")
_TRIES = 50  # times that a chain is read again which another run has just replaced
RunAsRoot: TypeAlias = Callable[..., Any]  # see container.runner.Runner.as_root


class Lease(NamedTuple):
    """A cache as one run uses it: its chain, top-most generation first, and the record that was stored with it."""

    key: str
    chain: tuple[str, ...]
    record: Mapping[str, Any]


class Publication(NamedTuple):
    """What publishes caches on this machine."""

    as_root: RunAsRoot
    remove: RemoveTree
    give_to_root: Callable[[str], None]
    sync: Callable[[str], None]  # syncfs(2) of a directory


@contextmanager
def lease_cache(store: Store, key: str, label: Mapping[str, Json]) -> Iterator[Lease]:
    """Yields a cache, which stays as it is meanwhile. `label` says for people whose it is. Raises OSError."""
    with locks.shared(store, lock_name(key)), ExitStack() as held:
        directory = cache_directory(store, key)
        make_directory(os.path.dirname(directory))
        make_directory(directory)
        os.utime(directory)  # the time of its last use
        _write_label(os.path.join(os.path.dirname(directory), LABEL), label)
        yield _read_and_hold(key, directory, held)


def lock_name(key: str) -> str:
    """Returns the name of the lock that all who use a cache share; gc knows it by the cache's path."""
    return f"cache-{key}-0"


def cache_directory(store: Store, key: str) -> str:
    """Returns the absolute path of a cache."""
    return store.path(caches.DIRECTORY, key, "0")


def tree_path(store: Store, key: str, generation: str) -> str:
    """Returns the absolute path of a generation's tree."""
    return os.path.join(cache_directory(store, key), generation, "tree")


def make_draft(directory: str) -> str:
    """Makes the directory of a new generation, on the store's file system, and returns it."""
    os.mkdir(directory)
    for path in (directory, f"{directory}/tree", f"{directory}/work"):
        if path != directory:
            os.mkdir(path)
        os.chmod(path, 0o755)  # whatever the umask
    return directory


def _write_label(path: str, label: Mapping[str, Json]) -> None:
    with suppress(OSError, ValueError):
        if json_documents.load(path) == label:
            return
    store_files.replace_if_possible(path, json_documents.dumps(label))


def _read_and_hold(key: str, directory: str, held: ExitStack) -> Lease:
    for _ in range(_TRIES):
        chain, record = read_head(directory)
        with ExitStack() as attempt:
            try:
                for name in chain:
                    attempt.callback(os.close, _hold(os.path.join(directory, name)))
            except FileNotFoundError:  # replaced, and removed, since `head` was read
                continue
            held.push(attempt.pop_all())
            return Lease(key, chain, record)
    return Lease(key, (), {})  # a damaged cache: the run begins a new one


def read_head(directory: str) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Returns the chain of the last whole cache, and its record; both are empty where there is none."""
    try:
        chain, data = _read_chain(directory)
        return chain, store_files.decode_with_checksum(bytes(data))[0]
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return (), {}


def _read_chain(directory: str) -> tuple[tuple[str, ...], memoryview]:
    """Returns the chain of the last whole cache, and the bytes of its record. Raises OSError, and ValueError and the
    like where it is damaged."""
    data = store_files.read_regular_file(os.path.join(directory, HEAD), most=MAX_HEAD_SIZE)
    head, record = store_files.decode_with_checksum(data)
    chain = tuple(head["chain"])
    if head["format"] != FORMAT or not all(_NAME.fullmatch(name) for name in chain):
        raise ValueError("not the head of a cache")
    return chain, record


def _hold(path: str) -> int:
    """Returns a descriptor that holds a generation. Raises FileNotFoundError where it is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Only who removes it has it exclusively, for a moment, and has renamed it then.
        while not locks.try_lock(descriptor, fcntl.LOCK_SH):
            os.stat(path)
            time.sleep(locks.SHORT)
        os.stat(path)  # no other directory ever gets its name
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def publish_draft(
    store: Store, lease: Lease, draft: str, record: Mapping[str, Any], means: Publication, *, fresh: bool = False
) -> bool:
    """Makes what a run has written, in `draft`, the newest generation of its cache. `fresh`: the run did not see the
    chain. Returns False if it wrote nothing, and the cache stays as it is. Raises OSError; then too."""
    remove_tree(f"{draft}/work", means.remove)
    if not _has_entries(f"{draft}/tree"):
        return False
    directory, chain = cache_directory(store, lease.key), () if fresh else lease.chain
    if len(chain) >= MAX_CHAIN:
        draft, chain = _merge(store, lease.key, draft, chain, means), ()
    means.sync(draft)
    name = os.urandom(8).hex()
    with ExitStack() as held:
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, descriptor)
        locks.try_lock(descriptor, fcntl.LOCK_SH)  # nobody sweeps it before `head` names it
        os.rename(draft, os.path.join(directory, name))
        _write_head(directory, (name, *chain), record)
    return True


def _has_entries(tree: str) -> bool:
    try:
        with os.scandir(tree) as entries:
            return next(entries, None) is not None
    except PermissionError:  # the task has closed it, so it has changed something
        return True


def _merge(store: Store, key: str, draft: str, chain: Sequence[str], means: Publication) -> str:
    """Returns a draft beside `draft`, with one tree that shows what the chain shows below it."""
    merged = f"{draft}-merged"
    os.mkdir(merged)
    os.chmod(merged, 0o755)
    means.give_to_root(merged)
    trees = [f"{draft}/tree", *(tree_path(store, key, name) for name in chain)]
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as held:  # the store is closed to container root, but for descriptors of what is in it
        opened = [os.open(path, flags) for path in (*trees, merged)]
        for descriptor in opened:
            held.callback(os.close, descriptor)
        means.as_root(merge_trees, opened[:-1], opened[-1], "tree", at=merged)
    return merged


def _write_head(directory: str, chain: Sequence[str], record: Mapping[str, Any]) -> None:
    new_file = os.path.join(directory, f".{HEAD}.{os.urandom(4).hex()}")
    try:
        with open(new_file, "xb") as file:
            head = {"format": FORMAT, "chain": tuple(chain)}
            file.write(store_files.encode_with_checksum(head, store_files.encode_with_checksum(dict(record))))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new_file, os.path.join(directory, HEAD))
    except BaseException:
        with suppress(OSError):
            os.unlink(new_file)
        raise


def sweep_generations(store: Store, key: str, remove: RemoveTree) -> int:
    """Removes the generations that `head` does not name and nobody uses, and files of `head` that a killed run left.
    Returns the number of generations. Raises OSError."""
    with locks.shared(store, lock_name(key)):  # gc does not remove the cache meanwhile
        directory = cache_directory(store, key)
        chain = _named(directory)
        try:
            doomed = [name for name in os.listdir(directory) if name not in chain and name != HEAD]
        except FileNotFoundError:
            return 0
        if not doomed:
            return 0
        with temp_directory(store, remove=remove, ending=REMOVAL_SUFFIX) as top:
            return sum(_move_away(directory, name, top, remove) for name in doomed)


def _move_away(directory: str, name: str, top: str, remove: RemoveTree) -> bool:
    """Moves a generation to `top`, unless it is used or named. Returns whether it did."""
    path = os.path.join(directory, name)
    with suppress(FileNotFoundError):
        if not _NAME.fullmatch(name):
            if os.lstat(path).st_mtime < time.time() - 3600:
                remove_tree(path, remove)
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # `head` is read again: a run may have named it, and ended, since the first look
            if locks.try_lock(descriptor) and name not in _named(directory):
                os.rename(path, os.path.join(top, name))
                return True
        finally:
            os.close(descriptor)
    return False


def _named(directory: str) -> tuple[str, ...]:
    """Returns the generations that `head` names; none if it is damaged or missing."""
    try:
        return _read_chain(directory)[0]
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return ()


def read_label(store: Store, key: str) -> dict[str, Any]:
    """Returns whose a cache is (env, path, project); empty for a cache of a build."""
    try:
        return json_documents.load(store.path(caches.DIRECTORY, key, LABEL))
    except (OSError, ValueError):
        return {}
