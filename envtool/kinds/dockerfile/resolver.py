"""Answers for the kind `dockerfile`: its question, its pins, its sublayers, its configuration."""

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
    """Returns the project's files that identify local images."""
    images = as_mapping(options).get("images", {})
    return tuple(item.pattern for option in images.values() for item in base_images.KIND.inputs(option))


def question(request: Request) -> Json:
    """Returns the names of the images and what decides the URLs of ADD; the other instructions are no part of the
    question."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        target = _target(file, request)
        names = _images(file, target, {})
        complete = with_triggers(file, {})
        instructions = [
            instruction for index in required_stages(complete, target) for instruction in complete.stages[index].body
        ]
        adds = [
            instruction.text
            for instruction in instructions
            if instruction.name == "ADD" and not instruction.flag("checksum")
        ]
        fetching = [text for text in adds if "://" in text or "$" in text]
        if any("$" in text for text in fetching):
            fetching += [instruction.text for instruction in instructions if instruction.name in ("ARG", "ENV")]
            fetching += [f"{name}={value}" for name, value in file.arguments.items()]
    return {
        "images": [_image_question(request, name) for name in names],
        "adds": cast("Json", fetching),
        "args": cast("Json", _build_args(request.options) if fetching else {}),
    }


def check(request: Request, site: Site) -> None:
    """Raises SpecError for what is wrong in the Dockerfile, and ResolveError for missing files of local images; both as
    far as no image has to be known for it."""
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
            option = base_images.image_option(request.options, name)
            base_images.KIND.judge(option)
            for item in base_images.KIND.inputs(option):
                try:
                    site.open(posixpath.normpath(posixpath.join(request.directory, item.pattern))).close()
                except ResolveError as error:
                    hint = error.hint or "`images:` names an OCI layout (`oci:DIR`), or an archive, of the project"
                    raise ResolveError(error.message, code=error.code, hint=hint) from None


def _context_problems(request: Request, site: Site) -> list[Problem]:
    """Returns a problem if the context does not exist."""
    _, directory = dockerfile_and_context(request.options)
    try:
        site.open(posixpath.normpath(posixpath.join(request.directory, directory))).close()
    except ResolveError as error:
        if error.code == "no-file":
            text, hint = f"`context: {directory}`: there is no such directory", "it is relative to the spec"
            return [Problem(where=request.where, message=text, code="dockerfile-context", hint=hint)]
    return []


def foreseen(request: Request) -> tuple[Part, ...]:
    """Returns the sublayers that read the project, as far as the Dockerfile alone tells them. Raises SpecError."""
    file = _read_dockerfile(request)
    _, directory = dockerfile_and_context(request.options)
    with _FaultTranslator(request):
        readers, _ = preview_stages(file, _target(file, request), _build_args(request.options))
    return foreseen_parts(
        readers,
        build_context.context_options(directory, _read_ignore_patterns(request)),
        _secret_sources(request.options),
        _display_path(request),
    )


def resolve(request: Request, site: Site) -> Json:
    """Pins each image, and each URL of an ADD without a checksum."""
    file = _read_dockerfile(request)
    keep = cast("dict[str, Any]", request.keep or {})
    images: dict[str, Json] = {}
    with _FaultTranslator(request):
        target = _target(file, request)
        while names := missing_images(file, target, _configs(request, images)):
            for name, line in names:
                image_request = base_images.image_request(
                    request, base_images.image_option(request.options, name), keep.get("images", {}).get(name)
                )
                with _ImageErrorLines(request, {name: line}):
                    images[name] = base_images.KIND.resolve(image_request, site)
        configs = _configs(request, images)
        readers = build_stages(file, target, configs, _build_args(request.options))
    urls = _urls(readers)
    with _ImageErrorLines(request, urls):
        downloads = site.learn([Sealed(urls=(url,), name=f"{index}-{url_name(url)}") for index, url in enumerate(urls)])
    pinned: list[Json] = [
        {"url": url, "sha256": download.sha256, "size": download.size, "name": url_name(url)}
        for url, download in zip(urls, downloads, strict=True)
    ]
    return {"images": images, "urls": pinned}


def fresh(request: Request, pins: Any) -> bool:
    """Whether this machine still has the same images. Asks no network."""
    return all(
        base_images.KIND.fresh(
            base_images.image_request(request, base_images.image_option(request.options, name)), image_pins
        )
        for name, image_pins in pins["images"].items()
    )


def parts(request: Request, pins: Any) -> tuple[Part, ...]:
    """Returns a sublayer for each layer of the images, and for each instruction that changes the tree."""
    file = _read_dockerfile(request)
    _, directory = dockerfile_and_context(request.options)
    with _FaultTranslator(request):
        target = _target(file, request)
        configs = _configs(request, pins["images"])
        readers = build_stages(file, target, configs, _build_args(request.options))
        complete = with_triggers(file, configs)
    return PartsAssembler(
        file=complete,
        readers=readers,
        images={name: _layers(request, name, image_pins) for name, image_pins in pins["images"].items()},
        dockerfile=_display_path(request),
        context=build_context.context_options(directory, _read_ignore_patterns(request)),
        secrets=_secret_sources(request.options),
        urls={url["url"]: url for url in pins["urls"]},
        own_image=_root_image(file, target),
        target=target,
    ).assemble()


def image_config(request: Request, pins: Any) -> Mapping[str, Json]:
    """Returns the image configuration of the target."""
    file = _read_dockerfile(request)
    with _FaultTranslator(request):
        target = _target(file, request)
        configs = _configs(request, pins["images"])
        return build_stages(file, target, configs, _build_args(request.options))[target].config


# ---- reading ---------------------------------------------------------------------------------------------------------


class _FaultTranslator:
    """A context manager: turns a DockerfileError into a SpecError at its line of the Dockerfile."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, DockerfileError):
            raise SpecError((_problem(self.request, error),)) from error


