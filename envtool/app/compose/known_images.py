"""What is known of official images without fetching them: their ENTRYPOINT, and the kind of service that does the same.

Source of the entrypoints: the images' own Dockerfiles.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_DOCKER_ENTRYPOINT = ("docker-entrypoint.sh",)
ENTRYPOINTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "postgres", "mysql", "mariadb", "mongo", "redis", "valkey/valkey", "rabbitmq", "memcached", "node",
            "wordpress", "cassandra", "postgis/postgis",
        ),
        _DOCKER_ENTRYPOINT,
    ),
    "nginx": ("/docker-entrypoint.sh",),
    "zookeeper": ("/docker-entrypoint.sh",),
    "traefik": ("/entrypoint.sh",),
    "php": ("docker-php-entrypoint",),
    **dict.fromkeys(
        (
            "alpine", "amazoncorretto", "busybox", "caddy", "debian", "elixir", "erlang", "fedora", "golang", "httpd",
            "openjdk", "perl", "python", "ruby", "rust", "ubuntu",
        ),
        (),
    ),
}  # fmt: skip
# image -> the kind of service; only a kind that runs the same server, as Debian packages it
KINDS = {"postgres": "postgres", "redis": "redis", "mariadb": "mariadb", "rabbitmq": "rabbitmq", "nginx": "nginx"}
_REGISTRIES = ("docker.io/", "index.docker.io/", "registry-1.docker.io/")


class ImageName(NamedTuple):
    """The parts of an image's name: the repository without docker.io and library/, and the tag."""

    repository: str
    tag: str


def parse_image(image: str) -> ImageName:
    """Returns the parts of an image's name; the digest is left out."""
    name = image.partition("@")[0]
    for registry in _REGISTRIES:
        name = name.removeprefix(registry)
    name = name.removeprefix("library/")
    repository, colon, tag = name.rpartition(":")
    return ImageName(repository, tag) if colon and "/" not in tag else ImageName(name, "")


def entrypoint_of(image: str) -> tuple[str, ...] | None:
    """Returns the ENTRYPOINT of an official image; None if it is not known."""
    return ENTRYPOINTS.get(parse_image(image).repository)


def suggested_kind(image: str) -> str:
    """Returns the line of a spec that has the same server by a kind of service, as in `postgres: 15`; "" if none
    does."""
    name = parse_image(image)
    kind = KINDS.get(name.repository, "")
    version = re.match(r"[0-9]+", name.tag)
    if kind == "postgres" and version:
        return f"postgres: {version[0]}"
    return f"{kind}: true" if kind else ""
