"""Makes an image of an env on its stack: its layers in order, and a config by which other container tools run it as
envtool runs tasks (run/task_container.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from envtool.api import PROJECT, Fetch, Original
from envtool.build.context import PATH
from envtool.build.scheduler import Stack
from envtool.build.stack import StoredLayer, overlay_variables, project_mounts, stack_variables
from envtool.build.stack_files import StackTree
from envtool.container.runner import Runner
from envtool.errors import FetchError, UsageError
from envtool.images import project_links, runtime_layer
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Env, Json
from envtool.net.oci import documents, platforms, serialize
from envtool.net.oci.documents import Document, ImageConfig, Platform, sha256_digest
from envtool.run import stack_contents, task_container
from envtool.store import blobs
from envtool.store.layers import Layer, read_records
from envtool.store.store import Store

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
STACK_LABEL = "envtool.stack"
IN_PROJECT_LABEL = "envtool.in-project"
SHELL = "/bin/sh"
RUNTIME_LAYER_NAME = "user, home, project"  # see runtime_layer.py


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayerContent:
    """One layer: `size` bytes of tar with this diff ID. Its content is a captured tree of the store (`tree`), a blob as
    an image had it (`blob`, a path), a tar that was written for this export (`tar`, a path), or a small one in memory
    (`data`)."""

    name: str  # its name in the spec
    diff_id: str
    size: int
    tree: str = ""
    blob: str = ""
    tar: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedImage:
    """A whole image. `origin` is the original manifest, if this is the unchanged image of the base."""

    name: str  # for people: "localhost/unit:latest"
    epoch: int
    platform: Platform
    config: bytes
    contents: tuple[ImageLayerContent, ...]  # bottom first
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export: the image's name; `bare`: only the stack, with the config of its base; `project`: with
    the project's files."""

    name: str
    bare: bool = False
    project: bool = False


def build_image(
    env: Env,
    stack: Stack,
    store: Store,
    runner: Runner,
    options: ExportOptions,
    *,
    project: ImageLayerContent | None = None,
) -> ExportedImage:
    """Returns the image of an env whose layers are built, with the layer `project` on top. Raises UsageError if the
    base cannot be exported."""
    reject_host_base(env, stack)
    with_content = [layer for layer in stack.layers if layer.layer.entries or find_layer_archive(layer)]
    runtime = () if options.bare else (_runtime_layer(stack, runner),)
    contents = (*(_layer_content(layer, store) for layer in with_content), *runtime, *([project] if project else []))
    created = _format_time(stack.epoch)
    base = stack.layers[0].resolved
    source = base.node.base_kind.image_source(base.request, base.pins)
    config = ImageConfig(
        platform=platforms.parse_platform(source.platform)
        if source
        else platforms.platform_of_machine(base.request.arch),
        diff_ids=tuple(content.diff_id for content in contents),
        run=bare_config(env, stack) if options.bare else run_config(env, stack),
        history=serialize.config_history(
            [
                *_history(stack, with_content, created),
                *((created, f"envtool: {content.name}", False) for content in contents[len(with_content) :]),
            ]
        ),
        created=created,
    )
    base_annotations = {BASE_NAME: source.name, BASE_DIGEST: source.digest} if source and source.name else {}
    return ExportedImage(
        name=options.name,
        epoch=stack.epoch,
        platform=config.platform,
        config=serialize.config_bytes(config),
        contents=contents,
        annotations={TITLE: env.name, CREATED: created} | base_annotations,
    )


def is_base_image(env: Env, options: ExportOptions) -> bool:
    """Returns whether the image of an env is its base, and nothing else."""
    return options.bare and not (options.project or env.layers or env.set)


def restore_original(image: ExportedImage, original: Original, name: str) -> ExportedImage:
    """Returns the image with the original documents of its base. Raises FetchError if they do not match its layers."""
    config = documents.read_config(original.config, f"{name}: its config")
    by_id = {content.diff_id: content for content in image.contents}
    if set(config.diff_ids) != set(by_id):
        raise FetchError(f"{name}: its config is not that of its layers", code="registry-document")
    body = original.manifest
    return replace(
        image,
        config=original.config,
        contents=tuple(by_id[diff_id] for diff_id in config.diff_ids),  # a layer may occur twice
        origin=Document(media_type=original.media_type, digest=sha256_digest(body), body=body) if body else None,
    )


def _runtime_layer(stack: Stack, runner: Runner) -> ImageLayerContent:
    """Returns the layer that gives containers of other tools what envtool's containers have."""
    layers = [made.layer for made in stack.layers]
    files = {
        path.lstrip("/"): text
        for path, text in StackTree(layers, runner).read([f"/{n}" for n in runtime_layer.ACCOUNT_FILES]).items()
    }
    has = VisiblePaths(layers).has
    data = runtime_layer.make_layer(
        has, files, project_links.find_links(stack.layers, has, runner), project=PROJECT, epoch=stack.epoch
    )
    return ImageLayerContent(name=RUNTIME_LAYER_NAME, diff_id=sha256_digest(data), size=len(data), data=data)


