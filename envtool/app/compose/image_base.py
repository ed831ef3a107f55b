"""`image`, `build` and `platform` of a service: the base of its stack."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values
from envtool.app.compose import image_defaults
from envtool.app.compose.left_out import BUILD_KEYS, note_keys
from envtool.spec.scalar_types import resolve_project_path

if TYPE_CHECKING:
    from envtool.app.compose.image_defaults import ImageDefaults
    from envtool.app.compose.notes import ImportState
    from envtool.model import Json
    from envtool.spec.node import YamlNode

READ_BUILD = frozenset({"context", "dockerfile", "target", "args"})
_REMOTE = re.compile(r"[a-z+]+://|git@|github\.com/")
_LINUX = re.compile(r"linux(/[a-z0-9_]+(/v[0-9]+)?)?")


class ServiceBase(NamedTuple):
    """The base of a service; None: the service is left out, with a note. `image` is the name of the image, if the base
    has nothing else."""

    base: Json
    defaults: ImageDefaults = image_defaults.UNKNOWN
    image: str = ""


def read_base(state: ImportState, service: YamlNode) -> ServiceBase:
    """Returns the base of a service, with the defaults of its image."""
    image = values.read_text(state, service.get("image"), "image")
    platform = _platform(state, service)
    build = service.get("build")
    if build is not None and build.value is not None:
        options, defaults = _build(state, build)
        if options is not None:
            if image:
                state.note(service.key("image"), "image", "meaningless", "what is built has no name here")
            options |= {"platform": platform} if platform else {}
            return ServiceBase({"dockerfile": options}, defaults)
        if not image:
            return ServiceBase(None)
    if not image:
        if service.get("provider") is None:
            hint = "write one; if the file is for another one below it, name both: `import compose FILE OVER-IT`"
            state.problems.add(service, "a service without `image` and `build`", code="compose", hint=hint)
        return ServiceBase(None)
    name: Json = {"name": image, "platform": platform} if platform else image
    return ServiceBase({"image": name}, image_defaults.of_image(image), "" if platform else image)


def _platform(state: ImportState, service: YamlNode) -> str:
    """Returns the platform of a service; "" for that of this machine. Notes one that is not Linux."""
    platform = values.read_text(state, service.get("platform"), "platform").lower()
    if platform and not _LINUX.fullmatch(platform):
        message = f"`{platform[:40]}` is no platform of Linux: that of this machine is used"
        state.note(service.key("platform"), "platform", "left-out", message)
        return ""
    return platform if "/" in platform else ""


def _build(state: ImportState, node: YamlNode) -> tuple[dict[str, Json] | None, ImageDefaults]:
    """Returns the options of the kind `dockerfile`; None if envtool cannot build it, with a note."""
    entries = node if isinstance(node.value, dict) else None
    if entries is not None:
        note_keys(state, entries, READ_BUILD, BUILD_KEYS, "build: ")
    context_node = node if entries is None else entries.get("context")
    context = values.read_text(state, context_node, "context") or "."
    if _REMOTE.match(context):
        message = f"`{context}` is not of the project: a build has files of the project alone"
        hint = "clone it into the project, or name an image: `base: {image: …}`"
        state.note(node, "build", "left-out", message, hint)
        return None, image_defaults.UNKNOWN
    directory = resolve_project_path(context, node.source.directory)
    if directory is None:
        hint = "import into a directory above it: `envtool -C DIRECTORY import compose FILE`"
        state.note(node, "build", "left-out", f"`{context}` is outside of the project", hint)
        return None, image_defaults.UNKNOWN
    file = values.read_text(state, entries.get("dockerfile"), "dockerfile") if entries is not None else ""
    target = values.read_text(state, entries.get("target"), "target") if entries is not None else ""
    options: dict[str, Json] = {} if directory == "." else {"context": directory}
    path = resolve_project_path(file or "Dockerfile", directory)
    if path is None:
        hint = "copy it into the project"
        state.note(node, "build", "left-out", f"the Dockerfile `{file}` is outside of the project", hint)
        return None, image_defaults.UNKNOWN
    if file and path != posixpath.join("" if directory == "." else directory, "Dockerfile"):
        options["file"] = path
    options |= {"target": target} if target else {}
    if args := _build_args(state, entries):
        options["args"] = args
    content = state.project.read_bytes(path) if state.has_file(path) else None
    if content is None:
        hint = (
            f"add it, or name another one by `dockerfile:`, and type the command again: git ignores `{path}`, perhaps"
        )
        state.note(node, "build", "left-out", f"no Dockerfile of the project is at `{path}`", hint)
        return None, image_defaults.UNKNOWN
    return options or {"file": path}, image_defaults.of_dockerfile(content.decode(errors="replace"), target)


def _build_args(state: ImportState, build: YamlNode | None) -> dict[str, Json]:
    args: dict[str, Json] = {}
    for name, (node, given) in values.read_entries(state, build.get("args") if build else None, "args").items():
        value = state.look_up(name) if given is None else given
        if value is None:
            message = f"`{name}` has the value of the caller's shell in compose: not given"
            state.note(node, "build: args", "left-out", message, f"write it under `args:`, or use `--set {name}=…`")
        else:
            args[name] = value
    return args
