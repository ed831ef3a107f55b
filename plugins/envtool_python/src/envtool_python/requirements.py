"""Requirement files, dependency groups and extras -> lines for pip. Pure: files come through a `read` function.

Formats: pip's requirements file format (pip documentation), PEP 735 (dependency groups), PEP 508 (requirements).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Read: TypeAlias = Callable[[str], str | None]

_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"^(--[a-z-]+|-[a-zA-Z])[=\s]*(.*)$")
_INCLUDE = {"-r": "requirement", "--requirement": "requirement", "-c": "constraint", "--constraint": "constraint"}
_EDITABLE = {"-e", "--editable"}
_ITSELF = re.compile(  # `.[test]`, and by its name: `me[test] @ file:.`, as pip-compile and uv write it
    r"^(?:[A-Za-z0-9][\w.-]*\s*(?:\[([^\]]*)\])?\s*@\s*file:\./?(?:#\S*)?|(?:file:)?\./?(?:\[([^\]]*)\])?)\s*$"
)
_MODES = re.compile(
    r"(^|\s)--(hash|require-hashes|no-index|only-binary|no-binary|pre|prefer-binary|index-url|extra-index-url|find-links)"
    r"\b|^-[if]\b"
)


class WrongRequirementError(ValueError):
    """A requirement that cannot be used; the message says which and why; `file` and `line` where, as far as it is
    known, `hint` what to write."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.hint = file, line, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLines:
    """What pip is asked for. `extras` is None where no file names the project itself (`-e .[test]`)."""

    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()  # every file that was read, in order
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # line -> file and number that it stands at

    @property
    def moded(self) -> bool:
        """Whether one of the lines decides for all of its pip call: by a hash, an option, an index."""
        return any(_MODES.search(line) for line in self.requirements)


def normal(name: str) -> str:
    """A project, extra or group name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).strip().lower()


def name_of(line: str) -> str:
    """The normalised project name that a requirement line begins with; "" for options and URLs."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?=$|[\[\s@<>=!~;(,])", line)
    return normal(match.group(1)) if match else ""


