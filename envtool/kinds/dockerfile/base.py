"""`dockerfile: FILE`: a base that is what a Dockerfile builds."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from envtool.api import Fetch, Json, Kind, Part, Problem, Recipe, Request, Sealed, Site, SpecError, Where
from envtool.kinds.dockerfile import context, ignore
from envtool.kinds.dockerfile.acts import CopyAct
from envtool.kinds.dockerfile.parse import Fault, escape, parse
from envtool.kinds.dockerfile.plan import Assembly, Layers, built, missing, triggered, url_name
from envtool.kinds.dockerfile.stages import SCRATCH, File, machine, stages
from envtool.kinds.dockerfile.translate import Builder
from envtool.kinds.dockerfile.words import Lexer

_PATH: dict[str, Json] = {"type": "string", "minLength": 1, "not": {"pattern": r"(^/|(^|/)\.\.(/|$))"}}
_PREDEFINED = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH"}


class Dockerfile(Kind):
    """The base kind. Its pins: `images` (by the name that FROM or --from gives, as the kind `image` pins them) and
    `urls` of ADD. Its own layer is the first of the image that the target stands on."""

    name: ClassVar[str] = "dockerfile"
    schema: ClassVar[Json] = {
        "description": "What a Dockerfile builds: its path, or a mapping. Each instruction that changes the tree is a"
        " layer; stages that are not needed are not built. RUN has the network unless it says `--network=none`.",
        "anyOf": [
            {**_PATH, "description": "Path of the Dockerfile; its context is the spec's own directory."},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "file": {**_PATH, "description": "Path of the Dockerfile. Default: Dockerfile in the context."},
                    "context": {
                        **_PATH,
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
                        "description": "What `RUN --mount=type=secret` finds, by id: a variable of whoever builds, or a"
                        " file (relative to the project, absolute, or below ~). Never part of a key or a layer.",
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
                        "description": "The platform it is for, as in linux/amd64: it has to be this machine's.",
                    },
                },
            },
        ],
    }

    # ---- the file ----------------------------------------------------------------------------------------------------

    def inputs(self, options: Json) -> tuple[str, ...]:
        """What tells which image a local one is."""
        from envtool.kinds.dockerfile import images

        chosen = _options(options).get("images", {})
        return tuple(path for each in chosen.values() for path in images.KIND.inputs(each))

    def texts(self, options: Json) -> tuple[str, ...]:
        """The Dockerfile, and what its context ignores."""
        file, directory = _places(options)
        return (file, f"{file}.dockerignore", posixpath.join(directory, ".dockerignore"))

    def question(self, request: Request) -> Json:
        """The images that are named, and what ADD may fetch; not what is built of them."""
        file = _file(request)
        with _Faults(request):
            names = _images(file, _target(file, request), {})
            stage = [each for stage in file.stages for each in stage.body]
            adds = [each.text for each in stage if each.name == "ADD" and not each.flag("checksum")]
            fetched = [text for text in adds if "://" in text or "$" in text]
            if any("$" in text for text in fetched):
                fetched += [each.text for each in stage if each.name in ("ARG", "ENV")]
        return {
            "images": [_ask(request, name) for name in names],
            "adds": cast("Json", fetched),
            "args": cast("Json", _given(request.options) if fetched else {}),
        }

    # ---- pins --------------------------------------------------------------------------------------------------------

    def resolve(self, request: Request, site: Site) -> Json:
        """Pin each image, and what is behind the URLs of ADD that say no checksum."""
        from envtool.kinds.dockerfile import images

        file = _file(request)
        keep = cast("dict[str, Any]", request.keep or {})
        found: dict[str, Json] = {}
        with _Faults(request):
            target = _target(file, request)
            while names := _images(file, target, _configs(request, found)):
                for name in names:
                    asked = images.asked(
                        request, images.option(request.options, name), keep.get("images", {}).get(name)
                    )
                    found[name] = images.KIND.resolve(asked, site)
            configs = _configs(request, found)
            builders = built(file, target, configs, _given(request.options))
        urls = _urls(builders)
        learnt = site.learn([Sealed(urls=(url,), name=f"{at}-{url_name(url)}") for at, url in enumerate(urls)])
        pinned: list[Json] = [
            {"url": url, "sha256": each.sha256, "size": each.size, "name": url_name(url)}
            for url, each in zip(urls, learnt, strict=True)
        ]
        return {"images": found, "urls": pinned}

    def fresh(self, request: Request, pins: Any) -> bool:
        """Are the images still what they were, by looking at this machine alone?"""
        from envtool.kinds.dockerfile import images

        return all(
            images.KIND.fresh(images.asked(request, images.option(request.options, name)), known)
            for name, known in pins["images"].items()
        )

    def watches(self, pins: Any) -> tuple[str, ...]:
        """What the images are known by on this machine."""
        from envtool.kinds.dockerfile import images

        return tuple(path for known in pins["images"].values() for path in images.KIND.watches(known))

    # ---- the base's own layer ----------------------------------------------------------------------------------------

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The first layer of the image that the target stands on."""
        found = _own(request, pins)
        return found[0].fetches(found[1], found[2]) if found else ()

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """As the kind `image` has it."""
        found = _own(request, pins)
        return found[0].locate(found[1], found[2], fetches, site) if found else fetches

    def material(self, request: Request, pins: Json) -> Json:
        """What decides that layer; the parts have keys of their own."""
        found = _own(request, pins)
        return found[0].material(found[1], found[2]) if found else SCRATCH

    def build(self, request: Request, pins: Json) -> Recipe:
        """That layer, or nothing for `scratch`."""
        found = _own(request, pins)
        return found[0].build(found[1], found[2]) if found else Recipe()

    # ---- what stands on it -------------------------------------------------------------------------------------------

    def parts(self, request: Request, pins: Any) -> tuple[Part, ...]:
        """One for each layer of the images, and for each instruction that changes the tree."""
        file = _file(request)
        _, directory = _places(request.options)
        with _Faults(request):
            target = _target(file, request)
            configs = _configs(request, pins["images"])
            builders = built(file, target, configs, _given(request.options))
            whole = triggered(file, configs)
        return Assembly(
            file=whole,
            builders=builders,
            images={name: _layers(request, name, known) for name, known in pins["images"].items()},
            where=_shown(request),
            context=context.options(directory, _ignored(request)),
            secrets={
                name: ":".join(next(iter(source.items())))
                for name, source in _options(request.options).get("secrets", {}).items()
            },
            urls={each["url"]: each for each in pins["urls"]},
            own=_root(file, target),
            target=target,
        ).assemble()

    def image_config(self, request: Request, pins: Any) -> Mapping[str, Json]:
        """What the target says of itself."""
        file = _file(request)
        with _Faults(request):
            target = _target(file, request)
            configs = _configs(request, pins["images"])
            return built(file, target, configs, _given(request.options))[target].config

    def variables(self, request: Request, pins: Any) -> Mapping[str, str]:
        """What its ENVs and its image's say."""
        from envtool.kinds.dockerfile import images

        return images.variables(self.image_config(request, pins))

    def summary(self, request: Request, pins: Any) -> str:
        """As in: 2 images."""
        count = len(pins["images"])
        return f"{count} image{'s' if count != 1 else ''}" if count else SCRATCH


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Faults:
    """Turns a Fault into an error of the spec, at its line of the Dockerfile."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, Fault):
            where = Where(file=_shown(self.request), line=error.line, column=1)
            problem = Problem(where=where, message=error.message, code="dockerfile", hint=error.hint)
            raise SpecError((problem,)) from error


def _options(options: Json) -> dict[str, Any]:
    return {"file": options} if isinstance(options, str) else cast("dict[str, Any]", options)


def _places(options: Json) -> tuple[str, str]:
    """The Dockerfile and its context, relative to the spec's directory."""
    found = _options(options)
    directory = posixpath.normpath(str(found.get("context", ".")))
    return posixpath.normpath(str(found.get("file") or posixpath.join(directory, "Dockerfile"))), directory


