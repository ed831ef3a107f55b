"""Turns the stages of a Dockerfile, once the images are known, into the base's sublayers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Json, Kind, Part, Where
from envtool.kinds.dockerfile import layer_kinds
from envtool.kinds.dockerfile.operations import Act, CopyAct, RunAct
from envtool.kinds.dockerfile.parser import DockerfileError, Instruction
from envtool.kinds.dockerfile.stages import SCRATCH, ParsedDockerfile, Stage, required_images, required_stages
from envtool.kinds.dockerfile.translate import StageReader, parse_triggers
from envtool.lazy_dataclass import dataclass, field

# Stands for the unknown working directory of an image: so deep that no relative path from it is `/`.
_UNKNOWN_WORKDIR = "/envtool/some/directory/of/an/image"
Configs = Mapping[str, Mapping[str, Json]]


def with_triggers(file: ParsedDockerfile, configs: Configs) -> ParsedDockerfile:
    """Returns the stages, each with the triggers (ONBUILD) of its image or parent stage as its first instructions."""
    stages: list[Stage] = []
    for stage in file.stages:
        if stage.parent >= 0:
            triggers = [
                instruction.trigger
                for instruction in stages[stage.parent].body
                if instruction.name == "ONBUILD" and instruction.fault is None
            ]
        else:
            on_build: Any = configs.get(stage.base, {}).get("OnBuild")
            triggers = [str(trigger) for trigger in on_build or ()]
        try:
            stages.append(replace(stage, body=(*parse_triggers(triggers, stage.line), *stage.body)))
        except DockerfileError as error:
            stages.append(replace(stage, fault=error))
    return replace(file, stages=tuple(stages))


def missing_images(file: ParsedDockerfile, target: int, configs: Configs) -> tuple[tuple[str, int], ...]:
    """Returns the images, as (name, line), that the target needs and `configs` does not have. Raises
    DockerfileError."""
    complete = with_triggers(file, configs)
    return tuple(
        image for image in required_images(complete, required_stages(complete, target)) if image[0] not in configs
    )


def build_stages(
    file: ParsedDockerfile, target: int, configs: Configs, build_args: Mapping[str, str]
) -> dict[int, StageReader]:
    """Reads every stage that the target needs; returns the readers by the stages' indexes. Raises DockerfileError."""
    complete = with_triggers(file, configs)
    readers: dict[int, StageReader] = {}
    for index in required_stages(complete, target):
        stage = complete.stages[index]
        parent = readers.get(stage.parent)
        config = parent.config if parent else configs.get(stage.base, {})
        reader = StageReader(
            config,
            lexer=file.lexer,
            build_args=build_args,
            global_args=file.arguments,
            variables=parent.variables if parent else None,
        )
        for instruction in stage.body:
            reader.add(instruction)
        readers[index] = reader
    return readers


class UnknownVariableError(Exception):
    """The value of a variable is not known, because an image that is not known yet may set it."""


class _UnknownVariables(dict[str, str]):
    """The variables of a stage whose image is not known. Raises UnknownVariableError for a name that is not in it: the
    image may set it to any value."""

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            raise UnknownVariableError
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - `in` raises


def preview_stages(
    file: ParsedDockerfile, target: int, build_args: Mapping[str, str]
) -> tuple[dict[int, StageReader], list[DockerfileError]]:
    """Reads every stage that the target needs before any image is known. Returns the readers, without the operations
    that need a variable of an image, and the errors that do not depend on an image. Raises DockerfileError for a wrong
    FROM or --from."""
    complete = with_triggers(file, {})
    readers: dict[int, StageReader] = {}
    faults: list[DockerfileError] = []
    for index in required_stages(complete, target):
        stage = complete.stages[index]
        parent = readers.get(stage.parent)
        reader = StageReader(
            parent.config if parent else {}, lexer=file.lexer, build_args=build_args, global_args=file.arguments,
            variables=parent.variables if parent else None,
        )  # fmt: skip
        if parent is None and stage.base != SCRATCH:
            reader.variables = _UnknownVariables()
            reader.config["WorkingDir"] = _UNKNOWN_WORKDIR
        elif parent is not None and isinstance(parent.variables, _UnknownVariables):
            reader.variables = _UnknownVariables(parent.variables)
        for instruction in stage.body:
            try:
                reader.add(instruction)
            except DockerfileError as fault:
                faults.append(fault)
            except UnknownVariableError:
                _forget_variables(reader, instruction)
        readers[index] = reader
    return readers, faults


def _forget_variables(reader: StageReader, instruction: Instruction) -> None:
    """Removes the variables that an instruction would have set: their values are not known either."""
    words = instruction.arguments[:: 2 if instruction.name == "ENV" else 1]
    if instruction.name in ("ENV", "ARG"):
        for name in [word.partition("=")[0] for word in words]:
            dict.pop(reader.variables, name, None)
            if "$" in name:
                reader.variables.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """The layers of an image as sublayers. `first` is not used where the first layer is the base's own layer."""

    first: Mapping[str, Json]  # options of a FirstLayerPart
    others: Sequence[Part]
    empty: bool = False  # the image has no layers


