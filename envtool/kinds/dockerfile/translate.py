"""Reads a stage as BuildKit does (dockerfile2llb): its operations, and the configuration of its image. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Json
from envtool.api.untrusted_text import natural
from envtool.kinds.dockerfile import copy_add, run_mounts
from envtool.kinds.dockerfile.operations import Act, DirectoryAct, RunAct
from envtool.kinds.dockerfile.parser import DockerfileError, Heredoc, Instruction, is_heredoc_only, parse
from envtool.kinds.dockerfile.shell_words import Lexer, WordError
from envtool.kinds.dockerfile.stages import UNSET_HINT, check_flags, check_variable_limits, parse_arg

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
MAX_EXPANDED = 16 << 20  # characters that variables may add to all instructions of a stage together
MAX_TITLE = 60  # characters of an instruction in displays
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h)){1,12}")
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class StageReader:
    """Reads the instructions of a stage, one after the other. `config` is the image's configuration so far."""

    def __init__(
        self,
        config: Mapping[str, Json],
        *,
        lexer: Lexer,
        build_args: Mapping[str, str],
        global_args: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`build_args`: the `args:` of the spec; `global_args`: ARGs before the first FROM, and those of the platform;
        `variables`: the variables of the parent stage, None if an image is below."""
        self.config: dict[str, Any] = {key: value for key, value in config.items() if key != "OnBuild"}
        self.lexer = lexer
        self.build_args = build_args
        self.global_args = global_args
        environment = [str(entry).partition("=") for entry in self.config.get("Env") or ()]
        self.env = {name: value for name, _, value in environment}
        if "PATH" not in self.env:
            self.env["PATH"] = PATH
            self.config["Env"] = [f"{name}={value}" for name, value in self.env.items()]
        # Values of ENV and ARG: words are expanded with them, and RUN gets them as its environment.
        self.variables = dict(self.env if variables is None else variables)
        self.remaining = MAX_EXPANDED
        self.sets_cmd = False
        self.acts: list[Act] = []
        self.created: set[str] = set()  # directories that WORKDIR made; a command after it may have removed them

    @property
    def workdir(self) -> str:
        """The absolute path of the working directory."""
        return str(self.config.get("WorkingDir") or "/")

    def add(self, instruction: Instruction) -> None:
        """Reads one instruction. Raises DockerfileError."""
        if instruction.fault is not None:
            raise instruction.fault
        method = _HANDLERS.get(instruction.name)
        if method is None:
            raise DockerfileError(
                f"there is no instruction `{instruction.name}`",
                instruction.line,
                hint=_nearest_instruction(instruction.name),
            )
        method(self, instruction)

    def expand(self, word: str, line: int) -> str:
        """Returns a word expanded. Raises DockerfileError."""
        try:
            return self.limited(self.lexer.expand(word, self.variables), word, line)
        except WordError as error:
            raise DockerfileError(f"`{word}`: {error}", line) from None

    def limited(self, expanded: str, written: str, line: int) -> str:
        """Returns the expanded text. Raises DockerfileError once variables have added more than MAX_EXPANDED characters
        to all instructions of the stage; `written` is the text before its expansion."""
        self.remaining -= max(0, len(expanded) - len(written))
        if self.remaining < 0:
            raise DockerfileError(
                f"with their variables expanded, instructions are longer than {MAX_EXPANDED >> 20} MiB together", line
            )
        return expanded

    def expander(self, line: int) -> Callable[[str], str]:
        """Returns `expand` for the words of one line."""
        return lambda word: self.expand(word, line)

    def absolute(self, path: str) -> str:
        """Returns a path, which may be relative to WORKDIR, as an absolute one without `.` and `..`. A slash at its end
        stays; `.` gets one."""
        absolute = posixpath.normpath(posixpath.join("/", self.workdir, path))
        absolute = "/" + absolute.lstrip("/")
        return absolute + "/" if (path.endswith(("/", "/.")) or path in (".", "")) and absolute != "/" else absolute


def _nearest_instruction(name: str) -> str:
    import difflib

    names = difflib.get_close_matches(name, _HANDLERS, 1, 0.6)
    return f"did you mean {names[0]}?" if names else "a line that continues ends with a backslash"


def parse_triggers(texts: Sequence[str], line: int) -> list[Instruction]:
    """Returns the instructions of an image's ONBUILD, with `line` as their line. Raises DockerfileError."""
    instructions = []
    for text in texts:
        try:
            (instruction,) = parse(text)
        except (DockerfileError, ValueError):
            raise DockerfileError(f"the image has an ONBUILD that cannot be read: {text}", line) from None
        if instruction.name in ("FROM", "ONBUILD", "MAINTAINER"):
            raise DockerfileError(f"the image has an ONBUILD {instruction.name}, which is not allowed", line)
        if instruction.fault is not None:
            raise DockerfileError(instruction.fault.message, line, instruction.fault.hint)
        instructions.append(replace(instruction, line=line))
    return instructions


# ---- instructions that change the tree -------------------------------------------------------------------------------


def _run(reader: StageReader, instruction: Instruction) -> None:
    sandboxed = instruction.flag("security", "sandbox") == "sandbox"  # every RUN is; `insecure` is refused
    check_flags(instruction, "mount", "network", *(("security",) if sandboxed else ()))
    network = instruction.flag("network", "default")
    if network not in ("default", "none", "host"):
        raise DockerfileError(f"--network={network}: it is default, none or host", instruction.line)
    shell = tuple(reader.config.get("Shell") or SHELL)
    script = ("", "")
    if instruction.json:
        argv = instruction.arguments
    else:
        command = instruction.arguments[0] if instruction.arguments else ""
        if instruction.heredocs and is_heredoc_only(command):
            document = instruction.heredocs[0]
            command = document.text()
            if command.startswith("#!"):
                script = (document.name, command)
        elif instruction.heredocs:  # the shell reads them
            command = "\n".join((command, *(f"{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)))
        argv = (f"/dev/pipes/{script[0]}",) if script[0] else (*shell, command)
    if not argv or not (instruction.json or instruction.arguments):
        raise DockerfileError("RUN has no command", instruction.line)
    reader.created.clear()  # the command may remove them
    reader.acts.append(
        RunAct(
            line=instruction.line,
            title=_title(instruction),
            argv=argv,
            env=dict(reader.variables),
            user=str(reader.config.get("User") or ""),
            workdir=reader.workdir,
            network=network != "none",
            mounts=run_mounts.parse_mounts(instruction, reader.workdir, reader.expander(instruction.line)),
            script=script,
        )
    )


def _title(instruction: Instruction) -> str:
    """Returns one line for displays: the instruction without the flags for mounts, network and security."""
    if instruction.heredocs and instruction.name == "RUN":
        first_line = next((line.strip() for line in instruction.heredocs[0].content.splitlines() if line.strip()), "")
        return _short(f"RUN {first_line}")
    words = instruction.text.partition("\n")[0].split()
    title_words = [word for word in words[1:] if not word.startswith(("--mount=", "--network=", "--security="))]
    return _short(f"{instruction.name} {' '.join(title_words)}")


def _short(text: str) -> str:
    return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1].rstrip() + "…"


def _transfer(reader: StageReader, instruction: Instruction) -> None:
    reader.acts.append(
        copy_add.parse_copy(
            instruction,
            title=_title(instruction),
            expand=reader.expander(instruction.line),
            absolute=reader.absolute,
            document_text=lambda heredoc: _document(reader, heredoc, instruction.line),
        )
    )


def _document(reader: StageReader, heredoc: Heredoc, line: int) -> str:
    if not heredoc.expand:
        return heredoc.text()
    try:
        return reader.limited(Lexer(quotes=False).expand(heredoc.text(), reader.variables), heredoc.text(), line)
    except WordError as error:
        raise DockerfileError(f"here-document {heredoc.name}: {error}", line) from None


def _workdir(reader: StageReader, instruction: Instruction) -> None:
    path = reader.absolute(reader.expand(_single_argument(instruction), instruction.line)).rstrip("/") or "/"
    reader.config["WorkingDir"] = path
    if path != "/" and path not in reader.created:
        reader.created.add(path)
        user = str(reader.config.get("User") or "")
        reader.acts.append(DirectoryAct(line=instruction.line, title=f"WORKDIR {path}", path=path, user=user))


# ---- instructions that change the image's configuration --------------------------------------------------------------


def _arg(reader: StageReader, instruction: Instruction) -> None:
    for name, default in parse_arg(instruction):
        if name in reader.build_args:
            reader.variables[name] = reader.build_args[name]
        elif default is not None:
            reader.variables[name] = reader.expand(default, instruction.line)
        elif name in reader.global_args:
            reader.variables[name] = reader.global_args[name]
    check_variable_limits(reader.variables, instruction.line)


def _env(reader: StageReader, instruction: Instruction) -> None:
    variables = _pairs(reader, instruction)
    reader.env |= variables
    reader.variables |= variables
    check_variable_limits(reader.variables, instruction.line)
    reader.config["Env"] = [f"{name}={value}" for name, value in reader.env.items()]


def _label(reader: StageReader, instruction: Instruction) -> None:
    reader.config["Labels"] = {**(reader.config.get("Labels") or {}), **_pairs(reader, instruction)}


def _pairs(reader: StageReader, instruction: Instruction) -> dict[str, str]:
    """Returns NAME=VALUE pairs. All values are expanded with the variables set before the instruction."""
    check_flags(instruction)
    words = [reader.expand(word, instruction.line) for word in instruction.arguments]
    if not words or len(words) % 2:
        raise DockerfileError(f"{instruction.name} takes NAME=VALUE", instruction.line)
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    if "" in pairs:
        raise DockerfileError(f"{instruction.name} has a name that is empty", instruction.line)
    return pairs


def _user(reader: StageReader, instruction: Instruction) -> None:
    reader.config["User"] = reader.expand(_single_argument(instruction), instruction.line)


def _shell(reader: StageReader, instruction: Instruction) -> None:
    check_flags(instruction)
    if not instruction.json or not instruction.arguments:
        raise DockerfileError('SHELL takes a list in JSON, as in ["/bin/bash", "-c"]', instruction.line)
    reader.config["Shell"] = [*instruction.arguments]


def _cmd(reader: StageReader, instruction: Instruction) -> None:
    reader.config["Cmd"] = _command(reader, instruction)
    reader.sets_cmd = True


def _entrypoint(reader: StageReader, instruction: Instruction) -> None:
    reader.config["Entrypoint"] = _command(reader, instruction)
    if not reader.sets_cmd:
        reader.config.pop("Cmd", None)  # the parent image's CMD has arguments for its own ENTRYPOINT


def _command(reader: StageReader, instruction: Instruction) -> list[str]:
    check_flags(instruction)
    if instruction.json:
        return [*instruction.arguments]
    if instruction.heredocs:
        raise DockerfileError(f"here-documents in {instruction.name} are not supported", instruction.line)
    return [*(reader.config.get("Shell") or SHELL), *instruction.arguments]


def _expose(reader: StageReader, instruction: Instruction) -> None:
    check_flags(instruction)
    ports: dict[str, Json] = {}
    for word in instruction.arguments:
        for port_text in reader.lexer.split(word, reader.variables):
            ports |= {port: {} for port in _ports(port_text, instruction.line)}
    if not instruction.arguments:
        raise DockerfileError("EXPOSE names no port", instruction.line)
    reader.config["ExposedPorts"] = {**(reader.config.get("ExposedPorts") or {}), **ports}


def _ports(text: str, line: int) -> Iterator[str]:
    """Yields ports as the configuration has them. `8080:80/udp` and `127.0.0.1:8080:80` mean the last port: the image
    does not decide where it is published."""
    match = re.fullmatch(
        r"(?:(?:(?P<ip>\[[0-9a-f:.]+\]|[0-9a-f:.]*):)?(?P<host>[0-9-]*):)?"
        r"(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?(?:/(?P<protocol>tcp|udp|sctp)?)?",
        text.lower(),
    )
    low, high = (int(match["low"]), int(match["high"] or match["low"])) if match else (1, 0)
    if match is None or not low <= high <= 65535 or not _is_address(match["ip"] or ""):
        raise DockerfileError(f"EXPOSE `{text}` is no port, as in 80, 53/udp, 8000-8010 or 8080:80", line)
    yield from (f"{port}/{match['protocol'] or 'tcp'}" for port in range(low, high + 1))


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        return not text or bool(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return False


def _volume(reader: StageReader, instruction: Instruction) -> None:
    check_flags(instruction)
    directories = [reader.expand(word, instruction.line).strip() for word in instruction.arguments]
    if not directories:
        raise DockerfileError("VOLUME names no directory", instruction.line)
    if "" in directories:
        raise DockerfileError(
            f"VOLUME names no directory: `{instruction.arguments[directories.index('')]}` is empty",
            instruction.line,
            hint=UNSET_HINT,
        )
    reader.config["Volumes"] = {**(reader.config.get("Volumes") or {}), **{directory: {} for directory in directories}}


def _stopsignal(reader: StageReader, instruction: Instruction) -> None:
    reader.config["StopSignal"] = reader.expand(_single_argument(instruction), instruction.line)


def _maintainer(_: StageReader, instruction: Instruction) -> None:
    """MAINTAINER changes only the history of an image, which envtool does not write."""
    check_flags(instruction)


def _onbuild(reader: StageReader, instruction: Instruction) -> None:
    # A wrong trigger is an error here, and not later in a build on this image.
    for trigger in parse_triggers([instruction.trigger], instruction.line):
        if trigger.name not in _HANDLERS:
            raise DockerfileError(f"ONBUILD {trigger.name} is not supported", instruction.line)
    reader.config["OnBuild"] = [*(reader.config.get("OnBuild") or ()), instruction.trigger]


def _healthcheck(reader: StageReader, instruction: Instruction) -> None:
    check_flags(instruction, "interval", "timeout", "start-period", "start-interval", "retries")
    kind = instruction.arguments[0].upper() if instruction.arguments else ""
    if kind == "NONE" and len(instruction.arguments) == 1:
        reader.config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind != "CMD" or len(instruction.arguments) < 2:
        raise DockerfileError("HEALTHCHECK is NONE, or CMD and a command", instruction.line)
    healthcheck: dict[str, Json] = {"Test": ["CMD" if instruction.json else "CMD-SHELL", *instruction.arguments[1:]]}
    for flag, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
                      ("start-interval", "StartInterval")):  # fmt: skip
        if instruction.flag(flag):
            healthcheck[key] = _duration(instruction.flag(flag), flag, instruction.line)
    if instruction.flag("retries"):
        retries = natural(instruction.flag("retries"), 1 << 31)
        if retries is None:
            raise DockerfileError(f"--retries={instruction.flag('retries')} is no number", instruction.line)
        healthcheck["Retries"] = retries
    reader.config["Healthcheck"] = healthcheck


def _duration(text: str, flag: str, line: int) -> int:
    """Returns the nanoseconds of a duration in Go's syntax, as in 1m30s."""
    if text != "0" and not _DURATION.fullmatch(text):
        raise DockerfileError(f"--{flag}={text} is no duration, as in 1m30s", line)
    pieces = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", text)
    return round(sum(float(number) * _UNITS[unit] for number, unit in pieces))


def _single_argument(instruction: Instruction) -> str:
    check_flags(instruction)
    if len(instruction.arguments) != 1 or not instruction.arguments[0]:
        raise DockerfileError(f"{instruction.name} takes one argument", instruction.line)
    return instruction.arguments[0]


_HANDLERS: Mapping[str, Callable[[StageReader, Instruction], None]] = {
    "RUN": _run, "COPY": _transfer, "ADD": _transfer, "WORKDIR": _workdir, "ARG": _arg, "ENV": _env, "LABEL": _label,
    "USER": _user, "SHELL": _shell, "CMD": _cmd, "ENTRYPOINT": _entrypoint, "EXPOSE": _expose, "VOLUME": _volume,
    "STOPSIGNAL": _stopsignal, "MAINTAINER": _maintainer, "ONBUILD": _onbuild, "HEALTHCHECK": _healthcheck,
}  # fmt: skip