def _shown(request: Request) -> str:
    return posixpath.normpath(posixpath.join(request.directory, _places(request.options)[0]))


def _given(options: Json) -> dict[str, str]:
    """The arguments of the spec; YAML's true is written as Docker's users write it."""
    found = _options(options).get("args", {})
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}


def _file(request: Request) -> File:
    """The Dockerfile, as stages. Raises SpecError."""
    place, _ = _places(request.options)
    text = request.texts.get(place)
    if text is None:
        hint = "`dockerfile: {file: PATH}` is relative to the spec"
        problem = Problem(where=request.where, message=f"there is no `{place}`", code="dockerfile-missing", hint=hint)
        raise SpecError((problem,))
    given = _given(request.options)
    with _Faults(request):
        lexer = Lexer(escape=escape(text))
        file = stages(parse(text), lexer, request.arch, given, str(_options(request.options).get("target", "")))
        _check(file, given, request)
    return file


def _check(file: File, given: Mapping[str, str], request: Request) -> None:
    here = f"linux/{machine(request.arch)}"
    wanted = str(_options(request.options).get("platform", here))
    if "/".join(wanted.split("/")[:2]) != here:
        text = f"`platform: {wanted}` needs a machine of that kind: this is {here}"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-platform"),))
    for stage in file.stages:
        if stage.platform and "/".join(stage.platform.split("/")[:2]) != here:
            raise Fault(f"--platform={stage.platform} needs a machine of that kind: this is {here}", stage.line)
    strange = [name for name in given if name not in file.declared and name.upper() not in _PREDEFINED]
    strange = [name for name in strange if name not in file.arguments or not name.startswith(("BUILD", "TARGET"))]
    if strange:
        text = f"`args: {strange[0]}`: the Dockerfile has no such ARG"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-args"),))


