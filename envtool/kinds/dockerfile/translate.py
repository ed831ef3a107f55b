"""A stage's instructions -> its acts and its image's configuration, as BuildKit does it (dockerfile2llb). Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envtool.fs.sizes import natural
from envtool.kinds.dockerfile import copy_add, run_mounts
from envtool.kinds.dockerfile.operations import Act, DirectoryAct, RunAct
from envtool.kinds.dockerfile.parser import DockerfileError, Heredoc, Instruction, is_heredoc_only, parse
from envtool.kinds.dockerfile.shell_words import Lexer, WordError
from envtool.kinds.dockerfile.stages import UNSET_HINT, check_flags, check_variable_limits, parse_arg
from envtool.model import Json

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
MAX_EXPANDED = 16 << 20  # characters that variables may add to all instructions of a stage together
MAX_TITLE = 60  # characters of an instruction that people read
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h)){1,12}")
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class StageReader:
    """One stage while its instructions are read, one after the other. `config` is the image's so far."""

    def __init__(
        self,
        config: Mapping[str, Json],
        *,
        lexer: Lexer,
        given: Mapping[str, str],
        outer: Mapping[str, str],
        seen: Mapping[str, str] | None = None,
    ) -> None:
        """`given`: arguments of the spec; `outer`: those before the first FROM, and the platform's; `seen`: what the
        stage has seen that this one stands on."""
        self.config: dict[str, Any] = {key: value for key, value in config.items() if key != "OnBuild"}
        self.lexer = lexer
        self.given = given
        self.outer = outer
        environment = [str(each).partition("=") for each in self.config.get("Env") or ()]
        self.env = {name: value for name, _, value in environment}
        if "PATH" not in self.env:
            self.env["PATH"] = PATH
            self.config["Env"] = [f"{name}={value}" for name, value in self.env.items()]
        self.seen = dict(
            self.env if seen is None else seen
        )  # ENV and ARG: what words are expanded with, and what RUN sees
        self.room = MAX_EXPANDED
        self.commanded = False
        self.acts: list[Act] = []
        self.made: set[str] = set()  # directories that WORKDIR made, and no command after it

    @property
    def workdir(self) -> str:
        """Absolute."""
        return str(self.config.get("WorkingDir") or "/")

    def add(self, instruction: Instruction) -> None:
        """Take in one instruction. Raises DockerfileError."""
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
        """Raises DockerfileError."""
        try:
            return self.grown(self.lexer.expand(word, self.seen), word, line)
        except WordError as error:
            raise DockerfileError(f"`{word}`: {error}", line) from None

    def grown(self, found: str, written: str, line: int) -> str:
        """What was `written`, expanded, as long as there is room. Raises DockerfileError."""
        self.room -= max(0, len(found) - len(written))
        if self.room < 0:
            raise DockerfileError(
                f"with their variables put in, instructions are longer than {MAX_EXPANDED >> 20} MiB together", line
            )
        return found

    def expander(self, line: int) -> Callable[[str], str]:
        """`expand`, for words of one line."""
        return lambda word: self.expand(word, line)

    def absolute(self, path: str) -> str:
        """A path that may be relative to WORKDIR, without `.` and `..`; a slash at its end stays, `.` has one."""
        found = posixpath.normpath(posixpath.join("/", self.workdir, path))
        found = "/" + found.lstrip("/")
        return found + "/" if (path.endswith(("/", "/.")) or path in (".", "")) and found != "/" else found


def _nearest_instruction(name: str) -> str:
    import difflib

    found = difflib.get_close_matches(name, _HANDLERS, 1, 0.6)
    return f"did you mean {found[0]}?" if found else "a line that goes on ends with a backslash"


def parse_triggers(texts: Sequence[str], line: int) -> list[Instruction]:
    """The instructions of an image's ONBUILD, as if they stood at `line`. Raises DockerfileError."""
    found = []
    for text in texts:
        try:
            (instruction,) = parse(text)
        except (DockerfileError, ValueError):
            raise DockerfileError(
                f"the image leaves something to be done that cannot be read: ONBUILD {text}", line
            ) from None
        if instruction.name in ("FROM", "ONBUILD", "MAINTAINER"):
            raise DockerfileError(f"the image leaves a {instruction.name} to be done (ONBUILD), which cannot be", line)
        if instruction.fault is not None:
            raise DockerfileError(instruction.fault.message, line, instruction.fault.hint)
        found.append(replace(instruction, line=line))
    return found


# ---- what makes layers -----------------------------------------------------------------------------------------------


