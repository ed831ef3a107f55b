"""The kind `dockerfile`: a base that a Dockerfile builds.

The methods import `resolver` when they are called: kinds are loaded whenever a spec is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import Base, Input, Json, Part, Request, Site, shapes
from envtool.kinds.dockerfile.options import PATH, text_inputs
from envtool.kinds.image import pins as pinned

if TYPE_CHECKING:
    from envtool.api import Fetch, Recipe


class Dockerfile(Base):
    """The base kind. Its pins: `images` (the pins of the kind `image`, by the name in FROM or --from) and `urls` (the
    files that ADD downloads). The base's own layer is the first layer of the image that the target stands on."""

    stands_in: ClassVar[bool] = True  # the images of all architectures are then of one build
    name: ClassVar[str] = "dockerfile"
    pins: ClassVar[Json] = shapes.record(
        {
            "images": shapes.mapping(pinned.SCHEMA),
            "urls": shapes.rows(
                shapes.record({"url": shapes.URL, "sha256": shapes.SHA256, "size": shapes.SIZE, "name": shapes.FILE})
            ),
        }
    )
    schema: ClassVar[Json] = {
        "description": "A base that a Dockerfile builds: its path, or a mapping. Each instruction that changes the tree"
        " is a layer; stages that are not needed are not built. RUN has the network unless it says `--network=none`.",
        "examples": ["Dockerfile"],
        "anyOf": [
            {**PATH, "description": "Path of the Dockerfile; its context is the spec's own directory."},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "file": {**PATH, "description": "Path of the Dockerfile. Default: Dockerfile in the context."},
                    "context": {
                        **PATH,
                        "description": "The directory that COPY copies from. Default: the spec's own.",
                    },
                    "target": {
                        "type": "string",
                        "minLength": 1,
                        "description": "The stage to build. Default: the last.",
                    },
                    "args": {
                        "description": "Values of ARGs.",
                        "type": "object",
                        "additionalProperties": {"type": ["string", "number", "boolean"]},
                    },
                    "secrets": {
                        "description": "Secrets for `RUN --mount=type=secret`, by id: a file of the project; or, if"
                        " the caller allows it (`--allow-secret`), the caller's variable or file (absolute, or"
                        " below ~). Never part of a key or a layer.",
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "additionalProperties": False,
                            "minProperties": 1,
                            "maxProperties": 1,
                            "properties": {
                                "env": {"type": "string", "minLength": 1, "description": "Name of the variable."},
                                "file": {"type": "string", "minLength": 1, "description": "Path of the file."},
                            },
                        },
                    },
                    "images": {
                        "description": "Other images for the names that FROM and --from use, written as for the kind"
                        " `image`, as in {debian:12: oci:images/debian}.",
                        "type": "object",
                        "additionalProperties": {"type": ["string", "object"]},
                    },
                    "platform": {
                        "type": "string",
                        "pattern": "^linux/[a-z0-9]+(/v[0-9]+)?$",
                        "errorMessage": "a platform of Linux, as in linux/amd64 or linux/arm/v7",
                        "description": "The platform to build for, as in linux/amd64; it must be this machine's.",
                    },
                },
            },
        ],
    }

    def inputs(self, options: Json) -> Iterable[Input]:
        """Returns the Dockerfile and its ignore files, and the project's files that identify local images."""
        from envtool.kinds.dockerfile import resolver

        yield from (Input(path, use="text", required=False) for path in text_inputs(options))
        yield from (Input(path, use="resolve", required=False) for path in resolver.local_image_files(options))

    def judge(self, options: Json) -> None:
        """Raises SpecError for an entry of `images:` that is no image."""
        from envtool.kinds.dockerfile import base_images

        mapping: Any = options if isinstance(options, dict) else {}
        for option in mapping.get("images", {}).values():
            base_images.KIND.judge(option)

    def check(self, request: Request, site: Site) -> None:
        """Raises SpecError or ResolveError if the Dockerfile is wrong, or a local image that it needs does not
        exist."""
        from envtool.kinds.dockerfile import resolver

        resolver.check(request, site)

    def foreseen(self, request: Request) -> tuple[Part, ...]:
        """Returns the sublayers that read the project or a secret: COPY from the context, RUN with such a mount."""
        from envtool.kinds.dockerfile import resolver

        return resolver.foreseen(request)

    def question(self, request: Request) -> Json:
        """Returns the names of the images and the URLs that ADD may fetch; the other instructions are no part of the
        question."""
        from envtool.kinds.dockerfile import resolver

        return resolver.question(request)

    def resolve(self, request: Request, site: Site) -> Json:
        """Pins each image, and each URL of an ADD without a checksum."""
        from envtool.kinds.dockerfile import resolver

        return resolver.resolve(request, site)

    def fresh(self, request: Request, pins: Any) -> bool:
        """Whether this machine still has the same images. Asks no network."""
        from envtool.kinds.dockerfile import resolver

        return resolver.fresh(request, pins)

    def watches(self, pins: Any) -> tuple[str, ...]:
        """Returns the paths on this machine that identify the images."""
        from envtool.kinds.dockerfile import base_images

        return tuple(path for image_pins in pins["images"].values() for path in base_images.KIND.watches(image_pins))

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the fetches of the base's own layer."""
        from envtool.kinds.dockerfile import resolver

        image = resolver.own_image_request(request, pins)
        return image[0].fetches(image[1], image[2]) if image else ()

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the fetches with their sources, as the kind `image` finds them."""
        from envtool.kinds.dockerfile import resolver

        image = resolver.own_image_request(request, pins)
        return image[0].locate(image[1], image[2], fetches, site) if image else fetches

    def material(self, request: Request, pins: Json) -> Json:
        """Returns what decides the base's own layer; the sublayers have keys of their own."""
        from envtool.kinds.dockerfile import resolver

        image = resolver.own_image_request(request, pins)
        return image[0].material(image[1], image[2]) if image else "scratch"

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns the recipe of the base's own layer, which is empty for `scratch`."""
        from envtool.api import Recipe
        from envtool.kinds.dockerfile import resolver

        image = resolver.own_image_request(request, pins)
        return image[0].build(image[1], image[2]) if image else Recipe()

    def parts(self, request: Request, pins: Any) -> tuple[Part, ...]:
        """Returns a sublayer for each layer of the images, and for each instruction that changes the tree."""
        from envtool.kinds.dockerfile import resolver

        return resolver.parts(request, pins)

    def image_config(self, request: Request, pins: Any) -> Mapping[str, Json]:
        """Returns the image configuration of the target."""
        from envtool.kinds.dockerfile import resolver

        return resolver.image_config(request, pins)

    def variables(self, request: Request, pins: Any) -> Mapping[str, str]:
        """Returns the variables that the target's ENVs and its image set."""
        from envtool.kinds.dockerfile import base_images, resolver

        return base_images.config_variables(resolver.image_config(request, pins))

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns the packages that have the files: on Debian and Ubuntu, from the Contents index of the suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Any) -> str:
        """Returns the number of images, as in "2 images"."""
        count = len(pins["images"])
        return f"{count} image{'s' if count != 1 else ''}" if count else "scratch"
