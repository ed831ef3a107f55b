"""The outside world as a kind's `resolve` may use it: checked downloads, and containers on the stack below."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from envtool import net
from envtool.api import PROJECT, Bind, Command, Completed, Fetch, Request, Sealed
from envtool.build import fetch_files
from envtool.build.builder import Workbench, build_environment
from envtool.build.context import Context
from envtool.build.host_network import host_network_access
from envtool.build.parents import copies, joins, laid, stack_binds
from envtool.build.project_site import ProjectSite
from envtool.build.resolution import MadeLayer
from envtool.build.tee import Tee
from envtool.container import program as container
from envtool.container import supervisor
from envtool.errors import FetchError, Interrupted, MakeError, ResolveError
from envtool.events import Event, Progress
from envtool.store import blobs, fetch_by_integrity

T = TypeVar("T")


class ContainerSite(ProjectSite):
    """`api.Site` for one node. The container it offers has the layers below the node."""

    def __init__(self, setting: Context, request: Request, below: Sequence[MadeLayer], event_id: str) -> None:
        super().__init__(setting)
        self._request = request
        self._below = below
        self._event_id = event_id
        self.found: dict[str, str] = {}  # what `seen` was told

    def get(self, url: str) -> bytes:
        """See api.Site."""
        self._setting.cancel.check()
        self._check_online(url)
        return net.read_url(url, cancelled=self._setting.cancel.is_set, files=self._setting.host_access().open_absolute)

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """See api.Site."""
        setting = self._setting
        fetch_files.download(fetches, setting, self._event_id, phase="index")
        setting.emit(Progress(id=self._event_id, phase="resolving"))  # what is read now, and compared
        return [Path(blobs.path(setting.store, fetch.sha256)) for fetch in fetches]

    def seen(self, sha256: str, url: str) -> None:
        """See api.Site."""
        self.found[sha256] = url

    def learn(self, sealed: Sequence[Sealed]) -> list[Fetch]:
        """See api.Site."""
        setting = self._setting
        for item in sealed:
            self._check_online(item.urls[0])
        return fetch_by_integrity.fetch_sealed(
            sealed,
            setting.store,
            emit=setting.emit,
            event_id=self._event_id,
            cancel=setting.cancel.is_set,
            files=setting.host_access().open_absolute,
        )

    def keep(self, pieces: Iterable[bytes], *, sha256: str = "") -> Path:
        """See api.Site. Raises FetchError, StoreError, Interrupted."""
        return Path(blobs.put_content(self._setting.store, self._checked(pieces), sha256))

    def _checked(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._setting.cancel.check()
            yield piece

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """See api.Site."""
        return self._setting.shared.get(name, make)

    def cancelled(self) -> bool:
        """See api.Site."""
        return self._setting.cancel.is_set()

    def note(self, text: str) -> None:
        """See api.Site."""
        self._setting.emit(net.note_event(self._event_id, text))

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
        network: bool = False,
    ) -> Completed:
        """See api.Site. Raises ResolveError where there is nothing below to run in, Interrupted."""
        if not self._below:
            raise ResolveError("a base has no container to resolve in", code="no-stack")
        if not all(made.layer.tree for made in self._below):  # `fetch` settles without building
            raise ResolveError("what it stands on is not built", code="no-stack")
        environment = build_environment(self._request.epoch, self._request)
        texts: tuple[container.TextMount, ...] = ()
        shown = [container.BindMount(source=bind.source, target=bind.target) for bind in binds]
        if network:
            variables, more, texts = host_network_access(self._setting.allowed)
            environment |= variables
            shown += more
            self._check_online(" ".join(command.words()))
        environment |= dict(env or {})
        with (
            Workbench(self._setting, (), self._request.inputs) as bench,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            Tee(out, _silent, "") as stdout,
            Tee(err, _silent, "") as stderr,
        ):
            program = container.Program(
                root=container.Root(lowers=tuple(made.layer.tree for made in reversed(self._below))),
                steps=(container.ContainerStep(argv=command.words()),),
                binds=(*stack_binds(self._below), *shown),
                view=container.ProjectMount(project=bench.project, target=PROJECT) if bench.project else None,
                joins=joins([made.settled for made in self._below]),
                **laid(self._below),
                copies=copies([made.settled for made in self._below]),
                env=environment,
                shown=texts,
                user="root",
                network=network,
            )
            cancel = self._setting.cancel.reader
            ended = supervisor.run(program.to_dict(), stdout=stdout.writer, stderr=stderr.writer, cancel=cancel)
            stdout.close()
            stderr.close()
            if ended.interrupted:
                raise Interrupted
            if stdout.bytes_left_out:
                what = " ".join(command.words())[:200]
                raise ResolveError(f"`{what}` printed more than can be an answer", code="answer-large")
            return Completed(status=ended.status, stdout=_read_all(out.fileno()), stderr=_read_all(err.fileno()))

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """See api.Site."""
        if not self._below:
            return {}
        base = self._below[0].settled
        try:
            return base.node.kind.packages_with(base.request, base.pins, ends, self)
        except MakeError:
            return {}

    def _check_online(self, what: str) -> None:
        if self._setting.offline and not what.startswith("file:"):
            raise FetchError(f"--offline: not asked: {what[:200]}", code="offline")


def _silent(_: Event) -> None:
    pass


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