def _run(self: StageReader, it: Instruction) -> None:
    sandboxed = it.flag("security", "sandbox") == "sandbox"  # as every RUN is
    check_flags(it, "mount", "network", *(("security",) if sandboxed else ()))
    network = it.flag("network", "default")
    if network not in ("default", "none", "host"):
        raise DockerfileError(f"--network={network}: it is default, none or host", it.line)
    shell = tuple(self.config.get("Shell") or SHELL)
    script = ("", "")
    if it.json:
        argv = it.arguments
    else:
        command = it.arguments[0] if it.arguments else ""
        if it.heredocs and is_heredoc_only(command):
            document = it.heredocs[0]
            command = document.text()
            if command.startswith("#!"):
                script = (document.name, command)
        elif it.heredocs:  # the shell reads them
            command = "\n".join((command, *(f"{each.content}{each.name}" for each in it.heredocs)))
        argv = (f"/dev/pipes/{script[0]}",) if script[0] else (*shell, command)
    if not argv or not (it.json or it.arguments):
        raise DockerfileError("RUN has no command", it.line)
    self.made.clear()  # it may remove them
    self.acts.append(
        RunAct(
            line=it.line,
            title=_title(it),
            argv=argv,
            env=dict(self.seen),
            user=str(self.config.get("User") or ""),
            workdir=self.workdir,
            network=network != "none",
            mounts=run_mounts.parse_mounts(it, self.workdir, self.expander(it.line)),
            script=script,
        )
    )


def _title(it: Instruction) -> str:
    """One line for people: the instruction, without flags that say nothing of what is done."""
    if it.heredocs and it.name == "RUN":
        first = next((line.strip() for line in it.heredocs[0].content.splitlines() if line.strip()), "")
        return _short(f"RUN {first}")
    words = it.text.partition("\n")[0].split()
    kept = [word for word in words[1:] if not word.startswith(("--mount=", "--network=", "--security="))]
    return _short(f"{it.name} {' '.join(kept)}")


def _short(text: str) -> str:
    return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1].rstrip() + "…"


def _transfer(self: StageReader, it: Instruction) -> None:
    self.acts.append(copy_add.parse_copy(it, title=_title(it), expand=self.expander(it.line), absolute=self.absolute,
                                    document=lambda each: _document(self, each, it.line)))  # fmt: skip


def _document(self: StageReader, heredoc: Heredoc, line: int) -> str:
    if not heredoc.expand:
        return heredoc.text()
    try:
        return self.grown(Lexer(quotes=False).expand(heredoc.text(), self.seen), heredoc.text(), line)
    except WordError as error:
        raise DockerfileError(f"here-document {heredoc.name}: {error}", line) from None


def _workdir(self: StageReader, it: Instruction) -> None:
    path = self.absolute(self.expand(_single_argument(it), it.line)).rstrip("/") or "/"
    self.config["WorkingDir"] = path
    if path != "/" and path not in self.made:
        self.made.add(path)
        user = str(self.config.get("User") or "")
        self.acts.append(DirectoryAct(line=it.line, title=f"WORKDIR {path}", path=path, user=user))


# ---- what the image says of itself -----------------------------------------------------------------------------------


def _arg(self: StageReader, it: Instruction) -> None:
    for name, default in parse_arg(it):
        if name in self.given:
            self.seen[name] = self.given[name]
        elif default is not None:
            self.seen[name] = self.expand(default, it.line)
        elif name in self.outer:
            self.seen[name] = self.outer[name]
    check_variable_limits(self.seen, it.line)


def _env(self: StageReader, it: Instruction) -> None:
    found = _pairs(self, it)
    self.env |= found
    self.seen |= found
    check_variable_limits(self.seen, it.line)
    self.config["Env"] = [f"{name}={value}" for name, value in self.env.items()]


def _label(self: StageReader, it: Instruction) -> None:
    self.config["Labels"] = {**(self.config.get("Labels") or {}), **_pairs(self, it)}


def _pairs(self: StageReader, it: Instruction) -> dict[str, str]:
    """All are expanded with what was set before the instruction."""
    check_flags(it)
    words = [self.expand(word, it.line) for word in it.arguments]
    if not words or len(words) % 2:
        raise DockerfileError(f"{it.name} takes NAME=VALUE", it.line)
    found = dict(zip(words[::2], words[1::2], strict=True))
    if "" in found:
        raise DockerfileError(f"{it.name} has a name that is empty", it.line)
    return found


def _user(self: StageReader, it: Instruction) -> None:
    self.config["User"] = self.expand(_single_argument(it), it.line)


def _shell(self: StageReader, it: Instruction) -> None:
    check_flags(it)
    if not it.json or not it.arguments:
        raise DockerfileError('SHELL takes a list in JSON, as in ["/bin/bash", "-c"]', it.line)
    self.config["Shell"] = [*it.arguments]


def _cmd(self: StageReader, it: Instruction) -> None:
    self.config["Cmd"] = _command(self, it)
    self.commanded = True


def _entrypoint(self: StageReader, it: Instruction) -> None:
    self.config["Entrypoint"] = _command(self, it)
    if not self.commanded:
        self.config.pop("Cmd", None)  # the image's below: it was for another program


