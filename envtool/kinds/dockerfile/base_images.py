"""The images that stages stand on: the kind `image` finds and pins them, under the names that the spec gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from envtool.api import Json, Kind, Request
from envtool.kinds.image import pins as pins_of_image
from envtool.kinds.image.base import ImageBase

KIND: Kind = ImageBase()


def image_option(options: Json, name: str) -> Json:
    """What the kind `image` is asked for a name in FROM or --from: as the spec's `images:` has it, or the name."""
    chosen: Any = cast("dict[str, Any]", options).get("images", {}) if isinstance(options, dict) else {}
    return cast("Json", chosen.get(name, name))


def image_request(request: Request, options: Json, keep: Json = None) -> Request:
    """The request as the kind `image` gets it; `keep` are its pins of an earlier answer."""
    return replace(request, options=options, keep=keep)


def image_config_of(request: Request, name: str, pins: Mapping[str, Json]) -> Mapping[str, Json]:
    """What an image says of itself."""
    return KIND.image_config(image_request(request, image_option(request.options, name)), pins[name])


def config_variables(config: Mapping[str, Json]) -> Mapping[str, str]:
    """What its Env means for what stands on it."""
    return pins_of_image.image_variables({"run": dict(config)})
