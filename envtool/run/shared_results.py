"""Results of tasks from the team cache, and to it: what passed on another machine is told here, and not run again."""

from __future__ import annotations

import os
from contextlib import suppress

from envtool import keys
from envtool.build.context import Context
from envtool.build.parents import stack_binds
from envtool.build.stack import KnownStack
from envtool.errors import BuildError
from envtool.model import Json
from envtool.store import layers, results, temp_dirs, unpack_layer
from envtool.teamcache import payloads
from envtool.teamcache.statement import RESULT, RefusedStatement, Statement


def is_shareable(stack: KnownStack, setting: Context) -> bool:
    """Whether results on a stack are shared: not where it shows this machine's own system."""
    share = setting.share
    if share is None or not share.results or stack_binds(stack.made):
        return False
    return all(made.settled.node.kind.pinned for made in stack.made)


def pull_result(key: str, name: str, owner: str, stack: KnownStack, setting: Context) -> bool:
    """Have a result of another machine in the store, where there is one that may be used. `name` is for what is said of
    it. Raises Interrupted, StoreError."""
    share = setting.share
    found = share.ask(key, name, RESULT) if share is not None else None
    if share is None or found is None:
        return False
    with suppress(OSError), temp_dirs.temp_directory(setting.store) as top:
        path, made = os.path.join(top, "blob"), os.path.join(top, key)
        if not share.take(found, path, name, lambda _: None):
            return False
        os.mkdir(made, 0o755)
        why = ""
        try:
            _unpack(path, made, os.path.join(top, "sheet"), found, setting)
        except BuildError as error:
            why = f"its content is not what was signed ({error.code})"
        if not why and not results.adopt(setting.store, key, made, owner):
            why = "it is not a whole result of this key"
        if why:
            share.refuse(key, name, RefusedStatement("content", why))
            return False
        for each in (*stack.made, *stack.aside):
            layers.store_known_output(setting.store, each.settled.key, each.diff_id)
        share.count_hit(found)
        return True
    return False


def _unpack(path: str, made: str, sheet: str, found: Statement, setting: Context) -> None:
    unpack_layer.prepare()
    place = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(path, "rb") as source, open(sheet, "wb") as records:
            cancel = setting.cancel.reader
            answer = unpack_layer.try_unpack(source.fileno(), place, records.fileno(), found.diff_id, False, cancel)
    finally:
        os.close(place)
    unpack_layer.unpack_result(answer, setting.store.root)


def push_result(documents: list[dict[str, Json]], stack: KnownStack, setting: Context) -> None:
    """Let the cache have a result that is remembered here under the keys of these documents; not one that variables of
    `pass:` reached, whose hashes are in it: a short secret can be guessed from its hash."""
    share = setting.share
    if share is None or not share.pushes or not is_shareable(stack, setting):
        return
    for document in documents if not any(document["passed"] for document in documents) else ():
        key = keys.digest(dict(document))
        if found := results.find(setting.store, key):
            share.give(payloads.result_payload(key, found.directory, share.ids))
