"""An env on its stack -> an image: which layers, in what order, and the config with which a container of anybody's is
like one of ours (run/describe.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from envtool.api import PROJECT, Fetch
from envtool.errors import UsageError
from envtool.model import Env, Json
from envtool.oci import writing
from envtool.oci.documents import Config, Document, Platform, sha256
from envtool.oci.platforms import of_machine
from envtool.realise.build import joins
from envtool.realise.settle import Made
from envtool.realise.stacks import Stack
from envtool.realise.tree import StackTree
from envtool.run import contents, describe
from envtool.ship import ground
from envtool.store import blobs
from envtool.store.canonical import records
from envtool.store.layers import Layer
from envtool.store.store import Store

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
STACK = "envtool.stack"
SHOWN = "envtool.in-project"
SHELL = "/bin/sh"
GROUND = "user, home, project"  # the layer of `ground`


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One layer: `size` bytes of tar with this diff ID. It is a captured tree of the store (`tree`), a blob as an image
    had it (`blob`, a path), a tar that was written for this (`tar`, a path), or a small one (`data`)."""

    name: str  # what the spec calls it
    diff_id: str
    size: int
    tree: str = ""
    blob: str = ""
    tar: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A whole image. `origin` is the manifest as it came, where this is the very image that the base names."""

    name: str  # for people: "localhost/unit:latest"
    epoch: int
    platform: Platform
    config: bytes
    contents: tuple[Content, ...]  # bottom first
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: Document | None = None


def image(env: Env, stack: Stack, store: Store, *, name: str, project: Content | None = None) -> Image:
    """The image of an env whose layers stand, with the layer `project` on top. Raises UsageError where the base cannot
    be given away."""
    refuse_host(env, stack)
    layers = [made.layer for made in stack.made]
    kept = [made for made in stack.made if made.layer.entries or archive(made)]
    shown = joins([made.settled for made in stack.made])
    standing = Standing(layers)
    files = {path.lstrip("/"): text for path, text in StackTree(layers).read([f"/{n}" for n in ground.NAMES]).items()}
    data = ground.layer(standing.has, files, shown, project=PROJECT, epoch=stack.epoch)
    top = Content(name=GROUND, diff_id=sha256(data), size=len(data), data=data)
    found = (*(_content(made, store) for made in kept), top, *([project] if project else []))
    created = _time(stack.epoch)
    config = Config(
        platform=of_machine(stack.made[0].settled.request.arch),
        diff_ids=tuple(content.diff_id for content in found),
        run=run_config(env, stack),
        history=writing.history(
            [
                *_history(stack, kept, created),
                *((created, f"envtool: {each.name}", False) for each in found[len(kept) :]),
            ]
        ),
        created=created,
    )
    return Image(
        name=name,
        epoch=stack.epoch,
        platform=config.platform,
        config=writing.config_bytes(config),
        contents=found,
        annotations={TITLE: env.name, CREATED: created},
    )


def run_config(env: Env, stack: Stack) -> dict[str, Json]:
    """How a container of it is run (config.md of OCI's image specification): variables, user and directory as tasks
    have them. An entrypoint of the base is left out, since a command is run as it is."""
    base = stack.made[0].settled
    said = {**base.node.kind.image_config(base.request, base.pins)}
    variables = describe.environment(env, stack, {}, user="user")
    del variables["TERM"]  # that of whoever looks
    entrypoint = said.pop("Entrypoint", None)
    command = said.pop("Cmd", None)
    labels = said.pop("Labels", None)
    shown = {
        place.removeprefix(PROJECT + "/"): source for source, place in joins([made.settled for made in stack.made])
    }
    marks: dict[str, Json] = {TITLE: env.name, STACK: f"sha256:{contents.digest(stack)}"}
    if shown:
        marks[SHOWN] = json.dumps(shown, sort_keys=True)
    for name in ("OnBuild", "Healthcheck", "ArgsEscaped", "Image", "Hostname", "Domainname"):
        said.pop(name, None)
    return said | {
        "Env": [f"{name}={value}" for name, value in sorted(variables.items())],
        "User": f"{ground.USER}:{ground.USER}",
        "WorkingDir": describe.workdir(env),
        "Cmd": command if command and not entrypoint else [SHELL],
        "Labels": (labels if isinstance(labels, dict) else {}) | marks,
    }


class Standing:
    """Which paths the merged layers have, as their manifests say. `layers` bottom first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._letters = [{path: fields[:1] for path, fields in records(layer.manifest)} for layer in reversed(layers)]

    def has(self, path: str) -> bool:
        """Whether there is anything at a path (relative to the root)."""
        name = os.fsencode(path)
        parents = [name[:at] for at, byte in enumerate(name) if byte == ord("/")]
        for letters in self._letters:
            letter = letters.get(name)
            if letter is not None:
                return letter != b"w"
            if any(letters.get(parent, b"d") != b"d" for parent in parents):
                return False
        return False


def refuse_host(env: Env, stack: Stack) -> None:
    """Raise UsageError where the base shows what it does not have."""
    base = stack.made[0].settled
    recipe = base.node.kind.build(base.request, base.pins)
    if recipe.mounts:
        raise UsageError(
            f"env `{env.name}` stands on `{base.node.kind.name}`, which shows this machine's own system and copies"
            " nothing of it: there is no image in it",
            code="export-host",
            hint="give the env a base that can be given away: debian, image, dockerfile or tarball",
        )


def archive(made: Made) -> Fetch | None:
    """The file that a layer was in an image; None for what was made here."""
    settled = made.settled
    found = settled.node.kind.build(settled.request, settled.pins).archive
    return next(fetch for fetch in settled.fetches if fetch.name == found.name) if found else None


def _content(made: Made, store: Store) -> Content:
    layer, name = made.layer, made.settled.node.spec.name
    fetch = archive(made)
    if fetch is None:
        return Content(name=name, diff_id=layer.diff_id, size=layer.size, tree=layer.tree)
    return Content(name=name, diff_id=layer.diff_id, size=layer.size, blob=blobs.path(store, fetch.sha256))


def _history(stack: Stack, kept: Sequence[Made], created: str) -> list[tuple[str, str, bool]]:
    return [
        (created, f"envtool: {made.settled.node.spec.name} ({made.settled.node.kind.name})", made not in kept)
        for made in stack.made
    ]


def _time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
