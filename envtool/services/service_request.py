"""One service as a plain value. A TaskRequest contains the requests of its services, and its key depends on them.

A ServiceRequest names its stack by digests, as a TaskRequest does; it has no path of this machine, no lock and no
object of a plugin.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json, Limit, Limits, SecretPlace


class TaskLayer(NamedTuple):
    """One layer of a stack. `key` is set only for a base that mounts this machine's system, which its tree does not
    hold."""

    diff_id: str
    key: str = ""


class ReadyProbe(NamedTuple):
    """One check of `ready:`. "tcp" and "http" have a `port`; `text` is the path of "http" and "file", or the regular
    expression of "log"; `command` is an argv."""

    how: Literal["tcp", "http", "command", "log", "file"]
    port: int = 0
    text: str = ""
    command: tuple[str, ...] = ()
    where: str = ""  # file:line:column in the spec


class PublishedPort(NamedTuple):
    """A port of a service that is published on this machine's loopback; `host_port` 0: on any free port."""

    port: int
    host_port: int = 0
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """Everything that running a service needs, besides the layers and the project's files that it names.

    `variables` may hold secrets: a request is never written to the store or to a log.
    """

    name: str
    where: str  # file:line:column in the spec, for errors
    stack: tuple[TaskLayer, ...]  # bottom first
    command: tuple[str, ...]  # the argv, also if it is the image's
    variables: Mapping[str, str] = field(repr=False)  # the whole environment
    user: str = "user"  # or "root", or a name or number as in `USER` of an image
    workdir: str = "/"  # in the container
    project: bool = True  # whether it sees the project
    needs: tuple[str, ...] = ()
    ready: tuple[ReadyProbe, ...] = ()  # all must succeed; empty: it is ready when it runs
    within: float = 60.0  # seconds until it is ready, or, if `once`, has ended
    ports: tuple[int, ...] = ()
    replicas: int = 1
    once: bool = False
    restart: Literal["", "never", "on-failure", "always"] = ""  # "": as the group has it
    stop_signal: str = "TERM"
    grace: float = 10.0  # seconds from the stop signal to KILL
    publish: tuple[PublishedPort, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)  # variables of what uses it
    files: Mapping[str, str] = field(default_factory=dict)  # absolute path -> text of a read-only file
    prepare: str = ""  # key of the layer with its prepared state
    scratch: str = "memory"  # or "disk"
    produced: tuple[str, ...] = ()  # patterns of the outputs of all tasks of the project
    limits: Limits = field(default_factory=dict)  # of each replica
    kernel: str = ""  # its release, if the stack mounts this machine's system
    unneeded: tuple[str, ...] = ()  # services that its command or variables name, and that it does not need: for hints
    localhost: tuple[int, ...] = ()  # the ports that are at the loopback of tasks, too
    secrets: tuple[SecretPlace, ...] = ()

    def document(self) -> dict[str, Json]:
        """Returns all fields that decide the result of a task beside the service. Its place in the spec, the time that
        it may take to start and to stop, its limits, and its ports on this machine do not."""
        document = self._document()
        return {**document, "secrets": [[*place] for place in self.secrets]} if self.secrets else document

    def _document(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "stack": [[layer.diff_id, layer.key] for layer in self.stack],
            "command": [*self.command],
            "variables": dict(self.variables),
            "user": self.user,
            "workdir": self.workdir,
            "project": self.project,
            "needs": [*self.needs],
            "ready": [[probe.how, probe.port, probe.text, [*probe.command]] for probe in self.ready],
            "ports": [*self.ports],
            "replicas": self.replicas,
            "once": self.once,
            "restart": self.restart,
            "provides": dict(self.provides),
            "files": {path: hashlib.sha256(text.encode()).hexdigest() for path, text in self.files.items()},
            "prepare": self.prepare,
            "kernel": self.kernel,
            **({"localhost": [*self.localhost]} if self.localhost else {}),
        }

    def to_fields(self) -> dict[str, Any]:
        """Returns the request as JSON values, for `from_fields`."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ServiceRequest:
        """Returns the request of these JSON values. Raises ValueError, TypeError or LookupError for values that
        `to_fields` did not return."""
        texts = {
            name: tuple(fields[name]) for name in ("command", "needs", "ports", "produced", "localhost", "unneeded")
        }
        stack = tuple(TaskLayer(*layer) for layer in fields["stack"])
        ready = tuple(
            ReadyProbe(how, port, text, tuple(command), where) for how, port, text, command, where in fields["ready"]
        )
        publish = tuple(PublishedPort(*port) for port in fields["publish"])
        limits = {name: Limit(*limit) for name, limit in fields["limits"].items()}
        secrets = tuple(SecretPlace(*place) for place in fields["secrets"])
        values = {"limits": limits, "stack": stack, "ready": ready, "publish": publish, "secrets": secrets}
        return cls(**{**fields, **texts, **values})

    def changed_fields(self, other: ServiceRequest) -> tuple[str, ...]:
        """Returns the names of the fields in which another request differs, but for those that only messages have:
        `up` replaces a service that has any."""
        names = [item.name for item in dataclasses.fields(self) if item.name not in ("where", "unneeded")]
        return tuple(name for name in names if _plain(getattr(self, name)) != _plain(getattr(other, name)))


def _plain(value: Any) -> Any:
    """Returns a value without places in the spec."""
    if isinstance(value, tuple):
        placed = (ReadyProbe, PublishedPort)
        return tuple(item._replace(where="") if isinstance(item, placed) else item for item in value)
    if isinstance(value, Mapping):
        return {name: item._replace(where="") if isinstance(item, Limit) else item for name, item in value.items()}
    return value
