"""Parses the value under `image:`. Pure.

    alpine:3.20, host:5000/o/n@sha256:…   a registry (docker.io by default)
    oci:DIR[:NAME]                        an OCI image layout; NAME is an annotation of the image
    oci-archive:FILE[:NAME]               an OCI image layout as a tar
    docker-archive:FILE[:REFERENCE]       an archive of `docker save` or `podman save`

The prefixes are those of skopeo and podman (containers-transports(5)). Paths are relative to the spec, and stay in the
project."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from envtool.api import FetchError, Json, oci_images
from envtool.api.untrusted_text import natural
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.api.oci_images import Platform, Reference

LAYOUT, LAYOUT_ARCHIVE, DOCKER_ARCHIVE = "oci", "oci-archive", "docker-archive"
FOREIGN_TRANSPORTS = ("docker", "docker-daemon", "containers-storage", "dir", "sif", "ostree", "atomic")
MARKER, INDEX = "oci-layout", "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLocation:
    """The location of an image: in a registry, or at `path` below the spec's directory, where `name` selects one
    image."""

    text: str  # as it was written
    scheme: str = ""  # "" for a registry
    reference: Reference | None = None
    path: str = ""
    name: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the project that identify the image."""
        if self.scheme == LAYOUT:
            return posixpath.join(self.path, MARKER), posixpath.join(self.path, INDEX)
        return (self.path,) if self.scheme else ()


def parse_source(text: str) -> ImageLocation:
    """Returns the location of an image. Raises FetchError (codes reference, image-transport)."""
    scheme, colon, location = text.partition(":")
    if colon and scheme in (LAYOUT, LAYOUT_ARCHIVE, DOCKER_ARCHIVE) and not location.isdigit():
        path, _, name = location.partition(":")
        if not path:
            raise FetchError(
                f"image `{text}`: nothing stands after `{scheme}:`",
                code="image-transport",
                hint=f"as in `{scheme}:images/app`, a path inside the project",
            )
        if path.startswith("/") or ".." in path.split("/"):
            raise FetchError(
                f"image `{text}`: `{path}` is no path inside the project",
                code="image-transport",
                hint="paths are relative to the spec",
            )
        return ImageLocation(text=text, scheme=scheme, path=posixpath.normpath(path), name=name)
    if scheme in ("http", "https") and location.startswith("//"):
        hint = f"leave {scheme}:// out: `{location.lstrip('/')}`"
        raise FetchError(f"image `{text}`: it is not a URL", code="reference", hint=hint)
    if colon and (scheme in FOREIGN_TRANSPORTS or location.startswith("//")):
        hint = f"in a registry: `{location.lstrip('/')}`" if scheme == "docker" else ""
        raise FetchError(
            f"image `{text}`: `{scheme}:` is not read; oci:, oci-archive: and docker-archive: are",
            code="image-transport",
            hint=hint or f"`skopeo copy {text} oci:DIR` makes a layout of it",
        )
    return ImageLocation(text=text, reference=oci_images.parse_reference(text))


def source_of_options(options: Json) -> tuple[ImageLocation, str]:
    """Returns the location and the platform ("" for this machine's) in a base's options. Raises the same as
    `parse_source`."""
    if isinstance(options, dict):
        return parse_source(str(options["name"])), str(options.get("platform", ""))
    return parse_source(str(options)), ""


def target_platform(platform: str, machine: str) -> Platform:
    """Returns the platform of the image for a machine (`uname -m`). Raises FetchError (code image-platform) for a
    platform that the machine cannot run."""
    machine_platform = oci_images.platform_of_machine(machine)
    if not platform:
        return machine_platform
    target = oci_images.parse_platform(platform)
    number = natural(target.variant[1:])
    if target.architecture == machine_platform.architecture == "amd64" and number and number > oci_images.amd64_level():
        text = f"an image for {target} does not run here: the processor is amd64/v{oci_images.amd64_level()}"
        raise FetchError(text, code="image-platform")
    smaller = {"amd64": "386", "arm64": "arm"}.get(machine_platform.architecture)
    if not oci_images.compatibility(machine_platform, target) and (target.os, target.architecture) != (
        machine_platform.os,
        smaller,
    ):
        raise FetchError(f"an image for {target} does not run on this {machine}", code="image-platform")
    return target
