"""The pins of an image: digests, sizes, diff IDs and configuration. They contain no host name but the one in the
image's name, no path and no credential. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from envtool.api import FetchError, Json, shapes
from envtool.api.oci_images import LAYERS
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.api import Fetch
    from envtool.api.oci_images import Descriptor, ImageConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # the default of every container
CONTAINER_VARIABLES = frozenset(
    {"HOME", "HOSTNAME", "LOGNAME", "OLDPWD", "PWD", "SHLVL", "SOURCE_DATE_EPOCH", "TERM", "USER"}
)
SHORT = 12  # hex digits of a digest in displays
EARLIEST, LATEST = 315532800, 4102444800  # 1980, because zip files have no earlier dates; 2100


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedLayer:
    """One layer of an image: its blob, and the digest of the uncompressed tar (`diff_id`)."""

    digest: str
    size: int
    media_type: str
    diff_id: str


_STRINGS = shapes.rows({"type": "string"})
_DIGEST: Json = {"anyOf": [shapes.DIGEST, {"const": ""}]}
SCHEMA = shapes.record(
    {
        "image": shapes.record({"name": shapes.TEXT, "version": shapes.TEXT}),
        "digests": shapes.record({"index": _DIGEST, "manifest": _DIGEST, "config": shapes.DIGEST}),
        "platform": shapes.TEXT,
        "created": shapes.TEXT,
        "run": {
            "type": "object",
            "properties": {
                **{name: {"type": "string"} for name in ("User", "WorkingDir", "StopSignal")},
                **dict.fromkeys(("Env", "Entrypoint", "Cmd", "OnBuild", "Shell"), _STRINGS),
                **{name: {"type": "object"} for name in ("ExposedPorts", "Volumes")},
                "Labels": shapes.rows({**cast("dict[str, Json]", _STRINGS), "minItems": 2, "maxItems": 2}),
            },
        },
        "layers": shapes.rows(
            shapes.record(
                {
                    "digest": shapes.DIGEST,
                    "size": shapes.SIZE,
                    "media_type": {"enum": [*LAYERS]},
                    "diff_id": shapes.DIGEST,
                },
                closed=True,
            )
        ),
    }
)


def fetch(layer: PinnedLayer, name: str) -> Fetch:
    """Returns a layer's blob as a file to fetch."""
    from envtool.api import Fetch

    return Fetch(sha256=layer.digest.removeprefix("sha256:"), name=name, size=layer.size)


def make_pins(
    *, name: str, index: str, manifest: str, config: ImageConfig, config_digest: str, layers: list[PinnedLayer]
) -> Json:
    """Returns the pins of an image. `index` and `manifest` are digests, "" for an archive that has none."""
    run = dict(config.run)
    if "Labels" in run:  # a list, not a mapping: a mapping with `name` and `version` would be taken for a package
        run["Labels"] = [[key, value] for key, value in cast("dict[str, Json]", run["Labels"]).items()]
    return {
        "image": {"name": name, "version": (manifest or config_digest).removeprefix("sha256:")[:SHORT]},
        "digests": {"index": index if index != manifest else "", "manifest": manifest, "config": config_digest},
        "platform": str(config.platform),
        "created": config.created,
        "run": run,
        "layers": [
            {"digest": layer.digest, "size": layer.size, "media_type": layer.media_type, "diff_id": layer.diff_id}
            for layer in layers
        ],
    }


def pair_with_diff_ids(layers: tuple[Descriptor, ...], config: ImageConfig) -> list[PinnedLayer]:
    """Returns the layers of a manifest, each with its diff ID from the config."""
    return [
        PinnedLayer(digest=layer.digest, size=layer.size, media_type=layer.media_type, diff_id=diff_id)
        for layer, diff_id in zip(layers, config.diff_ids, strict=True)
    ]


def layers(pins: Json) -> tuple[PinnedLayer, ...]:
    """Returns all layers of the image, bottom first."""
    return tuple(PinnedLayer(**item) for item in _top(pins)["layers"])


def stacked_layers(pins: Json) -> tuple[PinnedLayer, ...]:
    """Returns the layers that a container stacks, bottom first. A layer that occurs twice is stacked only at its upper
    place, where it hides all that it would show at the lower."""
    stack: dict[str, PinnedLayer] = {}
    for layer in layers(pins):
        stack.pop(layer.diff_id, None)
        stack[layer.diff_id] = layer
    return tuple(stack.values())


def image_name(pins: Json) -> str:
    """Returns the image's name, without a digest."""
    return str(_top(pins)["image"]["name"])


def manifest_digest(pins: Json) -> str:
    """Returns the digest of the image's manifest; "" for an archive of `docker save`, which has none."""
    return str(_top(pins)["digests"]["manifest"])


def index_digest(pins: Json) -> str:
    """Returns the digest of the index that the image's name stood for; "" if it stood for the manifest itself."""
    return str(_top(pins)["digests"]["index"])


def digest_of_config(pins: Json) -> str:
    """Returns the digest of the image's config."""
    return str(_top(pins)["digests"]["config"])


def image_platform(pins: Json) -> str:
    """Returns the image's platform, as in "linux/amd64"."""
    return str(_top(pins)["platform"])


def run_config(pins: Json) -> Mapping[str, Json]:
    """Returns the field `config` of the image's config: Env, User, WorkingDir, Entrypoint, Cmd, Labels …"""
    run = dict(_top(pins)["run"])
    if "Labels" in run:
        run["Labels"] = dict(run["Labels"])
    return run


def image_variables(pins: Json) -> dict[str, str]:
    """Returns the variables in Env, without those that the container sets itself. PATH is without the default PATH at
    its end."""
    variables: dict[str, str] = {}
    for line in cast("list[str]", run_config(pins).get("Env") or []):
        name, equals, value = line.partition("=")
        if equals and name and name not in CONTAINER_VARIABLES and "\0" not in line:
            variables[name] = value
    if "PATH" in variables:
        path = variables.pop("PATH")
        if f":{path}".endswith(f":{PATH}"):
            path = path.removesuffix(PATH).rstrip(":")
        if path:
            variables["PATH"] = path
    return variables


def created_epoch(pins: Json) -> int | None:
    """Returns when the image was created, in seconds; None if the time is missing or not plausible (1970, or year
    1)."""
    try:
        moment = dt.datetime.fromisoformat(_seconds(_top(pins)["created"]))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    seconds = int(moment.timestamp())
    return seconds if EARLIEST <= seconds < LATEST else None


def _seconds(text: str) -> str:
    """Returns an RFC 3339 time without its fraction: Python refuses nine digits."""
    head, dot, fraction = text.partition(".")
    return head + fraction.lstrip("0123456789") if dot else text


def check_media_types(layers: tuple[Descriptor, ...], name: str) -> None:
    """Raises FetchError (code image-layer) for a layer that envtool cannot read: encrypted, foreign, or of another
    media type."""
    for layer in layers:
        if layer.media_type.endswith("+encrypted"):
            raise FetchError(f"{name}: layer {layer.digest[:19]} is encrypted", code="image-layer")
        if ".foreign." in layer.media_type:
            text = (
                f"{name}: layer {layer.digest[:19]} is foreign: no registry has it (images of Windows have such layers)"
            )
            raise FetchError(text, code="image-layer")
        if layer.media_type not in LAYERS:
            text = f"{name}: layer {layer.digest[:19]} is {layer.media_type!r}: tar, gzip and zstd are read"
            raise FetchError(text, code="image-layer")


def _top(pins: Json) -> dict[str, Any]:
    return cast("dict[str, Any]", pins)