@dataclass(slots=True, kw_only=True)
class PartsAssembler:
    """Collects the sublayers. Their numbers count from 1; 0 is the base's own layer. A stack is a tuple of numbers."""

    file: ParsedDockerfile
    readers: Mapping[int, StageReader]
    images: Mapping[str, ImageParts]
    dockerfile: str  # path of the Dockerfile, for messages
    context: Mapping[str, Json]
    secrets: Mapping[str, str]
    urls: Mapping[str, Json]
    own_image: str  # the image whose first layer is the base's own layer, or `scratch`
    target: int
    parts: list[Part] = field(default_factory=list)
    stacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    image_stacks: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def assemble(self) -> tuple[Part, ...]:
        """Returns all sublayers, each after those that it needs. Those of the target are visible (`shown`)."""
        for index, reader in self.readers.items():
            stage = self.file.stages[index]
            stack = self.stacks[stage.parent] if stage.parent >= 0 else self.image_stack(stage.base, stage.line)
            for act in reader.acts:
                stack = (*stack, self.append_act(act, stage, stack))
            self.stacks[index] = stack
        visible = {*self.stacks[self.target]}
        return tuple(replace(part, shown=number in visible) for number, part in enumerate(self.parts, 1))

    def append(self, part: Part) -> int:
        """Returns the number of the new sublayer."""
        self.parts.append(part)
        return len(self.parts)

    def image_stack(self, name: str, line: int) -> tuple[int, ...]:
        """Returns the stack of an image; appends its layers when it is first needed."""
        if name in self.image_stacks:
            return self.image_stacks[name]
        if name == SCRATCH:
            stack: tuple[int, ...] = (0,) if self.own_image == SCRATCH else (self.append_scratch(line),)
        elif self.images[name].empty:
            stack = (0,) if self.own_image == name else (self.append_scratch(line),)
        else:
            image = self.images[name]
            first = 0
            if self.own_image != name:
                first = self.append_plain(layer_kinds.FirstLayerPart(), f"{name}, layer 1", image.first, line)
            stack = (first, *(self.append(replace(part, below=(), where=self.position(line))) for part in image.others))
        self.image_stacks[name] = stack
        return stack

    def append_scratch(self, line: int) -> int:
        return self.append_plain(layer_kinds.ScratchPart(), SCRATCH, {}, line)

    def append_plain(self, kind: Kind, name: str, options: Mapping[str, Json], line: int) -> int:
        return self.append(Part(name=name, kind=kind, options=dict(options), where=self.position(line)))

    def position(self, line: int) -> Where:
        return Where(file=self.dockerfile, line=line, column=1)

    def origin_stack(self, name: str, stage: Stage, line: int) -> tuple[int, ...]:
        """Returns the stack of the stage or image that --from names."""
        index = self.file.find(name, stage.index)
        return self.stacks[index] if index >= 0 else self.image_stack(name, line)

    def append_act(self, act: Act, stage: Stage, stack: tuple[int, ...]) -> int:
        trees: dict[str, tuple[int, ...]] = {}
        kind: Kind
        match act:
            case RunAct():
                kind, options = layer_kinds.RunPart(), layer_kinds.run_options(act, self.context, self.secrets)
                for number, mount in enumerate(act.mounts):
                    if mount.origin:
                        trees[str(number)] = self.origin_stack(mount.origin, stage, act.line)
            case CopyAct():
                kind = layer_kinds.CopyPart()
                options = layer_kinds.copy_options(act, self.context, [self.url_pin(url, act) for url in act.urls])
                if act.origin:
                    trees[layer_kinds.FROM] = self.origin_stack(act.origin, stage, act.line)
            case _:
                kind, options = layer_kinds.DirectoryPart(), layer_kinds.directory_options(act)
        title = act.title if stage.index == self.target else f"{stage.name or stage.index}: {act.title}"
        return self.append(
            Part(name=title, kind=kind, options=options, where=self.position(act.line), below=stack, beside=trees)
        )

    def url_pin(self, url: str, act: CopyAct) -> Json:
        return (
            {"url": url, "sha256": act.checksum, "size": 0, "name": url_name(url)} if act.checksum else self.urls[url]
        )


def preview_parts(
    readers: Mapping[int, StageReader], context: Mapping[str, Json], secrets: Mapping[str, str], where: str
) -> tuple[Part, ...]:
    """Returns sublayers for the operations that read the project, so that missing files are found early. They cannot be
    built: some operations below them are not known yet."""
    parts: list[Part] = []
    for act in (act for reader in readers.values() for act in reader.acts):
        kind: Kind
        if isinstance(act, RunAct):
            kind, options = layer_kinds.RunPart(), layer_kinds.run_options(act, context, secrets)
        elif isinstance(act, CopyAct) and not act.origin:
            kind, options = layer_kinds.CopyPart(), layer_kinds.copy_options(act, context, ())
        else:
            continue
        parts.append(Part(name=act.title, kind=kind, options=options, where=Where(file=where, line=act.line, column=1)))
    return tuple(parts)


def url_name(url: str) -> str:
    """Returns the name under which ADD stores the file behind a URL."""
    path = url.partition("#")[0].partition("?")[0].split("://", 1)[-1]
    name = path.rpartition("/")[2] if "/" in path else ""
    return name if name not in ("", ".", "..") else "__unnamed__"
