"""The kinds of the parts that a Dockerfile's instructions become. Their options are all that decides them."""

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

CONTEXT = "/dev/envtool/context"  # not api.PROJECT: a tree may have a /project of its own; /dev is always ours
FROM = "from"  # the name of the tree that a COPY --from looks at; mounts' have their number


class RunPart(Kind):
    """RUN. Its key: what is executed, as whom, where, with what environment and mounts; of caches and secrets never
    what is in them."""

    name: ClassVar[str] = "RUN"
    schema: ClassVar[Json] = {"type": "object"}

    def inputs(self, options: Json) -> tuple[str, ...]:
        """What is mounted from the context."""
        return _context(options, _context_bind_sources(options)).inputs()

    def keeps(self, options: Json, path: str) -> bool:
        """Less what is ignored."""
        return _context(options, _context_bind_sources(options)).keeps(path)

    def follows(self, options: Json, link: str, path: str) -> bool:
        """Of a source that is a link, what it leads to in the context."""
        return _context(options, _context_bind_sources(options)).follows(link, path)

    def material(self, request: Request, pins: Json) -> Json:
        """Not where secrets come from here, nor the ignored paths: what was not ignored is in the key."""
        options: Any = request.options
        left = ("context", "ignore", "secrets")
        return {key: value for key, value in options.items() if key not in left}

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        options: Any = request.options
        place = posixpath.join(CONTEXT, request.directory, options["context"])
        shown: list[Shown] = [_mount_of(each, number, place, options) for number, each in enumerate(options["mounts"])]
        name, text = options["script"]
        if name:
            shown.append(Text(target=f"/dev/pipes/{name}", text=text, mode=0o755))
        step = Run(
            command=Command(argv=tuple(options["argv"])),
            env=options["env"],
            cwd=options["workdir"],
            user=options["user"] or "0",
            bare=True,
        )
        enter = Call(
            function=copy_inside.make_workdir, arguments=(options["workdir"], "")
        )  # a command may have removed it
        steps = (step,) if options["workdir"] == "/" else (enter, step)
        return Recipe(steps=steps, network=options["network"], shown=tuple(shown), project=CONTEXT, keeps_tmp=True)

    def summary(self, request: Request, pins: Any) -> str:
        """What is not pinned."""
        options: Any = request.options
        return "network" if options["network"] else ""


def run_options(act: RunAct, context: Mapping[str, Json], secrets: Mapping[str, str]) -> dict[str, Json]:
    """The options of a RunPart; `secrets` are where they come from, by id."""
    used = {each.id for each in act.mounts if each.type == "secret"}
    return {
        "argv": [*act.argv],
        "env": dict(act.env),
        "user": act.user,
        "workdir": act.workdir,
        "network": act.network,
        "mounts": [_mount_options(each) for each in act.mounts],
        "script": [*act.script],
        "secrets": {name: source for name, source in secrets.items() if name in used},
        **(context if any(_is_from_context(each) for each in act.mounts) else {"context": ".", "ignore": []}),
    }


def _mount_options(mount: Mount) -> Json:
    """Without what is said by its type."""
    common: dict[str, Json] = {"type": mount.type, "target": mount.target}
    match mount.type:
        case "bind":
            return common | {"source": mount.source, "readonly": mount.readonly, "beside": bool(mount.origin)}
        case "cache":
            more: dict[str, Json] = {"id": mount.id, "sharing": mount.sharing, "readonly": mount.readonly}
        case "secret":
            more = {"id": mount.id, "env": mount.env, "required": mount.required}
        case _:
            return common | {"size": mount.size}
    return common | more | {"mode": mount.mode, "uid": mount.uid, "gid": mount.gid}


def _is_from_context(mount: Mount) -> bool:
    return mount.type == "bind" and not mount.origin


def _context_bind_sources(options: Any) -> list[str]:
    return [each["source"] or "." for each in options["mounts"] if each["type"] == "bind" and not each["beside"]]


