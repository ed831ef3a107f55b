"""`envtool export`: a made stack, written to where somebody asked for it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from envtool.errors import StoreError, UsageError
from envtool.events import Finished, Outcome, Started
from envtool.model import Env
from envtool.realise.setting import Setting
from envtool.realise.stacks import Stack
from envtool.ship import archives, assemble, layout
from envtool.ship.assemble import Assembled
from envtool.ship.image import image
from envtool.ship.target import PIPE, Target
from envtool.store import layers, placing
from envtool.store.packing import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One layer as it was given away: `name` is what the spec calls it; `size` bytes under `digest`."""

    name: str
    diff_id: str
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: `digest` names the manifest, `size` is bytes of all blobs."""

    env: str
    target: Target
    name: str
    digest: str
    size: int
    layers: tuple[Given, ...]


def export(env: Env, stack: Stack, setting: Setting, target: Target, *, name: str, form: Form, out: int) -> Exported:
    """Write it; `out` is a descriptor for what goes to PIPE. Raises UsageError, StoreError, Interrupted."""
    if form and target.form == "docker-archive":
        raise UsageError(
            "the layers of a docker-archive are plain tars",
            code="export-compress",
            hint="`--compress` is for oci, oci-archive and push",
        )
    began = time.time()
    event_id = f"export:{env.name}"
    setting.emit(Started(id=event_id, subject="export", name=env.name, time=began, detail=str(target)))
    outcome: Outcome = "error"
    try:
        with layers.using(setting.store, [made.layer for made in stack.made]), layers.scratch(setting.store) as work:
            made = image(env, stack, setting.store, name=name)
            docker = target.form == "docker-archive"
            item = assemble.plain(made) if docker else assemble.local(made, form, work, setting.cancel)
            _write(item, target, setting, out)
        outcome = "done"
    finally:
        now = time.time()
        setting.emit(
            Finished(id=event_id, subject="export", name=env.name, outcome=outcome, time=now, seconds=now - began)
        )
    return Exported(
        env=env.name,
        target=target,
        name=name,
        digest=item.manifest.digest,
        size=item.size,
        layers=given(item),
    )


def given(item: Assembled) -> tuple[Given, ...]:
    """The layers of an image as they are given away, bottom first."""
    return tuple(
        Given(
            name=content.name,
            diff_id=content.diff_id,
            digest=blob.descriptor.digest,
            media_type=blob.descriptor.media_type,
            size=blob.descriptor.size,
        )
        for content, blob in zip(item.image.contents, item.layers, strict=True)
    )


def _write(item: Assembled, target: Target, setting: Setting, out: int) -> None:
    docker = target.form == "docker-archive"
    if target.form == "oci":
        layout.write(item, target.path, setting.cancel)
    elif target.path == PIPE:
        archives.write(item, out, setting.cancel, docker=docker)
    else:
        try:
            if os.path.isdir(target.path):
                raise UsageError(f"{target.path} is a directory", code="export-target")
            with placing.written(target.path) as file:
                archives.write(item, file.fileno(), setting.cancel, docker=docker)
        except OSError as error:
            text = error.strerror or str(error)
            raise StoreError(f"{target.path} cannot be written: {text}", code="export-write") from error
