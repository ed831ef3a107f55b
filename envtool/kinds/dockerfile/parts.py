"""A Dockerfile with its images known -> the parts of the base. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envtool.api import Json, Kind, Part, Where
from envtool.kinds.dockerfile import layer_kinds
from envtool.kinds.dockerfile.operations import Act, CopyAct, RunAct
from envtool.kinds.dockerfile.parser import DockerfileError, Instruction
from envtool.kinds.dockerfile.stages import SCRATCH, ParsedDockerfile, Stage, required_images, required_stages
from envtool.kinds.dockerfile.translate import StageReader, parse_triggers

_SOMEWHERE = "/envtool/some/directory/of/an/image"  # no path from there is `/`
Configs = Mapping[str, Mapping[str, Json]]


def with_triggers(file: ParsedDockerfile, configs: Configs) -> ParsedDockerfile:
    """The same stages, each beginning with what the image or stage below left to be done (ONBUILD)."""
    stages: list[Stage] = []
    for stage in file.stages:
        if stage.parent >= 0:
            left = [each.trigger for each in stages[stage.parent].body if each.name == "ONBUILD" and each.fault is None]
        else:
            found: Any = configs.get(stage.base, {}).get("OnBuild")
            left = [str(each) for each in found or ()]
        try:
            stages.append(replace(stage, body=(*parse_triggers(left, stage.line), *stage.body)))
        except DockerfileError as error:
            stages.append(replace(stage, fault=error))
    return replace(file, stages=tuple(stages))


def missing_images(file: ParsedDockerfile, target: int, configs: Configs) -> tuple[tuple[str, int], ...]:
    """Images that have to be known, and are not yet: (name, line). Raises DockerfileError."""
    whole = with_triggers(file, configs)
    return tuple(each for each in required_images(whole, required_stages(whole, target)) if each[0] not in configs)


def build_stages(
    file: ParsedDockerfile, target: int, configs: Configs, given: Mapping[str, str]
) -> dict[int, StageReader]:
    """Every stage that the target needs, read. Raises DockerfileError."""
    whole = with_triggers(file, configs)
    found: dict[int, StageReader] = {}
    for index in required_stages(whole, target):
        stage = whole.stages[index]
        below = found.get(stage.parent)
        config = below.config if below else configs.get(stage.base, {})
        builder = StageReader(
            config, lexer=file.lexer, given=given, outer=file.arguments, seen=below.seen if below else None
        )
        for instruction in stage.body:
            builder.add(instruction)
        found[index] = builder
    return found


class UnknownVariableError(Exception):
    """A variable that an image may have set, of which nothing is known yet."""


class _UnknownVariables(dict[str, str]):
    """Variables of a stage while its image is not known: those that are not here may have any value."""

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            raise UnknownVariableError
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - `in` is what refuses


def preview_stages(
    file: ParsedDockerfile, target: int, given: Mapping[str, str]
) -> tuple[dict[int, StageReader], list[DockerfileError]]:
    """Every stage that the target needs, as far as it can be read before any image is known: acts that need a variable
    of an image are left out. And all that is wrong, whatever the images are. Raises DockerfileError for stages as such."""
    whole = with_triggers(file, {})
    found: dict[int, StageReader] = {}
    faults: list[DockerfileError] = []
    for index in required_stages(whole, target):
        stage = whole.stages[index]
        below = found.get(stage.parent)
        builder = StageReader(
            below.config if below else {}, lexer=file.lexer, given=given, outer=file.arguments,
            seen=below.seen if below else None,
        )  # fmt: skip
        if below is None and stage.base != SCRATCH:
            builder.seen = _UnknownVariables()
            builder.config["WorkingDir"] = _SOMEWHERE
        elif below is not None and isinstance(below.seen, _UnknownVariables):
            builder.seen = _UnknownVariables(below.seen)
        for instruction in stage.body:
            try:
                builder.add(instruction)
            except DockerfileError as fault:
                faults.append(fault)
            except UnknownVariableError:
                _forget_variables(builder, instruction)
        found[index] = builder
    return found, faults


def _forget_variables(builder: StageReader, instruction: Instruction) -> None:
    """What an instruction would have set is not known either."""
    words = instruction.arguments[:: 2 if instruction.name == "ENV" else 1]
    if instruction.name in ("ENV", "ARG"):
        for name in [word.partition("=")[0] for word in words]:
            dict.pop(builder.seen, name, None)
            if "$" in name:
                builder.seen.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """The layers of an image as parts: the first is the base's own where that is the image its target stands on."""

    first: Mapping[str, Json]  # options of a FirstPart
    others: Sequence[Part]
    empty: bool = False  # it has none at all