def _mount_of(mount: Any, number: int, place: str, options: Any) -> Shown:
    match mount["type"]:
        case "bind":
            tree = f"{BESIDE}/{number}" if mount["beside"] else place
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
    version: ClassVar[int] = 2  # directories below the target that were there get owners and modes
    schema: ClassVar[Json] = {"type": "object"}

    def inputs(self, options: Json) -> tuple[str, ...]:
        """What its sources mean in the context."""
        return _context(options, _context_copy_sources(options)).inputs(patterns=False)

    def optional_inputs(self, options: Json) -> tuple[str, ...]:
        """What its patterns mean, if anything."""
        return _context(options, _context_copy_sources(options)).inputs(patterns=True)

    def keeps(self, options: Json, path: str) -> bool:
        """Less what is ignored."""
        return _context(options, _context_copy_sources(options)).keeps(path)

    def follows(self, options: Json, link: str, path: str) -> bool:
        """Of a source that is a link, what it leads to in the context."""
        return _context(options, _context_copy_sources(options)).follows(link, path)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """What ADD has from the network."""
        options: Any = request.options
        return tuple(
            Fetch(sha256=each["sha256"], url=each["url"], size=each["size"], name=f"{number}-{each['name']}")
            for number, each in enumerate(options["urls"])
        )

    def material(self, request: Request, pins: Json) -> Json:
        """Not where files come from (their hashes are in the key), nor the ignored paths."""
        options: Any = request.options
        left = ("context", "ignore", "urls")
        unpacks = options["unpack_fetched"] or (options["unpack"] and options["sources"])
        return {key: value for key, value in options.items() if key not in left} | {
            "urls": [each["name"] for each in options["urls"]],
            **({"unpacked": 2} if unpacks else {}),  # the first way wrote through links
        }

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        options: Any = request.options
        place = posixpath.join(CONTEXT, request.directory, options["context"])
        spec: dict[str, Json] = {
            "root": f"{BESIDE}/{FROM}" if options["beside"] else posixpath.normpath(place),
            "files": [
                [f"{BLOBS}/{number}-{each['name']}", each["name"]] for number, each in enumerate(options["urls"])
            ],
            "keep": options["beside"],
            "archives": options["unpack"] and not options["beside"],
            "fetched": options["unpack_fetched"],
            **{key: options[key] for key in ("sources", "documents", "target", "owner", "mode", "exclude", "parents")},
        }
        step = Call(function=copy_inside.copy, arguments=(spec,), unpacks=True)
        return Recipe(steps=(step,), project=CONTEXT, keeps_tmp=True)

    def summary(self, request: Request, pins: Any) -> str:
        """The number of files; of another tree's nothing is known."""
        options: Any = request.options
        count = len(request.inputs) + len(options["documents"]) + len(options["urls"])
        return "" if options["beside"] and not count else f"{count} file{'s' if count != 1 else ''}"


def copy_options(act: CopyAct, context: Mapping[str, Json], urls: Sequence[Json]) -> dict[str, Json]:
    """The options of a CopyPart; `urls` as pins have them (url, sha256, size, name)."""
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
    """WORKDIR, where it is not known to be there."""

    name: ClassVar[str] = "WORKDIR"
    version: ClassVar[int] = 2  # a user by number has the group of that number
    schema: ClassVar[Json] = {"type": "object"}

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        options: Any = request.options
        step = Call(function=copy_inside.make_workdir, arguments=(options["path"], options["user"]))
        return Recipe(steps=(step,), keeps_tmp=True)


def directory_options(act: DirectoryAct) -> dict[str, Json]:
    """The options of a DirectoryPart."""
    return {"path": act.path, "user": act.user}


class ScratchPart(Kind):
    """`scratch`: an empty tree, for what is built on it to stand on."""

    name: ClassVar[str] = "scratch"
    schema: ClassVar[Json] = {"type": "object"}

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        return Recipe()


class FirstLayerPart(Kind):
    """The first layer of an image that is not the base's own. Options: `options` and `pins` of the image kind."""

    name: ClassVar[str] = "image layer"
    schema: ClassVar[Json] = {"type": "object"}

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """As the image kind has it."""
        kind, asked, known = _image(request)
        return kind.fetches(asked, known)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """As the image kind has it."""
        kind, asked, known = _image(request)
        return kind.locate(asked, known, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """As the image kind has it."""
        kind, asked, known = _image(request)
        return kind.material(asked, known)

    def build(self, request: Request, pins: Json) -> Recipe:
        """As the image kind has it."""
        kind, asked, known = _image(request)
        return kind.build(asked, known)


def _image(request: Request) -> tuple[Kind, Request, Json]:
    from envtool.kinds.dockerfile import base_images

    options: Any = request.options
    return base_images.KIND, base_images.image_request(request, options["options"]), options["pins"]
