"""`RUN --mount=…`: one line of comma-separated options -> what is mounted. Pure."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from envtool.kinds.dockerfile.parser import DockerfileError, Instruction

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
    source: str = ""  # bind: path there
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    env: str = ""  # secret: the variable that has it
    required: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0  # bytes, 0: as much as there is


def mount_origins(instruction: Instruction) -> Iterator[str]:
    """The stages and images that a RUN's mounts come from. Raises DockerfileError."""
    for text in instruction.all("mount"):
        found = next((value for key, value in _split_fields(text, instruction.line) if key == "from"), "")
        if "$" in found:
            raise DockerfileError(
                f"from={found}: variables are not expanded here; give the image a stage", instruction.line
            )
        if found:
            yield found


def parse_mounts(instruction: Instruction, workdir: str, expand: Callable[[str], str]) -> tuple[Mount, ...]:
    """The mounts of a RUN. Raises DockerfileError."""
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
    found = []
    for field in row:
        key, equals, value = field.partition("=")
        key = _SPELLINGS.get(key.lower(), key.lower())
        if not equals and key not in _FLAGS:
            raise DockerfileError(f"--mount={text}: `{field}` is not KEY=VALUE", line)
        found.append((key, value if equals else "true"))
    return found


def _mount(fields: list[tuple[str, str]], workdir: str, line: int) -> Mount:
    given = dict(fields)
    kind = given.pop("type", "bind").lower()
    if kind not in _ALLOWED_OPTIONS:
        raise DockerfileError(
            f"--mount=type={kind} is not supported", line, hint=f"what is: {', '.join(_ALLOWED_OPTIONS)}"
        )
    strange = next((key for key in given if key not in _ALLOWED_OPTIONS[kind]), None)
    if strange is not None:
        raise DockerfileError(
            f"--mount=type={kind} takes no `{strange}`",
            line,
            hint=f"it takes {', '.join(sorted(_ALLOWED_OPTIONS[kind]))}",
        )
    if kind == "cache" and (given.get("from") or given.get("source")):
        raise DockerfileError("--mount=type=cache with `from` or `source` is not supported: a cache begins empty", line)
    if kind == "secret":
        return _secret(given, workdir, line)
    target = _absolute(given.get("target", ""), workdir, line)  # without one it is WORKDIR
    if given.get("sharing", "shared").lower() not in ("shared", "private", "locked"):
        raise DockerfileError(f"sharing={given['sharing']}: it is shared, private or locked", line)
    return Mount(
        type=kind,
        target=target,
        origin=given.get("from", ""),
        source=given.get("source", ""),
        readonly=_readonly(given, kind, line),
        id=(given.get("id") or target) if kind == "cache" else "",
        sharing=given.get("sharing", "shared").lower(),
        mode=_number(given, "mode", 8, 0o755, line),
        uid=_number(given, "uid", 10, 0, line),
        gid=_number(given, "gid", 10, 0, line),
        size=_size(given.get("size", "0"), line),
    )


def _secret(given: dict[str, str], workdir: str, line: int) -> Mount:
    if given.get("id") and given.get("source"):
        raise DockerfileError("--mount=type=secret has both an id and a source", line)
    name = given.get("id") or posixpath.basename(given.get("source") or given.get("target", ""))
    if not name:
        raise DockerfileError("--mount=type=secret has no id", line)
    target = given.get("target", "")
    if not target and not given.get("env"):
        target = f"/run/secrets/{name}"
    return Mount(
        type="secret",
        id=name,
        target=_absolute(target, workdir, line) if target else "",
        env=given.get("env", ""),
        required=_parse_bool(given, "required", line),
        mode=_number(given, "mode", 8, 0o400, line),
        uid=_number(given, "uid", 10, 0, line),
        gid=_number(given, "gid", 10, 0, line),
    )


def _absolute(path: str, workdir: str, line: int) -> str:
    found = posixpath.normpath(posixpath.join("/", workdir, path))
    found = "/" + found.lstrip("/")
    if found == "/":
        raise DockerfileError("a mount cannot cover `/`", line, hint="`target=` says where; without one it is WORKDIR")
    return found


def _readonly(given: dict[str, str], kind: str, line: int) -> bool:
    if "readwrite" in given:
        return not _parse_bool(given, "readwrite", line)
    return _parse_bool(given, "readonly", line) if "readonly" in given else kind == "bind"


def _parse_bool(given: dict[str, str], key: str, line: int) -> bool:
    value = given.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise DockerfileError(f"{key}={value}: it is true or false", line)
    return value in ("true", "1")


def _number(given: dict[str, str], key: str, base: int, default: int, line: int) -> int:
    if key not in given:
        return default
    digits = "0?[0-7]{1,4}" if base == 8 else "[0-9]{1,9}"
    if not re.fullmatch(digits, given[key]):
        raise DockerfileError(f"{key}={given[key]}: not a number in {'octal' if base == 8 else 'decimal'}", line)
    return int(given[key], base)


def _size(text: str, line: int) -> int:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt]?)(?:i?b)?", text.lower())
    if found is None:
        raise DockerfileError(f"size={text}: not a size, as in 64m", line)
    return int(float(found[1]) * _SIZES[found[2]])
