"""The ENTRYPOINT, USER and WORKDIR of an image, as far as they are known before the image is fetched or built."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import known_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.kinds.dockerfile.parser import Instruction

MAX_STAGES = 1000


class ImageDefaults(NamedTuple):
    """The parts of an image's configuration. None: not known."""

    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    workdir: str | None = None  # only where a Dockerfile of the project says it


UNKNOWN = ImageDefaults()


def of_image(image: str) -> ImageDefaults:
    """Returns the defaults of an image, by its name: those of official images are known, which start as root."""
    entrypoint = known_images.entrypoint_of(image)
    return UNKNOWN if entrypoint is None else ImageDefaults(entrypoint, "root")


def of_dockerfile(text: str, target: str) -> ImageDefaults:
    """Returns what a stage of a Dockerfile (the last one without a target) adds to its base image. Returns UNKNOWN for
    a file that cannot be parsed, since the build reports why."""
    from envtool.errors import EnvtoolError
    from envtool.kinds.dockerfile.parser import DockerfileError, parse

    try:
        instructions = parse(text)
    except (DockerfileError, EnvtoolError):
        return UNKNOWN
    stages: list[tuple[str, list[Instruction]]] = []  # name, FROM and what follows it
    for instruction in instructions:
        if instruction.name == "FROM":
            words = [*instruction.arguments, "", "", ""]
            stages.append((words[2].lower(), [instruction]))
        elif stages:
            stages[-1][1].append(instruction)
    if not stages or len(stages) > MAX_STAGES:
        return UNKNOWN
    names = [name for name, _ in stages]
    index = names.index(target.lower()) if target.lower() in names else len(stages) - 1
    chain: list[list[Instruction]] = []
    while True:
        chain.insert(0, stages[index][1])
        base = stages[index][1][0].arguments[0].lower() if stages[index][1][0].arguments else ""
        if base not in names[:index]:
            break
        index = names.index(base)
    first = chain[0][0].arguments[:1]
    defaults = of_image(first[0]) if first and "$" not in first[0] else UNKNOWN
    for body in chain:
        defaults = _apply(defaults, body)
    return defaults


def _apply(defaults: ImageDefaults, body: Sequence[Instruction]) -> ImageDefaults:
    for instruction in body:
        text = instruction.arguments[0] if instruction.arguments else ""
        if instruction.name == "ENTRYPOINT":
            words = tuple(instruction.arguments)
            defaults = defaults._replace(entrypoint=words if instruction.json else ("/bin/sh", "-c", " ".join(words)))
        elif instruction.name == "USER":
            defaults = defaults._replace(user=None if "$" in text else text)
        elif instruction.name == "WORKDIR":
            known = text.startswith("/") and "$" not in text
            defaults = defaults._replace(workdir=text if known else None)
    return defaults


def split_words(text: str) -> tuple[str, ...]:
    """Returns the words of a command, as compose splits it: by the rules of a shell, which does not run. Raises
    ValueError for a quote that is not closed."""
    return tuple(shlex.split(text))
