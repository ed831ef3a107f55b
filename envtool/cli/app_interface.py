"""How verbs reach the rest. The Protocols say all that the command line needs of it, and no more.

Imported by name, when a verb needs them: `envtool --help` must not load what reads specs, and a test puts a fake
module in their place.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from envtool.errors import SpecError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from envtool.api import Detection
    from envtool.events import Emit, Event
    from envtool.lock.diff import LockChange
    from envtool.model import Json, Spec
    from envtool.plan.why import Explanation
    from envtool.report.stream import ReportedResult


class CancelToken(Protocol):
    """How a run is asked to end: set in a signal handler, asked and waited for by the app."""

    def set(self, number: int = 15) -> None: ...
    def is_set(self) -> bool: ...
    def close(self) -> None: ...


class Latches(Protocol):
    """The class of latches (realise.setting.Cancel)."""

    def make(self) -> CancelToken:
        """A fresh one."""


class LockOutcome(Protocol):
    """What `lock` did (app.Locked)."""

    @property
    def file(self) -> str: ...
    @property
    def changes(self) -> Sequence[LockChange]: ...
    @property
    def entries(self) -> int: ...
    @property
    def written(self) -> bool: ...


class App(Protocol):
    """envtool.app."""

    Cancel: Latches

    def CommandRequest(  # noqa: N802 - a class
        self,
        *,
        directory: str = ".",
        file: str = "",
        envs: tuple[str, ...] = (),
        jobs: int = 0,
        fail_fast: bool = False,
        args: tuple[str, ...] = (),
        refresh: bool = False,
        again: bool = False,
        locked: bool | None = None,
        offline: bool = False,
        expect_cached: bool = False,
        reports: tuple[str, ...] = (),
        allow_secret: tuple[str, ...] = (),
        allow_pass: tuple[str, ...] = (),
        allow_file: tuple[str, ...] = (),
        called: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    ) -> Any:
        """What the command line asks for."""

    def load(self, request: Any) -> Spec:
        """Raises SpecError, UsageError."""

    def load_and_keep(self, request: Any, store: str) -> tuple[Spec, Callable[[tuple[str, ...], str], None]]:
        """Raises SpecError, UsageError."""

    def plan(self, request: Any, verb: str = "") -> Any:
        """A plan.Plan. Raises SpecError, UsageError."""

    def why(self, request: Any, names: tuple[str, ...] = ()) -> Sequence[Explanation]:
        """Why things are cached or not; without names, all that are not. Raises SpecError, UsageError."""

    def run(self, request: Any, task: str, emit: Emit, cancel: CancelToken) -> Sequence[ReportedResult]:
        """Run a task wherever it is; returns early, with what is known, when `cancel` is set. Raises EnvtoolError."""

    def verify(
        self, request: Any, names: tuple[str, ...], emit: Emit, cancel: CancelToken, *, build: bool = False
    ) -> Sequence[Any]:
        """Make layers, or a task's outputs, twice and compare: verify.result.Verified. Raises EnvtoolError."""

    def lock(self, request: Any, upgrade: tuple[str, ...] | None, emit: Emit, cancel: CancelToken) -> LockOutcome:
        """Settle, make and write the lock. Raises EnvtoolError."""

    def execute(
        self,
        request: Any,
        env: str,
        argv: tuple[str, ...],
        *,
        terminal: bool,
        emit: Emit,
        cancel: CancelToken,
        describe: Callable[[list[str]], None] | None = None,
    ) -> int:
        """Build an env and run a command (a shell without one) in it. Returns the command's exit status. `describe`
        gets a line for each operation that makes the container. Raises EnvtoolError."""

    def statements(self, results: Sequence[ReportedResult]) -> str:
        """JSON Lines: the provenance of the results that passed."""

    def fetch(self, request: Any, emit: Emit, cancel: CancelToken) -> Any:
        """A gather.Gathered. Raises EnvtoolError."""

    def vendor(self, request: Any, target: str, emit: Emit, cancel: CancelToken, *, prune: bool) -> Any:
        """A vendor.Vendored. Raises EnvtoolError."""

    def gc(
        self,
        request: Any,
        *,
        keep_size: int | None,
        older_than: float | None,
        dry_run: bool,
        emit: Emit,
        cancel: CancelToken,
    ) -> Any:
        """A Swept. Raises EnvtoolError."""

    def store_path(self) -> str:
        """Raises StoreError."""

    def store_size(self) -> Any:
        """A Sizes. Raises StoreError."""

    def store_remove(self, *, emit: Emit, cancel: CancelToken) -> Any:
        """A Removed, None where there is no store. Raises EnvtoolError."""

    def store_verify(self, *, repair: bool, jobs: int, emit: Emit, cancel: CancelToken) -> Any:
        """A Checked. Raises EnvtoolError."""

    def inspect(self, request: Any, name: str, path: str, *, files: bool) -> Any:
        """A LayerReport, an EnvReport or, with a path, a PathReport. Raises EnvtoolError."""

    def diff(self, request: Any, first: str, second: str) -> Any:
        """A Compared. Raises EnvtoolError."""

    def sbom(self, request: Any, env: str, form: str, emit: Emit, cancel: CancelToken) -> str:
        """A document. Raises EnvtoolError."""

    def cache(self, request: Any) -> Any:
        """A cache.show.Shown. Raises EnvtoolError."""

    def cache_key(self, request: Any, file: str) -> Any:
        """An app.caching.Key. Raises EnvtoolError."""

    def export(
        self,
        request: Any,
        env: str,
        path: str,
        form: str,
        emit: Emit,
        cancel: CancelToken,
        *,
        tag: str = "",
        compress: str = "",
        bare: bool = False,
        project: bool = False,
        out: int = -1,
    ) -> Any:
        """A ship.export.Exported. Raises EnvtoolError."""

    def push(
        self,
        request: Any,
        env: str,
        to: str,
        emit: Emit,
        cancel: CancelToken,
        *,
        compress: str,
        bare: bool = False,
        project: bool = False,
    ) -> Any:
        """A ship.push.Pushed. Raises EnvtoolError."""

    def schema(self) -> dict[str, Json]:
        """The JSON Schema of a spec."""

    def detect(self, request: Any) -> Sequence[Detection]:
        """What a project without a spec looks like to the plugins."""

    def check(self, request: Any, texts: Mapping[str, str]) -> None:
        """Raise SpecError where a spec of these files would be wrong."""

    def around(self, request: Any) -> str:
        """The directory above in which `init` would write a spec for this project too, empty where there is none."""

    def listeners(self) -> Sequence[Callable[[Event], None]]:
        """The plugins that want every event."""


