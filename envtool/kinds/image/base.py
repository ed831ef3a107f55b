"""`image: NAME[:TAG][@DIGEST]`: a base that is an image, each of its layers one of ours as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from envtool.api import (
    Archive,
    Fetch,
    FetchError,
    ImageSource,
    Json,
    Kind,
    Original,
    Part,
    Problem,
    Recipe,
    Request,
    Site,
    SpecError,
)
from envtool.fs.sizes import format_size
from envtool.kinds.image import pins as pinned
from envtool.kinds.image.pins import PinnedLayer
from envtool.kinds.image.source import ImageLocation, parse_source, source_of_options, target_platform

BLOB = "layer"  # what a build calls the file


class ImageLayer(Kind):
    """One layer of an image above its first. Its options: `image` (as in the spec, a registry's by its manifest),
    `manifest`, and those of `pins.Layer`."""

    name: ClassVar[str] = "image-layer"
    schema: ClassVar[Json] = {"description": "a layer of an image", "type": "object"}

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """See Kind."""
        return (pinned.fetch(_layer(request.options), BLOB),)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """See Kind."""
        from envtool.kinds.image import resolver

        options = cast("dict[str, Any]", request.options)
        return resolver.locate_blobs(
            parse_source(options["image"]), options["manifest"], request.directory, fetches, site
        )

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        return Recipe(archive=Archive(name=BLOB, diff_id=_layer(request.options).diff_id))

    def summary(self, request: Request, pins: Json) -> str:
        """As in: 31 MB."""
        return format_size(_layer(request.options).size)


LAYER = ImageLayer()


def parts(layers: Sequence[PinnedLayer], source: ImageLocation, manifest: str, request: Request) -> tuple[Part, ...]:
    """Layers of an image as parts of a base. They stand on nothing: each is what it is in any image."""
    image = f"{source.reference.name}@{manifest}" if source.reference is not None else source.text
    return tuple(
        Part(
            name=each.digest.removeprefix("sha256:")[: pinned.SHORT],
            kind=LAYER,
            options={
                "image": image,
                "manifest": manifest,
                "digest": each.digest,
                "size": each.size,
                "media_type": each.media_type,
                "diff_id": each.diff_id,
            },
            where=request.where,
        )
        for each in layers
    )


class ImageBase(Kind):
    """The base kind. Its own layer is the image's first; see `pins.make` for the pins."""

    name: ClassVar[str] = "image"
    pins: ClassVar[Json] = pinned.SCHEMA
    schema: ClassVar[Json] = {
        "description": "An image: of a registry (`alpine:3.20`, `registry.example.org/team/app@sha256:…`), or of a "
        "file of the project: `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:REFERENCE]`.",
        "examples": ["alpine:3.20"],
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "description": "Which image.",
                        "examples": ["alpine:3.20"],
                    },
                    "platform": {
                        "type": "string",
                        "pattern": "^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$",
                        "errorMessage": "a platform, as in linux/386 or linux/arm64/v8",
                        "description": "As in `linux/386`: what to take of an image for several. "
                        "Default: this machine's.",
                    },
                },
            },
        ],
    }

    def inputs(self, options: Json) -> tuple[str, ...]:
        """What says in files of the project which image it is."""
        try:
            return source_of_options(options)[0].inputs
        except FetchError:  # `judge` says so
            return ()

    def judge(self, options: Json) -> None:
        """Can it be the name of an image? Raises FetchError (codes reference, image-transport)."""
        source_of_options(options)

    def resolve(self, request: Request, site: Site) -> Json:
        """Ask what the name means now."""
        from envtool.kinds.image import resolver

        try:
            source, platform = source_of_options(request.options)
            asked = target_platform(platform, request.arch)
        except FetchError as error:
            problem = Problem(where=request.where, message=error.message, code=error.code, hint=error.hint)
            raise SpecError((problem,)) from error
        return resolver.resolve_image(source, asked, request.directory, site, request.keep)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The first layer."""
        return tuple(pinned.fetch(each, BLOB) for each in pinned.stacked_layers(pins)[:1])

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """See Kind."""
        from envtool.kinds.image import resolver

        return resolver.locate_blobs(
            source_of_options(request.options)[0], pinned.manifest_digest(pins), request.directory, fetches, site
        )

    def material(self, request: Request, pins: Json) -> Json:
        """Of an image without layers: there is nothing to tell it by."""
        return None

    def parts(self, request: Request, pins: Json) -> tuple[Part, ...]:
        """The other layers."""
        return parts(
            pinned.stacked_layers(pins)[1:],
            source_of_options(request.options)[0],
            pinned.manifest_digest(pins),
            request,
        )

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        first = pinned.stacked_layers(pins)[:1]
        return Recipe(archive=Archive(name=BLOB, diff_id=first[0].diff_id)) if first else Recipe()

    def image_config(self, request: Request, pins: Json) -> Mapping[str, Json]:
        """See Kind."""
        return pinned.run_config(pins)

    def image_source(self, request: Request, pins: Json) -> ImageSource:
        """See Kind."""
        registry = source_of_options(request.options)[0].reference is not None
        name = pinned.image_name(pins) if registry else ""
        return ImageSource(name=name, digest=pinned.manifest_digest(pins), platform=pinned.image_platform(pins))

    def original(self, request: Request, pins: Json, site: Site) -> Original:
        """See Kind."""
        from envtool.kinds.image import original

        return original.read_original(source_of_options(request.options)[0], pins, request.directory, site)

    def variables(self, request: Request, pins: Json) -> Mapping[str, str]:
        """What the image's Env says."""
        return pinned.image_variables(pins)

    def epoch(self, pins: Json) -> int | None:
        """When the image was made."""
        return pinned.created_epoch(pins)

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Where it is Debian or Ubuntu, by the Contents index of its suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Json) -> str:
        """As in: alpine:3.20, 3 layers, 31 MB."""
        layers = pinned.layers(pins)
        short = pinned.image_name(pins).rpartition("/")[2]
        count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
        return f"{short}, {count}, {format_size(sum(each.size for each in layers))}"


def _layer(options: Json) -> PinnedLayer:
    found = cast("dict[str, Any]", options)
    return PinnedLayer(**{name: found[name] for name in ("digest", "size", "media_type", "diff_id")})
