"""`volumes`, `tmpfs`, `configs` and `secrets` of a service: files of the project become layers; data volumes do not
exist here."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values
from envtool.spec.scalar_types import resolve_project_path

if TYPE_CHECKING:
    from envtool.app.compose.notes import ImportState
    from envtool.model import Json
    from envtool.spec.node import YamlNode

_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock")
_SYSTEM = ("/run", "/tmp", "/var/tmp", "/dev", "/proc", "/sys")  # new in each container: no layer is seen there
_LIVE = "a copy as of its start: what it writes there is dropped at its end"
_DECLARE = (
    "write `secrets: {{{name}: {options}}}` at the top and `secrets: [{name}]` in the service; the caller gives the"
    " value: `--allow-secret {name}=file:PATH`"
)


class VolumeMount(NamedTuple):
    """One entry of `volumes`. `source` is a path or a name, "" for an anonymous volume."""

    node: YamlNode
    type: str  # "bind", "volume", "tmpfs" …
    source: str
    target: str
    writable: bool = True


def read_mounts(state: ImportState, service: YamlNode) -> list[Json]:
    """Returns the layers that replace the mounts of a service. Notes each mount that is not of the project's files."""
    mounts: dict[str, VolumeMount] = {}
    node = service.get("volumes")
    if node is not None and node.value is not None and not isinstance(node.value, list):
        values.wrong_type(state, node, "volumes", "a list")
    for member in node.items() if node is not None else ():
        mount = _long(state, member) if isinstance(member.value, dict) else _short(state, member)
        if mount is not None:
            mounts[mount.target] = mount  # of two with one target the last counts
    layers = [layer for mount in mounts.values() if (layer := _layer(state, mount)) is not None]
    for member, path in values.read_texts(state, service.get("tmpfs"), "tmpfs"):
        state.note(member, "tmpfs", "meaningless", f"what it writes to {path.partition(':')[0]} is in memory already")
    return [*layers, *_configs(state, service), *_secrets(state, service)]


def _short(state: ImportState, node: YamlNode) -> VolumeMount | None:
    """Returns the parts of `SOURCE:TARGET:ro`, `TARGET`."""
    text = values.read_text(state, node, "volumes")
    parts = text.split(":")
    if not text or len(parts) > 3:
        hint = "write it as in ./conf:/etc/app:ro"
        state.problems.add(node, f"`{text[:60]}` is no volume", code="compose", hint=hint)
        return None
    if len(parts) == 1:
        return VolumeMount(node, "volume", "", text)
    options = parts[2].split(",") if len(parts) == 3 else []
    kind = "bind" if parts[0].startswith((".", "/", "~")) else "volume"
    return VolumeMount(node, kind, parts[0], parts[1], "ro" not in options)


def _long(state: ImportState, node: YamlNode) -> VolumeMount | None:
    entries = node.mapping()
    known = ("type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency", "image", "x-")
    for key in entries:
        if key not in known and not key.startswith("x-"):
            state.note(node.key(key), f"volumes: {key}", "left-out", "it is not known here")
    target = values.read_text(state, entries.get("target"), "target")
    kind = values.read_text(state, entries.get("type"), "type") or "volume"
    if not target:
        state.problems.add(node, "a volume without `target`", code="compose", hint="write the path in the container")
        return None
    source = values.read_text(state, entries.get("source"), "source")
    writable = not values.read_flag(state, entries.get("read_only"), "read_only")
    return VolumeMount(node, kind, source, target, writable)


