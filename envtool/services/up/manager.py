"""The service manager: runs the services of one project until the user stops them.

It runs in the foreground of `envtool up`, or detached (detach.py). It gets the services as plain values from `load`,
which reads the spec again at each `up`. Requests come through control_server.py; those that change services are carried
out one after the other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from envtool import __version__
from envtool.build.context import Cancel, Context
from envtool.errors import EnvtoolError, UsageError, near_name_hint
from envtool.project import snapshot
from envtool.services.group_values import GroupSetting, ReplicaState
from envtool.services.service_container import LocalService, ServiceProject
from envtool.services.up import service_status
from envtool.services.up.control_protocol import ControlRequest
from envtool.services.up.control_server import ControlServer, Reply
from envtool.services.up.project_state import SOCKET, StateClaim, StateRecord
from envtool.services.up.project_watch import ProjectWatch, project_digest
from envtool.services.up.service_log import LogLine, ServiceLog
from envtool.services.up.standing_group import StandingGroup
from envtool.services.up.watched_changes import WatchedChanges
from envtool.services.up.writable_checkout import Checkout, CheckoutGuard

BEAT_SECONDS = 5.0  # between two updates of the lock file's time, which `ps` shows
LOGS = "replicas"  # the directory of the group's own logs


class UpOrder(NamedTuple):
    """The request of `envtool up`. `request` has the fields of its CommandRequest; without `services` all are meant."""

    request: dict[str, Any]
    services: tuple[str, ...] = ()
    watch: bool = False
    writable: bool = False


class LoadedServices(NamedTuple):
    """The services of a project, needed ones first, all layers in the store. `files` are the spec, what it includes,
    and the lock, relative to the project; `context` holds the leases."""

    context: Context
    services: tuple[LocalService, ...]
    files: tuple[str, ...]
    single_id: bool
    reads: Callable[[str], bool]  # whether a layer or prepared state may be made from a file of the project
    see_project: Callable[[], ServiceProject]  # as it is now: the set of ignored files changes
    close: Callable[[], object]  # to be called when no container uses `context` any more


Load: TypeAlias = Callable[[UpOrder, Cancel], LoadedServices]
Report: TypeAlias = Callable[[dict[str, Any]], object]


class ServiceManager:
    """Runs the services of the project whose `claim` it has. `listen` gets each line of the log; if it raises OSError,
    the services are stopped. `run` is called once; `stop` by any thread, or a signal handler."""

    def __init__(self, claim: StateClaim, load: Load, listen: Callable[[LogLine], None] | None = None) -> None:
        self._claim, self._load = claim, load
        self._listen = listen
        self._log = ServiceLog(claim.state.path, self._show)
        self._operation = threading.RLock()  # one change at a time
        self._ended = threading.Event()
        self._cancel = Cancel.make()
        self._stop_reader, self._stop_writer = os.pipe2(os.O_CLOEXEC)
        self._watch_writer = -1  # closed to end the watch of the project's files
        self._writes = False  # whether a container may write to the checkout
        self._reason = ""
        self._listen_error: OSError | None = None
        self._group: StandingGroup | None = None
        self._loaded: dict[str, LocalService] = {}
        self._files: tuple[str, ...] = ()
        self._order = UpOrder({})
        self._project: Callable[[], ServiceProject] = lambda: ServiceProject("")
        self._reads: Callable[[str], bool] = lambda _: False
        self._changes = WatchedChanges()
        self._checkout: Checkout | None = None
        self._guard: CheckoutGuard | None = None
        self._record = StateRecord("", "")
        self._context: Context | None = None
        self._stages: dict[str, tuple[str, float]] = {}  # of replicas, as the log has them
        self._views: dict[str, str] = {}  # digest of the project's files when a service was started, by service
        self._scaled: dict[str, int] = {}  # replicas, where `scale` was called since the spec was read
        self._closed_at_end: list[Callable[[], object]] = []

    @property
    def reason(self) -> str:
        """Why it ended; "" while it runs."""
        return self._reason

    def _show(self, line: LogLine) -> None:
        """Passes a line to `listen`. Stops the services if `listen` fails (`envtool up | head`): the error must not end
        the thread of a replica."""
        if self._listen is not None:
            try:
                self._listen(line)
            except OSError as error:
                self._listen = None
                self._listen_error = error
                self.stop(f"standard output cannot be written: {(error.strerror or str(error)).lower()}")

    # ---- start and end

    def run(self, order: UpOrder, root: str, spec: str, ready: Report) -> None:
        """Starts the services of an order. Calls `ready` when all are ready. Returns when they have been stopped.
        Raises the error of the service that failed first, SpecError, SandboxError, StoreError, Interrupted, the OSError
        of `listen`."""
        self._record = StateRecord(root, spec, __version__, os.getpid(), time.time())
        self._claim.write_record(self._record)
        os.mkdir(self._claim.state.join(LOGS))
        reason = "failed"
        try:
            with ControlServer(self._claim.state.path, SOCKET, self._handle):
                self._hold(order, ready)
            reason = self._reason
            if self._listen_error is not None:
                raise self._listen_error
        except EnvtoolError as error:
            reason = self._reason or f"failed: {error.message}"
            self._log.note(reason)
            if self._listen_error is not None:
                raise self._listen_error from error
            raise
        finally:
            self._ended.set()
            self._set_watch(on=False)
            os.close(self._stop_writer)
            for close in self._closed_at_end:
                close()
            self._log.close()
            self._claim.write_record(self._record._replace(ended=time.time(), reason=reason))

    def stop(self, reason: str) -> None:
        """Makes `run` stop the services and return. Further calls do nothing."""
        self._reason = self._reason or reason
        self._ended.set()
        if self._group is None or not self._loaded:  # they are still being started
            self._cancel.set()

    def _hold(self, order: UpOrder, ready: Report) -> None:
        with ExitStack() as exits:
            with self._operation:
                loaded = self._take(order)
                view = self._view()
                user = loaded.single_id
                setting = GroupSetting(
                    context=loaded.context,
                    project=ServiceProject(loaded.context.root),
                    see_project=self._see_project,
                    env="",
                    name="up",
                    directory=self._claim.state.join(LOGS),
                    restart="on-failure",
                    publishes=True,
                    fails=False,
                    changed=self._on_change,
                    output=self._log.feed,
                )
                spare = sum(local.request.replicas for local in loaded.services)
                self._group = exits.enter_context(StandingGroup(setting, spare=spare, user=user))
                self._group.start(loaded.services)
                self._loaded = {local.request.name: local for local in loaded.services}
                self._views = dict.fromkeys(self._loaded, view)
                self._set_watch(on=order.watch)
            ready({"ready": True})
            while not self._ended.wait(BEAT_SECONDS):
                self._claim.touch()
                if self._group.failure is not None:  # the pod is lost: no service knows another one any more
                    raise self._group.failure
            self._log.note(f"stopping ({self._reason})")

    def _take(self, order: UpOrder) -> LoadedServices:
        """Loads the services of an order. From then on, new containers see the project as this order says."""
        loaded = self._load(order, self._cancel)
        if self._group is not None:  # which has the secrets of the first order
            self._group.setting.context.secrets().take(loaded.context.secrets())
        if order.writable and self._guard is None:
            self._checkout = Checkout(loaded.context.root, loaded.files)
            self._checkout.prepare()
            self._guard = CheckoutGuard(self._checkout, self._stop_reader, self._on_protected_change)
            self._guard.start()
            threading.Thread(target=self._guard.run, name="checkout guard", daemon=True).start()
        self._writes |= order.writable
        self._order, self._files = order, loaded.files
        self._project, self._context, self._reads = loaded.see_project, loaded.context, loaded.reads
        self._closed_at_end.append(loaded.close)
        return loaded

    def _view(self) -> str:
        """Returns a digest of the project's files, without the spec, what it includes, and the lock."""
        assert self._context is not None
        root = self._context.root
        return project_digest(root, snapshot.cache_path(self._context.store.root, root), self._files)

    def _see_project(self) -> ServiceProject:
        """Returns the project for a container that starts now."""
        project = self._project()
        if self._order.writable and self._guard is not None:
            protected = self._guard.protected()
            return project._replace(writable_but=tuple((item.path, item.device, item.inode) for item in protected))
        return project

    # ---- requests

    def _handle(self, request: ControlRequest, reply: Reply) -> None:
        fields = request.fields
        match request.command:
            case "status":
                for message in self._status():
                    reply.send(message)
            case "follow":
                reply.wait_for_end(self._ended.is_set)
            case "up":
                with self._operation:
                    self._changes.forget()
                    self._apply(UpOrder(**{**fields, "services": tuple(fields["services"])}), reply.send)
            case "scale":
                with self._operation:
                    self._scale(fields["counts"], reply.send)
            case "fresh":
                with self._operation:
                    self._make_fresh(fields["services"], reply.send)
            case "stop" if fields["services"]:
                with self._operation:
                    self._remove(fields["services"], reply.send)
            case "stop":
                self.stop("down")
            case "exec":
                self._execute(request, reply)

    def _running(self) -> StandingGroup:
        if self._group is None or not self._loaded or self._ended.is_set():
            raise UsageError("the services are being started or stopped", code="up-busy", hint="try again in a moment")
        return self._group

    def _check_names(self, names: list[str]) -> None:
        for name in names:
            if name not in self._loaded:
                raise UsageError(
                    f"no service `{name}` runs here", code="up-service", hint=near_name_hint(name, self._loaded)
                )

    def _status(self) -> list[dict[str, Any]]:
        group = self._group
        if group is None:
            return []
        published = group.published()
        return [
            service_status.replica_fields(state, published.get(state.service, ()), group.usage(state.replica).memory)
            for state in group.states()
        ]

    def _scale(self, counts: dict[str, int], report: Report) -> None:
        group = self._running()
        self._check_names([*counts])
        for name in counts:
            if self._loaded[name].request.once:
                raise UsageError(f"service `{name}` is to end: it has no replicas", code="up-scale", hint="")
        for name, count in counts.items():
            group.scale(name, count)
            self._scaled[name] = count
            report({"scaled": name, "replicas": count})

    def _make_fresh(self, names: list[str], report: Report) -> None:
        group = self._running()
        self._check_names(names)
        for name in names:
            group.fresh(name)
            report({"fresh": name})

    def _remove(self, names: list[str], report: Report) -> None:
        group = self._running()
        self._check_names(names)
        for name in names:
            users = [other for other, local in self._loaded.items() if name in local.request.needs]
            if rest := [user for user in users if user not in names]:
                raise UsageError(
                    f"service `{name}` is needed by `{rest[0]}`",
                    code="up-needed",
                    hint=f"`envtool down {name} {rest[0]}`",
                )
        for name in [name for name in reversed(self._loaded) if name in names]:
            self._forget(group, name, report)
        self._order = self._order._replace(services=(*self._loaded,))

    def _execute(self, request: ControlRequest, reply: Reply) -> None:
        fields = request.fields
        name = fields["service"]
        group = self._running()
        if name.rpartition("-")[0] not in self._loaded:
            self._check_names([name])
        if not fields["argv"]:
            raise UsageError("no command to run", code="usage.command", hint="")
        streams = request.descriptors
        options = {"stdin": streams[0], "stdout": streams[1], "stderr": streams[2]} if streams else {}
        if bool(streams) == fields["terminal"]:
            raise UsageError("a command has a terminal or streams", code="up-protocol", hint="")
        variables = {key: value for key, value in fields["variables"].items() if isinstance(value, str)}
        window = fields["window"] if fields["terminal"] else -1
        channel = group.container(name).exec_channel(fields["argv"], env=variables, window=window, **options)
        try:
            reply.send({"started": name}, (channel.fileno(),))
        finally:
            channel.close()

    # ---- changes

    def _apply(self, order: UpOrder, report: Report, *, watched: bool = False) -> None:
        """Replaces the services that a new spec, lock or order changes, one after the other, needed ones first. Raises
        the error of the first that fails: services before it stay replaced, and those after it stay as they are.
        `watched`: a file changed, so services that see the project start anew, also where it is writable; one-shots do
        not."""
        group = self._running()
        before = self._order
        loaded, view = self._take(order), self._view()
        for local in loaded.services:
            name = local.request.name
            is_changed = self._views.get(name) != view
            seen_anew = before.writable != order.writable or (is_changed and (watched or not order.writable))
            seen_anew = seen_anew and local.request.project and not (watched and local.request.once)
            self._apply_to(group, local, report, seen_anew=seen_anew)
            self._loaded[name] = local
            if seen_anew or not watched:
                self._views[name] = view
        if order.services:  # the order does not name the others
            self._order = order._replace(services=(*self._loaded,))
        else:
            wanted = {local.request.name for local in loaded.services}
            for name in [name for name in reversed(self._loaded) if name not in wanted]:
                self._forget(group, name, report)
        self._writes = order.writable
        self._set_watch(on=order.watch)

    def _apply_to(self, group: StandingGroup, local: LocalService, report: Report, *, seen_anew: bool) -> None:
        name = local.request.name
        old = self._loaded.get(name)
        fields = old.request.changed_fields(local.request) if old is not None else ()
        failed = any(state.stage == "failed" for state in group.states() if state.service == name)
        if old is None:
            try:
                group.start([local])
            except EnvtoolError:
                group.remove(name)
                raise
            report({"started": name})
        elif fields == ("replicas",) and old.prepared == local.prepared and not failed and not seen_anew:
            self._scaled.pop(name, None)
            group.scale(name, local.request.replicas)
            report({"scaled": name, "replicas": local.request.replicas})
        elif fields or old.prepared != local.prepared or failed or seen_anew:
            if "replicas" in fields:
                self._scaled.pop(name, None)
            group.replace(name, self._as_scaled(local))
            report({"replaced": name, "fields": list(fields) or (["project"] if seen_anew else [])})
        else:
            report({"unchanged": name})

    def _forget(self, group: StandingGroup, name: str, report: Report) -> None:
        group.remove(name)
        del self._loaded[name]
        self._scaled.pop(name, None)
        report({"stopped": name})

    def _restart_readers(self, reason: str) -> None:
        """Restarts the services that see the project: each new replica is ready before an old one ends."""
        group, view = self._running(), self._view()
        for name, local in [*self._loaded.items()]:
            if local.request.project and not local.request.once:
                self._log.note(f"{name} is restarted: {reason}")
                group.replace(name, self._as_scaled(local))
                self._views[name] = view

    def _as_scaled(self, local: LocalService) -> LocalService:
        """Returns a service with the number of replicas that `scale` set."""
        count = self._scaled.get(local.request.name, local.request.replicas)
        return local._replace(request=replace(local.request, replicas=count))

    # ---- changes of files and replicas

    def _set_watch(self, *, on: bool) -> None:
        """Starts or stops the watch of the project's files."""
        if self._watch_writer >= 0 and not on:
            os.close(self._watch_writer)
            self._watch_writer = -1
        elif self._watch_writer < 0 and on and self._context is not None:
            context = self._context
            reader, self._watch_writer = os.pipe2(os.O_CLOEXEC)
            record = snapshot.cache_path(context.store.root, context.root)
            watch = ProjectWatch(context.root, record, reader, self._on_files, self._on_watch_error)
            threading.Thread(target=self._watch, args=(watch, reader), name="project watch", daemon=True).start()

    def _watch(self, watch: ProjectWatch, reader: int) -> None:
        try:
            watch.run()
        except EnvtoolError as error:
            self._on_watch_error(error)
        finally:
            os.close(reader)

    def _on_watch_error(self, error: EnvtoolError) -> None:
        self._log.note(f"{error.message}; {error.hint}" if error.hint else error.message)

    def _on_files(self, changed: set[str]) -> None:
        paths, ignored = self._changes.select(changed)
        if ignored:
            self._log.note(service_status.describe_ignored(sorted(ignored)))
        names = sorted(paths)
        if not names:
            return
        reason = f"{names[0]} changed" + (f", and {len(names) - 1} more" if len(names) > 1 else "")

        def report(message: dict[str, Any]) -> None:
            if "unchanged" not in message:
                self._log.note(f"{service_status.describe_change(message)}: {reason}")

        try:
            with self._operation:
                if paths & {*self._files} or any(map(self._reads, names)):
                    self._log.note(reason)
                    self._apply(self._order, report, watched=True)
                else:
                    self._restart_readers(reason)
        except EnvtoolError as error:
            self._log.note(f"{error.message}; what ran before still runs")
        self._changes.note_restart(paths)

    def _on_protected_change(self, path: str) -> None:
        """Ends every container that can write to the checkout, since a file that git or envtool obeys appeared there or
        was replaced. `path` is "" if the checkout cannot be watched any more."""
        group = self._group
        if group is None or self._checkout is None or self._guard is None or not self._writes:
            return
        edited = path in self._files
        reader = self._checkout.reason(path)
        message = f"`{path}` was {'replaced' if edited else 'made'} while services could write to the checkout"
        hint = f"{reader or 'git obeys it'}: look at it before you use it here; `envtool up` starts them again"
        if not path:
            message = "the checkout cannot be watched any more while services can write to it"
            hint = (
                "raise `fs.inotify.max_user_watches`, or the limit of open files; then `envtool down` and `envtool up`"
            )
        error = UsageError(message, code="writable-protected", hint=hint)
        readers = [local for local in self._loaded.values() if local.request.project]
        for local in readers:
            group.fail(local.request.name, error)
        try:
            self._guard.accept()  # no container can write any more
        except EnvtoolError as refusal:  # a link cannot be protected: every start fails until it is removed
            hint = f"{refusal.message}; {hint}"
        self._log.note(f"{message}: {', '.join(local.request.name for local in readers)} ended at once; {hint}")
        if edited:  # by an editor, or `envtool lock`: a container could not do it
            try:
                with self._operation:
                    self._restart_readers(f"{path} was replaced")
            except EnvtoolError as failure:
                self._log.note(failure.message)

    def _on_change(self, state: ReplicaState) -> None:
        if self._stages.get(state.replica) == (state.stage, state.since):
            return
        self._stages[state.replica] = (state.stage, state.since)
        if state.stage in ("ended", "failed", "restarting"):
            self._log.end(state.replica)
        self._log.note(service_status.describe_state(state))
