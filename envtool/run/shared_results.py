"""Pulls results of tasks from the team cache, and pushes results to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from envtool import keys
from envtool.build.context import Context
from envtool.build.stack import KnownStack, stack_binds, store_diff_ids
from envtool.errors import BuildError
from envtool.model import Json
from envtool.store import record_results, results, temp_dirs, unpack_layer
from envtool.teamcache import payloads
from envtool.teamcache.statement import RESULT, RefusedStatement, Statement


def are_shareable(stacks: Sequence[KnownStack], context: Context) -> bool:
    """Returns whether results on these stacks, of a task and its services, are shared: not if one of them mounts this
    machine's own system, or has a layer that is not pinned."""
    share = context.share
    if share is None or not share.results or any(stack_binds(stack.layers) for stack in stacks):
        return False
    return all(made.resolved.node.is_pinned for stack in stacks for made in stack.layers)


def pull_result(key: str, name: str, owner: str, stacks: Sequence[KnownStack], context: Context) -> bool:
    """Downloads the result of a key that another machine pushed into the store; returns whether there was one that may
    be used. `name` is what messages call the result. Raises Interrupted, StoreError."""
    share = context.share
    statement = share.ask(key, name, RESULT) if share is not None else None
    if share is None or statement is None:
        return False
    with suppress(OSError), temp_dirs.temp_directory(context.store) as top:
        path, directory = os.path.join(top, "blob"), os.path.join(top, key)
        if not share.take(statement, path, name, lambda _: None):
            return False
        os.mkdir(directory, 0o755)
        reason = ""
        try:
            _unpack(path, directory, os.path.join(top, "sheet"), statement, context)
        except BuildError as error:
            reason = f"its content is not what was signed ({error.code})"
        if not reason and not record_results.adopt(context.store, key, directory, owner):
            reason = "it is not a whole result of this key"
        if reason:
            share.refuse(key, name, RefusedStatement("content", reason))
            return False
        store_diff_ids(stacks, context.store)
        share.count_hit(statement)
        return True
    return False


def _unpack(path: str, target: str, sheet: str, statement: Statement, context: Context) -> None:
    unpack_layer.prepare()
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(path, "rb") as source, open(sheet, "wb") as records:
            cancel = context.cancel.reader
            answer = unpack_layer.try_unpack(
                source.fileno(), descriptor, records.fileno(), statement.diff_id, False, cancel
            )
    finally:
        os.close(descriptor)
    unpack_layer.unpack_result(answer, context.store.root)


def push_result(documents: list[dict[str, Json]], stacks: Sequence[KnownStack], context: Context) -> None:
    """Pushes the stored results of these documents to the team cache. A result with variables of `pass:` is not pushed:
    the document holds their hashes, and a short secret can be guessed from its hash."""
    share = context.share
    if share is None or not share.pushes or not are_shareable(stacks, context):
        return
    for document in documents if not any(document["passed"] for document in documents) else ():
        key = keys.digest(dict(document))
        if result := results.find(context.store, key):
            share.give(payloads.result_payload(key, result.directory, share.ids))