def unique(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines without repetitions, in order."""
    return tuple(dict.fromkeys(lines))


def flatten(read: Read, files: Iterable[str], constraints: Iterable[str] = ()) -> RequirementLines:
    """All lines of these files with every nested `-r` and `-c` followed. Raises WrongRequirementError."""
    state = _Flattening(read)
    for path in files:
        state.file(path, constraint=False, parent="")
    for path in constraints:
        state.file(path, constraint=True, parent="")
    return RequirementLines(
        requirements=unique(state.requirements),
        constraints=unique(state.constraints),
        extras=None if state.extras is None else unique(state.extras),
        files=unique(state.files),
        places=state.places,
    )


class _Flattening:
    """Collects while files include each other."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.requirements: list[str] = []
        self.constraints: list[str] = []
        self.extras: list[str] | None = None
        self.files: list[str] = []
        self.places: dict[str, tuple[str, int]] = {}
        self.seen: set[tuple[str, bool]] = set()

    def file(self, path: str, *, constraint: bool, parent: str, number: int = 0) -> None:
        said = f"{parent}:{number}" if parent else "the spec"

        def wrong(message: str, hint: str) -> WrongRequirementError:
            return WrongRequirementError(message, file=parent, line=number, hint=hint)

        if "://" in path:
            hint = "put it into the project: what a URL has may be another thing tomorrow"
            raise wrong(f"{said} includes {path}, which is not a file of the project", hint)
        path = posixpath.normpath(path)
        if path.startswith(("/", "..")):
            hint = "requirement files are files of the project, named from where the one stands that includes them"
            raise wrong(f"{said} names {path}, which is outside of the project", hint)
        if (path, constraint) in self.seen:
            return
        self.seen.add((path, constraint))
        text = self.read(path)
        if text is None:
            hint = "it is named from the directory of the file that includes it" if parent else "is it written right?"
            raise wrong(f"there is no {path}" + (f", which {said} includes" if parent else ""), hint)
        self.files.append(path)
        for at, logical in _logical(text):
            for line in _apart(logical):
                self.line(line, at, path, constraint=constraint)

    def line(self, line: str, number: int, path: str, *, constraint: bool) -> None:
        where = f"{path}:{number}"
        option = _OPTION.match(line)
        local = line
        if option:
            flag, value = option.group(1), option.group(2).strip()
            if flag in _INCLUDE:
                nested = value if "://" in value else posixpath.join(posixpath.dirname(path), value)
                self.file(nested, constraint=constraint or _INCLUDE[flag] == "constraint", parent=path, number=number)
                return
            if flag not in _EDITABLE:
                self.places.setdefault(line, (path, number))
                (self.constraints if constraint else self.requirements).append(line)
                return
            plain = re.match(r"^[\w.-]+(?=$|[\[;\s])", value)  # a path, and never a name
            local = f"./{value}" if plain and not value.startswith(".") else value
        found = _ITSELF.match(local)
        if found:
            extras = found.group(1) or found.group(2) or ""
            self.extras = [*(self.extras or []), *(normal(e) for e in extras.split(",") if e.strip())]
            return
        if constraint and re.match(r"^(\S+\s*@\s*)?((git|hg|svn|bzr)\+|file:)", local):
            raise WrongRequirementError(f"{where}: {local} has no hash: constrain it to a version, or an archive's URL")
        self.places.setdefault(local, (path, number))
        (self.constraints if constraint else self.requirements).append(local)


def _apart(line: str) -> list[str]:
    """An option a line: pip takes several, as in `--no-index --find-links wheels`."""
    if not line.startswith("-") or re.match(r"-e|--editable\b", line):  # its own options belong to one requirement
        return [line]
    try:
        words = shlex.split(line)
    except ValueError:
        return [line]
    starts = [at for at, word in enumerate(words) if word.startswith("-")]
    ends = [*starts[1:], len(words)]
    apart = [shlex.join(words[start:end]) for start, end in zip(starts, ends, strict=True)]
    return apart if len(apart) > 1 else [line]


def _logical(text: str) -> Iterable[tuple[int, str]]:
    """Lines with their numbers: continued ones joined, comments and blank ones dropped."""
    number, joined = 0, ""
    for index, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not joined:
            number = index
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            joined += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", joined + raw).strip()
        joined = ""
        if line:
            yield number, line
    if joined.strip():
        yield number, _COMMENT.sub("", joined).strip()


def group(groups: Mapping[str, Any], name: str, _path: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The requirements of a dependency group, includes expanded (PEP 735). Raises WrongRequirementError."""
    table = {normal(key): value for key, value in groups.items()}
    key = normal(name)
    if key in _path:
        raise WrongRequirementError(f"dependency groups include each other: {' -> '.join((*_path, key))}")
    if key not in table:
        known = ", ".join(sorted(table)) or "none"
        raise WrongRequirementError(f"there is no dependency group `{name}` in pyproject.toml: it has {known}")
    if not isinstance(table[key], list):
        raise WrongRequirementError(f"the dependency group `{name}` is not a list")
    lines: list[str] = []
    for item in table[key]:
        if isinstance(item, str):
            lines.append(item)
        elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
            lines.extend(group(groups, item["include-group"], (*_path, key)))
        else:
            raise WrongRequirementError(
                f"the dependency group `{name}` has an entry that is neither text nor include-group"
            )
    return unique(lines)


def extra(
    project: str, extras: Mapping[str, Iterable[str]], name: str, _seen: frozenset[str] = frozenset()
) -> list[str]:
    """The requirements of an extra; those that name the project itself with extras (`me[test]`) are expanded.
    Raises WrongRequirementError.
    """
    table = {normal(key): value for key, value in extras.items()}
    key = normal(name)
    if key not in table:
        known = ", ".join(sorted(table)) or "none"
        raise WrongRequirementError(f"there is no extra `{name}` in pyproject.toml: it has {known}")
    return own_extras(project, extras, table[key], _seen | {key})


def own_extras(
    project: str, extras: Mapping[str, Iterable[str]], lines: Iterable[str], _seen: frozenset[str] = frozenset()
) -> list[str]:
    """`lines` with each that names the project itself replaced by what its extras require: the project is
    installed from its own files, never from an index.
    """
    answer: list[str] = []
    for line in lines:
        if not project or name_of(line) != normal(project):
            answer.append(line)
            continue
        inner = re.search(r"\[([^\]]*)\]", line)
        for nested in inner.group(1).split(",") if inner else ():
            if nested.strip() and normal(nested) not in _seen:
                answer.extend(extra(project, extras, nested, _seen))
    return list(unique(answer))
