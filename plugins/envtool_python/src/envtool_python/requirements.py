"""Requirement files, dependency groups and extras -> lines for pip. Pure: a `read` function reads the files.

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
    """A requirement that cannot be used. The message says which and why; `file` ("" if unknown) and `line` say where;
    `hint` says what to write."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.hint = file, line, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLines:
    """The lines of requirement files. `extras` is None if no file names the project itself (`-e .[test]`)."""

    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()  # every file that was read, in order
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # line -> file and line number

    @property
    def moded(self) -> bool:
        """Whether one of the lines affects its whole pip call: a hash, an option, an index."""
        return any(_MODES.search(line) for line in self.requirements)


def normal(name: str) -> str:
    """Returns the name of a project, extra or group as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).strip().lower()


def name_of(line: str) -> str:
    """Returns the normalised project name that a requirement line begins with; "" for options and URLs."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?=$|[\[\s@<>=!~;(,])", line)
    return normal(match.group(1)) if match else ""


def unique(lines: Iterable[str]) -> tuple[str, ...]:
    """Returns the lines without repetitions, in order."""
    return tuple(dict.fromkeys(lines))


def flatten(read: Read, files: Iterable[str], constraints: Iterable[str] = ()) -> RequirementLines:
    """Returns all lines of these files and of those that they include by `-r` and `-c`. Raises
    WrongRequirementError."""
    state = _Flattening(read)
    for path in files:
        state.add_file(path, constraint=False, parent="")
    for path in constraints:
        state.add_file(path, constraint=True, parent="")
    return RequirementLines(
        requirements=unique(state.requirements),
        constraints=unique(state.constraints),
        extras=None if state.extras is None else unique(state.extras),
        files=unique(state.files),
        places=state.places,
    )


class _Flattening:
    """The lines collected so far, while files include each other."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.requirements: list[str] = []
        self.constraints: list[str] = []
        self.extras: list[str] | None = None
        self.files: list[str] = []
        self.places: dict[str, tuple[str, int]] = {}
        self.seen: set[tuple[str, bool]] = set()

    def add_file(self, path: str, *, constraint: bool, parent: str, number: int = 0) -> None:
        includer = f"{parent}:{number}" if parent else "the spec"

        def wrong(message: str, hint: str) -> WrongRequirementError:
            return WrongRequirementError(message, file=parent, line=number, hint=hint)

        if "://" in path:
            hint = "put it into the project: what a URL has may be another thing tomorrow"
            raise wrong(f"{includer} includes {path}, which is not a file of the project", hint)
        path = posixpath.normpath(path)
        if path.startswith(("/", "..")):
            hint = "requirement files are files of the project, named from where the one stands that includes them"
            raise wrong(f"{includer} names {path}, which is outside of the project", hint)
        if (path, constraint) in self.seen:
            return
        self.seen.add((path, constraint))
        text = self.read(path)
        if text is None:
            hint = "it is named from the directory of the file that includes it" if parent else "is it written right?"
            raise wrong(f"there is no {path}" + (f", which {includer} includes" if parent else ""), hint)
        self.files.append(path)
        for line_number, logical_line in _logical_lines(text):
            for line in _split_options(logical_line):
                self.add_line(line, line_number, path, constraint=constraint)

    def add_line(self, line: str, number: int, path: str, *, constraint: bool) -> None:
        where = f"{path}:{number}"
        option = _OPTION.match(line)
        requirement = line
        if option:
            flag, value = option.group(1), option.group(2).strip()
            if flag in _INCLUDE:
                nested = value if "://" in value else posixpath.join(posixpath.dirname(path), value)
                self.add_file(
                    nested, constraint=constraint or _INCLUDE[flag] == "constraint", parent=path, number=number
                )
                return
            if flag not in _EDITABLE:
                self.places.setdefault(line, (path, number))
                (self.constraints if constraint else self.requirements).append(line)
                return
            plain_path = re.match(r"^[\w.-]+(?=$|[\[;\s])", value)  # after -e, a plain word is a path, not a name
            requirement = f"./{value}" if plain_path and not value.startswith(".") else value
        itself = _ITSELF.match(requirement)
        if itself:
            extras = itself.group(1) or itself.group(2) or ""
            self.extras = [*(self.extras or []), *(normal(name) for name in extras.split(",") if name.strip())]
            return
        if constraint and re.match(r"^(\S+\s*@\s*)?((git|hg|svn|bzr)\+|file:)", requirement):
            raise WrongRequirementError(
                f"{where}: {requirement} has no hash: constrain it to a version, or an archive's URL"
            )
        self.places.setdefault(requirement, (path, number))
        (self.constraints if constraint else self.requirements).append(requirement)


def _split_options(line: str) -> list[str]:
    """Splits a line of several options into one line for each option, as in `--no-index --find-links wheels`."""
    if not line.startswith("-") or re.match(r"-e|--editable\b", line):  # these options belong to the requirement
        return [line]
    try:
        words = shlex.split(line)
    except ValueError:
        return [line]
    starts = [index for index, word in enumerate(words) if word.startswith("-")]
    ends = [*starts[1:], len(words)]
    lines = [shlex.join(words[start:end]) for start, end in zip(starts, ends, strict=True)]
    return lines if len(lines) > 1 else [line]


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Yields line numbers and lines, with continued lines joined, and without comments and blank lines."""
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
    """Returns the requirements of a dependency group with its includes expanded (PEP 735). Raises
    WrongRequirementError."""
    normal_groups = {normal(key): value for key, value in groups.items()}
    key = normal(name)
    if key in _path:
        raise WrongRequirementError(f"dependency groups include each other: {' -> '.join((*_path, key))}")
    if key not in normal_groups:
        names = ", ".join(sorted(normal_groups)) or "none"
        raise WrongRequirementError(f"there is no dependency group `{name}` in pyproject.toml: it has {names}")
    if not isinstance(normal_groups[key], list):
        raise WrongRequirementError(f"the dependency group `{name}` is not a list")
    lines: list[str] = []
    for item in normal_groups[key]:
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
    """Returns the requirements of an extra; a line that names the project's own extras (`me[test]`) is expanded.
    Raises WrongRequirementError.
    """
    normal_extras = {normal(key): value for key, value in extras.items()}
    key = normal(name)
    if key not in normal_extras:
        names = ", ".join(sorted(normal_extras)) or "none"
        raise WrongRequirementError(f"there is no extra `{name}` in pyproject.toml: it has {names}")
    return own_extras(project, extras, normal_extras[key], _seen | {key})


def own_extras(
    project: str, extras: Mapping[str, Iterable[str]], lines: Iterable[str], _seen: frozenset[str] = frozenset()
) -> list[str]:
    """Returns the lines with each that names the project itself replaced by the requirements of its extras: the project
    is installed from its own files, never from an index.
    """
    expanded: list[str] = []
    for line in lines:
        if not project or name_of(line) != normal(project):
            expanded.append(line)
            continue
        extras_match = re.search(r"\[([^\]]*)\]", line)
        for name in extras_match.group(1).split(",") if extras_match else ():
            if name.strip() and normal(name) not in _seen:
                expanded.extend(extra(project, extras, name, _seen))
    return list(unique(expanded))
