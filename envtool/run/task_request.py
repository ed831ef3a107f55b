"""One run of a task as two plain values: the request that decides it, and the result.

A request names the stack and the project's files by their digests. It has no path of this machine, no lock, no object
of a plugin and no callback, so another process or machine that has the same layers and files can run it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, NamedTuple

from envtool import keys
from envtool.events import Outcome, TaskAttempt
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json, Limit, Limits, SecretPlace
from envtool.services.service_request import ServiceRequest, TaskLayer

__all__ = ["TaskLayer", "TaskRequest", "TaskResult", "hash_value"]


class Artefact(NamedTuple):
    """A file or symlink that a needed task has left."""

    path: str  # relative to the project
    mode: int = 0
    sha256: str = ""
    link: str = ""  # target, for a symlink


class Artefacts(NamedTuple):
    """What a task sees of the tasks that it needs: `files`, and nothing else that matches `patterns`."""

    patterns: tuple[str, ...] = ()  # of their outputs, sorted
    files: tuple[Artefact, ...] = ()  # sorted

    def document(self) -> Json:
        """Returns what counts in the request."""
        described = {
            file.path: (file.link and f"-> {file.link}") or f"{file.sha256} {file.mode:o}" for file in self.files
        }
        return {"hides": [*self.patterns], "files": {**described}}


NO_ARTEFACTS = Artefacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Everything that the run of a task needs, besides the layers and the project's files that it names.

    It holds the values of the caller's variables, which may be secrets: it is never written to the store or to a log.
    `document` has their hashes instead.
    """

    env: str
    task: str
    arch: str  # as in uname(1) -m
    kernel: str = ""  # its release, if the stack mounts this machine's system
    stack: tuple[TaskLayer, ...]  # bottom first
    view: str = ""  # digest of the project's files; empty if it is not known
    history: str = ""  # digest of git's commit and tags, for a task with outputs: versions are made from them
    repository: bool = False  # whether the task sees a git directory
    commands: tuple[tuple[str, ...], ...] = ()  # the argv of each
    workdir: str  # in the container
    variables: Mapping[str, str] = field(repr=False)  # the whole environment
    passed: tuple[str, ...] = ()  # names of those variables that `pass:` lets through, sorted
    user: Literal["root", "user"] = "user"
    network: bool = False
    scratch: str = "memory"  # or "disk"
    timeout: float | None = None  # seconds
    limits: Limits = field(default_factory=dict)
    outputs: tuple[str, ...] = ()  # patterns, relative to the project
    outputs_limit: int | None = None  # bytes of all outputs together; None: the default
    produced: tuple[str, ...] = ()  # patterns of the outputs of all tasks of the project
    services: tuple[ServiceRequest, ...] = ()  # that run beside it, needed ones first
    allow: tuple[str, ...] = ()  # "host:port" outside that it and its services may connect to
    secrets: tuple[SecretPlace, ...] = ()
    artefacts: Artefacts = NO_ARTEFACTS
    caches: tuple[str, ...] = ()  # absolute paths in the container of directories that are kept from run to run

    def document(self) -> dict[str, Json]:
        """Returns all that decides the result (keys.result_document). Limits of time, memory and the like do not:
        they only decide whether there is one; and caches never do (decision 0156). Secrets are in it by name: a result
        that has one is never stored (decision 0152)."""
        document = self._document()
        return {**document, "secrets": [[*place] for place in self.secrets]} if self.secrets else document

    def _document(self) -> dict[str, Json]:
        passed = {*self.passed}
        return keys.result_document(
            stack=[[layer.diff_id, layer.key] for layer in self.stack],
            view=self.view,
            history=self.history,
            commands=[[*command] for command in self.commands],
            workdir=self.workdir,
            variables={name: value for name, value in self.variables.items() if name not in passed},
            passed={name: hash_value(self.variables[name]) for name in self.passed},
            user=self.user,
            outputs=[*self.outputs],
            repository=self.repository,
            kernel=self.kernel,
            network=self.network,
            arch=self.arch,
            services=[service.document() for service in self.services],
            artefacts=self.artefacts.document() if self.artefacts.patterns else None,
        )

    @property
    def key(self) -> str:
        """The digest of `document`: the key of the result."""
        return keys.digest(self.document())

    @property
    def state_keys(self) -> tuple[str, ...]:
        """The keys of the prepared state of its services."""
        return tuple(service.prepare for service in self.services if service.prepare)

    def to_json(self) -> str:
        """Returns the request as a JSON object; what is not UTF-8 becomes lone surrogates, escaped."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TaskRequest:
        """Returns the request that `to_json` wrote. Raises ValueError, TypeError or LookupError for another text."""
        fields = json.loads(text)
        lists = {name: tuple(fields[name]) for name in ("passed", "outputs", "produced", "allow", "caches")}
        commands = tuple(tuple(command) for command in fields["commands"])
        stack = tuple(TaskLayer(*layer) for layer in fields["stack"])
        services = tuple(ServiceRequest.from_fields(service) for service in fields["services"])
        limits = {name: Limit(*limit) for name, limit in fields["limits"].items()}
        secrets = tuple(SecretPlace(*place) for place in fields["secrets"])
        patterns, files = fields["artefacts"]
        artefacts = Artefacts(tuple(patterns), tuple(Artefact(*file) for file in files))
        values = {"commands": commands, "stack": stack, "services": services, "limits": limits, "secrets": secrets,
                  "artefacts": artefacts}  # fmt: skip
        return cls(**{**fields, **lists, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What the run of a request came to. `message` says why, for each outcome but passed and failed."""

    outcome: Outcome
    status: int | None
    started: float  # seconds since the epoch
    seconds: float
    message: str = ""
    outputs: tuple[str, ...] = ()  # project-relative paths of the files that were copied back
    host: str = ""  # of a cached result: the machine on which it ran
    attempts: tuple[TaskAttempt, ...] = ()  # of a task that ran more than once: all, the last one too
    memory: int = 0  # what it used, and the limit that ended it: as in events.Finished
    cpu_seconds: float = 0.0
    written: int = 0
    limit: str = ""

    def to_json(self) -> str:
        """Returns the result as a JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TaskResult:
        """Returns the result that `to_json` wrote. Raises ValueError, TypeError or LookupError for another text."""
        fields = json.loads(text)
        attempts = tuple(
            TaskAttempt(**{**attempt, "outputs": tuple(attempt["outputs"])}) for attempt in fields["attempts"]
        )
        return cls(**{**fields, "outputs": tuple(fields["outputs"]), "attempts": attempts})


def hash_value(value: str) -> str:
    """Returns the hash of a variable's value, which may be a secret."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
