"""Kinds of service in the place of official images: `{postgres: 15, role: app}` for `image: postgres:15` and its
POSTGRES_USER. Only where the same server, of the same version, has the same users and databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.app.compose.known_images import parse_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.model import Json

# kind -> the versions that Debian has (envtool-services): the tag of the image -> the value of the kind
_VERSIONS: Mapping[str, Mapping[str, Json]] = {
    "postgres": {version: int(version) for version in ("13", "15", "17")},
    "mariadb": {version: version for version in ("10.5", "10.11", "11.8")},
    "redis": {version: int(version) for version in ("6", "7", "8")},
}
_PROVIDES = {"postgres": "DATABASE_URL", "mariadb": "DATABASE_URL", "redis": "REDIS_URL"}
_IMAGE_ONLY = frozenset({"base", "set", "ready", "ports"})  # the kind has its own of them
_KEPT = frozenset({"needs", "replicas", "restart", "stop", "publish"})
_SYSTEMS = "alpine|bookworm|bullseye|trixie|slim|noble|jammy|focal"  # what an image is made from
_TAG = re.compile(rf"([0-9]+(?:\.[0-9]+)?)(?:\.[0-9]+)*(?:-(?:{_SYSTEMS})[0-9.]*)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PASSWORD = re.compile(r"[A-Za-z0-9_.~!@%^*+=:,/?-]{1,128}")


def with_kind(keys: Mapping[str, Json], image: str) -> dict[str, Json] | None:
    """Returns the keys of a service with a kind instead of its image; None if the kind would start another server, or
    one with other users, data or settings."""
    name = parse_image(image)
    versions = _VERSIONS.get(name.repository)
    tag = _TAG.fullmatch(name.tag)
    if versions is None or tag is None or keys.keys() - _IMAGE_ONLY - _KEPT:
        return None
    version = next((versions[part] for part in (tag[1], tag[1].partition(".")[0]) if part in versions), None)
    variables = keys.get("set", {})
    if version is None or not isinstance(variables, dict):
        return None
    options = _OPTIONS[name.repository]({key: str(value) for key, value in variables.items()})
    if options is None:
        return None
    return {name.repository: version, **options, **{key: keys[key] for key in keys if key in _KEPT}}


def without_url(keys: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the keys of a service of a kind, without the variable that the kind provides: for two services of one
    kind."""
    names = {variable: None for kind, variable in _PROVIDES.items() if kind in keys}
    return {**keys, "provides": dict(names)}


def provided(keys: Mapping[str, Json]) -> str:
    """Returns the variable that a service of a kind provides; "" without a kind."""
    return next((variable for kind, variable in _PROVIDES.items() if kind in keys), "")


def _postgres(variables: Mapping[str, str]) -> dict[str, Json] | None:
    known = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_HOST_AUTH_METHOD"}
    trusted = variables.get("POSTGRES_HOST_AUTH_METHOD", "trust") == "trust"
    if variables.keys() - known or not trusted:
        return None
    role = variables.get("POSTGRES_USER") or "postgres"
    password = "" if "POSTGRES_HOST_AUTH_METHOD" in variables else variables.get("POSTGRES_PASSWORD", "")
    return _login(role, password, variables.get("POSTGRES_DB") or role, default="postgres")


def _mariadb(variables: Mapping[str, str]) -> dict[str, Json] | None:
    plain = {name.removeprefix("MYSQL_").removeprefix("MARIADB_"): value for name, value in variables.items()}
    if plain.keys() - {"ROOT_PASSWORD", "DATABASE"} or not plain.get("ROOT_PASSWORD") or len(plain) != len(variables):
        return None  # a second user would have fewer rights than a role of the kind
    return _login("root", plain["ROOT_PASSWORD"], plain.get("DATABASE") or "test", default="root")


def _redis(variables: Mapping[str, str]) -> dict[str, Json] | None:
    return None if variables else {}


def _login(role: str, password: str, database: str, default: str) -> dict[str, Json] | None:
    if not (_NAME.fullmatch(role) and _NAME.fullmatch(database) and (not password or _PASSWORD.fullmatch(password))):
        return None
    options: dict[str, Json] = {} if role == default else {"role": role}
    options |= {"password": password} if password else {}
    return options | ({} if database == "postgres" == default else {"database": database})


_OPTIONS = {"postgres": _postgres, "mariadb": _mariadb, "redis": _redis}
