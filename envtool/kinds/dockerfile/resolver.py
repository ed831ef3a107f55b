"""What a base of kind `dockerfile` is made of: its questions, its pins, its parts."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, cast

from envtool.api import FetchError, Json, Kind, Part, Problem, Request, ResolveError, Sealed, Site, SpecError, Where
from envtool.kinds.dockerfile import base_images, build_context, dockerignore
from envtool.kinds.dockerfile.operations import CopyAct
from envtool.kinds.dockerfile.options import as_mapping, dockerfile_and_context, text_inputs
from envtool.kinds.dockerfile.parser import DockerfileError, escape_character, parse
from envtool.kinds.dockerfile.parts import (
    ImageParts,
    PartsAssembler,
    build_stages,
    missing_images,
    preview_stages,
    url_name,
    with_triggers,
)
from envtool.kinds.dockerfile.parts import preview_parts as foreseen_parts
from envtool.kinds.dockerfile.shell_words import Lexer
from envtool.kinds.dockerfile.stages import SCRATCH, ParsedDockerfile, machine, required_stages, split_stages
from envtool.kinds.dockerfile.translate import StageReader

_PREDEFINED = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH"}


def local_image_files(options: Json) -> tuple[str, ...]:
    """The files of the project that tell which image a local one is."""
    chosen = as_mapping(options).get("images", {})
    return tuple(
        path
        for each in chosen.values()
        for path in (*base_images.KIND.inputs(each), *base_images.KIND.asked_inputs(each))
    )


def question(request: Request) -> Json:
    """The images that are named, and what ADD may fetch; not what is built of them."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        target = _target(file, request)
        names = _images(file, target, {})
        whole = with_triggers(file, {})
        read = [each for index in required_stages(whole, target) for each in whole.stages[index].body]
        adds = [each.text for each in read if each.name == "ADD" and not each.flag("checksum")]
        fetched = [text for text in adds if "://" in text or "$" in text]
        if any("$" in text for text in fetched):
            fetched += [each.text for each in read if each.name in ("ARG", "ENV")]
            fetched += [f"{name}={value}" for name, value in file.arguments.items()]
    return {
        "images": [_image_question(request, name) for name in names],
        "adds": cast("Json", fetched),
        "args": cast("Json", _build_args(request.options) if fetched else {}),
    }


