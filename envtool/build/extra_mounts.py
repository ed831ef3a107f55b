"""What a recipe shows beside the stack, as the container takes it: caches of the store, secrets of whoever builds."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from envtool import net
from envtool.api import BESIDE, Cache, Memory, Peek, Recipe, Secret, Text
from envtool.build.context import Context
from envtool.container import program, userns
from envtool.errors import BuildError, UsageError
from envtool.project.host_access import HostAccess
from envtool.store import caches


@dataclass(slots=True, kw_only=True)
class StagedMounts:
    """`mounts` for the container, and what secrets add to the environment."""

    mounts: list[program.CacheMount | program.TextMount | program.TmpfsMount | program.PeekMount] = field(
        default_factory=list
    )
    variables: dict[str, str] = field(default_factory=dict)


@contextmanager
def stage_mounts(recipe: Recipe, setting: Context, event_id: str, where: str) -> Iterator[StagedMounts]:
    """All of it, held until the build is over; `where` it is asked for, for errors. Raises BuildError (code
    secret-missing), Interrupted."""
    found = StagedMounts()
    shown = recipe.shown
    with ExitStack() as held:
        # always in one order: two builds that lock the same two caches must not wait for each other
        directories = {
            each.target: held.enter_context(_cache(each, setting, event_id))
            for each in sorted((each for each in shown if isinstance(each, Cache)), key=lambda each: each.id)
        }
        for each in shown:
            match each:
                case Cache():
                    path, fresh = directories[each.target]
                    found.mounts.append(
                        program.CacheMount(source=path, target=each.target, readonly=each.readonly, fresh=fresh,
                                      mode=each.mode, uid=each.uid, gid=each.gid)
                    )  # fmt: skip
                case Secret():
                    _secret(each, setting.host_access(), found, where)
                case Text():
                    content = each.text.encode("utf-8", "surrogateescape")
                    found.mounts.append(program.TextMount(target=each.target, content=content, mode=each.mode))
                case Memory():
                    found.mounts.append(program.TmpfsMount(target=each.target, size=each.size))
                case Peek():
                    found.mounts.append(_peek(each, recipe.project))
        yield found


@contextmanager
def _cache(cache: Cache, setting: Context, event_id: str) -> Iterator[tuple[str, bool]]:
    def waiting(holder: str) -> None:
        setting.emit(net.note_event(event_id, f"waiting for the cache `{cache.id}` ({holder} has it)"))

    with caches.lock_cache(
        setting.store, cache.id, cache.sharing, waiting=waiting, cancelled=setting.cancel.is_set
    ) as (
        path,
        fresh,
    ):
        if fresh:
            userns.give_to_root(path)
        yield path, fresh


def _secret(secret: Secret, gate: HostAccess, found: StagedMounts, where: str) -> None:
    try:
        value = gate.secret(secret.id, secret.source)
    except UsageError as error:
        raise BuildError(f"{where}: {error.message}", code=error.code, hint=error.hint) from None
    if value is None:
        if secret.required:
            said, hint = gate.lacking(secret.id, secret.source)
            raise BuildError(f"{where}: {said}", code="secret-missing", hint=hint)
        return
    if secret.env:
        found.variables[secret.env] = value.decode("utf-8", "surrogateescape")
    if secret.target:
        found.mounts.append(
            program.TextMount(target=secret.target, content=value, mode=secret.mode, uid=secret.uid, gid=secret.gid)
        )


def _peek(peek: Peek, project: str) -> program.PeekMount:
    source = posixpath.normpath(peek.source)
    tree = project
    if source.startswith(BESIDE + "/"):
        tree = posixpath.join(BESIDE, source[len(BESIDE) + 1 :].split("/", 1)[0])
    return program.PeekMount(
        tree=tree, path=source[len(tree) :].lstrip("/"), target=peek.target, writable=peek.writable
    )
