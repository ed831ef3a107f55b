"""The ENTRYPOINT of official images, which are not fetched for it.

Source of the entrypoints: the images' own Dockerfiles.
"""

from __future__ import annotations

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
            "openjdk", "perl", "python", "ruby", "rust", "scratch", "ubuntu",
        ),
        (),
    ),
}  # fmt: skip
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