def check(request: Request, site: Site) -> None:
    """Raise SpecError, ResolveError for what is wrong in the Dockerfile, and for files of local images that are not
    there, as far as the names are known before any image is."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        target = _target(file, request)
        names = missing_images(file, target, {})
        _, faults = preview_stages(file, target, _build_args(request.options))
    problems = [*_context_problems(request, site), *(_problem(request, fault) for fault in faults)]
    if problems:
        raise SpecError(tuple(problems))
    for name, line in names:
        with _ImageErrorLines(request, {name: line}):
            chosen = base_images.image_option(request.options, name)
            base_images.KIND.judge(chosen)
            for path in base_images.KIND.inputs(chosen):
                try:
                    site.open(posixpath.normpath(posixpath.join(request.directory, path))).close()
                except ResolveError as error:
                    hint = error.hint or "`images:` names an OCI layout (`oci:DIR`), or an archive, of the project"
                    raise ResolveError(error.message, code=error.code, hint=hint) from None


def _context_problems(request: Request, site: Site) -> list[Problem]:
    """A context that is not there."""
    _, directory = dockerfile_and_context(request.options)
    try:
        site.open(posixpath.normpath(posixpath.join(request.directory, directory))).close()
    except ResolveError as error:
        if error.code == "no-file":
            text, hint = f"`context: {directory}`: there is no such directory", "it is relative to the spec"
            return [Problem(where=request.where, message=text, code="dockerfile-context", hint=hint)]
    return []


def foreseen(request: Request) -> tuple[Part, ...]:
    """What looks at the project, as far as the Dockerfile tells it before any image is known. Raises SpecError."""
    file = _read_dockerfile(request)
    _, directory = dockerfile_and_context(request.options)
    with _FaultTranslator(request):
        builders, _ = preview_stages(file, _target(file, request), _build_args(request.options))
    return foreseen_parts(
        builders,
        build_context.context_options(directory, _read_ignore_patterns(request)),
        _secret_sources(request.options),
        _display_path(request),
    )


def resolve(request: Request, site: Site) -> Json:
    """Pin each image, and what is behind the URLs of ADD that say no checksum."""
    file = _read_dockerfile(request)
    keep = cast("dict[str, Any]", request.keep or {})
    found: dict[str, Json] = {}
    with _FaultTranslator(request):
        target = _target(file, request)
        while names := missing_images(file, target, _configs(request, found)):
            for name, line in names:
                asked = base_images.image_request(
                    request, base_images.image_option(request.options, name), keep.get("images", {}).get(name)
                )
                with _ImageErrorLines(request, {name: line}):
                    found[name] = base_images.KIND.resolve(asked, site)
        configs = _configs(request, found)
        builders = build_stages(file, target, configs, _build_args(request.options))
    urls = _urls(builders)
    with _ImageErrorLines(request, urls):
        learnt = site.learn([Sealed(urls=(url,), name=f"{at}-{url_name(url)}") for at, url in enumerate(urls)])
    pinned: list[Json] = [
        {"url": url, "sha256": each.sha256, "size": each.size, "name": url_name(url)}
        for url, each in zip(urls, learnt, strict=True)
    ]
    return {"images": found, "urls": pinned}


def fresh(request: Request, pins: Any) -> bool:
    """Are the images still what they were, by looking at this machine alone?"""
    return all(
        base_images.KIND.fresh(
            base_images.image_request(request, base_images.image_option(request.options, name)), known
        )
        for name, known in pins["images"].items()
    )


def parts(request: Request, pins: Any) -> tuple[Part, ...]:
    """One for each layer of the images, and for each instruction that changes the tree."""
    file = _read_dockerfile(request)
    _, directory = dockerfile_and_context(request.options)
    with _FaultTranslator(request):
        target = _target(file, request)
        configs = _configs(request, pins["images"])
        builders = build_stages(file, target, configs, _build_args(request.options))
        whole = with_triggers(file, configs)
    return PartsAssembler(
        file=whole,
        builders=builders,
        images={name: _layers(request, name, known) for name, known in pins["images"].items()},
        where=_display_path(request),
        context=build_context.context_options(directory, _read_ignore_patterns(request)),
        secrets=_secret_sources(request.options),
        urls={each["url"]: each for each in pins["urls"]},
        own=_root_image(file, target),
        target=target,
    ).assemble()


def image_config(request: Request, pins: Any) -> Mapping[str, Json]:
    """What the target says of itself."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        target = _target(file, request)
        configs = _configs(request, pins["images"])
        return build_stages(file, target, configs, _build_args(request.options))[target].config


# ---- reading ---------------------------------------------------------------------------------------------------------