class _ImageErrorLines:
    """A context manager: adds the line of the Dockerfile to the error of an image or URL that is not available. `lines`
    has the line of each name."""

    def __init__(self, request: Request, lines: Mapping[str, int]) -> None:
        self.request = request
        self.lines = lines

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, ResolveError | FetchError):
            lines = [line for name, line in self.lines.items() if len(self.lines) == 1 or name in error.message]
            if lines:
                position = f"{_display_path(self.request)}:{lines[0]}"
                raise type(error)(f"{position}: {error.message}", code=error.code, hint=error.hint) from error


def _problem(request: Request, fault: DockerfileError) -> Problem:
    where = Where(file=_display_path(request), line=fault.line, column=1)
    return Problem(where=where, message=fault.message, code="dockerfile", hint=fault.hint)


def _secret_sources(options: Json) -> dict[str, str]:
    """Returns the sources of secrets in the spec, by id: `file:PATH`, `env:NAME`."""
    secrets = as_mapping(options).get("secrets", {})
    return {name: ":".join(next(iter(source.items()))) for name, source in secrets.items()}


def _display_path(request: Request) -> str:
    return posixpath.normpath(posixpath.join(request.directory, dockerfile_and_context(request.options)[0]))


def _build_args(options: Json) -> dict[str, str]:
    """Returns the `args:` of the spec. YAML's true becomes "true", as Docker's users write it."""
    arguments = as_mapping(options).get("args", {})
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in arguments.items()}


def _read_dockerfile(request: Request) -> ParsedDockerfile:
    """Returns the Dockerfile, split into stages. Raises SpecError."""
    path, _ = dockerfile_and_context(request.options)
    text = request.texts.get(path)
    if text is None:
        hint = "`dockerfile: {file: PATH}` is relative to the spec"
        problem = Problem(where=request.where, message=f"there is no `{path}`", code="dockerfile-missing", hint=hint)
        raise SpecError((problem,))
    build_args = _build_args(request.options)
    with _FaultTranslator(request):
        lexer = Lexer(escape=escape_character(text))
        file = split_stages(
            parse(text), lexer, request.arch, build_args, str(as_mapping(request.options).get("target", ""))
        )
        _check(file, build_args, request)
    return file


def _check(file: ParsedDockerfile, build_args: Mapping[str, str], request: Request) -> None:
    machine_platform = f"linux/{machine(request.arch)}"
    platform = str(as_mapping(request.options).get("platform", machine_platform))
    if "/".join(platform.split("/")[:2]) != machine_platform:
        text = f"`platform: {platform}` needs a machine of that kind: this is {machine_platform}"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-platform"),))
    undeclared = [name for name in build_args if name not in file.declared and name.upper() not in _PREDEFINED]
    undeclared = [name for name in undeclared if name not in file.arguments or not name.startswith(("BUILD", "TARGET"))]
    if undeclared:
        text = f"`args: {undeclared[0]}`: the Dockerfile has no such ARG"
        raise SpecError((Problem(where=request.where, message=text, code="dockerfile-args"),))


def _target(file: ParsedDockerfile, request: Request) -> int:
    return file.target(str(as_mapping(request.options).get("target", ""))).index


def _read_ignore_patterns(request: Request) -> tuple[str, ...]:
    """Returns the patterns of the ignore file for this Dockerfile, or else of the context's `.dockerignore`."""
    _, specific, common = text_inputs(request.options)
    return dockerignore.parse_patterns(request.texts.get(specific, request.texts.get(common, "")))


# ---- images ----------------------------------------------------------------------------------------------------------


def _image_question(request: Request, name: str) -> Json:
    return [
        name,
        base_images.KIND.question(base_images.image_request(request, base_images.image_option(request.options, name))),
    ]


def _images(file: ParsedDockerfile, target: int, configs: Mapping[str, Mapping[str, Json]]) -> list[str]:
    return [name for name, _ in missing_images(file, target, configs)]


def _configs(request: Request, images: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    return {name: base_images.image_config_of(request, name, images) for name in images}


def _urls(readers: Mapping[int, StageReader]) -> dict[str, int]:
    """Returns the URLs to pin, sorted, each with the line of its ADD."""
    copies = [act for reader in readers.values() for act in reader.acts if isinstance(act, CopyAct)]
    return dict(sorted({url: act.line for act in copies if not act.checksum for url in act.urls}.items()))


def _root_image(file: ParsedDockerfile, target: int) -> str:
    """Returns the image at the root of a stage's chain of parents, or `scratch`."""
    stage = file.stages[target]
    while stage.parent >= 0:
        stage = file.stages[stage.parent]
    return stage.base


def own_image_request(request: Request, pins: Any) -> tuple[Kind, Request, Json] | None:
    """Returns (the kind `image`, its request, its pins) of the image whose first layer is the base's own layer; None
    for `scratch`."""
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


def _layers(request: Request, name: str, image_pins: Json) -> ImageParts:
    options = base_images.image_option(request.options, name)
    image_request = base_images.image_request(request, options)
    return ImageParts(
        first={"options": options, "pins": image_pins},
        others=base_images.KIND.parts(image_request, image_pins),
        empty=base_images.KIND.build(image_request, image_pins).archive is None,
    )
