"""Reads `RUN --mount=…`: a line of comma-separated options becomes a Mount. Pure."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable, Iterator

from envtool.kinds.dockerfile.parser import DockerfileError, Instruction
from envtool.lazy_dataclass import dataclass

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SPELLINGS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_ALLOWED_OPTIONS = {
    "bind": ("from", "source", "target", "readonly", "readwrite"),
    "cache": ("id", "target", "sharing", "mode", "uid", "gid", "readonly", "readwrite", "from", "source"),
    "tmpfs": ("target", "size", "readwrite"),
    "secret": ("id", "source", "target", "env", "required", "mode", "uid", "gid"),
}
_FLAGS = ("readonly", "readwrite", "required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount. `target` is absolute; empty for a secret that is only a variable."""

    type: str  # "bind", "cache", "tmpfs", "secret"
    target: str
    origin: str = ""  # bind: stage, index or image; empty for the context
    source: str = ""  # bind: path in the origin
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    env: str = ""  # secret: name of the variable that gets its value
    required: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0  # tmpfs: bytes, 0 for no limit


def mount_origins(instruction: Instruction) -> Iterator[str]:
    """Returns the stages and images that a RUN's mounts come from. Raises DockerfileError."""
    for text in instruction.all("mount"):
        origin = next((value for key, value in _split_fields(text, instruction.line) if key == "from"), "")
        if "$" in origin:
            raise DockerfileError(
                f"from={origin}: variables are not expanded here; give the image a stage", instruction.line
            )
        if origin:
            yield origin


def parse_mounts(instruction: Instruction, workdir: str, expand: Callable[[str], str]) -> tuple[Mount, ...]:
    """Returns the mounts of a RUN. Raises DockerfileError."""
    return tuple(
        _mount(
            [(key, expand(value)) for key, value in _split_fields(text, instruction.line)], workdir, instruction.line
        )
        for text in instruction.all("mount")
    )


def _split_fields(text: str, line: int) -> list[tuple[str, str]]:
    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise DockerfileError(f"--mount={text}: {error}", line) from None
    fields = []
    for field in row:
        key, equals, value = field.partition("=")
        key = _SPELLINGS.get(key.lower(), key.lower())
        if not equals and key not in _FLAGS:
            raise DockerfileError(f"--mount={text}: `{field}` is not KEY=VALUE", line)
        fields.append((key, value if equals else "true"))
    return fields


def _mount(fields: list[tuple[str, str]], workdir: str, line: int) -> Mount:
    options = dict(fields)
    kind = options.pop("type", "bind").lower()
    if kind not in _ALLOWED_OPTIONS:
        raise DockerfileError(
            f"--mount=type={kind} is not supported", line, hint=f"supported: {', '.join(_ALLOWED_OPTIONS)}"
        )
    unknown = next((key for key in options if key not in _ALLOWED_OPTIONS[kind]), None)
    if unknown is not None:
        raise DockerfileError(
            f"--mount=type={kind} takes no `{unknown}`",
            line,
            hint=f"it takes {', '.join(sorted(_ALLOWED_OPTIONS[kind]))}",
        )
    if kind == "cache" and (options.get("from") or options.get("source")):
        raise DockerfileError("--mount=type=cache with `from` or `source` is not supported: a cache begins empty", line)
    if kind == "secret":
        return _secret(options, workdir, line)
    target = _absolute(options.get("target", ""), workdir, line)  # the default is WORKDIR
    if options.get("sharing", "shared").lower() not in ("shared", "private", "locked"):
        raise DockerfileError(f"sharing={options['sharing']}: it is shared, private or locked", line)
    return Mount(
        type=kind,
        target=target,
        origin=options.get("from", ""),
        source=options.get("source", ""),
        readonly=_readonly(options, kind, line),
        id=(options.get("id") or target) if kind == "cache" else "",
        sharing=options.get("sharing", "shared").lower(),
        mode=_number(options, "mode", 8, 0o755, line),
        uid=_number(options, "uid", 10, 0, line),
        gid=_number(options, "gid", 10, 0, line),
        size=_size(options.get("size", "0"), line),
    )


def _secret(options: dict[str, str], workdir: str, line: int) -> Mount:
    if options.get("id") and options.get("source"):
        raise DockerfileError("--mount=type=secret has both an id and a source", line)
    name = options.get("id") or posixpath.basename(options.get("source") or options.get("target", ""))
    if not name:
        raise DockerfileError("--mount=type=secret has no id", line)
    target = options.get("target", "")
    if not target and not options.get("env"):
        target = f"/run/secrets/{name}"
    return Mount(
        type="secret",
        id=name,
        target=_absolute(target, workdir, line) if target else "",
        env=options.get("env", ""),
        required=_parse_bool(options, "required", line),
        mode=_number(options, "mode", 8, 0o400, line),
        uid=_number(options, "uid", 10, 0, line),
        gid=_number(options, "gid", 10, 0, line),
    )


def _absolute(path: str, workdir: str, line: int) -> str:
    target = posixpath.normpath(posixpath.join("/", workdir, path))
    target = "/" + target.lstrip("/")
    if target == "/":
        raise DockerfileError("a mount cannot cover `/`", line, hint="`target=` says where; without one it is WORKDIR")
    return target


def _readonly(options: dict[str, str], kind: str, line: int) -> bool:
    if "readwrite" in options:
        return not _parse_bool(options, "readwrite", line)
    return _parse_bool(options, "readonly", line) if "readonly" in options else kind == "bind"


def _parse_bool(options: dict[str, str], key: str, line: int) -> bool:
    value = options.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise DockerfileError(f"{key}={value}: it is true or false", line)
    return value in ("true", "1")


def _number(options: dict[str, str], key: str, base: int, default: int, line: int) -> int:
    if key not in options:
        return default
    digits = "0?[0-7]{1,4}" if base == 8 else "[0-9]{1,9}"
    if not re.fullmatch(digits, options[key]):
        raise DockerfileError(f"{key}={options[key]}: not a number in {'octal' if base == 8 else 'decimal'}", line)
    return int(options[key], base)


def _size(text: str, line: int) -> int:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt]?)(?:i?b)?", text.lower())
    if match is None:
        raise DockerfileError(f"size={text}: not a size, as in 64m", line)
    return int(float(match[1]) * _SIZES[match[2]])
