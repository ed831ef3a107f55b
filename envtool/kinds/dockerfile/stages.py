"""Instructions -> stages, and which of them a build needs. Pure.

A stage stands on an image, on another stage or on nothing (`scratch`), and may look into others: `COPY --from`,
`RUN --mount=from`. Other builders call what `FROM` names a stage when a stage before it has that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from envtool.fs.sizes import natural
from envtool.kinds.dockerfile.parser import DockerfileError, Instruction
from envtool.kinds.dockerfile.run_mounts import mount_origins
from envtool.kinds.dockerfile.shell_words import Lexer, WordError

SCRATCH = "scratch"
UNSET_HINT = "an ARG or ENV of this stage, or of the image, gives it a value; `args:` in the spec does for an ARG"
MAX_VARIABLES = 10_000  # of a stage: more than any program is started with
MAX_ENVIRONMENT = 2 << 20  # characters of their names and values together
_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `base` is what FROM names, expanded; `parent` the stage that it is, -1 for an image or scratch."""

    index: int
    name: str
    base: str
    parent: int
    line: int
    body: tuple[Instruction, ...]
    fault: DockerfileError | None = None  # what is wrong with its FROM, for whoever needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDockerfile:
    """A whole Dockerfile: its stages, and the arguments that stand before the first, with their values."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]
    declared: frozenset[str]  # names of all ARGs anywhere
    lexer: Lexer
    machine: str  # as images name it

    def find(self, name: str, before: int) -> int:
        """The stage of a name or index that stands before another one; -1 when it is none. Of several the last."""
        if name.isdecimal():
            number = natural(name)
            return number if number is not None and number < before else -1
        found = [stage.index for stage in self.stages[:before] if stage.name and stage.name == name.lower()]
        return found[-1] if found else -1

    def target(self, name: str) -> Stage:
        """The stage to build; the last for "". Raises DockerfileError."""
        if not name:
            return self.stages[-1]
        index = self.find(name, len(self.stages))
        if index < 0:
            names = ", ".join(f"`{stage.name}`" for stage in self.stages if stage.name) or "none has a name"
            raise DockerfileError(f"there is no stage `{name}`", self.stages[-1].line, hint=f"the stages: {names}")
        return self.stages[index]


def machine(arch: str) -> str:
    """`uname -m` as images name it: amd64, arm64."""
    return _MACHINES.get(arch, arch)


def platform_arguments(arch: str, target: str = "") -> dict[str, str]:
    """What every Dockerfile is told of the platform: ARGs that need no default."""
    name = machine(arch)
    found: dict[str, str] = {}
    for side in ("BUILD", "TARGET"):
        found |= {f"{side}PLATFORM": f"linux/{name}", f"{side}OS": "linux", f"{side}ARCH": name, f"{side}VARIANT": ""}
    return {**found, "TARGETSTAGE": target or "default"}


def split_stages(
    instructions: Sequence[Instruction], lexer: Lexer, arch: str, given: Mapping[str, str], target: str = ""
) -> ParsedDockerfile:
    """Split into stages; `given` are the arguments of the spec. Raises DockerfileError."""
    ahead = next((at for at, each in enumerate(instructions) if each.name == "FROM"), len(instructions))
    values = {**platform_arguments(arch, target), **given}
    for each in instructions[:ahead]:
        if each.name != "ARG":
            raise DockerfileError(f"{each.name} stands before the first FROM", each.line)
        for name, default in parse_arg(each):
            if name not in given and default is not None:
                values[name] = expand_word(lexer, default, values, each.line)
        check_variable_limits(values, each.line)
    if ahead == len(instructions):
        raise DockerfileError("there is no FROM", instructions[-1].line if instructions else 1)
    declared = frozenset(
        word.partition("=")[0] for each in instructions if each.name == "ARG" for word in each.arguments
    )
    file = ParsedDockerfile(stages=(), arguments=values, declared=declared, lexer=lexer, machine=machine(arch))
    for start, end in _stage_spans(instructions, ahead):
        file = replace(file, stages=(*file.stages, _stage(file, instructions[start], instructions[start + 1 : end])))
    return file


def _stage_spans(instructions: Sequence[Instruction], first: int) -> Iterator[tuple[int, int]]:
    begins = [at for at in range(first, len(instructions)) if instructions[at].name == "FROM"]
    yield from zip(begins, [*begins[1:], len(instructions)], strict=True)


def _stage(file: ParsedDockerfile, begin: Instruction, body: Sequence[Instruction]) -> Stage:
    """What is wrong with FROM counts where the stage is needed; its name, as far as there is one, is known to all."""
    words = [*begin.arguments, "", "", ""]
    name = words[2].lower() if words[1].lower() == "as" else ""
    plain = Stage(index=len(file.stages), name=name, base="", parent=-1, line=begin.line, body=tuple(body))
    try:
        return _parse_from(file, begin, plain)
    except DockerfileError as error:
        return replace(plain, fault=error)


def _parse_from(file: ParsedDockerfile, begin: Instruction, plain: Stage) -> Stage:
    if begin.fault is not None:
        raise begin.fault
    check_flags(begin, "platform")
    words = begin.arguments
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise DockerfileError("FROM takes `IMAGE`, or `IMAGE AS NAME`", begin.line)
    if plain.name and not _NAME.fullmatch(plain.name):
        raise DockerfileError(
            f"`{words[2]}` is no name for a stage: letters first, then letters, digits, `-`, `_`, `.`", begin.line
        )
    base = expand_word(file.lexer, words[0], file.arguments, begin.line)
    if not base:
        raise DockerfileError(
            f"FROM names no image: `{words[0]}` is empty",
            begin.line,
            hint="an ARG before the first FROM gives it a default, `args:` in the spec a value",
        )
    platform = expand_word(file.lexer, begin.flag("platform"), file.arguments, begin.line)
    parent = -1 if base.isdigit() else file.find(base, len(file.stages))
    if parent < 0 and base != SCRATCH:  # a stage is what it is already, and nothing runs in `scratch`
        _check_platform(platform, file.machine, begin.line)
    return replace(plain, base=base, parent=parent)


def _check_platform(text: str, here: str, line: int) -> None:
    """What --platform says, whole or in part (containerd/platforms: Parse): `linux/arm64/v8`, `linux`, `arm64`."""
    words = text.split("/")
    asked = words[:2] if len(words) > 1 else ["linux", here] if text in ("", "linux") else ["linux", text]
    if [asked[0], machine(asked[1])] != ["linux", here]:
        raise DockerfileError(f"--platform={text} needs a machine of that kind: this is linux/{here}", line)


def required_stages(file: ParsedDockerfile, target: int) -> tuple[int, ...]:
    """The stages that a target needs, itself last, each after what it needs. Triggers of images are not seen. Raises
    Fault for what is wrong with one of them."""
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
            pending += [(each, False) for each in reversed(_stages_used_by(file, file.stages[index]))]
    return tuple(dict.fromkeys(order))


def _stages_used_by(file: ParsedDockerfile, stage: Stage) -> list[int]:
    found = [stage.parent] if stage.parent >= 0 else []
    for name, _ in mount_and_copy_origins(stage.body):
        index = file.find(name, stage.index)
        if index >= 0:
            found.append(index)
    return found


def required_images(file: ParsedDockerfile, wanted: Iterable[int]) -> tuple[tuple[str, int], ...]:
    """The images that stages stand on or look into, as (name, line of the first use). Raises DockerfileError."""
    found: dict[str, int] = {}
    for index in wanted:
        stage = file.stages[index]
        if stage.parent < 0 and stage.base != SCRATCH:
            found.setdefault(stage.base, stage.line)
        for name, line in mount_and_copy_origins(stage.body):
            if file.find(name, stage.index) >= 0:
                continue
            if name.isdigit() or any(each.name == name.lower() for each in file.stages[stage.index :]):
                raise DockerfileError(f"--from={name}: there is no such stage before this one", line)
            found.setdefault(name, line)
    return tuple(found.items())


def mount_and_copy_origins(body: Iterable[Instruction]) -> Iterator[tuple[str, int]]:
    """(stage, index or image, line) that instructions look into. Raises DockerfileError."""
    for each in body:
        if each.name == "COPY" and (name := each.flag("from")):
            if "$" in name:
                raise DockerfileError(
                    f"--from={name}: variables are not expanded here; give the image a stage", each.line
                )
            yield name, each.line
        elif each.name == "RUN":
            yield from ((name, each.line) for name in mount_origins(each))


def check_variable_limits(variables: Mapping[str, str], line: int) -> None:
    """Raise DockerfileError for more variables than a program can be started with: each may be made of all those before it."""
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
    """The names that an ARG declares, each with its default as it was written. Raises DockerfileError."""
    if not instruction.arguments:
        raise DockerfileError("ARG names nothing", instruction.line)
    for word in instruction.arguments:
        name, equals, default = word.partition("=")
        if not name:
            raise DockerfileError(f"ARG `{word}` has no name", instruction.line)
        yield name, default if equals else None


def expand_word(lexer: Lexer, word: str, variables: Mapping[str, str], line: int) -> str:
    """A word with its variables and without its quotes. Raises DockerfileError."""
    try:
        return lexer.expand(word, variables)
    except WordError as error:
        raise DockerfileError(f"`{word}`: {error}", line) from None


def check_flags(instruction: Instruction, *known: str) -> None:
    """Raise DockerfileError for a flag that is not known."""
    for name, _ in instruction.flags:
        if name not in known:
            hint = f"what it takes: {', '.join(f'--{each}' for each in known)}" if known else "it takes none"
            raise DockerfileError(f"{instruction.name} --{name} is not supported", instruction.line, hint=hint)
