"""What is written down of an image: digests, sizes, diff IDs, and how it is to be run. No host name but the image's own
name, no path, no credential. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from envtool.api import Fetch, FetchError, Json, shapes
from envtool.net.oci.media_types import LAYERS

if TYPE_CHECKING:
    from envtool.net.oci.documents import Descriptor, ImageConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # every container's own: realise.setting
CONTAINER_VARIABLES = frozenset(
    {"HOME", "HOSTNAME", "LOGNAME", "OLDPWD", "PWD", "SHLVL", "SOURCE_DATE_EPOCH", "TERM", "USER"}
)
SHORT = 12  # hex digits of a digest that people read
EARLIEST, LATEST = 315532800, 4102444800  # 1980, before which zip files cannot say; 2100


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedLayer:
    """One layer of an image: the blob as it is transported, and the digest of the tar in it."""

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
    """A layer's blob as a file that is fetched."""
    return Fetch(sha256=layer.digest.removeprefix("sha256:"), name=name, size=layer.size)


def make_pins(
    *, name: str, index: str, manifest: str, config: ImageConfig, config_digest: str, layers: list[PinnedLayer]
) -> Json:
    """The pins of an image. `index` and `manifest` are digests, "" for an archive that has none."""
    run = dict(config.run)
    if "Labels" in run:  # no mapping: a `name` and a `version` in it would be taken for a package
        run["Labels"] = [[key, value] for key, value in cast("dict[str, Json]", run["Labels"]).items()]
    return {
        "image": {"name": name, "version": (manifest or config_digest).removeprefix("sha256:")[:SHORT]},
        "digests": {"index": index if index != manifest else "", "manifest": manifest, "config": config_digest},
        "platform": str(config.platform),
        "created": config.created,
        "run": run,
        "layers": [
            {"digest": each.digest, "size": each.size, "media_type": each.media_type, "diff_id": each.diff_id}
            for each in layers
        ],
    }


def pair_with_diff_ids(layers: tuple[Descriptor, ...], config: ImageConfig) -> list[PinnedLayer]:
    """Layers of a manifest with what the config says that they unpack to."""
    return [
        PinnedLayer(digest=each.digest, size=each.size, media_type=each.media_type, diff_id=diff_id)
        for each, diff_id in zip(layers, config.diff_ids, strict=True)
    ]


def layers(pins: Json) -> tuple[PinnedLayer, ...]:
    """All layers, bottom first, as the image has them."""
    return tuple(PinnedLayer(**item) for item in _top(pins)["layers"])


def stacked_layers(pins: Json) -> tuple[PinnedLayer, ...]:
    """The layers that a container stacks, bottom first. One that comes twice is needed at its upper place only: there
    it hides all that it would show below."""
    found: dict[str, PinnedLayer] = {}
    for each in layers(pins):
        found.pop(each.diff_id, None)
        found[each.diff_id] = each
    return tuple(found.values())


def image_name(pins: Json) -> str:
    """The image's name, without a digest."""
    return str(_top(pins)["image"]["name"])


def manifest_digest(pins: Json) -> str:
    """The digest of its manifest, "" for a `docker save` archive, which has none."""
    return str(_top(pins)["digests"]["manifest"])


def index_digest(pins: Json) -> str:
    """The digest of the index that its name stood for, "" where that was the manifest itself."""
    return str(_top(pins)["digests"]["index"])


def digest_of_config(pins: Json) -> str:
    """The digest of its config."""
    return str(_top(pins)["digests"]["config"])


def image_platform(pins: Json) -> str:
    """What it runs on: "linux/amd64"."""
    return str(_top(pins)["platform"])


def run_config(pins: Json) -> Mapping[str, Json]:
    """The config's `config`: Env, User, WorkingDir, Entrypoint, Cmd, Labels …"""
    run = dict(_top(pins)["run"])
    if "Labels" in run:
        run["Labels"] = dict(run["Labels"])
    return run


def image_variables(pins: Json) -> dict[str, str]:
    """What Env says, but for what a container decides itself. PATH without what every container's ends with."""
    found: dict[str, str] = {}
    for line in cast("list[str]", run_config(pins).get("Env") or []):
        name, equals, value = line.partition("=")
        if equals and name and name not in CONTAINER_VARIABLES and "\0" not in line:
            found[name] = value
    if "PATH" in found:
        path = found.pop("PATH")
        if f":{path}".endswith(f":{PATH}"):
            path = path.removesuffix(PATH).rstrip(":")
        if path:
            found["PATH"] = path
    return found


def created_epoch(pins: Json) -> int | None:
    """When the image was made, in seconds; None where it says nothing that can be (1970, or year 1)."""
    try:
        moment = dt.datetime.fromisoformat(_seconds(_top(pins)["created"]))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    seconds = int(moment.timestamp())
    return seconds if EARLIEST <= seconds < LATEST else None


def _seconds(text: str) -> str:
    """RFC 3339 without the fraction: nine digits are more than Python takes."""
    head, dot, rest = text.partition(".")
    return head + rest.lstrip("0123456789") if dot else text


def check_media_types(layers: tuple[Descriptor, ...], what: str) -> None:
    """Refuse layers by name that nobody but their maker can read. Raises FetchError (code image-layer)."""
    for each in layers:
        if each.media_type.endswith("+encrypted"):
            raise FetchError(f"{what}: layer {each.digest[:19]} is encrypted", code="image-layer")
        if ".foreign." in each.media_type:
            text = f"{what}: layer {each.digest[:19]} is a foreign one, which no registry has: Windows has such"
            raise FetchError(text, code="image-layer")
        if each.media_type not in LAYERS:
            text = f"{what}: layer {each.digest[:19]} is {each.media_type!r}: tar, gzip and zstd are read"
            raise FetchError(text, code="image-layer")


def _top(pins: Json) -> dict[str, Any]:
    return cast("dict[str, Any]", pins)
