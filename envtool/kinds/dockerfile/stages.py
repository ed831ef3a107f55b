"""Splits instructions into stages, and finds the stages and images that a target needs. Pure.

A stage stands on an image, on another stage or on nothing (`scratch`). It may read other stages and images with `COPY
--from` and `RUN --mount=from`. A name in `FROM` is a stage if an earlier stage has that name, as for other builders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from envtool.api.untrusted_text import natural
from envtool.kinds.dockerfile.parser import DockerfileError, Instruction
from envtool.kinds.dockerfile.run_mounts import mount_origins
from envtool.kinds.dockerfile.shell_words import Lexer, WordError
from envtool.lazy_dataclass import dataclass

SCRATCH = "scratch"
UNSET_HINT = "an ARG or ENV of this stage, or of the image, gives it a value; `args:` in the spec does for an ARG"
MAX_VARIABLES = 10_000  # of a stage: more than any program gets
MAX_ENVIRONMENT = 2 << 20  # characters of their names and values together
_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `base` is the expanded name in FROM; `parent` is the index of the stage with that name, -1 for an
    image or `scratch`."""

    index: int
    name: str
    base: str
    parent: int
    line: int
    body: tuple[Instruction, ...]
    fault: DockerfileError | None = None  # an error in its FROM, raised only if the stage is built


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDockerfile:
    """A Dockerfile: its stages, and the arguments before the first FROM with their values."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]
    declared: frozenset[str]  # names of all ARGs in the file
    lexer: Lexer
    machine: str  # as OCI names it: amd64, arm64

    def find(self, name: str, before: int) -> int:
        """Returns the index of the last stage before `before` with this name or index; -1 if there is none."""
        if name.isdecimal():
            number = natural(name)
            return number if number is not None and number < before else -1
        indexes = [stage.index for stage in self.stages[:before] if stage.name and stage.name == name.lower()]
        return indexes[-1] if indexes else -1

    def target(self, name: str) -> Stage:
        """Returns the stage to build; the last for "". Raises DockerfileError."""
        if not name:
            return self.stages[-1]
        index = self.find(name, len(self.stages))
        if index < 0:
            names = ", ".join(f"`{stage.name}`" for stage in self.stages if stage.name) or "none has a name"
            raise DockerfileError(f"there is no stage `{name}`", self.stages[-1].line, hint=f"the stages: {names}")
        return self.stages[index]


def machine(arch: str) -> str:
    """Returns OCI's name of a machine (`uname -m`): amd64, arm64."""
    return _MACHINES.get(arch, arch)


def platform_arguments(arch: str, target: str = "") -> dict[str, str]:
    """Returns the ARGs that BuildKit defines for every Dockerfile: the platform, and the name of the target."""
    name = machine(arch)
    arguments: dict[str, str] = {}
    for side in ("BUILD", "TARGET"):
        arguments |= {
            f"{side}PLATFORM": f"linux/{name}",
            f"{side}OS": "linux",
            f"{side}ARCH": name,
            f"{side}VARIANT": "",
        }
    return {**arguments, "TARGETSTAGE": target or "default"}


def split_stages(
    instructions: Sequence[Instruction], lexer: Lexer, arch: str, build_args: Mapping[str, str], target: str = ""
) -> ParsedDockerfile:
    """Splits instructions into stages; `build_args` are the `args:` of the spec. Raises DockerfileError."""
    first = next((at for at, instruction in enumerate(instructions) if instruction.name == "FROM"), len(instructions))
    values = {**platform_arguments(arch, target), **build_args}
    for instruction in instructions[:first]:
        if instruction.name != "ARG":
            raise DockerfileError(f"{instruction.name} stands before the first FROM", instruction.line)
        for name, default in parse_arg(instruction):
            if name not in build_args and default is not None:
                values[name] = expand_word(lexer, default, values, instruction.line)
        check_variable_limits(values, instruction.line)
    if first == len(instructions):
        raise DockerfileError("there is no FROM", instructions[-1].line if instructions else 1)
    declared = frozenset(
        word.partition("=")[0]
        for instruction in instructions
        if instruction.name == "ARG"
        for word in instruction.arguments
    )
    file = ParsedDockerfile(stages=(), arguments=values, declared=declared, lexer=lexer, machine=machine(arch))
    for start, end in _stage_spans(instructions, first):
        file = replace(file, stages=(*file.stages, _stage(file, instructions[start], instructions[start + 1 : end])))
    return file


def _stage_spans(instructions: Sequence[Instruction], first: int) -> Iterator[tuple[int, int]]:
    starts = [index for index in range(first, len(instructions)) if instructions[index].name == "FROM"]
    yield from zip(starts, [*starts[1:], len(instructions)], strict=True)


def _stage(file: ParsedDockerfile, from_instruction: Instruction, body: Sequence[Instruction]) -> Stage:
    """Returns a stage. An error in its FROM is kept in the stage, and raised only if the stage is needed; its name is
    known in any case."""
    words = [*from_instruction.arguments, "", "", ""]
    name = words[2].lower() if words[1].lower() == "as" else ""
    stage = Stage(index=len(file.stages), name=name, base="", parent=-1, line=from_instruction.line, body=tuple(body))
    try:
        return _parse_from(file, from_instruction, stage)
    except DockerfileError as error:
        return replace(stage, fault=error)