def _command(self: StageReader, it: Instruction) -> list[str]:
    check_flags(it)
    if it.json:
        return [*it.arguments]
    if it.heredocs:
        raise DockerfileError(f"here-documents in {it.name} are not supported", it.line)
    return [*(self.config.get("Shell") or SHELL), *it.arguments]


def _expose(self: StageReader, it: Instruction) -> None:
    check_flags(it)
    ports: dict[str, Json] = {}
    for word in it.arguments:
        for each in self.lexer.split(word, self.seen):
            ports |= {port: {} for port in _ports(each, it.line)}
    if not it.arguments:
        raise DockerfileError("EXPOSE names no port", it.line)
    self.config["ExposedPorts"] = {**(self.config.get("ExposedPorts") or {}), **ports}


def _ports(text: str, line: int) -> Iterator[str]:
    """`8080:80/udp` and `127.0.0.1:8080:80` mean the last port: where it is published is for whoever runs the image."""
    found = re.fullmatch(
        r"(?:(?:(?P<ip>\[[0-9a-f:.]+\]|[0-9a-f:.]*):)?(?P<host>[0-9-]*):)?"
        r"(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?(?:/(?P<protocol>tcp|udp|sctp)?)?",
        text.lower(),
    )
    low, high = (int(found["low"]), int(found["high"] or found["low"])) if found else (1, 0)
    if found is None or not low <= high <= 65535 or not _is_address(found["ip"] or ""):
        raise DockerfileError(f"EXPOSE `{text}` is no port, as in 80, 53/udp, 8000-8010 or 8080:80", line)
    yield from (f"{port}/{found['protocol'] or 'tcp'}" for port in range(low, high + 1))


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        return not text or bool(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return False


def _volume(self: StageReader, it: Instruction) -> None:
    check_flags(it)
    found = [self.expand(word, it.line).strip() for word in it.arguments]
    if not found:
        raise DockerfileError("VOLUME names no directory", it.line)
    if "" in found:
        raise DockerfileError(
            f"VOLUME names no directory: `{it.arguments[found.index('')]}` is empty", it.line, hint=UNSET_HINT
        )
    self.config["Volumes"] = {**(self.config.get("Volumes") or {}), **{each: {} for each in found}}


def _stopsignal(self: StageReader, it: Instruction) -> None:
    self.config["StopSignal"] = self.expand(_single_argument(it), it.line)


def _maintainer(_: StageReader, it: Instruction) -> None:
    """Of the history of images only, which no tree and no configuration has."""
    check_flags(it)


def _onbuild(self: StageReader, it: Instruction) -> None:
    for trigger in parse_triggers([it.trigger], it.line):  # said here, and not to whoever builds on the image
        if trigger.name not in _HANDLERS:
            raise DockerfileError(f"ONBUILD {trigger.name} is not supported", it.line)
    self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), it.trigger]


def _healthcheck(self: StageReader, it: Instruction) -> None:
    check_flags(it, "interval", "timeout", "start-period", "start-interval", "retries")
    kind = it.arguments[0].upper() if it.arguments else ""
    if kind == "NONE" and len(it.arguments) == 1:
        self.config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind != "CMD" or len(it.arguments) < 2:
        raise DockerfileError("HEALTHCHECK is NONE, or CMD and a command", it.line)
    found: dict[str, Json] = {"Test": ["CMD" if it.json else "CMD-SHELL", *it.arguments[1:]]}
    for flag, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
                      ("start-interval", "StartInterval")):  # fmt: skip
        if it.flag(flag):
            found[key] = _duration(it.flag(flag), flag, it.line)
    if it.flag("retries"):
        retries = natural(it.flag("retries"), 1 << 31)
        if retries is None:
            raise DockerfileError(f"--retries={it.flag('retries')} is no number", it.line)
        found["Retries"] = retries
    self.config["Healthcheck"] = found


def _duration(text: str, flag: str, line: int) -> int:
    """Nanoseconds, as Go writes durations."""
    if text != "0" and not _DURATION.fullmatch(text):
        raise DockerfileError(f"--{flag}={text} is no duration, as in 1m30s", line)
    pieces = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", text)
    return round(sum(float(number) * _UNITS[unit] for number, unit in pieces))


def _single_argument(it: Instruction) -> str:
    check_flags(it)
    if len(it.arguments) != 1 or not it.arguments[0]:
        raise DockerfileError(f"{it.name} takes one argument", it.line)
    return it.arguments[0]


_HANDLERS: Mapping[str, Callable[[StageReader, Instruction], None]] = {
    "RUN": _run, "COPY": _transfer, "ADD": _transfer, "WORKDIR": _workdir, "ARG": _arg, "ENV": _env, "LABEL": _label,
    "USER": _user, "SHELL": _shell, "CMD": _cmd, "ENTRYPOINT": _entrypoint, "EXPOSE": _expose, "VOLUME": _volume,
    "STOPSIGNAL": _stopsignal, "MAINTAINER": _maintainer, "ONBUILD": _onbuild, "HEALTHCHECK": _healthcheck,
}  # fmt: skip
