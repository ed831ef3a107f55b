"""Turns the extra mounts of a recipe into mounts of the container: caches of the store, secrets of the caller, texts,
files of archives."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from envtool import net
from envtool.api import BESIDE, ArchiveMember, Cache, Memory, Peek, Recipe, Secret, Text
from envtool.build.context import Context
from envtool.container import program
from envtool.errors import BuildError, FetchError, UsageError
from envtool.lazy_dataclass import dataclass, field
from envtool.store import archive_members, caches


@dataclass(slots=True, kw_only=True)
class StagedMounts:
    """`mounts` and `binds` of the container, and the variables that secrets add. `secrets` are the values of those that
    no layer may contain."""

    mounts: list[program.Mount] = field(default_factory=list)
    binds: list[program.BindMount] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: list[bytes] = field(default_factory=list, repr=False)


@contextmanager
def stage_mounts(
    recipe: Recipe, context: Context, event_id: str, where: str, blobs: str = ""
) -> Iterator[StagedMounts]:
    """Yields the mounts of a recipe, and holds its caches until the build is over. `where` is the place in the spec,
    for errors; `blobs` is the directory with the recipe's fetched files. Raises BuildError (codes secret-missing,
    archive-member), StoreError, Interrupted."""
    staged = StagedMounts()
    mounts = recipe.shown
    with ExitStack() as stack:
        # locked in one order: two builds that lock the same two caches must not wait for each other
        directories = {
            mount.target: stack.enter_context(_cache(mount, context, event_id))
            for mount in sorted((mount for mount in mounts if isinstance(mount, Cache)), key=lambda mount: mount.id)
        }
        for mount in mounts:
            match mount:
                case Cache():
                    path, fresh = directories[mount.target]
                    staged.mounts.append(
                        program.CacheMount(source=path, target=mount.target, readonly=mount.readonly, fresh=fresh,
                                      mode=mount.mode, uid=mount.uid, gid=mount.gid)
                    )  # fmt: skip
                case Secret():
                    _secret(mount, context, staged, where)
                case Text():
                    content = mount.text.encode("utf-8", "surrogateescape")
                    staged.mounts.append(program.TextMount(target=mount.target, content=content, mode=mount.mode))
                case Memory():
                    staged.mounts.append(program.TmpfsMount(target=mount.target, size=mount.size))
                case Peek():
                    staged.mounts.append(_peek(mount, recipe.project))
                case ArchiveMember():
                    staged.binds.append(_member(mount, context, blobs, where))
        yield staged


@contextmanager
def _cache(cache: Cache, context: Context, event_id: str) -> Iterator[tuple[str, bool]]:
    def waiting(holder: str) -> None:
        context.emit(net.note_event(event_id, f"waiting for the cache `{cache.id}` ({holder} has it)"))

    with caches.lock_cache(
        context.store, cache.id, cache.sharing, waiting=waiting, cancelled=context.cancel.is_set
    ) as (
        path,
        fresh,
    ):
        if fresh:
            context.runner.give_to_root(path)
        yield path, fresh


def _secret(secret: Secret, context: Context, staged: StagedMounts, where: str) -> None:
    try:
        secrets = context.secrets()
        value = secrets.for_layer(secret) if secret.from_caller else secrets.for_dockerfile(secret)
    except UsageError as error:
        raise BuildError(f"{where}: {error.message}", code=error.code, hint=error.hint) from None
    if value is None:
        if secret.required:
            message, hint = context.host_access().lacking(secret.id, secret.source)
            raise BuildError(f"{where}: {message}", code="secret-missing", hint=hint)
        return
    if secret.from_caller:
        staged.secrets.append(value)
    if secret.env:
        staged.variables[secret.env] = value.decode("utf-8", "surrogateescape")
    if secret.target:
        staged.mounts.append(
            program.SecretMount(target=secret.target, content=value, mode=secret.mode, uid=secret.uid, gid=secret.gid)
        )


def _peek(peek: Peek, project: str) -> program.PeekMount:
    source = posixpath.normpath(peek.source)
    tree = project
    if source.startswith(BESIDE + "/"):
        tree = posixpath.join(BESIDE, source[len(BESIDE) + 1 :].split("/", 1)[0])
    return program.PeekMount(
        tree=tree, path=source[len(tree) :].lstrip("/"), target=peek.target, writable=peek.writable
    )


def _member(member: ArchiveMember, context: Context, blobs: str, where: str) -> program.BindMount:
    try:
        source = archive_members.keep_member(
            context.store, os.path.join(blobs, member.archive), member.member, member.sha256, member.size
        )
    except FetchError as error:
        raise BuildError(f"{where}: {error.message}", code="archive-member") from error
    return program.BindMount(source=source, target=member.target)