def _parse_from(file: ParsedDockerfile, from_instruction: Instruction, stage: Stage) -> Stage:
    if from_instruction.fault is not None:
        raise from_instruction.fault
    check_flags(from_instruction, "platform")
    words = from_instruction.arguments
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise DockerfileError("FROM takes `IMAGE`, or `IMAGE AS NAME`", from_instruction.line)
    if stage.name and not _NAME.fullmatch(stage.name):
        raise DockerfileError(
            f"`{words[2]}` is no name for a stage: letters first, then letters, digits, `-`, `_`, `.`",
            from_instruction.line,
        )
    base = expand_word(file.lexer, words[0], file.arguments, from_instruction.line)
    if not base:
        raise DockerfileError(
            f"FROM names no image: `{words[0]}` is empty",
            from_instruction.line,
            hint="an ARG before the first FROM gives it a default, `args:` in the spec a value",
        )
    platform = expand_word(file.lexer, from_instruction.flag("platform"), file.arguments, from_instruction.line)
    parent = -1 if base.isdigit() else file.find(base, len(file.stages))
    if parent < 0 and base != SCRATCH:  # the platform of a stage is checked at its own FROM; `scratch` has none
        _check_platform(platform, file.machine, from_instruction.line)
    return replace(stage, base=base, parent=parent)


def _check_platform(text: str, machine_name: str, line: int) -> None:
    """Raises DockerfileError if --platform is not this machine's. It may be complete or not (containerd/platforms:
    Parse): `linux/arm64/v8`, `linux`, `arm64`."""
    words = text.split("/")
    platform = words[:2] if len(words) > 1 else ["linux", machine_name] if text in ("", "linux") else ["linux", text]
    if [platform[0], machine(platform[1])] != ["linux", machine_name]:
        raise DockerfileError(f"--platform={text} needs a machine of that kind: this is linux/{machine_name}", line)


def required_stages(file: ParsedDockerfile, target: int) -> tuple[int, ...]:
    """Returns the indexes of the stages that a target needs, each after those that it needs; the target is the last.
    The triggers of images are not considered. Raises DockerfileError for a wrong FROM."""
    order: list[int] = []
    pending = [(target, False)]
    while pending:
        index, done = pending.pop()
        if done:
            order.append(index)
        elif (index, True) not in pending and index not in order:
            if (fault := file.stages[index].fault) is not None:
                raise fault
            pending.append((index, True))
            pending += [(needed, False) for needed in reversed(_stages_used_by(file, file.stages[index]))]
    return tuple(dict.fromkeys(order))


def _stages_used_by(file: ParsedDockerfile, stage: Stage) -> list[int]:
    indexes = [stage.parent] if stage.parent >= 0 else []
    for name, _ in mount_and_copy_origins(stage.body):
        index = file.find(name, stage.index)
        if index >= 0:
            indexes.append(index)
    return indexes


def required_images(file: ParsedDockerfile, indexes: Iterable[int]) -> tuple[tuple[str, int], ...]:
    """Returns the images that the stages stand on or read, as (name, line of the first use). Raises DockerfileError."""
    images: dict[str, int] = {}
    for index in indexes:
        stage = file.stages[index]
        if stage.parent < 0 and stage.base != SCRATCH:
            images.setdefault(stage.base, stage.line)
        for name, line in mount_and_copy_origins(stage.body):
            if file.find(name, stage.index) >= 0:
                continue
            if name.isdigit() or any(later.name == name.lower() for later in file.stages[stage.index :]):
                raise DockerfileError(f"--from={name}: there is no such stage before this one", line)
            images.setdefault(name, line)
    return tuple(images.items())


def mount_and_copy_origins(body: Iterable[Instruction]) -> Iterator[tuple[str, int]]:
    """Yields (name, line) for each stage, index or image that instructions read. Raises DockerfileError."""
    for instruction in body:
        if instruction.name == "COPY" and (name := instruction.flag("from")):
            if "$" in name:
                raise DockerfileError(
                    f"--from={name}: variables are not expanded here; give the image a stage", instruction.line
                )
            yield name, instruction.line
        elif instruction.name == "RUN":
            yield from ((name, instruction.line) for name in mount_origins(instruction))


def check_variable_limits(variables: Mapping[str, str], line: int) -> None:
    """Raises DockerfileError for more variables than a program can be started with. A value may contain all values
    before it, so that a few lines can make very long ones."""
    if (
        len(variables) > MAX_VARIABLES
        or sum(len(name) + len(value) for name, value in variables.items()) > MAX_ENVIRONMENT
    ):
        text = (
            f"there are more than {MAX_VARIABLES:,} variables,"
            f" or they have more than {MAX_ENVIRONMENT:,} characters together"
        )
        raise DockerfileError(text, line, hint="no command could be started with them")


def parse_arg(instruction: Instruction) -> Iterator[tuple[str, str | None]]:
    """Yields the names that an ARG declares, each with its default as it was written. Raises DockerfileError."""
    if not instruction.arguments:
        raise DockerfileError("ARG names nothing", instruction.line)
    for word in instruction.arguments:
        name, equals, default = word.partition("=")
        if not name:
            raise DockerfileError(f"ARG `{word}` has no name", instruction.line)
        yield name, default if equals else None


def expand_word(lexer: Lexer, word: str, variables: Mapping[str, str], line: int) -> str:
    """Returns a word with its variables expanded and without quotes. Raises DockerfileError."""
    try:
        return lexer.expand(word, variables)
    except WordError as error:
        raise DockerfileError(f"`{word}`: {error}", line) from None


def check_flags(instruction: Instruction, *supported: str) -> None:
    """Raises DockerfileError for a flag that is not in `known`."""
    for name, _ in instruction.flags:
        if name not in supported:
            hint = f"supported: {', '.join(f'--{flag}' for flag in supported)}" if supported else "it takes none"
            raise DockerfileError(f"{instruction.name} --{name} is not supported", instruction.line, hint=hint)
