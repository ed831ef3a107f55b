"""`dockerfile: FILE`: a base that is what a Dockerfile builds. The work is done in `making`, imported when there is
some: kinds are loaded whenever a spec is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from envtool.api import Fetch, Json, Kind, Part, Recipe, Request, Site, shapes
from envtool.kinds.dockerfile.options import PATH, text_inputs
from envtool.kinds.image import pins as pinned


class Dockerfile(Kind):
    """The base kind. Its pins: `images` (by the name that FROM or --from gives, as the kind `image` pins them) and
    `urls` of ADD. Its own layer is the first of the image that the target stands on."""

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
        "description": "What a Dockerfile builds: its path, or a mapping. Each instruction that changes the tree is a"
        " layer; stages that are not needed are not built. RUN has the network unless it says `--network=none`.",
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
                        "description": "What `RUN --mount=type=secret` finds, by id: a file of the project; or, where"
                        " the caller allows it (`--allow-secret`), a variable or a file of theirs (absolute, or"
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
                        "description": "Other images for the names that FROM and --from use: whatever the kind `image`"
                        " takes, as in {debian:12: oci:images/debian}.",
                        "type": "object",
                        "additionalProperties": {"type": ["string", "object"]},
                    },
                    "platform": {
                        "type": "string",
                        "pattern": "^linux/[a-z0-9]+(/v[0-9]+)?$",
                        "errorMessage": "a platform of Linux, as in linux/amd64 or linux/arm/v7",
                        "description": "The platform it is for, as in linux/amd64: it has to be this machine's.",
                    },
                },
            },
        ],
    }

    def asked_inputs(self, options: Json) -> tuple[str, ...]:
        """What tells which image a local one is."""
        from envtool.kinds.dockerfile import resolver

        return resolver.local_image_files(options)

    def judge(self, options: Json) -> None:
        """Can each of `images:` be an image?"""
        from envtool.kinds.dockerfile import base_images

        chosen: Any = options if isinstance(options, dict) else {}
        for each in chosen.get("images", {}).values():
            base_images.KIND.judge(each)

    def check(self, request: Request, site: Site) -> None:
        """Can the Dockerfile be read, and are the local images there that it needs?"""
        from envtool.kinds.dockerfile import resolver

        resolver.check(request, site)

    def foreseen(self, request: Request) -> tuple[Part, ...]:
        """Its COPYs of the context, and RUNs that mount it or a secret."""
        from envtool.kinds.dockerfile import resolver

        return resolver.foreseen(request)

    def texts(self, options: Json) -> tuple[str, ...]:
        """The Dockerfile, and what its context ignores."""
        return text_inputs(options)

    def question(self, request: Request) -> Json:
        """The images that are named, and what ADD may fetch; not what is built of them."""
        from envtool.kinds.dockerfile import resolver

        return resolver.question(request)

    def resolve(self, request: Request, site: Site) -> Json:
        """Pin each image, and what is behind the URLs of ADD that say no checksum."""
        from envtool.kinds.dockerfile import resolver

        return resolver.resolve(request, site)

    def fresh(self, request: Request, pins: Any) -> bool:
        """Are the images still what they were, by looking at this machine alone?"""
        from envtool.kinds.dockerfile import resolver

        return resolver.fresh(request, pins)

    def watches(self, pins: Any) -> tuple[str, ...]:
        """What the images are known by on this machine."""
        from envtool.kinds.dockerfile import base_images

        return tuple(path for known in pins["images"].values() for path in base_images.KIND.watches(known))

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The first layer of the image that the target stands on."""
        from envtool.kinds.dockerfile import resolver

        found = resolver.own_image_request(request, pins)
        return found[0].fetches(found[1], found[2]) if found else ()

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """As the kind `image` has it."""
        from envtool.kinds.dockerfile import resolver

        found = resolver.own_image_request(request, pins)
        return found[0].locate(found[1], found[2], fetches, site) if found else fetches

    def material(self, request: Request, pins: Json) -> Json:
        """What decides that layer; the parts have keys of their own."""
        from envtool.kinds.dockerfile import resolver

        found = resolver.own_image_request(request, pins)
        return found[0].material(found[1], found[2]) if found else "scratch"

    def build(self, request: Request, pins: Json) -> Recipe:
        """That layer, or nothing for `scratch`."""
        from envtool.kinds.dockerfile import resolver

        found = resolver.own_image_request(request, pins)
        return found[0].build(found[1], found[2]) if found else Recipe()

    def parts(self, request: Request, pins: Any) -> tuple[Part, ...]:
        """One for each layer of the images, and for each instruction that changes the tree."""
        from envtool.kinds.dockerfile import resolver

        return resolver.parts(request, pins)

    def image_config(self, request: Request, pins: Any) -> Mapping[str, Json]:
        """What the target says of itself."""
        from envtool.kinds.dockerfile import resolver

        return resolver.image_config(request, pins)

    def variables(self, request: Request, pins: Any) -> Mapping[str, str]:
        """What its ENVs and its image's say."""
        from envtool.kinds.dockerfile import base_images, resolver

        return base_images.config_variables(resolver.image_config(request, pins))

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Where it is Debian or Ubuntu, by the Contents index of its suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Any) -> str:
        """As in: 2 images."""
        count = len(pins["images"])
        return f"{count} image{'s' if count != 1 else ''}" if count else "scratch"
