"""The kind `image`: a base that is an image. Each layer of the image is a sublayer, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from envtool.api import Base, FetchError, Input, Json, Kind, Part, Problem, Request, Site, SpecError
from envtool.api.untrusted_text import format_size
from envtool.kinds.image import pins as pinned
from envtool.kinds.image.pins import PinnedLayer

if TYPE_CHECKING:
    from envtool.api import Fetch, ImageSource, Original, Recipe
    from envtool.kinds.image.source import ImageLocation

BLOB = "layer"  # name of the layer's file in a build


class ImageLayer(Kind):
    """One layer of an image above the first. Its options: `image` (as in the spec; of a registry with the manifest's
    digest), `manifest`, and the fields of `pins.PinnedLayer`."""

    name: ClassVar[str] = "image-layer"
    schema: ClassVar[Json] = {"description": "a layer of an image", "type": "object"}

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the layer's blob."""
        return (pinned.fetch(_layer(request.options), BLOB),)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the blob with its URL."""
        from envtool.kinds.image import resolver
        from envtool.kinds.image.source import parse_source

        options = cast("dict[str, Any]", request.options)
        return resolver.locate_blobs(
            parse_source(options["image"]), options["manifest"], request.directory, fetches, site
        )

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that unpacks the blob."""
        from envtool.api import Archive, Recipe

        return Recipe(archive=Archive(name=BLOB, diff_id=_layer(request.options).diff_id))

    def summary(self, request: Request, pins: Json) -> str:
        """Returns the size, as in "31 MB"."""
        return format_size(_layer(request.options).size)


LAYER = ImageLayer()


def parts(layers: Sequence[PinnedLayer], source: ImageLocation, manifest: str, request: Request) -> tuple[Part, ...]:
    """Returns layers of an image as sublayers of a base. Each is built with no layers below it, so that all images with
    the layer share it."""
    image = f"{source.reference.name}@{manifest}" if source.reference is not None else source.text
    return tuple(
        Part(
            name=layer.digest.removeprefix("sha256:")[: pinned.SHORT],
            kind=LAYER,
            options={
                "image": image,
                "manifest": manifest,
                "digest": layer.digest,
                "size": layer.size,
                "media_type": layer.media_type,
                "diff_id": layer.diff_id,
            },
            where=request.where,
        )
        for layer in layers
    )


class ImageBase(Base):
    """The base kind. Its own layer is the image's first layer; see `pins.make_pins` for the pins."""

    stands_in: ClassVar[bool] = True  # the images of all architectures are then of one build
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
                        "description": "Which platform of an image for several, as in `linux/386`. "
                        "Default: this machine's.",
                    },
                },
            },
        ],
    }

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns the files of the project that identify the image."""
        try:
            return tuple(map(Input, _source(options)[0].files))
        except FetchError:  # `judge` raises it
            return ()

    def judge(self, options: Json) -> None:
        """Raises FetchError (codes reference, image-transport) for a name that no image can have."""
        _source(options)

    def resolve(self, request: Request, site: Site) -> Json:
        """Resolves the name to the pins of the image that it names now."""
        from envtool.kinds.image import resolver
        from envtool.kinds.image.source import target_platform

        try:
            source, platform = _source(request.options)
            target = target_platform(platform, request.arch)
        except FetchError as error:
            problem = Problem(where=request.where, message=error.message, code=error.code, hint=error.hint)
            raise SpecError((problem,)) from error
        return resolver.resolve_image(source, target, request.directory, site, request.keep)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the blob of the first layer."""
        return tuple(pinned.fetch(layer, BLOB) for layer in pinned.stacked_layers(pins)[:1])

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the blob with its URL."""
        from envtool.kinds.image import resolver

        return resolver.locate_blobs(
            _source(request.options)[0], pinned.manifest_digest(pins), request.directory, fetches, site
        )

    def material(self, request: Request, pins: Json) -> Json:
        """Returns None: the layer's hash is in the key, and an image without layers has an empty tree."""
        return None

    def parts(self, request: Request, pins: Json) -> tuple[Part, ...]:
        """Returns the layers above the first."""
        return parts(
            pinned.stacked_layers(pins)[1:],
            _source(request.options)[0],
            pinned.manifest_digest(pins),
            request,
        )

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that unpacks the first layer; empty for an image without layers."""
        from envtool.api import Archive, Recipe

        first = pinned.stacked_layers(pins)[:1]
        return Recipe(archive=Archive(name=BLOB, diff_id=first[0].diff_id)) if first else Recipe()

    def image_config(self, request: Request, pins: Json) -> Mapping[str, Json]:
        """Returns the image's configuration."""
        return pinned.run_config(pins)

    def image_source(self, request: Request, pins: Json) -> ImageSource:
        """Returns the image's name (of a registry), the digest of its manifest, and its platform."""
        from envtool.api import ImageSource

        registry = _source(request.options)[0].reference is not None
        name = pinned.image_name(pins) if registry else ""
        return ImageSource(name=name, digest=pinned.manifest_digest(pins), platform=pinned.image_platform(pins))

    def original(self, request: Request, pins: Json, site: Site) -> Original:
        """Returns the image's own manifest and config."""
        from envtool.kinds.image import original

        return original.read_original(_source(request.options)[0], pins, request.directory, site)

    def variables(self, request: Request, pins: Json) -> Mapping[str, str]:
        """Returns the variables in the image's Env."""
        return pinned.image_variables(pins)

    def epoch(self, pins: Json) -> int | None:
        """Returns when the image was created, in seconds."""
        return pinned.created_epoch(pins)

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns the packages that have the files: on Debian and Ubuntu, from the Contents index of the suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Json) -> str:
        """Returns name, number of layers and size, as in "alpine:3.20, 3 layers, 31 MB"."""
        layers = pinned.layers(pins)
        name = pinned.image_name(pins).rpartition("/")[2]
        count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
        return f"{name}, {count}, {format_size(sum(layer.size for layer in layers))}"


def _source(options: Json) -> tuple[ImageLocation, str]:
    """See source.source_of_options. The module is imported by specs that have an image, and not by every other."""
    from envtool.kinds.image.source import source_of_options

    return source_of_options(options)


def _layer(options: Json) -> PinnedLayer:
    fields = cast("dict[str, Any]", options)
    return PinnedLayer(**{name: fields[name] for name in ("digest", "size", "media_type", "diff_id")})