@dataclass(slots=True, kw_only=True)
class PartsAssembler:
    """Parts, while they are put together; numbers count from 1, 0 is the base's own layer."""

    file: ParsedDockerfile
    builders: Mapping[int, StageReader]
    images: Mapping[str, ImageParts]
    where: str  # path of the Dockerfile, for people
    context: Mapping[str, Json]
    secrets: Mapping[str, str]
    urls: Mapping[str, Json]
    own: str  # what the base's own layer is: an image's name, or `scratch`
    target: int
    parts: list[Part] = field(default_factory=list)
    stacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def assemble(self) -> tuple[Part, ...]:
        """All parts, in an order in which each comes after what it needs; those of the target are shown."""
        for index, builder in self.builders.items():
            stage = self.file.stages[index]
            stack = self.stacks[stage.parent] if stage.parent >= 0 else self.image(stage.base, stage.line)
            for act in builder.acts:
                stack = (*stack, self.act(act, stage, stack))
            self.stacks[index] = stack
        shown = {*self.stacks[self.target]}
        return tuple(replace(part, shown=number in shown) for number, part in enumerate(self.parts, 1))

    def put(self, part: Part) -> int:
        self.parts.append(part)
        return len(self.parts)

    def image(self, name: str, line: int) -> tuple[int, ...]:
        """The stack of an image, its layers put in when it is first needed."""
        if name in self.known:
            return self.known[name]
        if name == SCRATCH:
            stack: tuple[int, ...] = (0,) if self.own == SCRATCH else (self.nothing(line),)
        elif self.images[name].empty:
            stack = (0,) if self.own == name else (self.nothing(line),)
        else:
            found = self.images[name]
            first = 0
            if self.own != name:
                first = self.plain(layer_kinds.FirstLayerPart(), f"{name}, layer 1", found.first, line)
            stack = (first, *(self.put(replace(part, below=(), where=self.at(line))) for part in found.others))
        self.known[name] = stack
        return stack

    def nothing(self, line: int) -> int:
        return self.plain(layer_kinds.ScratchPart(), SCRATCH, {}, line)

    def plain(self, kind: Kind, name: str, options: Mapping[str, Json], line: int) -> int:
        return self.put(Part(name=name, kind=kind, options=dict(options), where=self.at(line)))

    def at(self, line: int) -> Where:
        return Where(file=self.where, line=line, column=1)

    def tree(self, name: str, stage: Stage, line: int) -> tuple[int, ...]:
        """The stack of what --from names."""
        index = self.file.find(name, stage.index)
        return self.stacks[index] if index >= 0 else self.image(name, line)

    def act(self, act: Act, stage: Stage, stack: tuple[int, ...]) -> int:
        beside: dict[str, tuple[int, ...]] = {}
        kind: Kind
        match act:
            case RunAct():
                kind, options = layer_kinds.RunPart(), layer_kinds.run_options(act, self.context, self.secrets)
                for number, mount in enumerate(act.mounts):
                    if mount.origin:
                        beside[str(number)] = self.tree(mount.origin, stage, act.line)
            case CopyAct():
                kind = layer_kinds.CopyPart()
                options = layer_kinds.copy_options(act, self.context, [self.url(each, act) for each in act.urls])
                if act.origin:
                    beside[layer_kinds.FROM] = self.tree(act.origin, stage, act.line)
            case _:
                kind, options = layer_kinds.DirectoryPart(), layer_kinds.directory_options(act)
        title = act.title if stage.index == self.target else f"{stage.name or stage.index}: {act.title}"
        return self.put(
            Part(name=title, kind=kind, options=options, where=self.at(act.line), below=stack, beside=beside)
        )

    def url(self, url: str, act: CopyAct) -> Json:
        return (
            {"url": url, "sha256": act.checksum, "size": 0, "name": url_name(url)} if act.checksum else self.urls[url]
        )


def preview_parts(
    builders: Mapping[int, StageReader], context: Mapping[str, Json], secrets: Mapping[str, str], where: str
) -> tuple[Part, ...]:
    """Of the acts that are known the parts that look at the project, to see whether all is there: none can be built."""
    parts: list[Part] = []
    for act in (act for builder in builders.values() for act in builder.acts):
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
    """What ADD calls a file that is behind a URL."""
    path = url.partition("#")[0].partition("?")[0].split("://", 1)[-1]
    last = path.rpartition("/")[2] if "/" in path else ""
    return last if last not in ("", ".", "..") else "__unnamed__"
