"""Calls the kind `image` for the images that FROM and --from name: it finds, pins and unpacks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from envtool.api import Base, Json, Request
from envtool.kinds.image import pins as pins_of_image
from envtool.kinds.image.base import ImageBase

KIND: Base = ImageBase()


def image_option(options: Json, name: str) -> Json:
    """Returns the option for the kind `image`: the entry of `images:` for a name in FROM or --from, or the name
    itself."""
    images: Any = cast("dict[str, Any]", options).get("images", {}) if isinstance(options, dict) else {}
    return cast("Json", images.get(name, name))


def image_request(request: Request, options: Json, keep: Json = None) -> Request:
    """Returns the request for the kind `image`; `keep` are the pins of the image from an earlier resolution."""
    return replace(request, options=options, keep=keep)


def image_config_of(request: Request, name: str, pins: Mapping[str, Json]) -> Mapping[str, Json]:
    """Returns the configuration of a pinned image."""
    return KIND.image_config(image_request(request, image_option(request.options, name)), pins[name])


def config_variables(config: Mapping[str, Json]) -> Mapping[str, str]:
    """Returns the variables that a configuration's Env sets."""
    return pins_of_image.image_variables({"run": dict(config)})