def _target(file: File, request: Request) -> int:
    return file.target(str(_options(request.options).get("target", ""))).index


def _ignored(request: Request) -> tuple[str, ...]:
    """The patterns of the Dockerfile's own file, else of its context's."""
    _, own, common = Dockerfile().texts(request.options)
    return ignore.read(request.texts.get(own, request.texts.get(common, "")))


# ---- images ----------------------------------------------------------------------------------------------------------


def _ask(request: Request, name: str) -> Json:
    from envtool.kinds.dockerfile import images

    return [name, images.KIND.question(images.asked(request, images.option(request.options, name)))]


def _images(file: File, target: int, configs: Mapping[str, Mapping[str, Json]]) -> list[str]:
    return [name for name, _ in missing(file, target, configs)]


def _configs(request: Request, found: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    from envtool.kinds.dockerfile import images

    return {name: images.config(request, name, found) for name in found}


def _urls(builders: Mapping[int, Builder]) -> list[str]:
    copies = [act for builder in builders.values() for act in builder.acts if isinstance(act, CopyAct)]
    return sorted({url for act in copies if not act.checksum for url in act.urls})


def _root(file: File, target: int) -> str:
    """The image that a stage stands on in the end."""
    stage = file.stages[target]
    while stage.parent >= 0:
        stage = file.stages[stage.parent]
    return stage.base


def _own(request: Request, pins: Any) -> tuple[Kind, Request, Json] | None:
    """The kind `image`, as it is asked for the image whose first layer is the base's; None for `scratch`."""
    from envtool.kinds.dockerfile import images

    file = _file(request)
    with _Faults(request):
        name = _root(file, _target(file, request))
    if name == SCRATCH:
        return None
    return images.KIND, images.asked(request, images.option(request.options, name)), pins["images"][name]


def _layers(request: Request, name: str, known: Json) -> Layers:
    from envtool.kinds.dockerfile import images

    options = images.option(request.options, name)
    asked = images.asked(request, options)
    return Layers(
        first={"options": options, "pins": known},
        others=images.KIND.parts(asked, known),
        empty=images.KIND.build(asked, known).archive is None,
    )