def _layer(state: ImportState, mount: VolumeMount) -> Json:
    """Returns the layer for one mount, or None."""
    node = mount.node
    if mount.type == "tmpfs":
        state.note(node, "volumes", "meaningless", f"what it writes to {mount.target} is in memory already")
        return None
    if mount.type == "volume":
        label = f"`{mount.source}`" if mount.source else "the volume"
        message = f"{label} at {mount.target} is not kept: what a service writes is of one run"
        state.note(node, "volumes", "left-out", message, "to start with data in it: `prepare:`")
        return None
    if mount.type != "bind":
        message = f"a volume of type `{mount.type[:20]}` at {mount.target}"
        state.note(node, "volumes", "left-out", message, "copy the files by a layer")
        return None
    if mount.source in _SOCKETS:
        message = "the socket of a Docker daemon: envtool has none, and gives no container its caller's rights"
        state.note(node, "volumes", "left-out", message, "keep this service outside of envtool")
        return None
    path = resolve_project_path(mount.source, node.source.directory)
    if path is None:
        message = f"`{mount.source}` is outside of the project: nothing of this machine is mounted"
        state.note(node, "volumes", "left-out", message, "copy what it needs into the project")
        return None
    return _copy(state, node, "volumes", path, mount.target, _LIVE if mount.writable else "a copy as of its start")


def _copy(state: ImportState, node: YamlNode, key: str, path: str, target: str, message: str) -> Json:
    """Returns a layer with a file or directory of the project. Notes a path that does not exist, and a target at which
    containers do not see layers."""
    target = posixpath.normpath(target) if target.startswith("/") else ""
    if not target or target == "/" or any(f"{target}/".startswith(f"{top}/") for top in _SYSTEM):
        where = f"{target} is new in each container" if target else "a target is an absolute path"
        state.note(node, key, "left-out", f"`{path}`: {where}", "copy it to another path by a layer")
        return None
    if not state.has_file(path):
        message = f"no file of the project is at `{path}` (git ignores it, or it does not exist): nothing is copied"
        state.note(node, key, "left-out", message, "make and commit it, and import again")
        return None
    state.note(node, key, "changed", f"`{path}` at {target} is {message}")
    source = "." if path == "." else _literal(path)
    return {"copy": {"from": source, "to": target}}


def _literal(path: str) -> str:
    """Returns a path as a pattern that matches it alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


# ---- configs and secrets ---------------------------------------------------------------------------------------------


def _granted(state: ImportState, service: YamlNode, key: str) -> list[tuple[YamlNode, str, str]]:
    """Returns the configs or secrets of a service: the node, the name, the target as written."""
    node = service.get(key)
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list):
        values.wrong_type(state, node, key, "a list")
        return []
    granted = []
    for member in node.value:
        if isinstance(member.value, dict):
            name = values.read_text(state, member.get("source"), "source")
            granted.append((member, name, values.read_text(state, member.get("target"), "target")))
        else:
            granted.append((member, values.read_text(state, member, key), ""))
    return granted


def _configs(state: ImportState, service: YamlNode) -> list[Json]:
    layers: list[Json] = []
    for node, name, target in _granted(state, service, "configs"):
        declared = state.configs.get(name)
        file = declared.get("file") if declared is not None else None
        if declared is None or file is None:
            reason = "is not declared" if declared is None else "has no `file:` of the project"
            hint = "write its content to a file of the project, and copy it by a layer"
            state.note(node, "configs", "left-out", f"the config `{name}` {reason}", hint)
            continue
        path = resolve_project_path(values.read_text(state, file, "file"), file.source.directory)
        if path is None:
            state.note(node, "configs", "left-out", f"the file of `{name}` is outside of the project")
            continue
        if layer := _copy(state, node, "configs", path, target or f"/{name}", "a copy as of its start"):
            layers.append(layer)
    return layers


def _secrets(state: ImportState, service: YamlNode) -> list[Json]:
    """Returns layers for secrets that are files of the project, with a target at which a layer is seen; all others are
    noted."""
    layers: list[Json] = []
    for node, name, target in _granted(state, service, "secrets"):
        declared = state.secrets.get(name)
        file = declared.get("file") if declared is not None else None
        path = resolve_project_path(values.read_text(state, file, "file"), file.source.directory) if file else None
        if path is not None and target.startswith("/"):
            if layer := _copy(state, node, "secrets", path, target, "a copy as of its start, in a layer"):
                layers.append(layer)
            continue
        at = target if target.startswith("/") else f"/run/secrets/{target or name}"
        hint = _DECLARE.format(name=name, options="{}" if at == f"/run/secrets/{name}" else f"{{target: {at}}}")
        state.note(node, "secrets", "left-out", f"the secret `{name}` is not at {at}", hint)
    return layers