def bare_config(env: Env, stack: Stack) -> dict[str, Json]:
    """Returns the run configuration of the base, with the variables of the layers on it."""
    base = stack.layers[0].resolved
    config = {**base.node.base_kind.image_config(base.request, base.pins)}
    variables: dict[str, str | None] = {"PATH": PATH}
    lines = config.get("Env")
    for line in lines if isinstance(lines, list) else []:
        name, _, value = str(line).partition("=")
        variables[name] = value
    variables = stack_variables([made.resolved for made in stack.layers[bool(lines) :]], variables)
    overlay_variables(variables, env.set)
    return config | {"Env": [f"{name}={value}" for name, value in variables.items() if value is not None]}


def run_config(env: Env, stack: Stack) -> dict[str, Json]:
    """Returns the run configuration (config.md of OCI's image specification): variables, user and directory as tasks
    have them. An entrypoint of the base is left out, so that a command runs as it is given."""
    base = stack.layers[0].resolved
    config = {**base.node.base_kind.image_config(base.request, base.pins)}
    variables = task_container.task_environment(env, stack, {}, user="user")
    del variables["TERM"]  # it depends on the terminal
    entrypoint = config.pop("Entrypoint", None)
    command = config.pop("Cmd", None)
    labels = config.pop("Labels", None)
    mounts = project_mounts([made.resolved for made in stack.layers])["joins"]
    envtool_labels: dict[str, Json] = {TITLE: env.name, STACK_LABEL: f"sha256:{stack_contents.stack_digest(stack)}"}
    if mounts:
        envtool_labels[IN_PROJECT_LABEL] = json.dumps(
            {target.removeprefix(f"{PROJECT}/"): source for source, target in mounts}, sort_keys=True
        )
    for name in ("OnBuild", "Healthcheck", "ArgsEscaped", "Image", "Hostname", "Domainname"):
        config.pop(name, None)
    return config | {
        "Env": [f"{name}={value}" for name, value in sorted(variables.items())],
        "User": f"{runtime_layer.TASK_UID}:{runtime_layer.TASK_UID}",
        "WorkingDir": task_container.workdir(env),
        "Cmd": command if command and not entrypoint else [SHELL],
        "Labels": (labels if isinstance(labels, dict) else {}) | envtool_labels,
    }


class VisiblePaths:
    """The paths that merged layers have, by their manifests. `layers` bottom first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._letters = [{path: fields[:1] for path, fields in read_records(layer)} for layer in reversed(layers)]

    def has(self, path: str) -> bool:
        """Returns whether there is anything at a path (relative to the root)."""
        name = os.fsencode(path)
        parents = [name[:at] for at, byte in enumerate(name) if byte == ord("/")]
        for letters in self._letters:
            letter = letters.get(name)
            if letter is not None:
                return letter != b"w"
            if any(letters.get(parent, b"d") != b"d" for parent in parents):
                return False
        return False


def reject_host_base(env: Env, stack: Stack) -> None:
    """Raises UsageError if the base mounts directories of this machine, which no layer holds."""
    base = stack.layers[0].resolved
    recipe = base.node.kind.build(base.request, base.pins)
    if recipe.mounts:
        raise UsageError(
            f"env `{env.name}` has the base `{base.node.kind.name}`, which shows this machine's own system and copies"
            " nothing of it: there is no image in it",
            code="export-host",
            hint="give the env a base that can be exported: debian, image, dockerfile or tarball",
        )


def find_layer_archive(made: StoredLayer) -> Fetch | None:
    """Returns the file that a layer is unpacked from in an image; None for a layer that was built here."""
    resolved = made.resolved
    found = resolved.node.kind.build(resolved.request, resolved.pins).archive
    return next(fetch for fetch in resolved.fetches if fetch.name == found.name) if found else None


def _layer_content(made: StoredLayer, store: Store) -> ImageLayerContent:
    layer, name = made.layer, made.resolved.node.spec.name
    fetch = find_layer_archive(made)
    if fetch is None:
        return ImageLayerContent(name=name, diff_id=layer.diff_id, size=layer.size, tree=layer.tree)
    return ImageLayerContent(name=name, diff_id=layer.diff_id, size=layer.size, blob=blobs.path(store, fetch.sha256))


def _history(stack: Stack, with_content: Sequence[StoredLayer], created: str) -> list[tuple[str, str, bool]]:
    return [
        (
            created,
            f"envtool: {layer.resolved.node.spec.name} ({layer.resolved.node.kind.name})",
            layer not in with_content,
        )
        for layer in stack.layers
    ]


def _format_time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
