"""What a kind of service gets and returns: what the one line `db: {postgres: 15}` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from envtool.model import Command, Json, LayerDraft, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDeclaration:
    """A service as the user wrote it, with its templates rendered."""

    name: str  # "db"; in an included spec "api/db"
    host: str  # the name that stands for its address in the network of a run: "db"
    value: Json  # under the kind's name
    where: Where  # of the kind's name
    options: Mapping[str, Json] = field(default_factory=dict)  # those of the kind's sibling keys that are there
    base_kind: str = ""  # of the user's own base; "" if there is none: then the base is the draft's
    base_options: Json = None
    directory: str = "."  # of the spec file, relative to the project; paths in `value` and `options` are relative to it


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyDraft:
    """One check of whether a service is ready. `port` is of "tcp" and "http"; `text` is the path of "http" and "file",
    or the regular expression of "log"; `command` is of "command"."""

    how: Literal["tcp", "http", "command", "log", "file"]
    port: int = 0
    text: str = ""
    command: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDraft:
    """What a kind makes of a service. The user's own keys outweigh it: `base`, `command`, `user`, `project`, `ready`,
    `ports` and each part of `stop` replace what is here; `layers` come above these, `set` and `provides` are merged,
    and commands, inputs and data of `prepare` come after these."""

    base_kind: str = ""  # "": the user has to write a base
    base_options: Json = None
    layers: tuple[LayerDraft, ...] = ()  # all are below the user's; `after` means nothing here
    command: Command | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)  # of the service; None removes one of its layers'
    user: str = ""
    project: bool = False  # whether it sees the project
    ready: tuple[ReadyDraft, ...] = ()  # all must succeed; empty: TCP on the first of `ports`
    within: float = 60.0  # seconds until it is ready
    ports: tuple[int, ...] = ()
    stop_signal: str = ""  # "" or a name without SIG
    grace: float = 10.0  # seconds from the stop signal to KILL
    before: tuple[Command, ...] = ()  # prepare: run once, while the service is not up
    run: tuple[Command, ...] = ()  # prepare: run once, with the service up
    inputs: tuple[str, ...] = ()  # patterns of the project files that these commands read, relative to the spec
    data: tuple[str, ...] = ()  # directories that are kept of what the prepare commands wrote
    provides: Mapping[str, str] = field(default_factory=dict)  # variables of tasks, and of services that need it
    files: Mapping[str, str] = field(default_factory=dict)  # absolute path -> text of a read-only file
