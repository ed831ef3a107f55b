"""The kinds of the sublayers that a Dockerfile's instructions become. The options of a sublayer hold all that decides
it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from envtool.api import (
    BESIDE,
    BLOBS,
    Cache,
    Call,
    Command,
    Fetch,
    Input,
    Json,
    Kind,
    Memory,
    Peek,
    Recipe,
    Request,
    Run,
    Secret,
    Shown,
    Site,
    Text,
)
from envtool.kinds.dockerfile import copy_inside
from envtool.kinds.dockerfile.build_context import BuildContext, clean_source
from envtool.kinds.dockerfile.operations import CopyAct, DirectoryAct, RunAct
from envtool.kinds.dockerfile.run_mounts import Mount

# Where the context is mounted. Not at api.PROJECT, because an image may have a /project; the container makes /dev.
CONTEXT = "/dev/envtool/context"
FROM = "from"  # the name of the tree that COPY --from copies from; the trees of mounts are named by their number


class RunPart(Kind):
    """RUN. Its key has the command, its user, working directory, environment and mounts; never the content of caches or
    secrets."""

    name: ClassVar[str] = "RUN"
    schema: ClassVar[Json] = {"type": "object"}

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns what is mounted from the context."""
        return _context(options, _context_bind_sources(options)).inputs()

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the options without the sources of secrets, and without the context and its ignore patterns: the
        hashes of the inputs are in the key."""
        options: Any = request.options
        excluded = ("context", "ignore", "secrets")
        return {key: value for key, value in options.items() if key not in excluded}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that runs the command with its mounts."""
        options: Any = request.options
        context = posixpath.join(CONTEXT, request.directory, options["context"])
        mounts: list[Shown] = [
            _mount_of(mount, number, context, options) for number, mount in enumerate(options["mounts"])
        ]
        name, text = options["script"]
        if name:
            mounts.append(Text(target=f"/dev/pipes/{name}", text=text, mode=0o755))
        step = Run(
            command=Command(argv=tuple(options["argv"])),
            env=options["env"],
            cwd=options["workdir"],
            user=options["user"] or "0",
            bare=True,
        )
        # An earlier command may have removed the working directory.
        make_workdir = Call(function=copy_inside.make_workdir, arguments=(options["workdir"], ""))
        steps = (step,) if options["workdir"] == "/" else (make_workdir, step)
        return Recipe(steps=steps, network=options["network"], shown=tuple(mounts), project=CONTEXT, keeps_tmp=True)

    def summary(self, request: Request, pins: Any) -> str:
        """Returns "network" for a RUN with the network: what it downloads is not pinned."""
        options: Any = request.options
        return "network" if options["network"] else ""


def run_options(act: RunAct, context: Mapping[str, Json], secrets: Mapping[str, str]) -> dict[str, Json]:
    """Returns the options of a RunPart; `secrets` are the sources of secrets, by id."""
    secret_ids = {mount.id for mount in act.mounts if mount.type == "secret"}
    return {
        "argv": [*act.argv],
        "env": dict(act.env),
        "user": act.user,
        "workdir": act.workdir,
        "network": act.network,
        "mounts": [_mount_options(mount) for mount in act.mounts],
        "script": [*act.script],
        "secrets": {name: source for name, source in secrets.items() if name in secret_ids},
        **(context if any(_is_from_context(mount) for mount in act.mounts) else {"context": ".", "ignore": []}),
    }


def _mount_options(mount: Mount) -> Json:
    """Returns the fields that matter to a mount of its type."""
    common: dict[str, Json] = {"type": mount.type, "target": mount.target}
    match mount.type:
        case "bind":
            return common | {"source": mount.source, "readonly": mount.readonly, "beside": bool(mount.origin)}
        case "cache":
            fields: dict[str, Json] = {"id": mount.id, "sharing": mount.sharing, "readonly": mount.readonly}
        case "secret":
            fields = {"id": mount.id, "env": mount.env, "required": mount.required}
        case _:
            return common | {"size": mount.size}
    return common | fields | {"mode": mount.mode, "uid": mount.uid, "gid": mount.gid}


def _is_from_context(mount: Mount) -> bool:
    return mount.type == "bind" and not mount.origin


def _context_bind_sources(options: Any) -> list[str]:
    return [mount["source"] or "." for mount in options["mounts"] if mount["type"] == "bind" and not mount["beside"]]


def _mount_of(mount: Any, number: int, context: str, options: Any) -> Shown:
    match mount["type"]:
        case "bind":
            tree = f"{BESIDE}/{number}" if mount["beside"] else context
            source = posixpath.normpath(posixpath.join(tree, clean_source(mount["source"])))
            return Peek(source=source, target=mount["target"], writable=not mount["readonly"])
        case "tmpfs":
            return Memory(target=mount["target"], size=mount["size"])
        case "secret":
            return Secret(
                id=mount["id"],
                source=options["secrets"].get(mount["id"], ""),
                target=mount["target"],
                env=mount["env"],
                required=mount["required"],
                mode=mount["mode"],
                uid=mount["uid"],
                gid=mount["gid"],
            )
    return Cache(
        id=mount["id"],
        target=mount["target"],
        sharing=mount["sharing"],
        readonly=mount["readonly"],
        mode=mount["mode"],
        uid=mount["uid"],
        gid=mount["gid"],
    )


