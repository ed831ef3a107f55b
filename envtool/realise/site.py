"""The outside world as a kind's `resolve` may use it: checked downloads, and containers on the stack below."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from envtool import net
from envtool.api import PROJECT, Bind, Command, Completed, Fetch, Request
from envtool.container import program as container
from envtool.container import start
from envtool.errors import Interrupted, ResolveError
from envtool.realise.build import Workbench, build_environment, stack_binds
from envtool.realise.setting import Setting, outside
from envtool.realise.settle import Made
from envtool.store import blobs, download, sources


class StackSite:
    """`api.Site` for one node. The container it offers stands on what the node stands on."""

    def __init__(self, setting: Setting, request: Request, below: Sequence[Made], event_id: str) -> None:
        self.arch = setting.arch
        self.project = Path(setting.root)
        self._setting = setting
        self._request = request
        self._below = below
        self._event_id = event_id

    def get(self, url: str) -> bytes:
        """See api.Site."""
        self._setting.cancel.check()
        return net.get(url, cancelled=self._setting.cancel.is_set)

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """See api.Site."""
        setting = self._setting
        download.download(
            fetches,
            setting.store,
            emit=setting.emit,
            event_id=self._event_id,
            cancel=setting.cancel.is_set,
            vendor=sources.vendored(setting.root),
        )
        return [Path(blobs.path(setting.store, fetch.sha256)) for fetch in fetches]

    def note(self, text: str) -> None:
        """See api.Site."""
        self._setting.emit(net.note(self._event_id, text))

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
        environment = build_environment(self._request.epoch, self._request.variables)
        shown = [container.Bind(source=bind.source, target=bind.target) for bind in binds]
        if network:
            variables, more = outside()
            environment |= variables
            shown += more
        environment |= dict(env or {})
        with (
            Workbench(self._setting, (), self._request.inputs) as bench,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            program = container.Program(
                root=container.Root(lowers=tuple(made.layer.tree for made in reversed(self._below))),
                steps=(container.Step(argv=command.words()),),
                binds=(*stack_binds(self._below), *shown),
                view=container.View(project=bench.project, target=PROJECT) if bench.project else None,
                env=environment,
                user="root",
                network=network,
            )
            cancel = self._setting.cancel.reader
            ended = start.run(program.flat(), stdout=out.fileno(), stderr=err.fileno(), cancel=cancel)
            if ended.interrupted:
                raise Interrupted
            return Completed(status=ended.status, stdout=_whole(out.fileno()), stderr=_whole(err.fileno()))


def _whole(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