class _FaultTranslator:
    """Turns a Fault into an error of the spec, at its line of the Dockerfile."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, DockerfileError):
            raise SpecError((_problem(self.request, error),)) from error


class _ImageErrorLines:
    """Says of what cannot be had which line of the Dockerfile asks for it, where that is known: `lines` by its name."""

    def __init__(self, request: Request, lines: Mapping[str, int]) -> None:
        self.request = request
        self.lines = lines

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, ResolveError | FetchError):
            named = [line for name, line in self.lines.items() if len(self.lines) == 1 or name in error.message]
            if named:
                place = f"{_display_path(self.request)}:{named[0]}"
                raise type(error)(f"{place}: {error.message}", code=error.code, hint=error.hint) from error


def _problem(request: Request, fault: DockerfileError) -> Problem:
    where = Where(file=_display_path(request), line=fault.line, column=1)
    return Problem(where=where, message=fault.message, code="dockerfile", hint=fault.hint)


def _secret_sources(options: Json) -> dict[str, str]:
    """Where the spec says that secrets come from, by id: `file:PATH`, `env:NAME`."""
    found = as_mapping(options).get("secrets", {})
    return {name: ":".join(next(iter(source.items()))) for name, source in found.items()}


def _display_path(request: Request) -> str:
    return posixpath.normpath(posixpath.join(request.directory, dockerfile_and_context(request.options)[0]))


def _build_args(options: Json) -> dict[str, str]:
    """The arguments of the spec; YAML's true is written as Docker's users write it."""
    found = as_mapping(options).get("args", {})
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}


def _read_dockerfile(request: Request) -> ParsedDockerfile:
    """The Dockerfile, as stages. Raises SpecError."""
    place, _ = dockerfile_and_context(request.options)
    text = request.texts.get(place)
    if text is None:
        hint = "`dockerfile: {file: PATH}` is relative to the spec"
        problem = Problem(where=request.where, message=f"there is no `{place}`", code="dockerfile-missing", hint=hint)
        raise SpecError((problem,))
    given = _build_args(request.options)
    with _FaultTranslator(request):
        lexer = Lexer(escape=escape_character(text))
        file = split_stages(parse(text), lexer, request.arch, given, str(as_mapping(request.options).get("target", "")))
        _check(file, given, request)
    return file


def _check(file: ParsedDockerfile, given: Mapping[str, str], request: Request) -> None:
    here = f"linux/{machine(request.arch)}"
    wanted = str(as_mapping(request.options).get("platform", here))
    if "/".join(wanted.split("/")[:2]) != here:
        text = f"`platform: {wanted}` needs a machine of that kind: this is {here}"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-platform"),))
    strange = [name for name in given if name not in file.declared and name.upper() not in _PREDEFINED]
    strange = [name for name in strange if name not in file.arguments or not name.startswith(("BUILD", "TARGET"))]
    if strange:
        text = f"`args: {strange[0]}`: the Dockerfile has no such ARG"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-args"),))


def _target(file: ParsedDockerfile, request: Request) -> int:
    return file.target(str(as_mapping(request.options).get("target", ""))).index


def _read_ignore_patterns(request: Request) -> tuple[str, ...]:
    """The patterns of the Dockerfile's own file, else of its context's."""
    _, own, common = text_inputs(request.options)
    return dockerignore.parse_patterns(request.texts.get(own, request.texts.get(common, "")))


# ---- images ----------------------------------------------------------------------------------------------------------


def _image_question(request: Request, name: str) -> Json:
    return [
        name,
        base_images.KIND.question(base_images.image_request(request, base_images.image_option(request.options, name))),
    ]


def _images(file: ParsedDockerfile, target: int, configs: Mapping[str, Mapping[str, Json]]) -> list[str]:
    return [name for name, _ in missing_images(file, target, configs)]


def _configs(request: Request, found: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    return {name: base_images.image_config_of(request, name, found) for name in found}


def _urls(builders: Mapping[int, StageReader]) -> dict[str, int]:
    """What has to be pinned, in the order of its names, and the line that asks for it."""
    copies = [act for builder in builders.values() for act in builder.acts if isinstance(act, CopyAct)]
    return dict(sorted({url: act.line for act in copies if not act.checksum for url in act.urls}.items()))


def _root_image(file: ParsedDockerfile, target: int) -> str:
    """The image that a stage stands on in the end."""
    stage = file.stages[target]
    while stage.parent >= 0:
        stage = file.stages[stage.parent]
    return stage.base


def own_image_request(request: Request, pins: Any) -> tuple[Kind, Request, Json] | None:
    """The kind `image`, as it is asked for the image whose first layer is the base's; None for `scratch`."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        name = _root_image(file, _target(file, request))
    if name == SCRATCH:
        return None
    return (
        base_images.KIND,
        base_images.image_request(request, base_images.image_option(request.options, name)),
        pins["images"][name],
    )


def _layers(request: Request, name: str, known: Json) -> ImageParts:
    options = base_images.image_option(request.options, name)
    asked = base_images.image_request(request, options)
    return ImageParts(
        first={"options": options, "pins": known},
        others=base_images.KIND.parts(asked, known),
        empty=base_images.KIND.build(asked, known).archive is None,
    )