class CopyPart(Kind):
    """COPY and ADD."""

    name: ClassVar[str] = "COPY"
    version: ClassVar[int] = 2  # since 2, directories that exist below the target get owners and modes
    schema: ClassVar[Json] = {"type": "object"}

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns what is copied from the context. Patterns may match nothing."""
        return _context(options, _context_copy_sources(options)).inputs(patterns_may_be_missing=True)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the files that ADD downloads."""
        options: Any = request.options
        return tuple(
            Fetch(sha256=url["sha256"], url=url["url"], size=url["size"], name=f"{number}-{url['name']}")
            for number, url in enumerate(options["urls"])
        )

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the options without URLs, the context and its ignore patterns: the hashes of the files are in the
        key."""
        options: Any = request.options
        excluded = ("context", "ignore", "urls")
        unpacks = options["unpack_fetched"] or (options["unpack"] and options["sources"])
        return {key: value for key, value in options.items() if key not in excluded} | {
            "urls": [url["name"] for url in options["urls"]],
            **({"unpacked": 2} if unpacks else {}),  # version 1 wrote through links
        }

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that copies the sources."""
        options: Any = request.options
        context = posixpath.join(CONTEXT, request.directory, options["context"])
        spec: dict[str, Json] = {
            "root": f"{BESIDE}/{FROM}" if options["beside"] else posixpath.normpath(context),
            "files": [[f"{BLOBS}/{number}-{url['name']}", url["name"]] for number, url in enumerate(options["urls"])],
            "keep": options["beside"],
            "archives": options["unpack"] and not options["beside"],
            "fetched": options["unpack_fetched"],
            **{key: options[key] for key in ("sources", "documents", "target", "owner", "mode", "exclude", "parents")},
        }
        step = Call(function=copy_inside.copy, arguments=(spec,), unpacks=True)
        return Recipe(steps=(step,), project=CONTEXT, keeps_tmp=True)

    def summary(self, request: Request, pins: Any) -> str:
        """Returns the number of files, as in "3 files"; "" where they come from another tree, whose files are not
        counted."""
        options: Any = request.options
        count = len(request.inputs) + len(options["documents"]) + len(options["urls"])
        return "" if options["beside"] and not count else f"{count} file{'s' if count != 1 else ''}"


def copy_options(act: CopyAct, context: Mapping[str, Json], urls: Sequence[Json]) -> dict[str, Json]:
    """Returns the options of a CopyPart; `urls` are pins (url, sha256, size, name)."""
    return {
        "sources": [*act.sources],
        "documents": [[name, text] for name, text in act.documents],
        "urls": [*urls],
        "target": act.target,
        "owner": act.owner,
        "mode": act.mode,
        "exclude": [*act.exclude],
        "parents": act.parents,
        "unpack": act.unpack,
        "unpack_fetched": act.unpack_fetched,
        "beside": bool(act.origin),
        **(context if act.sources and not act.origin else {"context": ".", "ignore": []}),
    }


def _context_copy_sources(options: Any) -> list[str]:
    return [] if options["beside"] else options["sources"]


def _context(options: Json, sources: Sequence[str]) -> BuildContext:
    return BuildContext.read(options, sources)


class DirectoryPart(Kind):
    """WORKDIR, unless the directory is known to exist."""

    name: ClassVar[str] = "WORKDIR"
    version: ClassVar[int] = 2  # since 2, a user given by number has the group of that number
    schema: ClassVar[Json] = {"type": "object"}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that makes the directory."""
        options: Any = request.options
        step = Call(function=copy_inside.make_workdir, arguments=(options["path"], options["user"]))
        return Recipe(steps=(step,), keeps_tmp=True)


def directory_options(act: DirectoryAct) -> dict[str, Json]:
    """Returns the options of a DirectoryPart."""
    return {"path": act.path, "user": act.user}


class ScratchPart(Kind):
    """`scratch`: an empty tree below other layers."""

    name: ClassVar[str] = "scratch"
    schema: ClassVar[Json] = {"type": "object"}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns an empty recipe."""
        return Recipe()


class FirstLayerPart(Kind):
    """The first layer of an image, where it is not the base's own layer. Options: `options` and `pins` of the kind
    `image`."""

    name: ClassVar[str] = "image layer"
    schema: ClassVar[Json] = {"type": "object"}

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the fetches of the kind `image`."""
        kind, image_request, image_pins = _image(request)
        return kind.fetches(image_request, image_pins)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the fetches with their sources, as the kind `image` finds them."""
        kind, image_request, image_pins = _image(request)
        return kind.locate(image_request, image_pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the material of the kind `image`."""
        kind, image_request, image_pins = _image(request)
        return kind.material(image_request, image_pins)

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns the recipe of the kind `image`."""
        kind, image_request, image_pins = _image(request)
        return kind.build(image_request, image_pins)


def _image(request: Request) -> tuple[Kind, Request, Json]:
    from envtool.kinds.dockerfile import base_images

    options: Any = request.options
    return base_images.KIND, base_images.image_request(request, options["options"]), options["pins"]
