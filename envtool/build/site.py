"""`api.Site` for `resolve`: checked downloads, and containers on the stack below."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from envtool import net
from envtool.api import PROJECT, Base, Bind, Command, Completed, Fetch, Request, Sealed
from envtool.build import fetch_files
from envtool.build.builder import Workbench, build_environment
from envtool.build.context import Context
from envtool.build.host_network import host_network_access
from envtool.build.project_site import ProjectSite
from envtool.build.stack import KnownLayer, StoredLayer, project_mounts, stack_binds
from envtool.build.tee import Tee
from envtool.container import program as container
from envtool.errors import FetchError, Interrupted, MakeError, ResolveError
from envtool.events import Event, Progress
from envtool.store import blobs, fetch_by_integrity

if TYPE_CHECKING:
    from envtool.api.oci_images import Registries

T = TypeVar("T")


class ContainerSite(ProjectSite):
    """`api.Site` for one node. Its containers have the layers below the node."""

    def __init__(self, context: Context, request: Request, below: Sequence[KnownLayer], event_id: str) -> None:
        super().__init__(context)
        self._request = request
        self._below = below
        self._event_id = event_id
        self.found: dict[str, str] = {}  # sha256 -> URL, from `seen`

    def get(self, url: str) -> bytes:
        """See api.Site."""
        self._context.cancel.check()
        self._check_online(url)
        return net.read_url(url, cancelled=self._context.cancel.is_set, files=self._context.host_access().open_absolute)

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """See api.Site."""
        context = self._context
        fetch_files.download(fetches, context, self._event_id, phase="index")
        context.emit(Progress(id=self._event_id, phase="resolving"))  # the kind parses and compares what was fetched
        return [Path(blobs.path(context.store, fetch.sha256)) for fetch in fetches]

    def seen(self, sha256: str, url: str) -> None:
        """See api.Site."""
        self.found[sha256] = url

    def learn(self, sealed: Sequence[Sealed]) -> list[Fetch]:
        """See api.Site."""
        context = self._context
        for item in sealed:
            self._check_online(item.urls[0])
        return fetch_by_integrity.fetch_sealed(
            sealed,
            context.store,
            emit=context.emit,
            event_id=self._event_id,
            cancel=context.cancel.is_set,
            files=context.host_access().open_absolute,
        )

    def keep(self, chunks: Iterable[bytes], *, sha256: str = "") -> Path:
        """See api.Site. Raises FetchError, StoreError, Interrupted."""
        return Path(blobs.put_content(self._context.store, self._with_cancel(chunks), sha256))

    def _with_cancel(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._context.cancel.check()
            yield chunk

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """See api.Site."""
        return self._context.shared.get(name, make)

    def cancelled(self) -> bool:
        """See api.Site."""
        return self._context.cancel.is_set()

    def note(self, text: str) -> None:
        """See api.Site."""
        self._context.emit(net.note_event(self._event_id, text))

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
        network: bool = False,
    ) -> Completed:
        """See api.Site. Raises ResolveError where there are no layers below to run on, Interrupted."""
        if not self._below:
            raise ResolveError("a base has no container to resolve in", code="no-stack")
        below = [layer for layer in self._below if isinstance(layer, StoredLayer)]
        if len(below) < len(self._below):  # `fetch` resolves nodes whose parents are not built
            raise ResolveError("the layers below it are not built", code="no-stack")
        environment = build_environment(self._request.epoch, self._request)
        texts: tuple[container.TextMount, ...] = ()
        mounts = [container.BindMount(source=bind.source, target=bind.target) for bind in binds]
        if network:
            variables, host_binds, texts = host_network_access(self._context.allowed)
            environment |= variables
            mounts += host_binds
            self._check_online(" ".join(command.words()))
        environment |= dict(env or {})
        with (
            Workbench(self._context, (), self._request.inputs) as bench,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            Tee(out, _silent, "") as stdout,
            Tee(err, _silent, "") as stderr,
        ):
            program = container.Program(
                root=container.Root(lowers=tuple(layer.layer.tree for layer in reversed(below))),
                steps=(container.ContainerStep(argv=command.words()),),
                binds=(*stack_binds(below), *mounts),
                project=container.ProjectMount(source=bench.project, target=PROJECT) if bench.project else None,
                **project_mounts([layer.resolved for layer in below]),
                env=environment,
                mounts=texts,
                user="root",
                network=network,
            )
            cancel = self._context.cancel.reader
            result = self._context.runner.run(program, stdout=stdout.writer, stderr=stderr.writer, cancel=cancel)
            stdout.close()
            stderr.close()
            if result.interrupted:
                raise Interrupted
            if stdout.bytes_left_out:
                shown_command = " ".join(command.words())[:200]
                raise ResolveError(f"`{shown_command}` printed more than can be an answer", code="answer-large")
            return Completed(status=result.status, stdout=_read_all(out.fileno()), stderr=_read_all(err.fileno()))

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """See api.Site."""
        if not self._below:
            return {}
        base = self._below[0].resolved
        if not isinstance(base.node.kind, Base):  # a sublayer, which stands alone
            return {}
        try:
            return base.node.kind.packages_with(base.request, base.pins, ends, self)
        except MakeError:
            return {}

    def host_pip(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Completed:
        """See api.Site. Raises ResolveError, Interrupted."""
        from envtool.build.host_pip import run_host_pip

        return run_host_pip(arguments, variables, cancel=self._context.cancel.reader)

    def registries(self) -> Registries:
        """See api.Site."""
        from envtool.net.oci.registry import RegistryClient

        return self.shared("registries", lambda: RegistryClient(cancelled=self.cancelled))

    def _check_online(self, source: str) -> None:
        if self._context.offline and not source.startswith("file:"):
            raise FetchError(f"--offline: not asked: {source[:200]}", code="offline")


def _silent(_: Event) -> None:
    pass


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