class CheckOutcome(Protocol):
    """What the probe found about one thing."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str:
        """One of "ok", "warn", "fail"."""

    @property
    def text(self) -> str: ...
    @property
    def mend(self) -> str: ...


class Probe(Protocol):
    """envtool.container.doctor."""

    def check_machine(self, store: str) -> Sequence[CheckOutcome]:
        """All that matters of this machine."""

    def apparmor_profile(self) -> str:
        """The text that lets envtool make user namespaces where AppArmor refuses them."""


def import_app() -> App:
    """The app."""
    return cast("App", import_module("envtool.app"))


def import_doctor() -> Probe:
    """The probe."""
    return cast("Probe", import_module("envtool.container.doctor"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A Check beside the probe's: of what would end every run, or of what is only told."""

    name: str
    state: str = "fail"
    text: str
    mend: str = ""


def _check_other_idmap(other: Any) -> Finding | None:
    """What is said of what another id map has in the store."""
    from envtool.container.userns import run_as_root
    from envtool.store.inventory import is_deletable, undeletable_paths

    if is_deletable(other, run_as_root):
        made = f"made when containers had other ids ({other.idmap}): nothing uses it now"
        text = f"{other.idmap_path('layers')} was {made}, and `envtool gc` takes what is of no use for 30 days"
        return Finding(name="store", state="ok", text=text)
    if not (places := undeletable_paths(other)):
        return None
    text = f"{', '.join(places)}: made with ids that this account has no more ({other.idmap}): only root can delete it"
    return Finding(name="store", state="warn", text=text, mend=f"sudo rm -r {shlex.join(places)}")


def run_checks() -> Sequence[CheckOutcome]:
    """What the probe finds. A store that cannot be used, or a config.yaml that is not believed, is one more finding."""
    from envtool.app.permissions import read_permissions
    from envtool.container.userns import describe_ids
    from envtool.store.store import check_only_store_files, find_store, other_idmap_stores, store_directory

    idmap = describe_ids()
    found: list[CheckOutcome] = []
    root = ""
    try:
        store = find_store(idmap)
        root = store_directory()
        if store is None and os.path.isdir(root):
            check_only_store_files(root)
        found += filter(None, map(_check_other_idmap, other_idmap_stores(store) if store else ()))
    except StoreError as error:
        found.append(Finding(name="store", text=error.message, mend=error.hint))
    try:
        read_permissions(os.getcwd())
    except UsageError as error:
        found.append(Finding(name="config.yaml", text=error.message, mend=error.hint))
    except SpecError as error:
        found += [
            Finding(name="config.yaml", text=f"{one.where}: {one.message}", mend=one.hint) for one in error.problems
        ]
    return [*import_doctor().check_machine(root), *found]
